"""Small supernets, one for each way in which a pool can stand in a network; most tests go through all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from supernet_onnx import SuperNetModule

if TYPE_CHECKING:
    from collections.abc import Callable


def conv(channels: int = 4, kernel: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, padding="same", **options)  # type: ignore[arg-type]


class Flat(nn.Module):
    """Trunk, pool with Identity, trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.pool = SuperNetModule(
            {
                "conv3": nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU()),
                "separable": nn.Sequential(conv(groups=4), conv(kernel=1), nn.ReLU()),
                "skip": nn.Identity(),
            }
        )
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.stem(x)).mean((2, 3)))


class Nested(nn.Module):
    """A pool inside a branch of a pool inside a branch of a pool."""

    def __init__(self) -> None:
        super().__init__()
        inner = SuperNetModule([conv(), nn.Identity()])
        middle = SuperNetModule([nn.Sequential(conv(kernel=1), inner), conv(kernel=5)])
        self.outer = SuperNetModule({"deep": nn.Sequential(nn.ReLU(), middle), "flat": conv(), "skip": nn.Identity()})

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.outer(torch.sigmoid(x)))


class Tied(nn.Module):
    """One pool used twice, and one module in two branches of another pool."""

    def __init__(self) -> None:
        super().__init__()
        shared = conv()
        self.twice = SuperNetModule([conv(), nn.Identity(), conv(kernel=5)])
        self.pool = SuperNetModule([shared, nn.Sequential(shared, nn.ReLU()), conv(kernel=1)])

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.twice(torch.relu(self.twice(x))))


class Shared(nn.Module):
    """Branches that begin with the same operators, which the exporter merges."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SuperNetModule(
            [
                nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(kernel=1)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Sigmoid()),
                nn.Sequential(nn.AvgPool2d(3, 1, 1), conv()),
            ]
        )
        self.tail = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.pool(x)) + nn.functional.max_pool2d(x, 3, 1, 1)


class Add(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.map = nn.Linear(6, 6)

    def forward(self, x: Tensor, y: Tensor, *, shift: Tensor) -> Tensor:
        return self.map(x) + self.scale * y + shift


class First(nn.Module):
    def forward(self, x: Tensor, y: Tensor, *, shift: Tensor) -> Tensor:
        return x


class SeveralInputs(nn.Module):
    """A pool of several positional and keyword inputs, in a model of several inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SuperNetModule({"add": Add(2.0), "half": Add(0.5), "first": First()})

    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return self.pool(a, torch.relu(b), shift=c) * 3


class Two(nn.Module):
    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = conv(kernel=kernel)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.conv(x)
        return y.mean((2, 3)), {"map": y}


class TwoOutputs(nn.Module):
    """Branches that return structures, in a model of two outputs, one of which is a pool's output itself."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SuperNetModule([Two(1), Two(3)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, rest = self.pool(x)
        return mean, torch.relu(rest["map"])


class OutputPools(nn.Module):
    """Pools whose outputs are graph outputs, with Identity: a graph input may become a graph output."""

    def __init__(self) -> None:
        super().__init__()
        self.left = SuperNetModule([conv(), nn.Identity()])
        self.right = SuperNetModule([nn.Identity(), conv(kernel=1), nn.ReLU()])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.left(x), self.right(x)


class Conv1d(nn.Module):
    """1-D convolutions, a pool behind a pool, a skip around both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, 4, 3)
        self.first = SuperNetModule([nn.Conv1d(4, 4, k, padding="same") for k in (3, 9)] + [nn.Identity()])
        self.second = SuperNetModule([nn.Conv1d(4, 4, 5, padding="same", groups=4), nn.Identity()])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return (x + self.second(self.first(x))).amax(-1)


class SelfAttention(nn.Module):
    def __init__(self, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class Attention(nn.Module):
    """Linear and attention branches on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.mixer = SuperNetModule({"two": SelfAttention(2), "four": SelfAttention(4), "linear": nn.Linear(8, 8)})
        self.mlp = SuperNetModule(
            [nn.Sequential(nn.Linear(8, width), nn.GELU(), nn.Linear(width, 8)) for width in (16, 32)] + [nn.Identity()]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm(x))
        return x + self.mlp(x)


def whole() -> nn.Module:
    """No trunk: the model is the pool."""
    return SuperNetModule([conv(), nn.Identity(), nn.Sequential(conv(), conv())])


@dataclass(frozen=True)
class Case:
    """A supernet to build and inputs for it, of batch 2."""

    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]

    def model(self, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self.build()
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, 0.0, 0.3)
            for name, buffer in model.named_buffers():
                if name.endswith("running_mean"):
                    buffer.normal_()
                elif name.endswith("running_var"):
                    buffer.uniform_(0.5, 2)
        return model

    def inputs(self, batch: int = 2, seed: int = 1) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn((batch, *shape), generator=generator) for shape in self.shapes)


CASES = {
    "flat": Case(Flat, ((3, 8, 8),)),
    "nested": Case(Nested, ((4, 6, 6),)),
    "tied": Case(Tied, ((4, 6, 6),)),
    "shared": Case(Shared, ((4, 6, 6),)),
    "several_inputs": Case(SeveralInputs, ((6,), (6,), (6,))),
    "two_outputs": Case(TwoOutputs, ((4, 6, 6),)),
    "output_pools": Case(OutputPools, ((4, 6, 6),)),
    "no_trunk": Case(whole, ((4, 6, 6),)),
    "conv1d": Case(Conv1d, ((2, 20),)),
    "attention": Case(Attention, ((7, 8),)),
}
