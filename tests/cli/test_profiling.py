"""The verb ``profile`` in earnest on a toy, and its table in the hands of the other verbs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests import marked
from tests.cli.calling import call, error, record

if TYPE_CHECKING:
    from pathlib import Path

DIMS = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
dims (float[batch, length] x) => (float[batch, length] y) <float[2] "p.weights" = {0.75, 0.25}> {
    a = Sin (x)
    p = supernet_onnx.Pool2 <pool = "p", branches = ["sin", "skip"]> ("p.weights", a, x)
    y = Cos (p)
}
"""


@pytest.fixture
def table(flat: Path, tmp_path: Path) -> Path:
    assert call("profile", flat, "-o", tmp_path / "latency.json", "--rounds", "6").exit_code == 0
    return tmp_path / "latency.json"


def test_profile_writes_what_it_prints_and_nothing_else(flat: Path, tmp_path: Path) -> None:
    found = record("profile", flat, "--rounds", "6", "--batch", "2")
    output = tmp_path / "flat.latency.json"
    assert found.pop("output") == str(output)
    assert json.loads(output.read_text()) == found
    assert {path.name for path in tmp_path.iterdir()} == {"flat.onnx", "flat.latency.json"}
    assert found["format"] == "supernet-onnx cost table"
    assert (found["metric"], found["unit"], found["batch"], found["model"]) == ("latency", "ms", 2, "flat.onnx")
    assert set(found["branches"]["pool"]) == {"conv3", "separable", "skip"}
    assert found["joint"] == []
    assert found["trunk"] > 0
    assert [subnet["fitted"] for subnet in found["subnets"]] == [True] * 3
    assert {piece["places"] for piece in found["pieces"]} == {1}
    on = found["measured_on"]
    assert (on["threads"], on["providers"], on["clock"], on["rounds"]) == (
        1,
        ["CPUExecutionProvider"],
        "processor time",
        6,
    )


def test_the_report_tells_the_branches_the_errors_and_the_machine(flat: Path, tmp_path: Path) -> None:
    printed = call("profile", flat, "-o", tmp_path / "l.json", "--rounds", "2", "--threads", "2").stdout.splitlines()
    assert printed[0].split() == ["pool", "branch", "latency", "ms"]
    assert [line.split()[0] for line in printed[1:7]] == ["trunk", "pool", "pool", "pool", "minimum", "maximum"]
    assert "3 subnets fitted, too few to predict each from the others; see --subnets" in printed
    assert "4 pieces, 4 of them different; 2 rounds, lower quartile of wall clock; batch 1" in printed
    assert printed[-1] == f"wrote {tmp_path / 'l.json'}"


def test_cost_and_budgets_and_fronts_take_the_table(flat: Path, table: Path, tmp_path: Path) -> None:
    priced = record("cost", flat, "--cost-table", table, "--metric", "latency")["metrics"]["latency"]
    assert priced["unit"] == "milliseconds"
    assert priced["pools"]["pool"] == pytest.approx(json.loads(table.read_text())["branches"]["pool"])
    limit = f"{1000 * priced['minimum'] + 1e-6}us"
    pruned = record("prune", flat, "--cost-table", table, "--budget", f"latency={limit}", "--dry-run")
    assert pruned["choice"]["budgets"]["latency"]["cost"] == pytest.approx(priced["minimum"])
    assert "latency <=" in error(
        "prune", flat, "--cost-table", table, "--budget", "latency=0.000001ms", "--dry-run", exit_code=1
    )
    front = record("pareto", flat, "--cost-table", table, "--metric", "latency", "-o", tmp_path / "front.json")
    assert front["metrics"][0] == {"name": "latency", "unit": "milliseconds", "goal": "minimize"}


def test_latency_without_a_table_and_nodes_of_a_table_are_errors_that_say_what_to_do(flat: Path, table: Path) -> None:
    assert "'latency' is measured; give the table" in error("cost", flat, "--metric", "latency")
    assert "--budget: 'latency' is measured" in error("prune", flat, "--budget", "latency=1ms", "--dry-run")
    for flag in ("--by-node", "--by-op"):
        assert "leave out --by-node" in error("cost", flat, "--cost-table", table, "--metric", "latency", flag)


def test_a_table_of_another_model_is_an_error(table: Path, tmp_path: Path) -> None:
    other = marked.write(marked.build(DIMS), tmp_path / "dims.onnx")
    taken = ("cost", other, "--cost-table", table, "--metric", "latency")
    assert "latency.json': was measured with length=1, not 8" in call(*taken, "--dim", "length=8").stderr
    assert "was measured for a supernet of another structure: pool 'pool' is not in the model" in call(*taken).stderr


def test_open_dims_must_be_bound_and_are_in_the_table(tmp_path: Path) -> None:
    model = marked.write(marked.build(DIMS), tmp_path / "dims.onnx")
    assert "--dim NAME=SIZE" in error("profile", model, "--rounds", "1")
    for flags in (["--dim", "length=16"], ["--shape", "x=1,16"]):
        found = record("profile", model, "--rounds", "2", "-o", tmp_path / "latency.json", *flags)
        assert (found["dims"], found["shapes"]) == ({"length": 16}, {"x": [1, 16]} if "x=1,16" in flags else {})
        taken = ["cost", model, "--cost-table", tmp_path / "latency.json", "--metric", "latency"]
        assert record(*taken)["metrics"]["latency"]["total"] > 0
        assert record(*taken, "--dim", "length=16")["metrics"]["latency"]["total"] > 0


def test_an_absent_provider_is_an_error_that_lists_those_present(flat: Path) -> None:
    told = error("profile", flat, "--providers", "cpu,quantum")
    assert "no execution provider 'quantum' here; those present are: " in told
    assert "CPUExecutionProvider" in told


def test_an_output_that_is_the_model_is_an_error(flat: Path) -> None:
    (link := flat.with_suffix(".json")).symlink_to(flat)
    assert "is also" in error("profile", flat, "-o", link)


def test_a_table_that_is_not_called_json_is_refused(flat: Path) -> None:
    assert "flat.txt' does not end in .json, which is what is written" in error(
        "profile", flat, "-o", flat.with_suffix(".txt")
    )
