"""A search that was killed and resumed ends where one that was not does, bit for bit."""

import copy
import io
import random

import pytest
import torch
from modes import MODES, Convs
from torch import Tensor, nn

from supernet_onnx import SuperNet
from supernet_onnx.cost import params
from supernet_onnx.train import DUCCIO, Exponential, TemperatureSchedule, WarmUp
from supernet_onnx.train.sampling import Sampling, Softmax

STEPS = 12


@pytest.fixture(scope="module")
def pristine() -> SuperNet:
    torch.manual_seed(0)
    return SuperNet(Convs(), {"params": params}, input_shape=(2, 8, 8), seed=9)


class Search:
    """All that a search has: a supernet, two optimizers, schedules, constraints, and torch's generator for dropout."""

    def __init__(self, pristine: SuperNet, mode: Sampling) -> None:
        self.net = copy.deepcopy(pristine)
        self.net.sampling = mode
        self.optimizers = [
            torch.optim.SGD(self.net.net_parameters(), 1e-2, momentum=0.9),
            torch.optim.Adam(self.net.nas_parameters(), 5e-2),
        ]
        low, high = self.net.cost_range("params")
        self.duccio = DUCCIO({"params": low + 0.3 * (high - low)}, task_loss=1.0, epochs=STEPS)
        self.schedules = [
            *(torch.optim.lr_scheduler.CosineAnnealingLR(each, STEPS) for each in self.optimizers),
            TemperatureSchedule(self.net, Exponential(1.0, 0.1, steps=STEPS)),
            WarmUp(self.net, 2),
            self.duccio,
        ]

    def step(self, k: int) -> None:
        x = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(k))
        loss = nn.functional.cross_entropy(self.net(x), torch.tensor([0, 1, 2, 0])) + self.duccio(self.net)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for each in (*self.optimizers, *self.schedules):
            each.step()

    def save(self) -> bytes:
        buffer = io.BytesIO()
        parts = [self.net, *self.optimizers, *self.schedules]
        torch.save({"parts": [part.state_dict() for part in parts], "rng": torch.get_rng_state()}, buffer)
        return buffer.getvalue()

    def load(self, saved: bytes) -> None:
        state = torch.load(io.BytesIO(saved), weights_only=True)
        for part, part_state in zip([self.net, *self.optimizers, *self.schedules], state["parts"], strict=True):
            part.load_state_dict(part_state)
        torch.set_rng_state(state["rng"])


@pytest.mark.parametrize("mode", [*MODES.values(), Softmax(drop_below=0.3, probe_every=3)], ids=str)
def test_a_search_killed_at_a_random_step_resumes_to_the_same_bits(pristine: SuperNet, mode: Sampling) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        whole = Search(pristine, mode)
        kill = random.Random(str(mode)).randrange(1, STEPS)
        for k in range(STEPS):
            if k == kill:
                saved = whole.save()
            whole.step(k)
        torch.manual_seed(99)
        other = Search(pristine, Softmax())
        other.load(saved)
        for k in range(kill, STEPS):
            other.step(k)
    expected, actual = whole.net.state_dict(), other.net.state_dict()
    assert list(expected) == list(actual)
    differing = [name for name, value in expected.items() if not _is_equal(value, actual[name])]
    assert not differing


def _is_equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
