"""Pools whose functions were inlined, in any model: recovered, they prune as the marked model does."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnx.inliner
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper, parser

from supernet_onnx import marks, recovery
from supernet_onnx.pruning import prune
from supernet_onnx.selection import every, sample
from supernet_onnx.supergraph import read
from tests import graphs, marked
from tests.cli.calling import call, error, record

if TYPE_CHECKING:
    from pathlib import Path


def inlined(model: ModelProto) -> ModelProto:
    names = [(function.domain, function.name) for function in model.functions if function.domain == marks.DOMAIN]
    return onnx.inliner.inline_selected_functions(model, names)


def nodes(model: ModelProto) -> list[str]:
    return sorted(node.op_type for node in model.graph.node)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(graphs.supergraphs(), st.integers(0, 1 << 20))
def test_what_was_inlined_prunes_to_what_the_marked_model_does(model: ModelProto, seed: int) -> None:
    recovery.record.keep(model)
    before, after = read(model), read(inlined(model))
    assert not after.recovery.lost
    assert {(pool.name, pool.branches, pool.calls) for pool in before.pools} == {
        (pool.name, pool.branches, pool.calls) for pool in after.pools
    }
    for selection in itertools.islice(sample(before, seed=seed), 2):
        same = next(own for own in every(after) if own.as_dict() == selection.as_dict())
        expected, found = prune(before, selection), prune(after, same)
        assert nodes(found) == nodes(expected)
        for one, other in zip(graphs.evaluate(expected), graphs.evaluate(found), strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


def simple() -> ModelProto:
    return inlined(graphs.marked(f"a = Neg (x)  y = {graphs.pool('p', 'A B', 'a', 'x')}"))


def test_a_model_that_was_never_marked_is_left_alone() -> None:
    model = simple()
    model.ClearField("metadata_props")
    for entry in [entry for entry in model.opset_import if entry.domain == marks.DOMAIN]:
        model.opset_import.remove(entry)
    supergraph = read(model)
    assert supergraph.pools == ()
    assert supergraph.model is model


def test_reading_does_not_change_a_model_whose_pools_it_recovers() -> None:
    model = simple()
    written = model.SerializeToString(deterministic=True)
    assert [pool.name for pool in read(model).pools] == ["p"]
    assert model.SerializeToString(deterministic=True) == written


MIXTURE = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
g (float[2] x) => (float[2] y) <float[2] "p.weights" = {0.25, 0.75}, float zero = {0}, float one = {1},
    int64 i0 = {0}, int64 i1 = {1}> {
    a = Neg (x)
    w0 = Gather ("p.weights", i0)
    w1 = Gather ("p.weights", i1)
    off0 = Equal (w0, zero)
    off1 = Equal (w1, zero)
    kept0 = Where (off0, zero, a)
    kept1 = Where (off1, zero, x)
    term0 = Mul (kept0, w0)
    term1 = Mul (kept1, w1)
    y = Sum (term0, term1)
}
"""


def test_a_sum_that_computes_what_a_pool_does_is_one() -> None:
    (pool,) = read(parser.parse_model(MIXTURE)).pools
    assert [(branch.name, branch.weight) for branch in pool.branches] == [("branch_0", 0.25), ("branch_1", 0.75)]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('Gather ("p.weights", i0)', 'Gather ("p.weights", i1)'),
        ("Equal (w1, zero)", "Equal (w0, zero)"),
        ("Equal (w1, zero)", "Equal (w1, one)"),
        ("Equal (w1, zero)", "Less (w1, zero)"),
        ("Where (off1, zero, x)", "Where (off1, one, x)"),
        ("Where (off1, zero, x)", "Where (off1, x, zero)"),
        ("Mul (kept1, w1)", "Mul (kept1, w0)"),
        ("Mul (kept1, w1)", "Add (kept1, w1)"),
        ("Mul (kept1, w1)", "Identity (kept1)"),
        ("Sum (term0, term1)", "Sum (term1, term0)"),
        ("Sum (term0, term1)", "Sum (term0, term1, a)"),
        ("Sum (term0, term1)", "Max (term0, term1)"),
    ],
)
def test_a_sum_that_computes_something_else_is_no_pool(right: str, wrong: str) -> None:
    assert right in MIXTURE
    assert read(parser.parse_model(MIXTURE.replace(right, wrong))).pools == ()


def test_metadata_that_nobody_can_have_written_are_left_out() -> None:
    mark = marks.Mark("p", ("A", "B"), 1, (0.5, 2.0))
    assert recovery.record.read(recovery.record.write({"y": mark})) == {"y": mark}
    empty = '[{"output": "y", "pool": "", "branches": ["A"], "call": 0}]'
    for text in ("", "{", "3", "[1]", "[" * 100_000, '[{"output": 1}]', empty):
        assert recovery.record.read(text) == {}


def test_the_program_tells_what_it_recovered(tmp_path: Path) -> None:
    path = marked.write(simple(), tmp_path / "inlined.onnx")
    notes = [
        "a tool had inlined the pool functions; recovered: 'p'",
        "the branches have no names any more and are called branch_0, ...: 'p'",
    ]
    assert record("inspect", path)["notes"] == notes
    assert call("inspect", path).stdout.splitlines()[-2:] == notes
    assert record("prune", path, "--select", "p=branch_1", "--verify")["notes"] == notes
    assert nodes(onnx.load(tmp_path / "inlined.pruned.onnx")) == ["Identity"]


def test_weights_that_were_computed_away_are_read_from_what_is_left() -> None:
    model = graphs.marked(f"a = Neg (x)  y = {graphs.pool('p', 'A B', 'a', 'x')}")
    recovery.record.keep(model)
    model = inlined(model)
    computed = {"w0__1": 0.25, "w1__1": 0.75, "off0__1": False, "off1__1": False}
    kept = [node for node in model.graph.node if node.output[0] not in computed]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    for name, value in computed.items():
        values = np.array(value, bool if isinstance(value, bool) else np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "c"))
    for node in (node for node in kept if "p.weights" in node.input):
        node.input[0] = "c"
    (cast,) = (node for node in model.graph.node if node.output[0] == "cast__1")
    model.graph.node.remove(cast)
    (pool,) = read(model).pools
    assert [branch.weight for branch in pool.branches] == [0.25, 0.75]


def test_recovered_pools_are_held_to_the_limits(tmp_path: Path) -> None:
    path = marked.write(parser.parse_model(MIXTURE), tmp_path / "inlined.onnx")
    assert call("inspect", path, "--limit", "branches=2", "--limit", "pools=1").exit_code == 0
    assert "pool node 'y': 2 branches, the limit is 1" in error("inspect", path, "--limit", "branches=1")
