"""The nodes of a graph and of the graphs nested in it as one list, and the constants that they store.

If, Loop and Scan bodies are laid out before the node that holds them, and their tensors are given names that are
unique in the model, so that whoever follows a tensor needs to know nothing of nesting. No values are read.
"""

from __future__ import annotations

import math
from collections import ChainMap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, helper

from supernet_onnx.errors import ModelError
from supernet_onnx.graph import is_standard, subgraphs

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["Layout", "Step", "Stored", "lay_out", "packed_bytes"]

_BITS: Final = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6}
_FLOATS: Final = ("FLOAT", "BFLOAT", "DOUBLE", "COMPLEX")


@dataclass(frozen=True, slots=True)
class Step:
    """A node of the main graph, or of a graph nested in one of its nodes.

    Attributes:
        node: The node.
        home: The index of the main graph's node that it is, or stands in.
        inputs: The unique names of what it reads, ``""`` where an optional input is omitted; behind them the
            outputs of the graphs nested in it. The main graph's names are the tensors' own.
        outputs: The unique names of what it makes.
        is_nested: Whether it stands in a nested graph.
    """

    node: NodeProto
    home: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    is_nested: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A constant of the model: an initializer, a Constant node's value, or what ConstantOfShape fills.

    Attributes:
        name: Its unique name.
        home: The index of the main graph's node that it is nested in; None in the main graph.
        dtype: An ``onnx.TensorProto.DataType``.
        rank: Its number of dims; None for a fill, whose shape only inference knows.
        elements: How many values it has; of a sparse one, how many are stored; 0 for a fill.
        size_bytes: What it takes in the file or beside it; 0 for a fill.
    """

    name: str
    home: int | None
    dtype: int
    rank: int | None
    elements: int
    size_bytes: int

    @property
    def is_fill(self) -> bool:
        """Whether ConstantOfShape makes it."""
        return self.rank is None

    @property
    def is_float(self) -> bool:
        """Whether its elements are floats, of whatever width."""
        return TensorProto.DataType.Name(self.dtype).startswith(_FLOATS)


@dataclass(frozen=True, slots=True)
class Layout:
    """All nodes, each behind the makers of what it reads, and all constants."""

    steps: tuple[Step, ...]
    constants: tuple[Stored, ...]


def lay_out(graph: GraphProto) -> Layout:
    """Lay out a graph whose topology was checked.

    Raises:
        ModelError: A constant has an element type that onnx does not define.
    """
    walk = _Walk()
    walk.graph(graph, {}, "", None)
    return Layout(tuple(walk.steps), tuple(walk.constants))


class _Walk:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.constants: list[Stored] = []
        self._nested = 0

    def graph(
        self, graph: GraphProto, outer: MutableMapping[str, str], prefix: str, home: int | None
    ) -> MutableMapping[str, str]:
        """Lay out one graph and return its names: what each is called in the whole model."""
        names: MutableMapping[str, str] = {} if home is None else ChainMap({}, outer)
        for value in graph.input:
            names[value.name] = prefix + value.name
        for tensor in graph.initializer:
            names[tensor.name] = prefix + tensor.name
            self.constants.append(_dense(names[tensor.name], home, tensor))
        for sparse in graph.sparse_initializer:
            names[sparse.values.name] = prefix + sparse.values.name
            self.constants.append(_sparse(names[sparse.values.name], home, sparse))
        for index, node in enumerate(graph.node):
            at = index if home is None else home
            inputs = [names.get(name, name) for name in node.input]
            for body in subgraphs(node):
                self._nested += 1
                inner = self.graph(body, names, f"\0{self._nested}\0", at)
                inputs.extend(inner[value.name] for value in body.output)
            for name in node.output:
                names[name] = prefix + name if name else ""
            outputs = tuple(names[name] for name in node.output)
            step = Step(node, at, tuple(inputs), outputs, home is not None)
            self.steps.append(step)
            constant = _made(step)
            if constant is not None:
                self.constants.append(constant)
        return names


def _made(step: Step) -> Stored | None:
    """Return the constant that a Constant or ConstantOfShape node makes."""
    if not is_standard(step.node) or step.node.op_type not in ("Constant", "ConstantOfShape"):
        return None
    name, home = step.outputs[0], step.home if step.is_nested else None
    if step.node.op_type == "ConstantOfShape":
        value = next((a.t for a in step.node.attribute if a.name == "value"), None)
        return Stored(name, home, TensorProto.FLOAT if value is None else value.data_type, None, 0, 0)
    for attribute in step.node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            return _dense(name, home, attribute.t)
        if attribute.type == AttributeProto.SPARSE_TENSOR:
            return _sparse(name, home, attribute.sparse_tensor)
        if attribute.type in (AttributeProto.FLOAT, AttributeProto.INT):
            dtype = TensorProto.FLOAT if attribute.type == AttributeProto.FLOAT else TensorProto.INT64
            return Stored(name, home, dtype, 0, 1, packed_bytes(1, dtype, name))
        if attribute.type == AttributeProto.FLOATS:
            n = len(attribute.floats)
            return Stored(name, home, TensorProto.FLOAT, 1, n, packed_bytes(n, TensorProto.FLOAT, name))
        if attribute.type == AttributeProto.INTS:
            n = len(attribute.ints)
            return Stored(name, home, TensorProto.INT64, 1, n, packed_bytes(n, TensorProto.INT64, name))
        if attribute.type == AttributeProto.STRING:
            return Stored(name, home, TensorProto.STRING, 0, 1, len(attribute.s))
        if attribute.type == AttributeProto.STRINGS:
            return Stored(name, home, TensorProto.STRING, 1, len(attribute.strings), sum(map(len, attribute.strings)))
    return None


def _dense(name: str, home: int | None, tensor: TensorProto) -> Stored:
    return Stored(name, home, tensor.data_type, len(tensor.dims), math.prod(tensor.dims), _size_bytes(tensor, name))


def _sparse(name: str, home: int | None, sparse: SparseTensorProto) -> Stored:
    size_bytes = _size_bytes(sparse.values, name) + _size_bytes(sparse.indices, name)
    return Stored(name, home, sparse.values.data_type, len(sparse.dims), math.prod(sparse.values.dims), size_bytes)


def _size_bytes(tensor: TensorProto, name: str) -> int:
    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    return packed_bytes(math.prod(tensor.dims), tensor.data_type, name)


def packed_bytes(elements: int, dtype: int, name: str) -> int:
    """Return the bytes that elements take; types under a byte are packed, the last byte filled up.

    Args:
        elements: How many.
        dtype: Their type, an ``onnx.TensorProto.DataType``.
        name: The tensor, for messages.

    Raises:
        ModelError: onnx defines no such type.
    """
    try:
        bits = _BITS.get(TensorProto.DataType.Name(dtype)) or 8 * helper.tensor_dtype_to_np_dtype(dtype).itemsize
    except (KeyError, ValueError) as error:
        raise ModelError(f"tensor '{name}' has the element type {dtype}, which onnx does not define") from error
    return -(-elements * bits // 8)
