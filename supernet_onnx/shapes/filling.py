"""What onnx shape inference leaves open though it can be known: small computed constants, and loop bodies."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from supernet_onnx.graph import is_standard, num_scan_inputs, subgraphs
from supernet_onnx.shapes.skeleton import SMALL
from supernet_onnx.shapes.types import type_of, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

__all__ = ["Values", "carried", "constants_in", "fill", "taken_branch"]

# What exporters compute shapes, pads and trip counts with: deterministic, and cheap on a few elements.
_FOLDED: Final = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten",
    "Floor", "Gather", "GatherElements", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max",
    "Min", "Mod", "Mul", "Neg", "Not", "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum",
    "Reshape", "Round", "ScatterElements", "ScatterND", "Sign", "Slice", "Squeeze", "Sqrt", "Sub", "Sum", "Tile",
    "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
_GROWING: Final = frozenset({"ConstantOfShape", "Expand", "Range", "Tile"})  # a few elements in, any number out
_FAILURES: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

Values = ChainMap[str, "Array"]
"""The known values of small constants by name, those of a nested graph before those around it."""

_Types = ChainMap[str, TypeProto]


def fill(graph: GraphProto, opset: int) -> bool:
    """Fill in what can be known of an inferred graph and of the graphs nested in it.

    Nodes whose small output can be computed from constants and from known shapes become Constant nodes. What a Loop
    or Scan carries is given the type in its body that it starts with; where the body gives it back with that type,
    so does the node. (onnx takes it for unknown, for a body may change it.)

    Args:
        graph: Of a model after shape inference; it is changed.
        opset: The version of the standard domain.

    Returns:
        Whether anything is new, so that inference should run again.
    """
    return _Filling(opset).graph(graph, ChainMap(), ChainMap())


def _stored(tensor: TensorProto) -> Array | None:
    """Return the value of a small tensor; None for one that is large, stands in another file or is damaged."""
    if tensor.data_location == TensorProto.EXTERNAL or np.prod(tensor.dims, dtype=object) > SMALL:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (TypeError, ValueError):
        return None


class _Filling:
    def __init__(self, opset: int) -> None:
        self._opset = opset
        self._is_new = False

    def graph(self, graph: GraphProto, outer_values: Values, outer_types: _Types) -> bool:
        """Fill a graph, nested ones first to last; return whether anything in any of them is new."""
        values, types = outer_values.new_child(), outer_types.new_child()
        types.update((value.name, value.type) for value in values_of(graph))
        for tensor in graph.initializer:
            values.pop(tensor.name, None)
            types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            _keep(values, tensor.name, _stored(tensor))
        for node in graph.node:
            for body in subgraphs(node):
                self._start(node, body, types)
                self.graph(body, values, types)
                self._finish(graph, node, body, types)
            self._decide(graph, node, values, types)
            if len(node.output) == 1 and is_standard(node):
                value = self._value(node, values, types)
                _keep(values, node.output[0], value)
                if value is not None and node.op_type != "Constant":
                    constant = numpy_helper.from_array(value)
                    node.CopyFrom(helper.make_node("Constant", [], list(node.output), name=node.name, value=constant))
                    self._is_new = True
        return self._is_new

    def _value(self, node: NodeProto, values: Values, types: _Types) -> Array | None:
        """Compute what a node makes, if that is known and small."""
        if node.op_type == "Constant":
            return _constant(node)
        if node.op_type in ("Shape", "Size"):
            return _measured(node, types)
        inputs = [name for name in node.input if name]
        if node.op_type not in _FOLDED or not inputs or not all(name in values for name in inputs):
            return None
        output = types.get(node.output[0])
        size = type_of(output).numel if output is not None else None
        if (size is None and node.op_type in _GROWING) or (size is not None and size > SMALL):
            return None
        return self._computed(node, {name: values[name] for name in inputs})

    def _computed(self, node: NodeProto, feeds: dict[str, Array]) -> Array | None:
        from onnx.reference import ReferenceEvaluator

        try:
            with np.errstate(all="ignore"):
                (value,) = ReferenceEvaluator(node, opsets={"": self._opset}).run(None, feeds)
        except _FAILURES:  # the node is wrong, or the evaluator does not know it: it stays unknown
            return None
        return np.asarray(value) if np.size(value) <= SMALL else None

    def _start(self, node: NodeProto, body: GraphProto, types: _Types) -> None:
        """Give what a body carries the type that it starts with."""
        for outer, inner, _, _ in carried(node, body):
            start = types.get(outer)
            if start is not None and _is_known(start) and not _is_known(body.input[inner].type):
                body.input[inner].type.CopyFrom(start)
                self._is_new = True

    def _finish(self, graph: GraphProto, node: NodeProto, body: GraphProto, types: _Types) -> None:
        """Give what a node carried through its body the type that the body gives back unchanged."""
        for outer, _, returned, final in carried(node, body):
            start = types.get(outer)
            if start is not None and _is_known(start) and type_of(start) == type_of(body.output[returned].type):
                self._set(graph, node.output[final] if final < len(node.output) else "", start, types)

    def _decide(self, graph: GraphProto, node: NodeProto, values: Values, types: _Types) -> None:
        """Give what an If makes the types of the branch that it takes, if that is known."""
        taken = taken_branch(node, values)
        for name, value in zip(node.output, taken.output if taken is not None else (), strict=False):
            if _is_known(value.type):
                self._set(graph, name, value.type, types)

    def _set(self, graph: GraphProto, name: str, proto: TypeProto, types: _Types) -> None:
        """Note the type of what a node makes, unless it is known."""
        if not name or (name in types and _is_known(types[name])):
            return
        if name not in types.maps[0]:
            types[name] = graph.value_info.add(name=name).type
        types[name].CopyFrom(proto)
        self._is_new = True


def constants_in(graph: GraphProto, outer: Values | None = None) -> Values:
    """Return the small constants of an inferred graph.

    Args:
        graph: The graph; those nested in it are not looked into.
        outer: The constants of the graph around it.
    """
    values = ChainMap({}) if outer is None else outer.new_child()
    for tensor in graph.initializer:
        _keep(values, tensor.name, _stored(tensor))
    for node in graph.node:
        if node.op_type == "Constant" and is_standard(node):
            _keep(values, node.output[0], _constant(node))
    return values


def taken_branch(node: NodeProto, values: Mapping[str, Array]) -> GraphProto | None:
    """Return the branch that an If takes, where its condition is one of the known ``values``."""
    if not is_standard(node) or node.op_type != "If" or node.input[0] not in values:
        return None
    wanted = "then_branch" if values[node.input[0]].all() else "else_branch"
    return next((attribute.g for attribute in node.attribute if attribute.name == wanted), None)


def carried(node: NodeProto, body: GraphProto) -> Iterator[tuple[str, int, int, int]]:
    """Iterate over what a Loop or Scan carries: its start, and its place in the body's inputs and outputs and in the
    node's outputs.
    """
    if not is_standard(node) or node.op_type not in ("Loop", "Scan"):
        return
    if node.op_type == "Loop":
        for i, name in enumerate(node.input[2:]):
            yield name, i + 2, i + 1, i
        return
    for i, name in enumerate(node.input[: len(node.input) - num_scan_inputs(node)]):
        yield name, i, i, i


def _keep(values: Values, name: str, value: Array | None) -> None:
    if value is not None:
        values[name] = value


def _is_known(proto: TypeProto) -> bool:
    return proto.HasField("tensor_type") and type_of(proto).numel is not None


def _measured(node: NodeProto, types: _Types) -> Array | None:
    """Compute a Shape or a Size."""
    known = types.get(node.input[0])
    if known is None or not _is_known(known):
        return None
    shape = np.array(type_of(known).shape, np.int64)
    if node.op_type == "Size":
        return np.array(shape.prod(dtype=np.int64))
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    return shape[bounds.get("start", 0) : bounds.get("end", len(shape))]


def _constant(node: NodeProto) -> Array | None:
    """Return the value of a Constant node, unless it is large or no number."""
    for attribute in node.attribute:
        match attribute.name:
            case "value":
                return _stored(attribute.t)
            case "value_int":
                return np.array(attribute.i, np.int64)
            case "value_ints":
                return np.array(attribute.ints, np.int64)
            case "value_float":
                return np.array(attribute.f, np.float32)
            case "value_floats":
                return np.array(attribute.floats, np.float32)
    return None
