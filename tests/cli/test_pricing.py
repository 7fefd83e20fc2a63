from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import marked
from tests.cli.calling import COMPUTED, UNKNOWN, call, error, record

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
