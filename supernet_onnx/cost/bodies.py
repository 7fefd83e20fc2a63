"""The graphs nested in nodes, each as a graph of its own: for metrics that look at more than single calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from supernet_onnx.cost.calls import resolve_calls
from supernet_onnx.cost.nested import trip_counts_in
from supernet_onnx.graph import captured, describe, num_scan_inputs
from supernet_onnx.marks import DOMAIN
from supernet_onnx.shapes import Bindings, TensorType, carried
from supernet_onnx.supergraph import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import NodeProto

    from supernet_onnx.cost.calls import CallGraph
    from supernet_onnx.cost.nested import Scope

__all__ = ["Inside", "carries", "insides"]


@dataclass(frozen=True, slots=True)
class Inside:
    """A graph nested in a node, as a graph of its own.

    Attributes:
        graph: Its nodes and calls; what it takes from around it are inputs, constants apart.
        outside: The inputs whose buffers are held around it: what it captures, and what a Scan slices for it.
        times: How often it runs each time that the node does; None where that is not known.
        problem: Which node it is of, why that is not known, and what to do.
    """

    graph: CallGraph
    outside: frozenset[str]
    times: int | None
    problem: str


def insides(graph: CallGraph, index: int) -> tuple[Inside, ...]:
    """Return the graphs that a node of the main graph may run. They are read once, whatever asks for them."""
    if index not in graph.insides:
        graph.insides[index] = tuple(_insides(graph, index))
    return graph.insides[index]


def _insides(graph: CallGraph, index: int) -> Iterator[Inside]:
    node = graph.supergraph.graph.node[index]
    for scope in graph.nested.scopes(index):
        outside = captured(scope.body)
        model = _alone(graph, scope, outside)
        bindings = Bindings(trip_counts=trip_counts_in(model.graph, graph.bindings.trip_counts))
        inner = resolve_calls(read(model), bindings)
        yield Inside(
            inner, frozenset(outside | _slices(node, scope)), scope.times, f"{describe(node)}: {scope.problem}"
        )


def carries(node: NodeProto, place: int) -> bool:
    """Whether an output of a node is one that its graph itself gives at last; the others are put together of turns."""
    return node.op_type == "If" or any(
        place == of_node
        for attribute in node.attribute
        if attribute.HasField("g")
        for *_, of_node in carried(node, attribute.g)
    )


def _slices(node: NodeProto, scope: Scope) -> set[str]:
    """Return the inputs of a Scan's graph that are slices of what the node reads."""
    names = [value.name for value in scope.body.input]
    return set(names[len(names) - num_scan_inputs(node) :])


def _alone(graph: CallGraph, scope: Scope, outside: set[str]) -> ModelProto:
    """Make a model of a nested graph, with the types and constants that are known around it."""
    source = graph.supergraph.model
    model = ModelProto(ir_version=source.ir_version, opset_import=source.opset_import)
    model.functions.extend(function for function in source.functions if function.domain != DOMAIN)
    main, body = model.graph, scope.body
    main.name = body.name
    main.node.extend(body.node)
    main.initializer.extend(body.initializer)
    main.sparse_initializer.extend(body.sparse_initializer)
    main.value_info.extend(scope.inferred.value_info)
    main.output.extend(_typed(value, scope) for value in body.output)
    main.input.extend(_typed(value, scope) for value in body.input)
    for name in sorted(outside):
        if name in scope.values:
            main.initializer.append(numpy_helper.from_array(scope.values[name], name))
        elif name in graph.facts.constant and (kind := scope.types.get(name)) and kind.numel is not None:
            main.initializer.append(_unread(name, kind))
        else:
            main.input.append(_typed(ValueInfoProto(name=name), scope))
    return model


def _typed(value: ValueInfoProto, scope: Scope) -> ValueInfoProto:
    """State a tensor's type as it is known in a graph; dims that nobody knows are left open."""
    kind = scope.types.get(value.name)
    if kind is None:
        return value
    shape = None if kind.shape is None else [dim if isinstance(dim, int) else None for dim in kind.shape]
    return helper.make_tensor_value_info(value.name, kind.dtype, shape)


def _unread(name: str, kind: TensorType) -> TensorProto:
    """Return a tensor whose values are elsewhere."""
    dims = [dim for dim in kind.shape or () if isinstance(dim, int)]
    return TensorProto(name=name, data_type=kind.dtype, dims=dims, data_location=TensorProto.EXTERNAL)
