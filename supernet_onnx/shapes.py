"""Types and shapes of every tensor, by onnx shape inference on a copy of the model without its weights."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper

from supernet_onnx import marks
from supernet_onnx.errors import ModelError
from supernet_onnx.graph import initializer_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["Dim", "TensorType", "infer", "type_of"]

Dim = int | str | None
"""A size, the name of a symbolic one, or nothing known."""

_SMALL: Final = 1024  # elements; larger initializers hold no shapes, so inference does not need their values
_GENERATED: Final = re.compile(r"unk__[0-9]+")  # what onnx calls a dim that it knows nothing of


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of a tensor.

    Attributes:
        dtype: An ``onnx.TensorProto.DataType``.
        shape: Its dims; None where not even the rank is known.
    """

    dtype: int
    shape: tuple[Dim, ...] | None

    @property
    def numel(self) -> int | None:
        """The number of elements; None where a dim is not known."""
        sizes = [dim for dim in self.shape or () if isinstance(dim, int)]
        if self.shape is None or len(sizes) < len(self.shape):
            return None
        return math.prod(sizes)

    def __str__(self) -> str:
        kind = marks.dtype_name(self.dtype)
        if self.shape is None:
            return f"{kind}[...]"
        return f"{kind}[{','.join('?' if dim is None else str(dim) for dim in self.shape)}]"


def infer(model: ModelProto, *, dims: Mapping[str, int] | None = None) -> dict[str, TensorType]:
    """Infer the type of every tensor in the main graph.

    A symbolic or unknown first dim of a graph input is the batch and is bound to 1, unless ``dims`` binds it.

    Args:
        model: Not changed; its external data are not read.
        dims: Sizes for symbolic dims, by name.

    Returns:
        ``{tensor name: type}``, initializers included. A tensor that inference gives up on, because shapes
        contradict each other, say, is absent or has unknown dims.

    Raises:
        ModelError: onnx refuses the graph: an operator set is not imported, a local function calls itself.
        MarkError: A mark is malformed.
    """
    skeleton = _skeleton(model, _bindings(model.graph, dims or {}))
    try:
        inferred = onnx.shape_inference.infer_shapes(skeleton, check_type=False, strict_mode=False, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise ModelError(f"shapes cannot be inferred: {' '.join(str(error).split())}") from error
    graph = inferred.graph
    types = {
        value.name: type_of(value.type)
        for values in (graph.input, graph.value_info, graph.output)
        for value in values
        if value.type.HasField("tensor_type")
    }
    named = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim}
    types = {name: _without_generated(kind, named) for name, kind in types.items()}
    types.update({tensor.name: _tensor_type(tensor) for tensor in model.graph.initializer})
    return types


def _without_generated(kind: TensorType, named: Collection[str]) -> TensorType:
    """Make dims unknown whose names onnx made up: nobody can bind those."""
    if not any(isinstance(dim, str) for dim in kind.shape or ()):
        return kind
    dims = (None if isinstance(d, str) and _GENERATED.fullmatch(d) and d not in named else d for d in kind.shape or ())
    return TensorType(kind.dtype, tuple(dims))


def type_of(proto: TypeProto) -> TensorType:
    """Return the type that a tensor's type message states."""
    tensor = proto.tensor_type
    if not tensor.HasField("shape"):
        return TensorType(tensor.elem_type, None)
    return TensorType(tensor.elem_type, tuple(_dim(dim) for dim in tensor.shape.dim))


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return dim.dim_param or None


def _tensor_type(tensor: TensorProto) -> TensorType:
    return TensorType(tensor.data_type, tuple(int(dim) for dim in tensor.dims))


def _bindings(graph: GraphProto, dims: Mapping[str, int]) -> dict[str, int]:
    """Bind the names of the batch dims to 1, under what the caller binds."""
    bound: dict[str, int] = {}
    defaults = initializer_names(graph)
    for value in graph.input:
        shape = type_of(value.type).shape if value.type.HasField("tensor_type") else None
        if shape and isinstance(shape[0], str) and value.name not in defaults:
            bound[shape[0]] = 1
    return {**bound, **dims}


def _skeleton(model: ModelProto, bound: Mapping[str, int]) -> ModelProto:
    """Copy what shape inference needs: nodes, small initializers, inputs with their dims bound.

    Declared shapes of other tensors are dropped, for they may be false; those made by operators that onnx has no
    inference for are kept, being all there is. Our own pool functions are put in, in case a tool removed them.
    """
    skeleton = ModelProto(ir_version=max(model.ir_version, 8))
    skeleton.opset_import.extend(model.opset_import)
    skeleton.functions.extend(function for function in model.functions if function.domain != marks.DOMAIN)
    source, graph = model.graph, skeleton.graph
    graph.name = source.name or "graph"
    graph.node.extend(source.node)
    defaults = initializer_names(source)
    for value in source.input:
        if value.name not in defaults:
            graph.input.append(_bound(value, bound, batch=True))
    for tensor in source.initializer:
        kind = _tensor_type(tensor)
        if math.prod(tensor.dims) > _SMALL or tensor.data_location == TensorProto.EXTERNAL:
            graph.input.append(helper.make_tensor_value_info(tensor.name, kind.dtype, list(tensor.dims)))
        else:
            graph.initializer.append(tensor)
    for sparse in source.sparse_initializer:
        graph.input.append(
            helper.make_tensor_value_info(sparse.values.name, sparse.values.data_type, list(sparse.dims))
        )
    opaque = _opaque(source.node, skeleton.functions)
    for value in source.output:
        graph.output.append(_bound(value, bound) if value.name in opaque else _without_shape(value))
    graph.value_info.extend(_bound(value, bound) for value in source.value_info if value.name in opaque)
    sizes = {len(marks.decode(node).branches) for node in source.node if marks.is_pool(node)}
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    skeleton.functions.extend(marks.pool_function(size, opset=max(opset, marks.MIN_OPSET)) for size in sorted(sizes))
    return skeleton


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
        size = _dim(dim)
        if isinstance(size, str) and size in bound:
            dim.dim_value = bound[size]
        elif size is None and batch and axis == 0:
            dim.dim_value = 1
        elif size is None:
            dim.Clear()
    return copy


def _without_shape(value: ValueInfoProto) -> ValueInfoProto:
    copy = ValueInfoProto()
    copy.CopyFrom(value)
    if copy.type.HasField("tensor_type"):
        copy.type.tensor_type.ClearField("shape")
    return copy
