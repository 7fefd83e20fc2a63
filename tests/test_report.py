from __future__ import annotations

import json
import math
from pathlib import Path

import onnx
import pytest

from supernet_onnx import cost, report, selection, supergraph
from supernet_onnx.report import Inspection, Part, Pricing, Pruning, Table, Verification
from supernet_onnx.runtime import Comparison, OutputComparison
from tests import marked

NESTED = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
nested (float[1, 4] x) => (float[1, 4] y)
<float[2] "outer.weights" = {0.9, 0.1}, float[2] "inner.weights" = {0.4, 0.6}> {
    root = Abs (x)
    shared = Exp (root)
    a = Neg (shared)
    b = Relu (shared)
    inner = supernet_onnx.Pool2 <pool = "inner", branches = ["neg", "relu"]> ("inner.weights", a, b)
    deep = Tanh (inner)
    y = supernet_onnx.Pool2 <pool = "outer", branches = ["deep", "flat"]> ("outer.weights", deep, root)
}
"""


def rows(parts: list[Part]) -> list[tuple[str, ...]]:
    """Return lines and rows alike, a line as a row of one cell."""
    found: list[tuple[str, ...]] = []
    for part in parts:
        if isinstance(part, Table):
            found += [tuple(part.headers), *(row for section in part.sections for row in section)]
        else:
            found.append((part,))
    return found


def shown(parts: list[Part]) -> str:
    return "\n".join("|".join(row) for row in rows(parts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("blocks.3.conv", "blocks.3.conv"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("caf\u00e9 \u4e2d\u6587", "caf\u00e9 \u4e2d\u6587"),
        ("\udc80", r"\udc80"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
    ],
)
def test_clean_escapes_what_a_terminal_would_obey(text: str, expected: str) -> None:
    assert report.clean(text) == expected


def test_own_nodes_are_those_that_only_selections_with_the_branch_need() -> None:
    graph = supergraph.read(marked.build(NESTED))
    record = Inspection(Path("nested.onnx"), graph, None, 4).record()
    counts = {pool["name"]: {b["name"]: b["nodes"] for b in pool["branches"]} for pool in record["pools"]}
    assert counts == {
        "inner": {"neg": 1, "relu": 1},
        "outer": {"deep": 4, "flat": 0},  # Exp, Neg, Relu, Tanh; the inner pool's mark is no node of a subnet
    }
    assert {pool["name"]: pool["selected"] for pool in record["pools"]} == {"inner": "relu", "outer": "deep"}
    assert record["nodes"] == 7


def test_computed_weights_have_no_selected_branch_and_say_so() -> None:
    text = marked.FLAT.replace("stem = Conv", "w = Softmax (logits) stem = Conv").replace('("pool.weights", a', "(w, a")
    graph = supergraph.read(marked.build(text.replace('"pool.weights" =', "logits ="), marked.FLAT_WEIGHTS))
    inspection = Inspection(Path("flat.onnx"), graph, "1", 3)
    assert inspection.record()["pools"][0]["selected"] is None
    assert "pool 'pool': its weights are computed; --select chooses its branch" in shown(inspection.parts())


def test_a_score_that_is_no_number_is_null_in_json() -> None:
    model = marked.flat()
    (pool,) = (node for node in model.graph.node if node.domain)
    pool.attribute.append(onnx.helper.make_attribute("scores", [0.5, math.nan, -math.inf]))
    record = Inspection(Path("flat.onnx"), supergraph.read(model), "1", 3).record()
    assert [branch["score"] for branch in record["pools"][0]["branches"]] == [0.5, None, None]


def test_a_space_too_large_to_write_is_null_and_a_power_of_two() -> None:
    graph = supergraph.read(marked.flat())
    inspection = Inspection(Path("flat.onnx"), graph, "1", 4**10_000)
    assert inspection.record()["selections"] is None
    assert "2^20000 selections" in shown(inspection.parts())
    assert Inspection(Path("flat.onnx"), graph, "1", 4**6_000).record()["selections"] == 4**6_000


def test_names_of_the_file_are_neither_obeyed_nor_taken_for_markup() -> None:
    text = marked.FLAT.replace('pool = "pool"', 'pool = "[red]\x1b[2J"').replace('"skip"', '"[/]"')
    graph = supergraph.read(marked.build(text, marked.FLAT_WEIGHTS))
    tables = cost.measure(graph, [cost.params])
    chosen = selection.argmax(graph)
    pruning = Pruning(graph, chosen, Path("\x1b[5m.onnx"), 7, {"params": ("elements", None)}, ["no\x1b"], None, None)
    for parts in (
        Inspection(Path("flat.onnx"), graph, "\x1b", 3).parts(),
        Pricing(graph.pools, tables, chosen, True, cost.by_node(graph, [cost.params])).parts(),
        pruning.parts(),
    ):
        assert "\x1b" not in shown(parts)
        assert r"[red]\x1b[2J" in shown(parts)


def test_amounts_bear_thousands_separators_and_units() -> None:
    graph = supergraph.read(marked.flat())
    tables = cost.measure(graph, [cost.params, cost.macs])
    lines = rows(Pricing(graph.pools, tables, selection.argmax(graph), True).parts())
    assert lines == [
        ("pool", "branch", "params [elements]", "macs [multiply-accumulates]", "selected"),
        ("trunk", "", "133", "6,932", ""),
        ("pool", "conv3", "148", "9,216", ""),
        ("pool", "separable", "52", "3,328", "*"),
        ("pool", "skip", "0", "0", ""),
        ("total", "", "185", "10,260", ""),
        ("minimum", "", "133", "6,932", ""),
        ("maximum", "", "281", "16,148", ""),
    ]


def test_the_ways_in_which_a_node_is_due() -> None:
    graph = supergraph.read(marked.build(NESTED))
    nodes = cost.by_node(graph, [cost.macs])
    pricing = Pricing(graph.pools, cost.measure(graph, [cost.macs]), selection.argmax(graph), True, nodes)
    ways = {node["op_type"]: node["when"] for node in pricing.record()["nodes"]}
    assert ways == {
        "Abs": [{}],
        "Exp": [{"outer": ["deep"]}],
        "Neg": [{"inner": ["neg"], "outer": ["deep"]}],
        "Relu": [{"inner": ["relu"], "outer": ["deep"]}],
        "Tanh": [{"outer": ["deep"]}],
    }
    assert "inner=neg and outer=deep" in shown(pricing.parts())


def test_ways_of_a_node_that_branches_share_are_alternatives() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
    g (float[4] x) => (float[4] y, float[4] z)
    <float[3] "p.weights" = {0.5, 0.3, 0.2}, float[2] "q.weights" = {0.5, 0.5}> {
        s = Exp (x)
        a = Neg (s)
        b = Abs (s)
        y = supernet_onnx.Pool3 <pool = "p", branches = ["a", "b", "c"]> ("p.weights", a, b, x)
        z = supernet_onnx.Pool2 <pool = "q", branches = ["s", "x"]> ("q.weights", s, x)
    }"""
    graph = supergraph.read(marked.build(text))
    nodes = cost.by_node(graph, [cost.macs])
    pricing = Pricing(graph.pools, cost.measure(graph, [cost.macs]), selection.argmax(graph), True, nodes)
    assert pricing.record()["nodes"][0]["when"] == [{"p": ["a", "b"]}, {"p": ["c"], "q": ["s"]}]
    assert "p=a|b or p=c and q=s" in shown(pricing.parts())


def test_a_verification_is_strict_json_whatever_was_measured() -> None:
    outputs = (
        OutputComparison("y", math.inf, math.inf, passed=False, problem="NaN"),
        OutputComparison("z", 1e-7, 0.5, passed=True),
    )
    graph = supergraph.read(marked.flat())
    verification = Verification(Comparison(outputs, 3, 1e-5, 1e-4), selection.argmax(graph))
    record = json.loads(json.dumps(verification.record(), allow_nan=False))
    assert record["outputs"]["y"] == {"max_abs": None, "max_rel": None, "passed": False, "problem": "NaN"}
    assert record["outputs"]["z"] == {"max_abs": 1e-7, "max_rel": 0.5, "passed": True, "problem": None}
    assert record["passed"] is False
    assert "verification failed: largest difference inf on 3 inputs (atol 1e-05, rtol 0.0001)" in shown(
        verification.parts()
    )
