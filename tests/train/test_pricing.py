"""Costs of which the largest part counts, as a function of the logits."""

import itertools
from pathlib import Path

import pytest
import torch
import zoo
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import CostSpec, gap8_latency, measure, mpic_latency, peak_memory, traffic


class TwoPools(nn.Module):
    """Channels of 64 bytes: the first pool holds 1 + 4, 1 + 2 or 1 of them, the second 1 + 3 or 1, the trunk 2."""

    def __init__(self) -> None:
        super().__init__()

        def through(channels: int) -> nn.Module:
            return nn.Sequential(nn.Conv1d(1, channels, 3, padding=1), nn.Conv1d(channels, 1, 3, padding=1))

        self.first = SuperNetModule([through(4), through(2), nn.Identity()])
        self.second = SuperNetModule([through(3), nn.Identity()])

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.exp(self.first(x)))


def two_pools(**options: bool) -> SuperNet:
    net = SuperNet(TwoPools(), cost=peak_memory, input_shape=(1, 16), **options)
    with torch.no_grad():
        net.model.first.alpha.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
        net.model.second.alpha.copy_(torch.tensor([0.5, 0.5]).log())
    return net


def test_the_peak_is_that_of_the_largest_part_and_pulls_at_its_logits_alone() -> None:
    net = two_pools()
    amounts, theta = [5 * 64, 3 * 64, 64], [0.5, 0.25, 0.25]
    mean = sum(p * amount for p, amount in zip(theta, amounts, strict=True))
    cost = net.cost
    assert float(cost.detach()) == pytest.approx(mean)
    cost.backward()
    assert net.model.first.alpha.grad.tolist() == pytest.approx(
        [p * (amount - mean) for p, amount in zip(theta, amounts, strict=True)]
    )
    assert net.model.second.alpha.grad.tolist() == [0, 0]


def test_descending_the_peak_brings_down_one_pool_after_the_other() -> None:
    net = two_pools(full_cost=True)
    optimizer = torch.optim.SGD(net.nas_parameters(), lr=0.05)
    costs = []
    for _ in range(300):
        optimizer.zero_grad()
        cost = net.cost
        cost.backward()
        costs.append(float(cost.detach()))
        optimizer.step()
    assert net.selection() == {"first": "Identity", "second": "Identity"}
    assert costs[-1] == pytest.approx(2 * 64, rel=0.05)
    assert min(costs) >= 2 * 64  # the trunk


def test_the_trunk_is_left_out_unless_it_is_asked_for() -> None:
    for full_cost, expected in ((False, 64), (True, 2 * 64)):
        net = two_pools(full_cost=full_cost)
        net.update_softmax_options(hard=True)
        with torch.no_grad():
            net.model.first.alpha.copy_(torch.tensor([0.0, 0.0, 1.0]))
            net.model.second.alpha.copy_(torch.tensor([0.0, 1.0]))
        assert float(net.cost.detach()) == expected


@pytest.mark.parametrize("name", zoo.CASES)
def test_costs_of_all_kinds_are_those_of_the_table(name: str) -> None:
    case = zoo.CASES[name]
    metrics = [peak_memory, traffic, gap8_latency, mpic_latency(weight_bits=8, act_bits=8)]
    skipped = CostSpec("largest", "elements", default="zero", combine="max")
    skipped.counts("Relu")(lambda call: call.output().numel)
    named = {metric.name: metric for metric in [*metrics, skipped]}
    net = SuperNet(case.model(), cost=named, input_example=case.inputs(), full_cost=True)
    with torch.no_grad():
        for module in net._pools.values():
            module.alpha.copy_(torch.randn(len(module)))
    theta = {pool: torch.softmax(module.alpha.detach(), 0).tolist() for pool, module in net._pools.items()}
    tables = measure(net.supergraph, named.values())
    for metric in named:
        cost = net.get_cost(metric)
        assert float(cost.detach()) == pytest.approx(tables[metric].expected(theta), rel=1e-6, abs=1e-9)
        grads = torch.autograd.grad(cost, list(net.nas_parameters()), allow_unused=True)
        assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_a_hard_peak_is_that_of_the_chosen_network() -> None:
    net = two_pools(full_cost=True)
    net.update_softmax_options(hard=True)
    table = measure(net.supergraph, [peak_memory])["peak_memory"]
    for first, second in itertools.product(range(3), range(2)):
        with torch.no_grad():
            net.model.first.alpha.copy_(torch.eye(3)[first])
            net.model.second.alpha.copy_(torch.eye(2)[second])
        theta = {"first": torch.eye(3)[first].tolist(), "second": torch.eye(2)[second].tolist()}
        assert float(net.cost.detach()) == table.expected(theta)


def test_a_supernet_made_in_inference_mode_trains_and_exports(tmp_path: Path) -> None:
    model = nn.Sequential(SuperNetModule([nn.Linear(4, 4), nn.Identity()]))
    with torch.inference_mode():
        net = SuperNet(model, input_shape=(4,))
        assert float(net.cost) == 20 / 2
    (net(torch.ones(2, 4)).sum() + net.cost).backward()
    assert net.model[0].alpha.grad is not None
    net.export_onnx(tmp_path / "supernet.onnx")


@pytest.mark.parametrize("name", ["flat", "nested"])
def test_a_cost_that_moved_its_numbers_in_inference_mode_still_trains(name: str) -> None:
    case = zoo.CASES[name]
    net = SuperNet(case.model(), input_example=case.inputs()).to("meta")
    with torch.inference_mode():
        net.cost
    net.cost.backward()
    assert all(parameter.grad is not None for parameter in net.nas_parameters())
