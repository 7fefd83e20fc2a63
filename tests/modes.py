"""Small supernets of known answers, for what is asked of every way to sample."""

import copy

import torch
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.train.sampling import Gumbel, Hard, Sampling, SinglePath, Softmax, TwoPath, Uniform

MODES = {
    "softmax": Softmax(),
    "gumbel": Gumbel(),
    "gumbel_hard": Gumbel(hard=True),
    "hard": Hard(),
    "single_path": SinglePath(),
    "two_path": TwoPath(),
    "uniform": Uniform(),
}
DISCRETE = [name for name, mode in MODES.items() if mode.is_discrete]


class Scale(nn.Module):
    """Multiplies, and counts its calls."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.by


class Scales(nn.Module):
    """One pool after another, each of factors: the output is x times one factor of each."""

    def __init__(self, *factors: tuple[float, ...]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(SuperNetModule([Scale(by) for by in of_pool]) for of_pool in factors)

    def forward(self, x: Tensor) -> Tensor:
        for pool in self.pools:
            x = pool(x)
        return x


class Convs(nn.Module):
    """Two pools with BatchNorm in their branches, and dropout behind them; ``(N, 2, 8, 8)`` to ``(N, 3)``."""

    def __init__(self) -> None:
        super().__init__()

        def conv(kernel: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(4, 4, kernel, padding="same"), nn.BatchNorm2d(4), nn.ReLU())

        self.stem = nn.Conv2d(2, 4, 1)
        self.first = SuperNetModule({"conv3": conv(3), "conv5": conv(5), "skip": nn.Identity()})
        self.second = SuperNetModule({"conv1": conv(1), "conv3": conv(3)})
        self.head = nn.Sequential(nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.second(self.first(self.stem(x))))
        return scores


class Linears(nn.Module):
    """Two pools without anything that depends on the batch; the first holds another pool; ``(N, 4)`` to ``(N, 4)``."""

    def __init__(self) -> None:
        super().__init__()
        inner = SuperNetModule([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh())])
        self.outer = SuperNetModule({"inner": inner, "linear": nn.Linear(4, 4), "skip": nn.Identity()})
        self.last = SuperNetModule([nn.Linear(4, 4), nn.Identity()])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(torch.tanh(self.outer(x)))
        return y


def fresh(net: SuperNet, sampling: Sampling | str, seed: int = 0) -> SuperNet:
    """Return a copy of a supernet, which is faster than to make one, with a sampling and a seed."""
    copied = copy.deepcopy(net)
    state = copied.state_dict()
    state["_extra_state"] = torch.tensor([seed, 0])
    copied.load_state_dict(state)
    copied.sampling = sampling
    return copied


def ran(net: SuperNet) -> dict[str, set[int]]:
    """Return a record of which branches of each pool run from now on; clear it at will."""
    record: dict[str, set[int]] = {}
    for name, pool in net.model.named_modules():
        if isinstance(pool, SuperNetModule):
            record[name] = set()
            for i, branch in enumerate(pool.branches):
                branch.register_forward_hook(lambda *_, name=name, i=i: record[name].add(i))
    return record
