from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import marked
from tests.cli.calling import COMPUTED, COST_MODULE, UNKNOWN, call, error, record

if TYPE_CHECKING:
    from pathlib import Path


def test_cost_prices_trunk_branches_and_selection(flat: Path) -> None:
    found = record("cost", flat)
    assert list(found["metrics"]) == ["params", "macs", "size"]
    assert found["metrics"]["params"] == {
        "unit": "elements",
        "total": 133 + 52,
        "trunk": 133,
        "minimum": 133,
        "maximum": 133 + 148,
        "pools": {"pool": {"conv3": 148, "separable": 52, "skip": 0}},
    }
    assert found["metrics"]["macs"]["trunk"] == 64 * 108 + 20
    assert (found["selection"], found["unknown"]) == ({"pool": "separable"}, [])


def test_cost_prices_the_selection_that_is_asked_for(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "chosen.json").write_text('{"pool": "skip"}')
    totals = [
        record("cost", flat, "--metric", "params", *choice)["metrics"]["params"]["total"]
        for choice in (
            ["--select", "pool=0"],
            ["--selection", tmp_path / "chosen.json"],
            ["--selection", tmp_path / "chosen.json", "--select", "pool=separable"],
        )
    ]
    assert totals == [133 + 148, 133, 133 + 52]


def test_cost_takes_the_batch_from_a_dim(flat: Path) -> None:
    one, four = (
        record("cost", flat, "--metric", "macs", *dims)["metrics"]["macs"] for dims in ([], ["--dim", "batch=4"])
    )
    assert four["total"] == 4 * one["total"]


def test_cost_of_a_model_without_pools_is_its_trunk(plain: Path) -> None:
    found = record("cost", plain, "--metric", "size")["metrics"]["size"]
    assert (found["total"], found["trunk"], found["pools"]) == (0, 0, {})
    assert "minimum" not in call("cost", plain).stdout


def test_cost_by_node_adds_a_line_for_each_node(flat: Path) -> None:
    nodes = record("cost", flat, "--metric", "params", "--by-node")["nodes"]
    assert [(node["op_type"], node["amounts"]["params"]) for node in nodes] == [
        ("Conv", 108),
        ("Conv", 148),
        ("Conv", 36),
        ("Relu", 0),
        ("Conv", 16),
        ("GlobalAveragePool", 0),
        ("Flatten", 0),
        ("Gemm", 25),
    ]
    assert (nodes[0]["when"], nodes[2]["when"]) == ([{}], [{"pool": ["separable"]}])


def test_cost_without_stored_weights_has_no_total_until_a_branch_is_chosen(tmp_path: Path) -> None:
    path = marked.write(marked.build(COMPUTED), tmp_path / "computed.onnx")
    found = record("cost", path)
    assert (found["selection"], found["metrics"]["params"]["total"]) == (None, None)
    assert found["metrics"]["params"]["pools"] == {"p": {"plus": 0, "minus": 0}, "q": {"plain": 0, "root": 0}}
    assert (
        "no total: some pools have computed weights; choose a branch of each with --select" in call("cost", path).stdout
    )
    assert record("cost", path, "--select", "p=minus")["selection"] == {"p": "minus", "q": "plain"}
    assert "has no branch 'none'" in error("cost", path, "--select", "q=none")


def test_cost_of_an_unknown_operator_is_an_error_unless_it_is_left_out(tmp_path: Path) -> None:
    path = marked.write(marked.build(UNKNOWN), tmp_path / "unknown.onnx")
    message = error("cost", path)
    assert "Inverse" in message
    assert "--unknown free" in message
    found = record("cost", path, "--unknown", "free")
    assert found["unknown"] == ["com.microsoft::Inverse"]
    assert "com.microsoft::Inverse" in call("cost", path, "--unknown", "free").stdout


def test_cost_takes_bit_widths_with_the_name_of_a_metric(flat: Path) -> None:
    wide, narrow = "mpic_latency:weight_bits=8,act_bits=8", "mpic_latency:weight_bits=2,act_bits=8"
    found = record("cost", flat, "--metric", wide, "--metric", narrow, "--metric", wide)["metrics"]
    assert list(found) == [wide, narrow]
    assert found[wide]["unit"] == "cycles"
    assert found[wide]["total"] * 2.1 == pytest.approx(found[narrow]["total"] * 2.5, rel=1e-12)
    assert "--metric mpic_latency:weight_bits=8,act_bits=8" in error("cost", flat, "--metric", "mpic_latency")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("flops", "'flops' is no metric; the metrics are: params, params_no_bias, macs"),
        ("macs:weight_bits=8", "'macs:weight_bits=8': macs has no settings; give its name alone"),
        ("mpic_latency:bits=8", "'bits=8' is no setting of mpic_latency; it has weight_bits=BITS and act_bits=BITS"),
        ("mpic_latency:", "'' is no setting of mpic_latency"),
        ("mpic_latency:weight_bits=x", "'x' is no number of bits for weight_bits; expected for example weight_bits=8"),
        ("mpic_latency:act_bits=0", "'0' is no number of bits for act_bits"),
        ("mpic_latency:act_bits=8,act_bits=4", "act_bits is given twice, 8 and 4"),
    ],
)
def test_cost_refuses_metrics_and_settings_that_are_not_there(flat: Path, metric: str, message: str) -> None:
    assert message in error("cost", flat, "--metric", metric)


LOOP = """
<ir_version: 10, opset_import: ["" : 20]>
loop (float[n, k] x, float[4, 4] w, int64 count) => (float[n, k] y) {
    y = Loop (count, , x) <body = b (int64 i, bool c, h) => (bool d, r) { d = Identity (c)  r = MatMul (h, w) }>
}
"""


def test_cost_takes_shapes_values_and_trip_counts(tmp_path: Path) -> None:
    path = marked.write(marked.build(LOOP), tmp_path / "loop.onnx")
    shape = ["--metric", "macs", "--shape", "x=6,4"]
    for given in (["--trip-count", "y=5"], ["--value", "count=5"]):
        assert record("cost", path, *shape, *given)["metrics"]["macs"]["total"] == 5 * 96
    assert record("cost", path, "--metric", "macs", "--dim", "n=6", "--dim", "k=4", "--value", "count=2") == record(
        "cost", path, *shape, "--value", "count=2"
    )
    assert "give it with --trip-count y=COUNT" in error("cost", path, *shape)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--shape", "x=6"], "input 'x' is float[n,k], the shape given for it is [6]; give 2 dims"),
        (["--shape", "w=4,5"], "input 'w': dim 1 is given as 5, but the model fixes it to 4; give one size for it"),
        (["--shape", "x=6,4", "--dim", "n=5"], "input 'x': dim 0 is given as 6, but dim 'n' is 5 elsewhere"),
        (["--shape", "z=6,4"], "no input is named 'z'; the model's are: x, w, count"),
        (["--shape", "x=6,a"], "'x=6,a' is not INPUT=SIZE,SIZE,... with sizes of at least 1"),
        (["--shape", "6,4"], "'6,4' is not INPUT=SIZE,SIZE,... with sizes of at least 1"),
        (["--shape", "x=6,4", "--shape", "x=6,5"], "'x' is given two values, (6, 4) and (6, 5)"),
        (["--value", "count=many"], "'count=many' is not INPUT=NUMBER"),
        (["--trip-count", "y=0"], "'y=0' is not NODE=COUNT with a count of at least 1"),
        (["--trip-count", "z=2"], "no Loop, Scan or SequenceMap is named 'z'; the model's are: Loop node 'y'"),
    ],
)
def test_cost_refuses_sizes_that_do_not_fit(given: list[str], message: str, tmp_path: Path) -> None:
    path = marked.write(marked.build(LOOP), tmp_path / "loop.onnx")
    assert message in error("cost", path, "--metric", "macs", *given)


def test_cost_by_op_adds_up_to_the_total_of_the_selection(flat: Path) -> None:
    found = record("cost", flat, "--metric", "macs", "--metric", "params", "--by-op", "--select", "pool=conv3")
    rows = {row["operator"]: row for row in found["operators"]}
    assert [(name, row["nodes"]) for name, row in rows.items()] == [
        ("Conv", 2), ("Gemm", 1), ("Flatten", 1), ("GlobalAveragePool", 1)
    ]  # fmt: skip
    assert rows["Conv"]["amounts"] == {"macs": 64 * (108 + 144), "params": 108 + 148}
    assert rows["Gemm"]["shares"]["macs"] == 20 / (64 * 252 + 20)
    for name, metric in found["metrics"].items():
        assert sum(row["amounts"][name] for row in found["operators"]) == metric["total"]
    assert record("cost", flat, "--by-op", "--select", "pool=separable")["operators"][0]["nodes"] == 3
    shown = call("cost", flat, "--metric", "macs", "--by-op").stdout
    assert ["operator", "nodes", "macs", "share"] in [line.split() for line in shown.splitlines()]


def test_cost_by_op_of_the_largest_memory_is_the_largest_of_the_nodes(flat: Path) -> None:
    found = record("cost", flat, "--metric", "peak_memory", "--by-op")
    total = found["metrics"]["peak_memory"]["total"]
    assert max(row["amounts"]["peak_memory"] for row in found["operators"]) == total


def test_cost_takes_metrics_from_a_file(flat: Path, tmp_path: Path) -> None:
    module = tmp_path / "costs.py"
    module.write_text(COST_MODULE)
    found = record("cost", flat, "--cost-module", module, "--metric", "convs", "--metric", "params")["metrics"]
    assert found["convs"]["pools"]["pool"] == {"conv3": 1, "separable": 2, "skip": 0}
    assert "'convs' is no metric" in error("cost", flat, "--metric", "convs")
    assert "'none.py' is not there" in error("cost", flat, "--cost-module", "none.py")


def test_cost_symbolic_prints_formulas(flat: Path) -> None:
    found = record("cost", flat, "--symbolic", "--metric", "macs", "--metric", "params", "--select", "pool=skip")
    assert found == {
        "formulas": {
            "macs": {"unit": "multiply-accumulates", "formula": "6,932*batch", "multiple": 1},
            "params": {"unit": "elements", "formula": "133", "multiple": 1},
        }
    }
    assert "6,932*batch" in call("cost", flat, "--symbolic", "--metric", "macs", "--select", "pool=skip").stdout
