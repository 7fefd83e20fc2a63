"""Supernets under torch.compile: how many graphs, and what they compute."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from modes import Convs, fresh
from torch import nn
from torch._dynamo.utils import counters

from supernet_onnx import SuperNet, SuperNetModule

BRANCHES_WITH_LAYERS = 2 + 2  # of the two pools of Convs; Identity computes nothing


@pytest.fixture(scope="module")
def convs() -> SuperNet:
    torch.manual_seed(0)
    return SuperNet(Convs(), input_shape=(2, 8, 8))


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        yield
    torch._dynamo.reset()


def losses(net: SuperNet, call: object, steps: int) -> tuple[list[float], list[int]]:
    """Return the loss of each step, and how many graphs there were after it."""
    assert callable(call)
    net.model.head[0].p = 0.0
    optimizer = torch.optim.SGD(net.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(1)
    found, graphs = [], []
    for _ in range(steps):
        x = torch.randn(4, 2, 8, 8, generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(call(x), torch.tensor([0, 1, 2, 0]))
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
        graphs.append(counters["stats"]["unique_graphs"])
    return found, graphs


@pytest.mark.parametrize(("name", "backend"), [("softmax", "inductor"), ("softmax", "eager"), ("gumbel", "aot_eager")])
def test_a_soft_mode_is_one_graph_with_the_loss_of_eager_over_twenty_steps(
    convs: SuperNet, name: str, backend: str
) -> None:
    eager, net = fresh(convs, name), fresh(convs, name)
    expected, _ = losses(eager, eager, 20)
    actual, graphs = losses(net, torch.compile(net, backend=backend), 20)
    assert actual == pytest.approx(expected, abs=1e-4)
    assert graphs == [1] * 20
    assert not counters["recompiles"]
    assert bool(counters["graph_break"]) == (name == "gumbel")  # before the graph, where the noise is drawn


@pytest.mark.parametrize("name", ["hard", "single_path", "two_path", "uniform"])
def test_a_mode_that_chooses_compiles_each_branch_once_and_no_choice(convs: SuperNet, name: str) -> None:
    eager, net = fresh(convs, name), fresh(convs, name)
    expected, _ = losses(eager, eager, 30)
    actual, graphs = losses(net, torch.compile(net, backend="aot_eager"), 30)
    assert actual == pytest.approx(expected, abs=1e-4)
    trunk = 3  # before, between and behind the pools, at most
    modes = 2 if name in ("hard", "two_path") else 1  # a branch that does not count keeps its running statistics
    assert graphs[-1] <= trunk + modes * BRANCHES_WITH_LAYERS
    assert graphs[-1] == graphs[20]


def test_many_pools_do_not_use_up_the_limit_of_recompilations() -> None:
    pools = 12
    layers = [SuperNetModule([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh())]) for _ in range(pools)]
    net = SuperNet(nn.Sequential(*layers), input_shape=(4,), sampling="uniform")
    compiled = torch.compile(net, backend="eager")
    for _ in range(2):
        compiled(torch.ones(2, 4)).sum().backward()
    assert counters["stats"]["unique_graphs"] == 2 * pools
    for _ in range(6):
        compiled(torch.ones(2, 4)).sum().backward()
    assert counters["stats"]["unique_graphs"] == 2 * pools
