"""``net.choose``: the exact choice of a supernet in training, and that of the file that it writes."""

import re
from pathlib import Path

import pytest
import torch
import toys
from torch import nn

import supernet_onnx
from supernet_onnx import search
from supernet_onnx.cost import METRICS, gap8_latency, macs, measure, params
from supernet_onnx.errors import BudgetError, InfeasibleError, SelectionError
from supernet_onnx.selection import every


@pytest.fixture(scope="module")
def net() -> supernet_onnx.SuperNet:
    net = toys.toy()
    with torch.no_grad():
        for seed, pool in enumerate(net.pools.values()):
            nn.init.normal_(pool.alpha, generator=torch.Generator().manual_seed(seed))
    return net


def test_without_budgets_the_largest_logits_are_chosen(net: supernet_onnx.SuperNet) -> None:
    choice = net.choose({})
    assert choice.selection.as_dict() == net.selection()
    assert (choice.objective, choice.source, choice.gap) == (0, "the logs of the weights", 0)


def test_every_budget_is_met_by_the_module_and_by_the_file_alike(net: supernet_onnx.SuperNet, tmp_path: Path) -> None:
    net.export_onnx(tmp_path / "toy.onnx")
    graph = supernet_onnx.read(tmp_path / "toy.onnx")
    table = measure(graph, [params])["params"]
    totals = sorted({table.total(selection) for selection in every(graph)})
    for limit in totals:
        choice = net.choose({"params": limit})
        in_file = search.choose(graph, budgets={"params": limit})
        assert choice.selection == in_file.selection
        assert choice.objective == pytest.approx(in_file.objective, abs=1e-6)
        chosen = net.export(choice.selection)
        folded = sum(parameter.numel() for parameter in chosen.parameters())
        folded -= sum(layer.num_features for layer in chosen.modules() if isinstance(layer, nn.BatchNorm2d)) * 2
        assert folded == choice.budgets[0].cost <= limit


def test_metrics_are_priced_by_name_whatever_the_net_costs(net: supernet_onnx.SuperNet) -> None:
    own = toys.toy(cost={"cycles": gap8_latency})
    choice = own.choose({"params": "50%", "macs": "50%", "gap8_latency": "90%"}, scores=None)
    assert [budget.metric for budget in choice.budgets] == ["params", "macs", "gap8_latency"]
    assert all(0 <= budget.cost <= budget.limit for budget in choice.budgets)
    with pytest.raises(BudgetError, match="'cycles' is no metric; the metrics are: params, ") as refused:
        own.choose({"cycles": 1})
    assert str(refused.value).count("gap8_latency") == 1


def test_given_scores_come_before_stored_ones_and_these_before_the_logits(net: supernet_onnx.SuperNet) -> None:
    own = toys.toy()
    worst = {name: [float(-i) for i in range(len(pool))] for name, pool in own.pools.items()}
    for pool in own.pools.values():
        pool.scores.copy_(torch.arange(len(pool)))
    stored = own.choose({})
    assert (stored.source, stored.objective) == ("the stored scores", 1 + 2)
    assert stored.selection.indices == (1, 2, 0)  # deep 0 with its skip 2 is as good as skip 2, and comes first
    given = own.choose({}, scores=worst)
    assert (given.source, given.selection.indices) == ("the given scores", (0, 0, 0))


def test_stored_scores_are_kept_by_state_dict_and_written_to_the_file(tmp_path: Path) -> None:
    net, other = toys.toy(), toys.toy()
    for pool in net.pools.values():
        pool.scores.copy_(torch.arange(len(pool)) / 4)
    other.load_state_dict(net.state_dict())
    other.export_onnx(tmp_path / "toy.onnx")
    graph = supernet_onnx.read(tmp_path / "toy.onnx")
    for pool in graph.pools:
        assert [branch.score for branch in pool.branches] == [i / 4 for i in range(len(pool.branches))]


def test_pins_and_budgets_that_conflict_are_told_apart(net: supernet_onnx.SuperNet) -> None:
    tables = measure(net.supergraph, [params])["params"]
    pinned = net.choose({}, pins={"first": "conv3", "second": 0})
    assert pinned.selection["first"] == "conv3"
    assert pinned.selection["second"] == "deep"
    message = f"no selection with first=conv3 meets params <= {tables.minimum():,} elements; "
    with pytest.raises(InfeasibleError, match=re.escape(message)) as caught:
        net.choose({"params": tables.minimum()}, pins={"first": "conv3"})
    smallest = min(tables.total(selection) for selection in every(net.supergraph) if selection["first"] == "conv3")
    assert f"the least that is reachable is {smallest:,} elements of params" in str(caught.value)
    assert str(caught.value).endswith("without the choices first=conv3 the budgets can be met: select other branches")
    with pytest.raises(SelectionError, match="pool 'frist' is not in the model"):
        net.choose({}, pins={"frist": 0})


def test_choosing_changes_nothing(net: supernet_onnx.SuperNet) -> None:
    before = toys.snapshot(net)
    net.choose({"macs": "70%"})
    assert toys.equal(toys.snapshot(net), before)
    assert net.cost_specification is params
    assert METRICS["macs"] is macs
