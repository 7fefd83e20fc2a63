from __future__ import annotations

import copy
import itertools
import re
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper

from supernet_onnx import liveness, marks
from supernet_onnx.diagram import values
from supernet_onnx.errors import MarkError, ModelError
from supernet_onnx.selection import every
from supernet_onnx.supergraph import Branch, Pool, format_version, read
from tests import graphs
from tests.graphs import pool

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random


def flat() -> ModelProto:
    return graphs.marked(f"a = Neg (x)  y = {pool('p', 'A B', 'a', 'x')}")


@settings(deadline=None, derandomize=True, max_examples=150)
@given(graphs.supergraphs())
def test_conditions_agree_with_reachability_for_every_selection_of_any_supergraph(model: ModelProto) -> None:
    supergraph = read(model)
    selections = list(every(supergraph))
    names = {name for node in model.graph.node for name in (*node.input, *node.output) if name}
    names |= {tensor.name for tensor in model.graph.initializer}
    for selection in selections:
        nodes, tensors = graphs.live(model, dict(zip(selection.pools, selection.indices, strict=True)))
        holds = {i for i, condition in enumerate(supergraph.node_conditions) if condition.at(selection.indices)}
        assert holds == nodes
        assert {name for name in names if supergraph.condition(name).at(selection.indices)} == tensors & names
    conditions = [*supergraph.node_conditions, *supergraph.tensor_conditions.values()]
    tables = {tuple(condition.at(selection.indices) for selection in selections): condition for condition in conditions}
    assert len(set(map(id, conditions))) == len(tables)  # equal conditions are one object


def test_conditions_are_those_of_the_definition() -> None:
    model = graphs.marked(
        f"""
        shared = Neg (x)
        a = Abs (shared)
        b = Relu (shared)
        inner = {pool("inner", "A B", "a", "b")}
        c = Add (inner, w)
        outer = {pool("outer", "skip nested pair", "x", "c", "shared")}
        y = Neg (outer)
        dead = Neg (x)
        """,
        initializers="float[2] w = {1, 2}",
    )
    supergraph = read(model)
    is_ = supergraph.diagrams.literal
    both, either = supergraph.diagrams.both, supergraph.diagrams.either
    inner, outer = 0, 1
    names = [node.output[0] for node in model.graph.node]
    conditions = dict(zip(names, supergraph.node_conditions, strict=True))
    assert conditions["y"] is conditions["outer"] is supergraph.diagrams.true
    assert conditions["c"] is conditions["inner"] is is_(outer, 1)
    assert conditions["a"] is both(is_(outer, 1), is_(inner, 0))
    assert conditions["b"] is both(is_(outer, 1), is_(inner, 1))
    assert conditions["shared"] is either(is_(outer, 1), is_(outer, 2))
    assert conditions["dead"] is supergraph.diagrams.false
    assert supergraph.condition("w") is is_(outer, 1)
    assert supergraph.condition("x") is supergraph.diagrams.true
    assert supergraph.condition("no such tensor") is supergraph.diagrams.false
    assert supergraph.condition("inner.weights") is supergraph.diagrams.false


def test_pools_are_read_in_the_order_of_their_first_use() -> None:
    model = graphs.marked(
        f"""
        a = Neg (x)
        first = {pool("late", "A B", "a", "x")}
        second = {pool("early", "only", "first")}
        third = {pool("late", "A B", "second", "first", call=1)}
        y = {pool("late", "A B", "third", "x", call=1)}
        """,
        initializers='float[2] "late.weights" = {0.25, 0.75}',
    )
    for index in (1, 3, 4):
        model.graph.node[index].attribute.append(onnx.helper.make_attribute("scores", [-1.0, 2.0]))
    supergraph = read(model)
    assert supergraph.pools == (
        Pool("late", (Branch("A", 0.25, -1.0), Branch("B", 0.75, 2.0)), (1, 3, 4), 2),
        Pool("early", (Branch("only", 1.0, None),), (2,), 1),
    )
    assert supergraph.pool("early") is supergraph.pools[1]
    assert supergraph.pool("none") is None
    assert [supergraph.pools[0].index(name) for name in ("A", "B", "C")] == [0, 1, None]
    assert supergraph.diagrams.sizes == (2, 1)
    assert {index: mark.call for index, mark in supergraph.marks.items()} == {1: 0, 2: 0, 3: 1, 4: 1}


def test_computed_weights_are_not_known() -> None:
    model = graphs.marked(f"w = Softmax (x)  a = Neg (x)  y = {pool('p', 'A B', 'a', 'x', weights='w')}")
    assert [branch.weight for branch in read(model).pools[0].branches] == [None, None]


def test_weights_that_are_a_graph_input_with_a_default_are_stored() -> None:
    model = flat()
    model.graph.input.add(name="p.weights").type.CopyFrom(onnx.helper.make_tensor_type_proto(1, [2]))
    assert [branch.weight for branch in read(model).pools[0].branches] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]


def test_a_model_without_pools_is_a_supergraph_whose_live_nodes_are_always_live() -> None:
    supergraph = read(graphs.marked("y = Neg (x)  dead = Abs (x)"))
    assert supergraph.pools == ()
    assert supergraph.node_conditions == (supergraph.diagrams.true, supergraph.diagrams.false)


def test_a_file_whose_pool_functions_another_tool_removed_is_read() -> None:
    model = flat()
    del model.functions[:]
    assert [pool.name for pool in read(model).pools] == ["p"]


def test_a_file_is_read_from_its_folder_and_external_data_stay_on_disk(tmp_path: Path) -> None:
    model = graphs.marked(f"a = Add (x, w)  y = {pool('p', 'A B', 'a', 'x')}")
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[2], data_location=1)
    tensor.external_data.add(key="location", value="not there.bin")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    supergraph = read(path)
    assert supergraph.model == model
    assert supergraph.directory == tmp_path
    assert read(str(path)).directory == tmp_path
    assert read(model).directory is None


def test_reading_changes_nothing_and_copies_are_the_same_object() -> None:
    model = flat()
    before = model.SerializeToString(deterministic=True)
    supergraph = read(model)
    assert model.SerializeToString(deterministic=True) == before
    assert copy.deepcopy({"of a network": supergraph})["of a network"] is supergraph
    assert "node_conditions" not in repr(supergraph)


def test_the_format_version_is_read_from_the_metadata() -> None:
    model = flat()
    assert format_version(model) == "1"
    del model.metadata_props[:]
    assert format_version(model) is None
    assert read(model).pools


def test_an_unknown_format_version_is_refused() -> None:
    model = flat()
    onnx.helper.set_model_props(model, {marks.FORMAT_KEY: "2"})
    message = (
        "format version '2' is unknown, this release reads version 1; update supernet-onnx or export the model again"
    )
    with pytest.raises(MarkError, match=re.escape(message)):
        read(model)


def test_an_unknown_version_of_the_operator_set_is_refused() -> None:
    model = flat()
    model.opset_import[1].version = 2
    with pytest.raises(MarkError, match="opset import 'supernet_onnx' has version 2, this release reads 1; update"):
        read(model)


def test_a_pool_inside_of_control_flow_is_refused_at_any_depth() -> None:
    inner = graphs.if_else(("i", f"[met] i = {pool('p', 'A B', 'x', 'x')}"), ("j", "j = Neg (x)"))
    outer = graphs.if_else(("k", "k = Abs (x)"), ("l", f"l = {inner}"))
    for body in (inner, outer):
        model = graphs.marked(
            f"[branching] y = {body}",
            signature="(float[2] x, bool flag) => (float[2] y)",
            initializers='float[2] "p.weights" = {1, 0}',
        )
        message = (
            "pool 'p', supernet_onnx::Pool2 node 'met': stands inside If node 'branching'; a pool must stand in the "
            "main graph: inline the function or move the pool out of the control flow"
        )
        with pytest.raises(MarkError, match=re.escape(message)):
            read(model)


def test_a_pool_inside_of_a_local_function_is_refused() -> None:
    model = graphs.marked("y = local.block (x)")
    body = f"w = Relu (x)  y = {pool('p', 'A B', 'x', 'x', weights='w')}"
    header = '<domain: "local", opset_import: ["" : 20, "supernet_onnx" : 1]>'
    model.functions.append(onnx.parser.parse_function(f"{header} block (x) => (y) {{ {body} }}"))
    message = "pool 'p', supernet_onnx::Pool2 node 'y': stands inside local function 'local::block'; a pool must stand"
    with pytest.raises(MarkError, match=re.escape(message)):
        read(model)


def test_a_damaged_mark_is_refused() -> None:
    model = flat()
    model.graph.node[1].op_type = "Pool3"
    with pytest.raises(MarkError, match="pool 'p', node 'n1': Pool3 names 2 branches, expected 3"):
        read(model)


def tied(first: str = "A B", second: str = "A B") -> ModelProto:
    return graphs.marked(
        f"a = Neg (x)  [one] b = {pool('p', first, 'a', 'x')}  [two] y = {pool('p', second, 'b', 'x', call=1)}"
    )


def test_two_pools_of_one_name_are_refused() -> None:
    message = (
        "pool 'p', supernet_onnx::Pool2 node 'two': names the branches A, C, another node of this pool A, B; "
        "two pools may not share a name: rename one and export again"
    )
    with pytest.raises(MarkError, match=re.escape(message)):
        read(tied(second="A C"))


def test_scores_that_differ_between_the_nodes_of_a_pool_are_refused() -> None:
    model = tied()
    model.graph.node[2].attribute.append(onnx.helper.make_attribute("scores", [1.0, 2.0]))
    with pytest.raises(MarkError, match="'two': its scores differ from those of the pool's other nodes"):
        read(model)


def test_weights_that_differ_between_the_nodes_of_a_pool_are_refused() -> None:
    model = tied()
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 1], np.float32), "others"))
    model.graph.node[2].input[0] = "others"
    with pytest.raises(MarkError, match="'two': its weights differ from those of the pool's other nodes"):
        read(model)
    model.graph.node[2].input[0] = "a"  # computed
    with pytest.raises(MarkError, match="'two': its weights differ from those of the pool's other nodes"):
        read(model)


@pytest.mark.parametrize("values", [np.ones(3, np.float32), np.ones(2), np.array([1, np.nan], np.float32)])
def test_weights_of_another_form_are_refused_with_node_and_pool(values: np.ndarray) -> None:
    model = flat()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "p.weights"))
    with pytest.raises(MarkError, match=r"pool 'p', supernet_onnx::Pool2 node 'n1': weights 'p.weights' are "):
        read(model)


def test_a_graph_that_does_not_hold_together_is_refused() -> None:
    model = flat()
    model.graph.node[0].input[0] = "lost"
    with pytest.raises(
        ModelError, match="Neg node 'n0' reads tensor 'lost', which no node, input or initializer makes"
    ):
        read(model)


def long_chain(size: int, *, shuffled: bool = False) -> ModelProto:
    """``size`` pools in a row, each with a branch that reads the graph's input instead of the pool before."""
    zeros = [f"z{i} = Neg (x)" for i in range(size)]
    if shuffled:
        zeros = [zeros[i] for i in np.random.default_rng(0).permutation(size)]
    lines, previous = zeros, "x"
    for i in range(size):
        lines.append(f"r{i} = Relu ({previous})  o{i} = {pool(f'p{i}', 'A B zero', f'r{i}', previous, f'z{i}')}")
        previous = f"o{i}"
    return graphs.marked("\n".join([*lines, f"y = Neg ({previous})"]))


def nests(size: int) -> ModelProto:
    """``size`` parallel nests of two pools, all inner pools before all outer ones, as tools may sort them."""
    inner = [f"a{i} = Neg (x)  i{i} = {pool(f'in{i}', 'A B', f'a{i}', 'x')}" for i in range(size)]
    outer = [f"b{i} = Abs (i{i})  o{i} = {pool(f'out{i}', 'A B', f'b{i}', 'z')}" for i in range(size)]
    total = f"y = Sum ({', '.join(f'o{i}' for i in range(size))})"
    signature = "(float[2] x, float[2] z) => (float[2] y)"
    return graphs.marked("\n".join([*inner, *outer, total]), signature=signature)


def test_parallel_nests_are_read_in_linear_time_though_the_graph_has_all_inner_pools_first() -> None:
    supergraph = read(nests(300))
    assert [own.name for own in supergraph.pools[:4]] == ["in0", "out0", "in1", "out1"]
    assert supergraph.condition("x").at([1] * 600) == 0
    assert supergraph.condition("x").at([1] * 598 + [1, 0]) == 1
    assert supergraph.diagrams.constant(-1).uid < 20 * 300


def tangle(size: int) -> ModelProto:
    """Pools whose branches share nodes at random: large conditions in every order of the pools."""
    generator = np.random.default_rng(0)
    lines = [f"s{i} = Neg (x)" for i in range(size)]
    for i in range(size):
        lines += [f"h{i}_{k} = Sum ({', '.join(f's{j}' for j in generator.choice(size, 3))})" for k in range(2)]
        lines.append(f"m{i} = {pool(f'first{i}', 'A B C', f'h{i}_0', f'h{i}_1', 'x')}")
    for i, (j, k) in enumerate(generator.integers(size, size=(size, 2))):
        lines.append(f"g{i} = {pool(f'second{i}', 'A B', f'm{j}', 'x')}")
        lines.append(f"o{i} = {pool(f'third{i}', 'A B', f'g{i}', f'm{k}')}")
    return graphs.marked("\n".join([*lines, f"y = Sum ({', '.join(f'o{i}' for i in range(size))})"]))


def test_conditions_that_explode_end_in_an_error_that_names_pools() -> None:
    message = r"the conditions on the pools '\w+', .* and \d+ more take more than 3,000,000 steps to work out: "
    with pytest.raises(ModelError, match=message):
        read(tangle(120))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(graphs.supergraphs(), st.randoms(use_true_random=False))
def test_the_order_of_the_pools_changes_no_condition(model: ModelProto, random: Random) -> None:
    supergraph = read(model)
    names = [own.name for own in supergraph.pools]
    order = random.sample(names, len(names))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(liveness, "order", lambda *_: order)
        other = read(model)
    assert [own.name for own in other.pools] == order
    for choices in itertools.product(*(range(size) for size in supergraph.diagrams.sizes)):
        chosen = dict(zip(names, choices, strict=True))
        moved = [chosen[name] for name in order]
        assert list(values(supergraph.node_conditions, choices)) == list(values(other.node_conditions, moved))


@pytest.mark.parametrize("shuffled", [False, True])
def test_conditions_of_three_thousand_pools_in_a_row_neither_recurse_nor_explode(*, shuffled: bool) -> None:
    supergraph = read(long_chain(3000, shuffled=shuffled))
    assert supergraph.node_conditions[0].at([2] * 3000) == (supergraph.graph.node[0].output[0] == "z2999")
    assert supergraph.condition("x") is supergraph.diagrams.true
    assert supergraph.condition("r0").at([0] * 3000) == supergraph.condition("r0").at([1] * 3000) + 1 == 1
    assert supergraph.diagrams.constant(-1).uid < 20 * 3000  # diagrams made on the way: a few for each pool
