"""Local functions cost what their bodies cost where they are called; what a body stores is stored once."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper, parser

from supernet_onnx import supergraph
from supernet_onnx.cost import by_node, macs, measure, ops, ops_no_bias, params, params_no_bias, size
from supernet_onnx.cost.inlining import inline
from supernet_onnx.errors import UnknownOperatorError
from supernet_onnx.selection import every
from tests.cost.supergraphs import add_pool_weights, pool

SIX = (params, params_no_bias, macs, ops, ops_no_bias, size)
HEADER = '<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1, "local" : 1]>'
LINEAR = """
<domain: "local", opset_import: ["" : {opset}]> linear (a, w) => (b) {{
    c = Constant <value = float[4] {{1, 2, 3, 4}}> ()  m = MatMul (a, w)  b = Add (m, c) }}
"""
BLOCK = """
<domain: "local", opset_import: ["" : 20, "local" : 1]> block (a, w) => (b) {
    h = local.linear (a, w)  r = Relu (h)  b = local.linear (r, w) }
"""
TOKENS = "g (float[N,6,4] x) => (float[N,6,4] y)"


def graph(text: str, functions: str = LINEAR.format(opset=20), **weights: tuple[int, ...]) -> supergraph.SuperGraph:
    model = parser.parse_model(f"{HEADER} {TOKENS} {{ {text} }} {functions}")
    for name, shape in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
    add_pool_weights(model)
    return supergraph.read(model)


def amounts(supernet: supergraph.SuperGraph) -> dict[str, float]:
    return {name: table.trunk for name, table in measure(supernet, SIX).items()}


def test_a_call_costs_what_the_body_costs_and_a_constant_of_the_body_is_stored_once() -> None:
    supernet = graph("a = local.linear (x, w)  y = local.linear (a, v)", w=(4, 4), v=(4, 4))
    assert amounts(supernet) == {
        "params": 36, "params_no_bias": 32, "macs": 2 * 96, "ops": 2 * (96 + 24), "ops_no_bias": 2 * 96, "size": 144
    }  # fmt: skip


def test_a_weight_that_both_calls_take_counts_once() -> None:
    assert amounts(graph("a = local.linear (x, w)  y = local.linear (a, w)", w=(4, 4)))["params"] == 20


def test_functions_that_call_functions_are_inlined_too() -> None:
    supernet = graph("y = local.block (x, w)", LINEAR.format(opset=20) + BLOCK, w=(4, 4))
    assert amounts(supernet) == amounts(
        graph("a = local.linear (x, w)  r = Relu (a)  y = local.linear (r, w)", w=(4, 4))
    )


def test_the_nodes_of_a_body_have_lines_of_their_own() -> None:
    lines = by_node(graph("y = local.linear (x, w)", w=(4, 4)), [macs, size])
    assert [(line.op_type, line.amounts) for line in lines] == [
        ("Constant", {"macs": 0, "size": 0}),
        ("MatMul", {"macs": 96, "size": 64}),
        ("Add", {"macs": 0, "size": 16}),
    ]


def test_a_call_in_a_branch_is_paid_with_the_branch() -> None:
    supernet = graph(f"a = local.linear (x, w)  y = {pool('p', 'linear skip')} a, x)", w=(4, 4))
    tables = measure(supernet, [macs, params])
    assert [tables["macs"].total(selection) for selection in every(supernet)] == [96, 0]
    assert [tables["params"].total(selection) for selection in every(supernet)] == [20, 0]
    assert tables["macs"].pools is supernet.pools


def test_calls_in_control_flow_are_priced_through() -> None:
    body = (
        "b (int64 i, bool c, float[1,6,4] h) => (bool d, float[1,6,4] k) { d = Identity (c)  k = local.linear (h, w) }"
    )
    supernet = graph(f"n = Constant <value_int = 5> ()  y = Loop (n, , x) <body = {body}>", w=(4, 4))
    assert amounts(supernet)["macs"] == 5 * 96


def test_a_function_of_another_opset_version_is_inlined_if_its_operators_are_the_same_there() -> None:
    supernet = graph("y = local.linear (x, w)", LINEAR.format(opset=19), w=(4, 4))
    assert amounts(supernet)["macs"] == 96


def test_a_function_whose_operators_differ_from_the_models_is_an_error_or_left_out() -> None:
    supernet = graph(
        "y = local.squeezed (x)",
        '<domain: "local", opset_import: ["" : 11]> squeezed (a) => (b) { b = Unsqueeze <axes = [0]> (a) }',
    )
    with pytest.raises(UnknownOperatorError) as error:
        measure(supernet, [params])
    assert str(error.value) == (
        "local::squeezed node 'y': 'params' cannot look into this local function, which imports another opset version "
        "than the model; convert it, or leave it out with --unknown free"
    )
    assert measure(supernet, [params], unknown="free")["params"].unknown == ("local::squeezed",)


def test_functions_that_nobody_calls_change_nothing() -> None:
    supernet = graph("y = Relu (x)")
    assert inline(supernet) is supernet


def test_the_model_stays_as_it_was() -> None:
    supernet = graph("y = local.linear (x, w)", w=(4, 400))
    before = supernet.model.SerializeToString(deterministic=True)
    inlined = inline(supernet)
    assert supernet.model.SerializeToString(deterministic=True) == before
    assert [node.op_type for node in inlined.graph.node] == ["Constant", "MatMul", "Add"]
    assert len(inlined.model.SerializeToString()) < 1000  # large weights are left behind
