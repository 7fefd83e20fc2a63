"""``prune --budget``: conv3 costs 148 parameters, separable 52, skip 0, the trunk 133; weights 0.2, 0.5, 0.3."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from supernet_onnx import supergraph
from supernet_onnx.cost import METRICS, measure
from supernet_onnx.selection import every
from tests import marked
from tests.cli.calling import COMPUTED, COST_MODULE, UNKNOWN, call, error, record

if TYPE_CHECKING:
    from pathlib import Path


def test_the_best_branch_within_the_budget_is_written_and_told(flat: Path, tmp_path: Path) -> None:
    found = record("prune", flat, "--budget", "params=140", "--verify")
    assert found["selection"] == {"pool": "skip"}
    assert found["choice"] == {
        "objective": pytest.approx(math.log(0.3 / 0.5), abs=1e-6),
        "scores": "the logs of the weights",
        "budgets": {"params": {"unit": "elements", "limit": 140, "cost": 133, "slack": 7}},
        "gap": 0.0,
        "status": "optimal",
    }
    lines = call("prune", flat, "--budget", "params=140", "--dry-run").stdout.splitlines()
    assert lines[1].split() == ["pool", "skip", "3", "0.3000"]
    assert lines[3].split() == ["params", "133", "140", "7", "elements"]
    assert lines[4].startswith("sum of the logs of the weights: -0.510826; no selection within the budgets has more")
    assert record("prune", flat, "--dry-run")["choice"] is None
    assert supergraph.read(tmp_path / "flat.pruned.onnx").pools == ()


@pytest.mark.parametrize("share", range(0, 101, 10))
def test_the_file_costs_what_the_choice_says_and_no_more_than_the_budget(
    share: int, flat: Path, tmp_path: Path
) -> None:
    graph = supergraph.read(flat)
    names = ("params", "size", "macs", "peak_memory", "traffic")
    metrics = [METRICS[name] for name in names]
    tables = measure(graph, metrics)
    limits = {name: share / 100 * tables[name].maximum() for name in names}
    reachable = [s for s in every(graph) if all(tables[name].total(s) <= limits[name] for name in names)]
    budgets = [argument for name in names for argument in ("--budget", f"{name}={share}%")]
    if not reachable:
        message = error("prune", flat, *budgets, exit_code=1)
        for name in names:
            assert f"{tables[name].minimum():,} {tables[name].unit} of {name}" in message
        assert record("prune", flat, *budgets, exit_code=1)["error"]["code"] == "infeasible"
        return
    output = tmp_path / "out.onnx"
    choice = record("prune", flat, "-o", output, *budgets)["choice"]
    counted = measure(supergraph.read(output), metrics)
    for name in names:
        assert counted[name].trunk == choice["budgets"][name]["cost"] <= limits[name]


def test_scores_of_a_file_are_maximized_with_budgets_and_without(flat: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"pool": {"conv3": 3, "separable": -1, "skip": -2}}))
    assert record("prune", flat, "--scores", scores, "--dry-run")["selection"] == {"pool": "conv3"}
    found = record("prune", flat, "--scores", scores, "--budget", "params=0.2k", "--dry-run")
    assert found["selection"] == {"pool": "separable"}
    assert (found["choice"]["objective"], found["choice"]["scores"]) == (-1, "the given scores")
    assert "is also an input" in error("prune", flat, "--scores", scores, "-o", scores)


def test_selected_branches_are_kept_or_the_choice_is_infeasible(flat: Path, tmp_path: Path) -> None:
    assert record("prune", flat, "--budget", "params=1Ki", "--select", "pool=conv3", "--dry-run")["selection"] == {
        "pool": "conv3"
    }
    message = error("prune", flat, "--budget", "params=200", "--select", "pool=conv3", exit_code=1)
    assert "no selection with pool=conv3 meets params <= 200 elements; the least that is reachable is 281" in message
    assert "without the choices pool=conv3 the budgets can be met" in message
    chosen = tmp_path / "chosen.json"
    chosen.write_text('{"pool": "conv3"}')
    assert "pool=conv3" in error("prune", flat, "--budget", "params=200", "--selection", chosen, exit_code=1)
    assert "reachable is 133 elements" in error("prune", flat, "--budget", "params=0", exit_code=1)
    assert sorted(tmp_path.iterdir()) == [chosen, flat]


def test_computed_weights_need_scores_or_a_selection(tmp_path: Path) -> None:
    path = marked.write(marked.build(COMPUTED), tmp_path / "computed.onnx")
    assert "pool 'p': its weights are computed in the graph" in error("prune", path, "--budget", "params=1")
    pinned = record("prune", path, "--budget", "params=1", "--select", "p=minus", "--dry-run")
    assert pinned["selection"] == {"p": "minus", "q": "plain"}
    scores = tmp_path / "scores.json"
    scores.write_text('{"p": [0, 1], "q": [0, 1]}')
    found = record("prune", path, "--budget", "params=1", "--scores", scores, "--dry-run")
    assert found["selection"] == {"p": "minus", "q": "root"}


def test_what_the_solver_prints_does_not_get_into_the_result(flat: Path) -> None:
    code = (
        "import ctypes, sys\n"
        "from scipy import optimize\n"
        "from supernet_onnx.cli import main\n"
        "solve, libc = optimize.milp, ctypes.CDLL(None)\n"
        "def chatty(*args, **kwargs):\n"
        "    libc.printf(b'solving...')\n"
        "    return solve(*args, **kwargs)\n"
        "optimize.milp = chatty\n"
        "main(sys.argv[1:])\n"
    )
    arguments = ["prune", str(flat), "--budget", "params=140", "--json", "--dry-run"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True, text=True)
    assert json.loads(done.stdout)["selection"] == {"pool": "skip"}


def test_metrics_of_a_cost_module_can_be_budgets(flat: Path, tmp_path: Path) -> None:
    module = tmp_path / "costs.py"
    module.write_text(COST_MODULE)
    found = record("prune", flat, "--cost-module", module, "--budget", "convs=2", "--dry-run")
    assert found["selection"] == {"pool": "skip"}
    assert found["choice"]["budgets"]["convs"]["cost"] == 1
    bits = record("prune", flat, "--budget", "mpic_latency:weight_bits=8,act_bits=8=1G", "--dry-run")
    (budget,) = bits["choice"]["budgets"].values()
    assert budget["limit"] == 10**9


@pytest.mark.parametrize(
    ("budgets", "code", "message"),
    [
        (["params"], "usage", "'params' is no budget; expected METRIC=AMOUNT, for example params=50k or size=60%"),
        (["parms=5"], "usage", "Invalid value for --budget: 'parms' is no metric; the metrics are: params, "),
        (["params=5K"], "budget", "budget of 'params': '5K' is no amount; expected a number of at least 0"),
        (["params=-5"], "budget", "'-5' is no amount"),
        (["params=nan"], "budget", "'nan' is no amount"),
        (["params=5ms"], "budget", "alone or with one of k, M, G, Ki, Mi, Gi, %"),
        (["params="], "budget", "'' is no amount"),
        (["params=1,000"], "budget", "'1,000' is no amount"),
        (["params=120%"], "budget", "'120%' is more than the largest subnet costs; expected at most 100%"),
        (["params=5", "params=6"], "usage", "'params' has two budgets, 5 and 6"),
    ],
)
def test_a_budget_that_is_none_is_an_error(budgets: list[str], code: str, message: str, flat: Path) -> None:
    arguments = [argument for budget in budgets for argument in ("--budget", budget)]
    assert message in error("prune", flat, *arguments)
    assert record("prune", flat, *arguments, exit_code=2)["error"]["code"] == code


def test_a_budget_on_a_metric_that_cannot_be_priced_is_an_error(tmp_path: Path) -> None:
    path = marked.write(marked.build(UNKNOWN), tmp_path / "unknown.onnx")
    assert "Inverse" in error("prune", path, "--budget", "macs=5")
    assert record("prune", path, "--budget", "params=5", "--dry-run")["selection"] == {"p": "odd"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "scores must be JSON, this is not"),
        ("[1]", "scores must be a JSON object"),
        ('{"pool": [1, 2]}', "pool 'pool' has 3 branches, its scores are 2"),
        ('{"pool": [1, 2, NaN]}', "branch 'skip': its score is nan, expected a finite number"),
        ('{"pool": [1, 2, Infinity]}', "its score is inf, expected a finite number"),
        ('{"pool": {"conv3": 1}}', "scores of pool 'pool' are of 'conv3'; its branches are 'conv3', 'separable', "),
        ('{"pool": {"conv3": 1, "separable": "high", "skip": 0}}', "its score is 'high', expected a finite number"),
        ("{}", "scores lack the pool 'pool'; give its branches scores, or pin it"),
        ('{"poll": [1, 2, 3]}', "scores name pool 'poll', which is not in the model; its pools are: 'pool'"),
    ],
)
def test_scores_that_are_none_are_an_error(content: str, message: str, flat: Path, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content)
    assert message in error("prune", flat, "--scores", path)
    assert record("prune", flat, "--scores", path, exit_code=2)["error"]["code"] == "budget"
    assert "cannot be read: No such file" in error("prune", flat, "--scores", tmp_path / "none.json")
