"""Pieces: every live node is in one, equal ones have one key, and what onnxruntime fuses is timed beside them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from onnx import helper, numpy_helper

from supernet_onnx import supergraph
from supernet_onnx.errors import RunError
from supernet_onnx.profiling.cutting import cut
from supernet_onnx.runtime import open_session, random_inputs
from supernet_onnx.shapes import infer
from tests import graphs, marked
from tests.cost.supergraphs import graph, pool

if TYPE_CHECKING:
    from onnx import ModelProto

    from supernet_onnx.profiling.cutting import Cut
    from supernet_onnx.supergraph import SuperGraph

RESIDUAL = f"""
g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) {{
    a = Conv (x, w1)
    b = Conv <pads = [1, 1, 1, 1]> (x, w3)
    p = {pool("p", "small large skip")} a, b, x)
    sum = Add (p, x)
    y = Relu (sum)
}}"""
WEIGHTS = {"w1": (4, 4, 1, 1), "w3": (4, 4, 3, 3)}


def pieces_of(graph: SuperGraph) -> Cut:
    return cut(graph, infer(graph.model))


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_branch_is_timed_with_the_addition_and_the_activation_behind_its_pool_and_less_these_alone() -> None:
    found = pieces_of(graph(RESIDUAL, WEIGHTS))
    first, second, trunk = found.pieces
    assert [piece.operators for piece in found.pieces] == [("Conv",), ("Conv",), ("Add", "Relu")]
    for piece in (first, second):
        assert operators(found.models[piece.key]) == ["Conv", "Add", "Relu"]
        assert [operators(found.models[key]) for key in piece.without] == [["Add", "Relu"]]
    assert trunk.without == ()
    assert trunk.condition.is_leaf
    assert operators(found.models[trunk.key]) == ["Add", "Relu"]
    assert [value.name for value in found.models[first.key].graph.output] == ["y"]


def test_an_activation_that_a_branch_starts_with_is_timed_with_the_convolution_before_it() -> None:
    found = pieces_of(
        graph(
            f"""g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) {{
                c = Conv (x, w1)
                a = Relu (c)
                b = Sigmoid (c)
                y = {pool("p", "relu sigmoid none")} a, b, c)
            }}""",
            {"w1": (4, 4, 1, 1)},
        )
    )
    models = [(operators(found.models[piece.key]), len(piece.without)) for piece in found.pieces]
    assert models == [(["Conv"], 0), (["Conv", "Relu"], 1), (["Conv", "Sigmoid"], 1)]


@pytest.mark.parametrize(
    "behind",
    ["y = Sin (p)", "s = Relu (p) t = Neg (p) y = Add (s, t)", "m = MaxPool <kernel_shape = [1, 1]> (p) y = Relu (m)"],
)
def test_what_onnxruntime_does_not_fuse_is_no_neighbour(behind: str) -> None:
    text = RESIDUAL.replace("sum = Add (p, x)", behind).replace("y = Relu (sum)", "")
    for piece in pieces_of(graph(text, WEIGHTS)).pieces:
        assert piece.without == ()


def test_equal_pieces_have_one_key_whatever_their_names_and_values() -> None:
    text = f"""g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) {{
        a = Conv (x, w1)
        p = {pool("p", "conv skip")} a, x)
        s = Sin (p)
        b = Conv (s, w2)
        c = Conv <strides = [1, 1]> (s, w2)
        d = Conv (s, w3)
        q = {pool("q", "equal stated wider")} b, c, d)
        y = Sin (q)
    }}"""
    weights = {name: numpy_helper.to_array(helper.make_tensor("w", 1, [4, 4, 1, 1], range(i, i + 16))) for i, name in
               enumerate(("w1", "w2"))}  # fmt: skip
    found = pieces_of(graph(text, {**weights, "w3": (4, 4, 1, 1)}))
    keys = Counter(piece.key for piece in found.pieces if piece.operators == ("Conv",))
    assert sorted(keys.values()) == [1, 3]


def test_shapes_types_and_attributes_tell_pieces_apart() -> None:
    base = """g (float[1, 4, 8, 8] x) => (float[1, 4, N, N] y) { a = CONV
        p = supernet_onnx.Pool2 <pool = "p", branches = ["a", "b"]> (p_theta, a, a)  y = Sin (p) }"""
    texts = [
        base.replace("CONV", conv).replace("N", size)
        for conv, size in (
            ("Conv (x, w1)", "8"),
            ("Conv <pads = [1, 1, 1, 1]> (x, w3)", "8"),
            ("Conv <strides = [2, 2]> (x, w1)", "4"),
        )
    ]
    keys = {pieces_of(graph(text, WEIGHTS)).pieces[0].key for text in texts}
    assert len(keys) == 3


def test_arithmetic_on_shapes_is_a_part_of_the_piece_that_needs_it() -> None:
    text = f"""g (float[batch, 4, 8] x) => (float[batch, 32] y) {{
        shape = Shape <start = 0, end = 1> (x)
        rest = Constant <value_ints = [32]> ()
        wanted = Concat <axis = 0> (shape, rest)
        a = Sin (x)
        p = {pool("p", "sin skip")} a, x)
        flat = Reshape (p, wanted)
        y = Cos (flat)
    }}"""
    found = pieces_of(graph(text))
    for model in found.models.values():
        assert all(value.type.tensor_type.elem_type == 1 for value in model.graph.input)
        open_session(model).run(random_inputs(model.graph))


def test_an_open_dim_is_an_error_that_says_which_flag_binds_it() -> None:
    text = f"""g (float[batch, length] x) => (float[batch, length] y) {{
        a = Sin (x)  p = {pool("p", "sin skip")} a, x)  y = Cos (p) }}"""
    with pytest.raises(RunError, match=r"tensor 'x', which Sin node 'a'.* --dim NAME=SIZE"):
        pieces_of(graph(text))


@settings(max_examples=60, deadline=None)
@given(graphs.supergraphs())
def test_every_live_node_that_onnxruntime_does_not_fold_is_in_one_piece_and_all_of_them_run(model: ModelProto) -> None:
    found = supergraph.read(model)
    made = pieces_of(found)
    conditions = Counter(
        (condition, found.graph.node[i].op_type)
        for i, condition in enumerate(found.node_conditions)
        if i not in found.marks and condition is not found.diagrams.false and not is_constant(found, i)
    )
    assert Counter((piece.condition, op) for piece in made.pieces for op in piece.operators) == conditions
    for piece in made.models.values():
        open_session(piece).run(random_inputs(piece.graph))


def is_constant(found: SuperGraph, index: int) -> bool:
    fed = {value.name for value in found.graph.input}
    stored = {tensor.name for tensor in found.graph.initializer} - fed
    makers = {name: i for i, node in enumerate(found.graph.node) for name in node.output}
    return index not in found.marks and all(
        name in stored or (name in makers and is_constant(found, makers[name])) for name in found.node_reads[index]
    )


def test_the_example_of_the_tests_falls_into_its_parts() -> None:
    found = pieces_of(supergraph.read(marked.flat()))
    assert [piece.operators for piece in found.pieces] == [
        ("Conv",),
        ("Conv",),
        ("Conv", "Relu", "Conv"),
        ("GlobalAveragePool", "Flatten", "Gemm"),
    ]
