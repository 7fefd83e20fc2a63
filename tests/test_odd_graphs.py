"""Pruning graphs that are put together oddly, and parts that only control flow, functions or training steps need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from supernet_onnx.errors import ModelError
from supernet_onnx.pruning import prune
from supernet_onnx.selection import every
from supernet_onnx.supergraph import read
from tests import graphs
from tests.subnets import assert_every_selection_is_right

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POOL = graphs.pool("p", "A B", "a", "x")


def operators(subnets: Sequence[ModelProto]) -> list[list[str]]:
    return [[node.op_type for node in subnet.graph.node] for subnet in subnets]


def initializers(subnet: ModelProto) -> set[str]:
    return {tensor.name for tensor in subnet.graph.initializer if not tensor.name.startswith("scale of")}


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (f'a = Neg (x)  m = {POOL}  y = Add (m, "p.weights")', "(float[2] x) => (float[2] y)"),
        (f"a = Neg (x)  y = {POOL}", '(float[2] x) => (float[2] y, float[2] "p.weights")'),
        (
            f"a = Neg (x)  m = {POOL}  y = " + graphs.if_else(("i", 'i = Add (m, "p.weights")'), ("j", "j = Neg (m)")),
            "(float[2] x, bool flag) => (float[2] y)",
        ),
    ],
)
def test_weights_that_something_else_needs_stay(body: str, signature: str) -> None:
    model = graphs.marked(body, signature=signature, initializers='float[2] "p.weights" = {1, 0}')
    assert [initializers(subnet) for subnet in assert_every_selection_is_right(model)] == [{"p.weights"}] * 2


def test_a_pool_that_no_output_needs_goes_whole_whatever_is_selected() -> None:
    model = graphs.marked(f"a = Neg (x)  dead = {POOL}  y = Abs (x)")
    subnets = assert_every_selection_is_right(model)
    assert operators(subnets) == [["Abs"], ["Abs"]]
    assert [initializers(subnet) for subnet in subnets] == [set(), set()]


def test_two_pools_may_select_each_other_s_branches() -> None:
    model = graphs.marked(
        f"""
        a = Neg (x)
        b = Abs (x)
        c = {graphs.pool("p", "A B", "a", "b")}
        d = {graphs.pool("q", "A B", "b", "a")}
        y = Sub (c, d)
        """
    )
    subnets = assert_every_selection_is_right(model)
    assert operators(subnets) == [["Neg", "Abs", "Sub"], ["Neg", "Sub"], ["Abs", "Sub"], ["Neg", "Abs", "Sub"]]


def test_pools_in_a_cycle_are_refused() -> None:
    model = graphs.marked(f"a = Neg (x)  c = {POOL}  y = Neg (c)")
    model.graph.node[1].input[1] = "y"
    with pytest.raises(ModelError, match="reads tensor 'y', which is made only later: the graph has a cycle"):
        read(model)


def test_an_output_that_is_listed_twice_stays_twice() -> None:
    model = graphs.marked(f"a = Neg (x)  y = {POOL}")
    model.graph.output.append(model.graph.output[0])
    subnets = [prune(read(model), selection) for selection in every(read(model))]
    assert operators(subnets) == [["Neg"], ["Identity"]]
    assert all(list(subnet.graph.output) == list(model.graph.output) for subnet in subnets)


def values(**types: int) -> list[onnx.ValueInfoProto]:
    """Describe tensors: scalars of these element types, float ones of two elements."""
    return [helper.make_tensor_value_info(name, kind, [2] if kind == 1 else []) for name, kind in types.items()]


def loop() -> tuple[NodeProto, onnx.TensorProto]:
    """Add ``met`` three times to ``x``; the condition is left out."""
    nodes = [helper.make_node("Add", ["sum", "met"], ["more"]), helper.make_node("Identity", ["go"], ["on"])]
    body = helper.make_graph(nodes, "body", values(step=7, go=9, sum=1), values(on=9, more=1))
    return helper.make_node("Loop", ["n", "", "x"], ["y"], body=body), numpy_helper.from_array(np.array(3), "n")


def scan() -> tuple[NodeProto, onnx.TensorProto]:
    """Start from ``met`` and add it for each of three rows."""
    nodes = [helper.make_node("Add", ["sum", "met"], ["more"]), helper.make_node("Sub", ["row", "met"], ["difference"])]
    body = helper.make_graph(nodes, "body", values(sum=1, row=1), values(more=1, difference=1))
    node = helper.make_node("Scan", ["met", "rows"], ["y", "all"], body=body, num_scan_inputs=1)
    return node, numpy_helper.from_array(np.ones((3, 2), np.float32), "rows")


@pytest.mark.parametrize("build", [loop, scan])
def test_a_pool_that_the_body_of_a_loop_captures_is_pruned(
    build: Callable[[], tuple[NodeProto, onnx.TensorProto]],
) -> None:
    model = graphs.marked(f"a = Neg (x)  met = {POOL}  y = Abs (met)")
    node, stored = build()
    node.metadata_props.add(key="index", value="2")
    model.graph.node[2].CopyFrom(node)
    model.graph.initializer.append(stored)
    assert operators(assert_every_selection_is_right(model)) == [["Neg", node.op_type], [node.op_type]]


def test_a_pool_s_output_may_be_an_element_of_a_sequence() -> None:
    model = graphs.marked(
        f"a = Neg (x)  met = {POOL}  s = SequenceConstruct (met, a, met)  y = ConcatFromSequence <axis = 0> (s)",
        signature="(float[2] x) => (float[6] y)",
    )
    (value,) = (value for value in model.graph.value_info if value.name == "s")
    value.type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [2])))
    subnets = assert_every_selection_is_right(model)
    assert [list(subnet.graph.node[1].input) for subnet in subnets] == [["a", "a", "a"], ["x", "a", "x"]]


def training(reads: str, binds: str) -> ModelProto:
    """A model with a training step that reads a tensor and an initializer of its own, and updates an initializer."""
    model = graphs.marked(
        f"a = Add (x, u)  b = Add (x, v)  met = {graphs.pool('p', 'A B', 'a', 'b')}  y = Neg (met)",
        initializers="float[2] u = {1, 2}, float[2] v = {3, 4}, float[2] rate = {1, 1}",
    )
    step = model.training_info.add()
    step.algorithm.CopyFrom(GraphProto(name="step", output=values(stepped=1)))
    gradient = helper.make_node("Gradient", [], ["slope"], domain="ai.onnx.preview.training", xs=[reads], y="y")
    step.algorithm.node.extend([gradient, helper.make_node("Sub", ["slope", "rate"], ["stepped"])])
    step.update_binding.add(key=binds, value="stepped")
    model.opset_import.append(helper.make_opsetid("ai.onnx.preview.training", 1))
    return model


@pytest.mark.parametrize(
    ("reads", "binds", "kept"),
    [("met", "u", (1, 0)), ("y", "rate", (1, 1)), ("a", "rate", (1, 0)), ("x", "p.weights", (0, 0))],
)
def test_a_training_step_stays_to_the_byte_where_all_that_it_names_lives(
    reads: str, binds: str, kept: tuple[int, int]
) -> None:
    model = training(reads, binds)
    for selection, count in zip(every(read(model)), kept, strict=True):
        subnet = prune(read(model), selection)
        assert list(subnet.training_info) == list(model.training_info)[:count]
        there = {name for node in subnet.graph.node for name in node.output} | initializers(subnet) | {"x"}
        assert not count or {reads, binds, "rate"} <= there
        domains = {entry.domain for entry in subnet.opset_import}
        assert ("ai.onnx.preview.training" in domains) == bool(count)


def test_an_opset_import_goes_with_its_last_user_and_one_that_nothing_used_stays() -> None:
    body = graphs.if_else(("i", "i = odd.Thing (x)"), ("j", "j = Neg (x)"))
    model = graphs.marked(f"a = {body}  y = {POOL}", signature="(float[2] x, bool flag) => (float[2] y)")
    model.opset_import.extend([helper.make_opsetid("odd", 2), helper.make_opsetid("unused", 7)])
    imported = [
        {entry.domain for entry in prune(read(model), selection).opset_import} for selection in every(read(model))
    ]
    assert imported == [{"", "odd", "unused"}, {"", "unused"}]


def test_a_function_that_only_a_default_attribute_of_another_calls_stays() -> None:
    model = graphs.marked(f"a = local.negated (x)  y = {POOL}")
    inner = helper.make_graph([helper.make_node("twice", ["x"], ["i"], domain="local")], "g", [], values(i=1))
    (negated,) = (function for function in model.functions if function.name == "negated")
    negated.attribute_proto.append(helper.make_attribute("body", inner))
    subnets = [prune(read(model), selection) for selection in every(read(model))]
    assert [{function.name for function in subnet.functions} for subnet in subnets] == [{"negated", "twice"}, set()]


def test_an_annotation_goes_with_a_scale_that_a_dead_branch_computes() -> None:
    model = graphs.marked(f"a = Neg (x)  met = {POOL}  y = Abs (met)")
    del model.graph.quantization_annotation[:]
    annotation = model.graph.quantization_annotation.add(tensor_name="y")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="a")
    subnets = [prune(read(model), selection) for selection in every(read(model))]
    assert [len(subnet.graph.quantization_annotation) for subnet in subnets] == [1, 0]
