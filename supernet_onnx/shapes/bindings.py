"""What a caller says about a model's inputs, and what follows for its named dims."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from onnx import helper, numpy_helper

from supernet_onnx.errors import ShapeError
from supernet_onnx.graph import input_names
from supernet_onnx.shapes.types import TensorType, type_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import GraphProto, TensorProto

__all__ = ["Bindings"]


@dataclass(frozen=True, slots=True)
class Bindings:
    """What a caller says about a model's inputs.

    Attributes:
        dims: Sizes of symbolic dims, by their name.
        shapes: Shapes of inputs, by the input's name; they bind the dims that they name, too.
        values: Values of inputs of one element, by the input's name: a switch, a number of steps.
        trip_counts: How often the body of a Loop, Scan or SequenceMap runs, by the node's name or first output.
    """

    dims: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    trip_counts: Mapping[str, int] = field(default_factory=dict)

    def sizes(self, graph: GraphProto) -> dict[str, int]:
        """Return the size of every named dim that is bound: the batch dims to 1, under what the caller says.

        Raises:
            ShapeError: A shape or value is that of no input, or a shape contradicts its declared one, ``dims`` or
                another shape.
        """
        names = input_names(graph)
        for name in (*self.shapes, *self.values):
            if name not in names:
                raise ShapeError(f"no input is named '{name}'; the model's are: {', '.join(names) or 'none'}")
        batches: dict[str, int] = {}
        given = dict(self.dims)
        wanted = set(names)
        for value in graph.input:
            kind = type_of(value.type)
            if value.name in wanted and kind.shape and isinstance(kind.shape[0], str):
                batches[kind.shape[0]] = 1
            if value.name in self.shapes:
                _match(value.name, kind, tuple(self.shapes[value.name]), given)
        return {**batches, **given}

    def value(self, name: str, kind: TensorType) -> TensorProto | None:
        """Return the tensor that an input is fixed to, or None.

        Args:
            name: The input's.
            kind: Its type, dims bound.

        Raises:
            ShapeError: The input has not exactly one element.
        """
        if name not in self.values:
            return None
        if kind.numel != 1 or kind.shape is None:
            raise ShapeError(f"input '{name}' is {kind}; a value can be given only for one element")
        dtype = helper.tensor_dtype_to_np_dtype(kind.dtype)
        return numpy_helper.from_array(np.full((1,) * len(kind.shape), self.values[name], dtype), name)


def _match(name: str, kind: TensorType, shape: tuple[int, ...], given: dict[str, int]) -> None:
    """Add what an input's shape says of its named dims to ``given``."""
    if kind.shape is None:
        return
    if len(shape) != len(kind.shape):
        raise ShapeError(
            f"input '{name}' is {kind}, the shape given for it is {list(shape)}; give {len(kind.shape)} dims"
        )
    for axis, (dim, size) in enumerate(zip(kind.shape, shape, strict=True)):
        fixed = given.setdefault(dim, size) if isinstance(dim, str) else dim
        if fixed not in (None, size):
            known = f"dim '{dim}' is {fixed} elsewhere" if isinstance(dim, str) else f"the model fixes it to {fixed}"
            raise ShapeError(f"input '{name}': dim {axis} is given as {size}, but {known}; give one size for it")
