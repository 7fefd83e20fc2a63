"""A copy of a model for shape inference: nodes, small constants and inputs, without the weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from supernet_onnx import marks
from supernet_onnx.graph import STANDARD, forget_shapes, initializer_names, standard_opset, subgraphs, without_shape
from supernet_onnx.shapes.formulas import evaluate
from supernet_onnx.shapes.stand_ins import DOMAIN, functions, matrices, stand_in
from supernet_onnx.shapes.types import dim_of, tensor_type, type_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from supernet_onnx.shapes.bindings import Bindings

__all__ = ["SMALL", "skeleton_of"]

SMALL: Final = 1024
"""Elements; larger constants hold no shapes, so inference does not need their values."""


def skeleton_of(model: ModelProto, bindings: Bindings) -> ModelProto:
    """Copy what shape inference needs: nodes, small initializers, inputs with their dims bound.

    Declared shapes of other tensors are dropped, for they may be false; those made by operators that onnx has no
    inference for are kept, being all there is. Our own pool functions are put in, in case a tool removed them.

    Args:
        model: Not changed. Node ``i`` of a graph in it is node ``i`` of the copy's.
        bindings: What is said about its inputs.

    Raises:
        ShapeError: They contradict what the model declares.
        MarkError: A mark is malformed.
    """
    bound = bindings.sizes(model.graph)
    skeleton = ModelProto(ir_version=max(model.ir_version, 8))
    skeleton.opset_import.extend(model.opset_import)
    skeleton.functions.extend(function for function in model.functions if function.domain != marks.DOMAIN)
    source, graph = model.graph, skeleton.graph
    graph.name = source.name or "graph"
    graph.node.extend(source.node)
    nodes = _replace_foreign(graph, {value.name for value in (*source.value_info, *source.output)})
    skeleton.functions.extend(functions(nodes))
    graph.input.extend(matrices(nodes))
    if any(node.domain == DOMAIN for node in nodes):
        skeleton.opset_import.add(domain=DOMAIN, version=1)
    defaults = initializer_names(source)
    for value in source.input:
        if value.name not in defaults:
            graph.input.append(_bound(value, bound, batch=True))
            if value.name in bindings.shapes:
                _set_shape(graph.input[-1], bindings.shapes[value.name])
            fixed = bindings.value(value.name, type_of(graph.input[-1].type))
            if fixed is not None:
                graph.initializer.append(fixed)
                del graph.input[-1]
    for tensor in source.initializer:
        kind = tensor_type(tensor)
        if math.prod(tensor.dims) > SMALL or tensor.data_location == TensorProto.EXTERNAL:
            graph.input.append(helper.make_tensor_value_info(tensor.name, kind.dtype, list(tensor.dims)))
        else:
            graph.initializer.append(tensor)
    for sparse in source.sparse_initializer:
        graph.input.append(
            helper.make_tensor_value_info(sparse.values.name, sparse.values.data_type, list(sparse.dims))
        )
    opaque = _opaque(graph.node, skeleton.functions)
    fed = {value.name: value for value in graph.input}
    for value in source.output:
        as_input = fed.get(value.name)  # without a shape as an output, onnx would take it from the input, too
        graph.output.append(as_input or (_bound(value, bound) if value.name in opaque else without_shape(value)))
    graph.value_info.extend(_bound(value, bound) for value in source.value_info if value.name in opaque)
    sizes = {len(marks.decode(node).branches) for node in source.node if marks.is_pool(node)}
    opset = standard_opset(model)
    skeleton.functions.extend(marks.pool_function(size, opset=max(opset, marks.MIN_OPSET)) for size in sorted(sizes))
    return skeleton


def _replace_foreign(graph: GraphProto, declared: Collection[str]) -> list[NodeProto]:
    """Let standard operators stand for onnxruntime's own, in nested graphs too.

    A declared shape is believed where channels that were padded are cut off again.

    Returns:
        All nodes.
    """
    nodes: list[NodeProto] = []
    for node in graph.node:
        cuts = node.op_type == "ReorderOutput" and node.output[0] in declared
        twin = None if cuts else stand_in(node)
        if twin is not None:
            node.CopyFrom(twin)
        nodes.append(node)
        for body in subgraphs(node):
            inner = _replace_foreign(body, ())
            if all(node.domain in (*STANDARD, DOMAIN) for node in inner):
                forget_shapes(body)
            nodes += inner
    return nodes


def _opaque(nodes: Collection[NodeProto], functions: Iterable[FunctionProto]) -> set[str]:
    """Return what nodes make whose operator onnx does not know, or is a local function that calls such a one."""
    bodies = {(function.domain, function.name): function.node for function in functions}

    def is_opaque(operator: tuple[str, str]) -> bool:
        waiting, seen = [operator], {operator}
        while waiting:
            domain, op_type = waiting.pop()
            if (domain, op_type) in bodies:
                calls = {(node.domain, node.op_type) for node in bodies[domain, op_type]} - seen
                waiting.extend(calls)
                seen |= calls
            elif domain != marks.DOMAIN and not onnx.defs.has(op_type, "" if domain == "ai.onnx" else domain):
                return True
        return False

    opaque = {operator for operator in {(node.domain, node.op_type) for node in nodes} if is_opaque(operator)}
    return {name for node in nodes if (node.domain, node.op_type) in opaque for name in node.output}


def _bound(value: ValueInfoProto, bound: Mapping[str, int], *, batch: bool = False) -> ValueInfoProto:
    """Copy a value with its named dims bound, and an unknown first one to 1 if it is a batch."""
    copy = ValueInfoProto()
    copy.CopyFrom(value)
    for axis, dim in enumerate(copy.type.tensor_type.shape.dim if copy.type.HasField("tensor_type") else ()):
        size = dim_of(dim)
        known = evaluate(size, bound) if isinstance(size, str) else None
        if known is not None:
            dim.dim_value = known
        elif size is None and batch and axis == 0:
            dim.dim_value = 1
        elif size is None:
            dim.Clear()
    return copy


def _set_shape(value: ValueInfoProto, shape: Sequence[int]) -> None:
    del value.type.tensor_type.shape.dim[:]
    for size in shape:
        value.type.tensor_type.shape.dim.add(dim_value=size)
