"""Nodes as operator calls: operands with types, decoded attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import AttributeProto

from supernet_onnx.cost.opcall import AttrValue, OpCall, Operand
from supernet_onnx.cost.quantisation import integer_bits
from supernet_onnx.cost.roles import role
from supernet_onnx.graph import describe, initializer_names, is_standard
from supernet_onnx.shapes import TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from onnx import GraphProto, NodeProto

__all__ = ["Reader"]

_UNKNOWN = TensorType(0, None)


class Reader:
    """Reads the nodes of one graph.

    Args:
        graph: The graph, whose constants are noted.
        types: The types of the tensors that its nodes use, those of the graphs around it included.
        opsets: The version of each domain that the model imports, ``""`` for the standard one.
        outer: The reader of the graph that it is nested in.
    """

    def __init__(
        self,
        graph: GraphProto,
        types: MutableMapping[str, TensorType],
        opsets: Mapping[str, int],
        outer: Reader | None = None,
    ) -> None:
        self.types = types
        self.opsets = opsets
        own = initializer_names(graph)
        for node in graph.node:
            if is_standard(node) and node.op_type == "Constant":
                own.update(node.output)
        self._constants: set[str] = own if outer is None else own | outer._constants

    def operand(self, name: str, *, is_bias: bool = False) -> Operand | None:
        """Return the operand of that name, None for an omitted one."""
        if not name:
            return None
        known = self.types.get(name, _UNKNOWN)
        return Operand(name, known.dtype, known.shape, name in self._constants, is_bias, integer_bits(known.dtype))

    def call(self, node: NodeProto) -> OpCall:
        """Read a node, without the graphs nested in it."""
        domain = "" if is_standard(node) else node.domain
        return OpCall(
            node.op_type,
            domain,
            self.opsets.get(domain, 1),
            describe(node),
            _attributes(node),
            tuple(self.operand(name, is_bias=role(node, slot) == "bias") for slot, name in enumerate(node.input)),
            tuple(self.operand(name) for name in node.output),
        )


def _attributes(node: NodeProto) -> dict[str, AttrValue]:
    decoded = {attribute.name: _decode(attribute) for attribute in node.attribute}
    return {name: value for name, value in decoded.items() if value is not None}


def _decode(attribute: AttributeProto) -> AttrValue | None:
    match attribute.type:
        case AttributeProto.INT:
            return attribute.i
        case AttributeProto.FLOAT:
            return attribute.f
        case AttributeProto.STRING:
            return _text(attribute.s)
        case AttributeProto.TENSOR:
            return attribute.t
        case AttributeProto.INTS:
            return tuple(attribute.ints)
        case AttributeProto.FLOATS:
            return tuple(attribute.floats)
        case AttributeProto.STRINGS:
            return tuple(map(_text, attribute.strings))
        case AttributeProto.TENSORS:
            return tuple(attribute.tensors)
    return None


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
