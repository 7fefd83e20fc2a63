"""The calls of a supergraph: what handlers see of its nodes, and when they run."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from supernet_onnx import supergraph
from supernet_onnx.cost.calls import resolve_calls
from tests.cost.supergraphs import graph, model, pool

CONSTANTS = {"w": (4, 4, 1, 1), "s": (4,), "h": (4,), "m": (4,), "v": (4,)}


def test_a_call_has_types_attributes_and_words_for_its_node() -> None:
    supernet = graph(
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) "
        '{ y = Conv <group = 1, auto_pad = "VALID", pads = [0,0,0,0]> (x, w) }',
        CONSTANTS,
    )
    ((node, condition, call),) = resolve_calls(supernet).calls
    assert (node, condition) == (0, supernet.diagrams.true)
    assert call is not None
    assert (call.op_type, call.domain, call.opset, call.name) == ("Conv", "", 20, "Conv node 'y'")
    assert call.attrs == {"group": 1, "auto_pad": "VALID", "pads": (0, 0, 0, 0)}
    x, w = call.inputs
    assert x is not None
    assert w is not None
    assert (x.shape, x.is_constant) == ((1, 4, 8, 8), False)
    assert (w.shape, w.dtype, w.is_constant, w.is_bias) == ((4, 4, 1, 1), TensorProto.FLOAT, True, False)


def test_attributes_of_every_kind_are_decoded_or_left_out() -> None:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32))
    node = helper.make_node(
        "Thing", ["x"], ["y"], domain="other", i=1, f=0.5, s="text", raw=b"\xff", t=tensor, ints=[1, 2],
        floats=[0.5, 1.5], strings=["a", b"\xff"], tensors=[tensor],
    )  # fmt: skip
    node.attribute.append(helper.make_attribute("g", helper.make_graph([], "nested", [], [])))
    node.attribute.append(helper.make_attribute("type", helper.make_tensor_type_proto(TensorProto.FLOAT, [1])))
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    made.graph.node[0].CopyFrom(node)
    (call,) = (call for _, _, call in resolve_calls(supergraph.read(made)).calls)
    assert call is not None
    assert call.domain == "other"
    assert call.attrs == {
        "i": 1, "f": 0.5, "s": "text", "raw": b"\xff", "t": tensor, "ints": (1, 2), "floats": (0.5, 1.5),
        "strings": ("a", b"\xff"), "tensors": (tensor,),
    }  # fmt: skip


def test_the_standard_domain_has_one_name() -> None:
    made = model("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    made.opset_import[0].domain = made.graph.node[0].domain = "ai.onnx"
    (call,) = (call for _, _, call in resolve_calls(supergraph.read(made)).calls)
    assert call is not None
    assert (call.domain, call.opset) == ("", 20)


def test_omitted_operands_are_none() -> None:
    supernet = graph("g (float[4] x) => (float[4] y) { y = Clip (x, , top) }", {"top": ()})
    ((_, _, call),) = resolve_calls(supernet).calls
    assert call is not None
    assert call.inputs[1] is None
    assert call.has_input(2)


def test_dead_nodes_and_pools_are_no_calls() -> None:
    supernet = graph(
        f"g (float[4] x) => (float[4] y) {{ a = Relu (x)  dead = Sigmoid (x)  y = {pool('p', 'relu skip')} a, x) }}"
    )
    ((node, condition, call),) = resolve_calls(supernet).calls
    assert call is not None
    assert call.op_type == "Relu"
    assert condition is supernet.node_conditions[node]


def test_constants_are_initializers_and_constant_nodes() -> None:
    supernet = graph(
        "g (float[4] x) => (float[4] y) { c = Constant <value = float[4] {1, 2, 3, 4}> ()  d = Relu (c)"
        "  a = Add (x, c)  b = Add (a, i)  y = Add (b, d) }",
        {"i": (4,)},
    )
    found = {}
    for _, _, call in resolve_calls(supernet).calls:
        assert call is not None
        found.update({operand.name: operand.is_constant for operand in call.inputs if operand is not None})
    assert found == {"x": False, "a": False, "b": False, "c": True, "d": False, "i": True}


def test_a_folded_batchnorm_is_the_bias_of_its_convolution() -> None:
    supernet = graph(
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) { a = Conv (x, w)  y = BatchNormalization (a, s, h, m, v) }",
        CONSTANTS,
    )
    conv, batchnorm = resolve_calls(supernet).calls
    assert conv.call is not None
    assert [operand.name for operand in conv.call.inputs if operand is not None] == ["x", "w", "h"]
    assert conv.call.input(2).is_bias
    assert batchnorm.call is None
    assert batchnorm.condition is supernet.diagrams.true


def test_a_node_that_depends_on_the_selection_has_several_calls_that_exclude_each_other() -> None:
    supernet = graph(
        f"g (float[N,4,8,8] x) => (float[N,4,8,8] y) {{ a = Conv (x, w)  q = {pool('p', 'conv skip')} a, x)"
        f"  n = BatchNormalization (q, s, h, m, v)  y = {pool('r', 'norm skip')} n, q) }}",
        CONSTANTS,
    )
    calls = resolve_calls(supernet).calls
    seen: dict[tuple[int, int], list[str]] = {}
    for _, condition, call in calls:
        for p in (0, 1):
            for r in (0, 1):
                if condition.at((p, r)):
                    seen.setdefault((p, r), []).append(f"{call.op_type} {len(call.inputs)}" if call else "folded")
    assert seen == {
        (0, 0): ["Conv 3", "folded"],
        (0, 1): ["Conv 2"],
        (1, 0): ["BatchNormalization 5"],
    }


def test_a_bias_that_is_never_added_makes_no_call() -> None:
    """The Add is live under one branch of a pool, and adds a bias to a MatMul under the other."""
    supernet = graph(
        f"g (float[N,4] x) => (float[N,4] y) {{ m = MatMul (x, w)  q = {pool('p', 'linear skip')} m, x)"
        f"  a = Add (q, b)  y = {pool('p', 'linear skip', call=1)} x, a) }}",
        {"w": (4, 4), "b": (4,)},
    )
    conditions = [call.condition for call in resolve_calls(supernet).calls]
    assert supernet.diagrams.false not in conditions
