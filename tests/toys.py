"""Small supernets with BatchNorm, and data for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule


def conv(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding="same"), nn.BatchNorm2d(outputs), nn.ReLU(), nn.Dropout(0.5)
    )


class Toy(nn.Module):
    """Two pools, one of which has a pool in a branch: ``(N, 3, 8, 8)`` to ``(N, 4)``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = SuperNetModule({"conv1": conv(3, 6, 1), "conv3": conv(3, 6, 3)})
        inner = SuperNetModule({"conv1": conv(6, 6, 1), "conv3": conv(6, 6, 3), "skip": nn.Identity()})
        self.second = SuperNetModule(
            {"deep": nn.Sequential(conv(6, 6, 3), inner), "conv5": conv(6, 6, 5), "skip": nn.Identity()}
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.second(self.first(images)))


def toy(seed: int = 0, **options: object) -> SuperNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SuperNet(Toy(), input_shape=(3, 8, 8), **options)  # type: ignore[arg-type]


def batches(number: int = 3, size: int = 16, *, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (2 + 3 * torch.randn(size, 3, 8, 8, generator=generator), torch.randint(0, 4, (size,), generator=generator))
        for _ in range(number)
    ]


def snapshot(net: nn.Module) -> list[object]:
    """Return all that a measurement must leave as it is."""
    return [
        {name: value.clone() for name, value in net.state_dict().items() if "scores" not in name},
        [module.training for module in net.modules()],
        torch.get_rng_state(),
    ]


def equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return all(map(equal, a, b)) if isinstance(a, list) else a == b
