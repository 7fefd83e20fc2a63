"""The type of a tensor: its element type, and its shape as far as it is known."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supernet_onnx import marks
from supernet_onnx.shapes.formulas import names_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from onnx import GraphProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto

__all__ = ["Dim", "TensorType", "declared_dims", "tensor_type", "type_of", "types_in", "values_of"]

Dim = int | str | None
"""A size, the name of a symbolic one, or nothing known."""

_NAMELESS: Final = ("-1", "None")
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


def type_of(proto: TypeProto) -> TensorType:
    """Return the type that a tensor's type message states."""
    tensor = proto.tensor_type
    if not tensor.HasField("shape"):
        return TensorType(tensor.elem_type, None)
    return TensorType(tensor.elem_type, tuple(dim_of(dim) for dim in tensor.shape.dim))


def tensor_type(tensor: TensorProto) -> TensorType:
    """Return the type of a stored tensor."""
    return TensorType(tensor.data_type, tuple(int(dim) for dim in tensor.dims))


def dim_of(dim: TensorShapeProto.Dimension) -> Dim:
    """Return what a dim's message states; a negative size is nothing known, nor is a name that is none: ``?``.

    Exporters give that to several dims that differ.
    """
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    name = dim.dim_param
    return None if name in _NAMELESS or not any(map(str.isalnum, name)) else name


def values_of(graph: GraphProto) -> Iterator[ValueInfoProto]:
    """Iterate over what a graph states about tensors: inputs, intermediate values, outputs."""
    yield from graph.input
    yield from graph.value_info
    yield from graph.output


def declared_dims(graph: GraphProto) -> set[str]:
    """Return the names of dims that a model's author or exporter gave, so that somebody can bind them."""
    names = {dim.dim_param for value in values_of(graph) for dim in value.type.tensor_type.shape.dim}
    inputs = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim}
    own = {name for name in names if name and (name in inputs or not _GENERATED.fullmatch(name))}
    return {name for name in own if not (names_in(name) and names_in(name) <= own)}


def types_in(graph: GraphProto, names: Collection[str]) -> dict[str, TensorType]:
    """Return the types that an inferred graph, of a model or nested in one, states of its own tensors.

    Args:
        graph: Its nested graphs are not looked into.
        names: The dims that somebody can bind (``declared_dims``). Others, which inference made up, are unknown.
    """
    types = {
        value.name: _without_made_up(type_of(value.type), names)
        for value in values_of(graph)
        if value.type.HasField("tensor_type")
    }
    types.update((tensor.name, tensor_type(tensor)) for tensor in graph.initializer)
    for sparse in graph.sparse_initializer:
        types[sparse.values.name] = TensorType(sparse.values.data_type, tuple(map(int, sparse.dims)))
    return types


def _without_made_up(kind: TensorType, names: Collection[str]) -> TensorType:
    if not any(isinstance(dim, str) and dim not in names for dim in kind.shape or ()):
        return kind
    dims = (dim if not isinstance(dim, str) or dim in names else None for dim in kind.shape or ())
    return TensorType(kind.dtype, tuple(dims))
