"""One use of an operator, as a handler sees it: operands with concrete shapes, and decoded attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import TensorProto

from supernet_onnx.errors import CostError, UnknownShapeError
from supernet_onnx.shapes import TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.shapes import Dim

__all__ = ["AttrValue", "Body", "OpCall", "Operand"]

AttrValue = (
    int | float | str | bytes | TensorProto | tuple[int, ...] | tuple[float, ...] | tuple[str | bytes, ...]
    | tuple[TensorProto, ...]
)  # fmt: skip
"""A decoded attribute; strings that are not UTF-8 stay bytes."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor that an operator reads or writes.

    Attributes:
        name: The tensor's name in the graph.
        dtype: Its element type, an ``onnx.TensorProto.DataType``; 0 where inference does not know it.
        dims: Its dims as far as they are known; None where not even the rank is.
        is_constant: Whether it is an initializer or the output of a Constant node.
        is_bias: Whether the operator adds it as a bias: the bias input of a convolution, Gemm, normalisation or
            recurrent operator, and the constant that an Add puts on a layer's product.
        bits: The bits of the integer that an element is, or that DequantizeLinear made it from; None for floats.
    """

    name: str
    dtype: int
    dims: tuple[Dim, ...] | None
    is_constant: bool = False
    is_bias: bool = False
    bits: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether every dim is a number."""
        return self.dims is not None and all(isinstance(dim, int) for dim in self.dims)

    @property
    def shape(self) -> tuple[int, ...]:
        """The concrete shape.

        Raises:
            UnknownShapeError: A dim, or the rank, is not known.
        """
        sizes = tuple(dim for dim in self.dims or () if isinstance(dim, int))
        if self.dims is not None and len(sizes) == len(self.dims):
            return sizes
        where = f"tensor '{self.name}' is {TensorType(self.dtype, self.dims)}"
        if self.dims is None:
            raise UnknownShapeError(f"{where}: its rank is not known")
        axis, dim = next((axis, dim) for axis, dim in enumerate(self.dims) if not isinstance(dim, int))
        if dim is None:
            raise UnknownShapeError(f"{where}: dim {axis} is not known")
        raise UnknownShapeError(f"{where}: dim {axis} '{dim}' must be a number; bind it with --dim {dim}=VALUE")

    @property
    def numel(self) -> int:
        """The number of elements; raises like ``shape``."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class OpCall:
    """One use of an operator, as a handler sees it.

    Attributes:
        op_type: The operator.
        domain: Its domain, ``""`` for the standard one.
        opset: The version of the domain that the model imports.
        name: The node in words, for messages: ``Conv node 'conv1'``.
        attrs: The attributes that the node states, decoded. Defaults are not filled in; graphs, types and sparse
            tensors are left out.
        inputs: The operands, None for an optional one that is omitted.
        outputs: Likewise.
        bodies: The graphs that an If, Loop, Scan or SequenceMap may run; empty for any other operator.
    """

    op_type: str
    domain: str
    opset: int
    name: str
    attrs: Mapping[str, AttrValue]
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand | None, ...]
    bodies: tuple[Body, ...] = ()

    def has_input(self, index: int) -> bool:
        """Tell whether input ``index`` is there; trailing optional inputs need not be listed."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def input(self, index: int) -> Operand:
        """Return input ``index``.

        Raises:
            CostError: The node omits it.
        """
        return self._operand(self.inputs, index, "input")

    def output(self, index: int = 0) -> Operand:
        """Return output ``index``; raises like ``input``."""
        return self._operand(self.outputs, index, "output")

    def _operand(self, operands: tuple[Operand | None, ...], index: int, kind: str) -> Operand:
        operand = operands[index] if index < len(operands) else None
        if operand is None:
            raise CostError(f"{self.name}: {kind} {index} is missing, its cost depends on it; check the model")
        return operand


@dataclass(frozen=True, slots=True)
class Body:
    """A graph nested in a node.

    Attributes:
        calls: Its nodes.
        times: How often it runs each time that the node does; None where that is not known.
        problem: Why it is not known, and what to do.
    """

    calls: tuple[OpCall, ...]
    times: int | None
    problem: str = ""
