"""Bit widths: of integer tensors, and of floats that DequantizeLinear made from integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onnx import TensorProto

from supernet_onnx.graph import is_standard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.cost.facts import Facts
    from supernet_onnx.shapes import TensorType
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["Widths", "dequantised", "integer_bits"]

Widths = dict[int | None, "Condition"]
"""The bits of the integers that a tensor was dequantised from, each with when; None where it was not."""

_BITS: Final[dict[int, int]] = {
    TensorProto.INT2: 2, TensorProto.UINT2: 2, TensorProto.INT4: 4, TensorProto.UINT4: 4,
    TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.INT16: 16, TensorProto.UINT16: 16,
    TensorProto.INT32: 32, TensorProto.UINT32: 32,
}  # fmt: skip

_MOVES: Final = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def integer_bits(dtype: int) -> int | None:
    """Return the bits of an integer type; None for floats, booleans, strings, and for 64 bits, which hold shapes."""
    return _BITS.get(dtype)


def dequantised(supergraph: SuperGraph, facts: Facts, types: Mapping[str, TensorType]) -> dict[str, Widths]:
    """Find the tensors that DequantizeLinear makes, followed through moves of all elements and through pools.

    Args:
        supergraph: Whose.
        facts: What is known of its nodes.
        types: The inferred types of its tensors.

    Returns:
        Those tensors, each with what it was; the conditions of one exclude each other.
    """
    diagrams = supergraph.diagrams
    found: dict[str, Widths] = {}
    for index, node in enumerate(supergraph.graph.node):
        if index in supergraph.marks:
            edges = facts.branches[node.output[0]]
            if not any(name in found for _, name in edges):
                continue
            chosen: Widths = {}
            for literal, name in edges:
                for bits, condition in found.get(name, {None: diagrams.true}).items():
                    when = diagrams.both(literal, condition)
                    chosen[bits] = diagrams.either(chosen.get(bits, diagrams.false), when)
            found[node.output[0]] = chosen
        elif not is_standard(node):
            continue
        elif node.op_type == "DequantizeLinear" and node.input[0] in types:
            found[node.output[0]] = {integer_bits(types[node.input[0]].dtype): diagrams.true}
        elif node.op_type in _MOVES and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found
