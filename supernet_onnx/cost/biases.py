"""The biases that are written as additions behind a layer: where they stand, and under which selections.

Exporters write the bias of a linear layer on tokens as MatMul and Add; quantizers, and some exporters that fold a
normalisation, that of a convolution as Conv and Add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supernet_onnx.graph import is_standard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from onnx import NodeProto

    from supernet_onnx.diagram import Diagrams
    from supernet_onnx.shapes import TensorType
    from supernet_onnx.supergraph import Condition, SuperGraph

    Edges = Mapping[str, Sequence[tuple[Condition, str]]]

__all__ = ["added_biases"]

# Products of tokens and a matrix, with the slot of the matrix.
_PRODUCTS: Final = {
    ("", "MatMul"): 1,
    ("", "MatMulInteger"): 1,
    ("", "QLinearMatMul"): 3,
    ("com.microsoft", "DynamicQuantizeMatMul"): 1,
    ("com.microsoft", "FusedMatMul"): 1,
    ("com.microsoft", "MatMulIntegerToFloat"): 1,
    ("com.microsoft", "MatMulNBits"): 1,
}
# Convolutions whose channels are dim 1 of what they make, with the slot of the kernel.
_CONVOLUTIONS: Final = {
    ("", "Conv"): 1,
    ("", "ConvInteger"): 1,
    ("", "ConvTranspose"): 1,
    ("", "DeformConv"): 1,
    ("", "QLinearConv"): 3,
}
# Behind one, these leave it what it is: quantised, or dequantised again.
_CARRY: Final = frozenset(
    (domain, op_type) for domain in ("", "com.microsoft") for op_type in ("Cast", "DequantizeLinear", "QuantizeLinear")
)
# What adds a bias, with its slot and that of what it is added to.
_SUMS: Final = {("", "Add"): ((0, 1), (1, 0)), ("com.microsoft", "QLinearAdd"): ((0, 3), (3, 0))}


def added_biases(
    supergraph: SuperGraph, branches: Edges, constant: frozenset[str], types: Mapping[str, TensorType]
) -> dict[tuple[int, int], Condition]:
    """Return when the operand of an addition is a layer's bias, by node index and slot.

    That is a constant with an element for each output of a product by a constant matrix (the last dim), or for each
    channel of what a convolution with a constant kernel makes (dim 1).

    Args:
        supergraph: Where to look.
        branches: The branch outputs of each pool node, as in ``Facts``.
        constant: The tensors that are constant, likewise.
        types: The inferred types of its tensors.
    """
    diagrams = supergraph.diagrams
    biases: dict[tuple[int, int], Condition] = {}
    for layers, axis in ((_PRODUCTS, -1), (_CONVOLUTIONS, 1)):
        made = _made_by(layers, supergraph, branches, constant, types)
        for place, condition in _found(supergraph, constant, types, made, axis):
            biases[place] = diagrams.either(biases.get(place, diagrams.false), condition)
    return biases


def _chosen(diagrams: Diagrams, branches: Sequence[tuple[Condition, str]], holds: Mapping[str, Condition]) -> Condition:
    """Return when something holds for a pool's output: when it holds for the chosen branch's."""
    chosen = diagrams.false
    for literal, name in branches:
        chosen = diagrams.either(chosen, diagrams.both(literal, holds.get(name, diagrams.false)))
    return chosen


def _made_by(
    layers: Mapping[tuple[str, str], int],
    supergraph: SuperGraph,
    branches: Edges,
    constant: frozenset[str],
    types: Mapping[str, TensorType],
) -> dict[str, Condition]:
    """Return when tensors are what a layer with constant weights makes, quantised or scaled."""
    diagrams = supergraph.diagrams
    made: dict[str, Condition] = {}
    for index, node in enumerate(supergraph.graph.node):
        if index in supergraph.marks:
            made[node.output[0]] = _chosen(diagrams, branches[node.output[0]], made)
            continue
        kind = _kind(node)
        if kind in layers:
            made[node.output[0]] = diagrams.true if node.input[layers[kind]] in constant else diagrams.false
        elif kind in _CARRY and node.input[0] in made:
            made[node.output[0]] = made[node.input[0]]
        elif kind == ("", "Mul"):
            for name, other in (node.input, reversed(node.input)):
                scale = types.get(other)
                if name in made and scale is not None and scale.numel == 1:
                    made[node.output[0]] = made[name]
    return made


def _found(
    supergraph: SuperGraph,
    constant: frozenset[str],
    types: Mapping[str, TensorType],
    made: Mapping[str, Condition],
    axis: int,
) -> Iterator[tuple[tuple[int, int], Condition]]:
    """Iterate over the constants along a dim that are added to what layers make, by node index and slot."""
    never = supergraph.diagrams.false
    for index, node in enumerate(supergraph.graph.node):
        for slot, other_slot in _SUMS.get(_kind(node), ()):
            name, other = node.input[slot], node.input[other_slot]
            when = made.get(other, never) if name in constant else never
            if when is not never and _spans(types.get(name), types.get(other), axis):
                yield (index, slot), when


def _kind(node: NodeProto) -> tuple[str, str]:
    return "" if is_standard(node) else node.domain, node.op_type


def _spans(bias: TensorType | None, output: TensorType | None, axis: int) -> bool:
    """Tell whether a constant has as many elements as a dim of the output, and lies along it."""
    if bias is None or output is None or not bias.shape or not output.shape:
        return False
    place = axis - len(output.shape) if axis >= 0 else axis
    if -place > len(bias.shape) or -place > len(output.shape):
        return False
    return bias.shape[place] == output.shape[place] and bias.numel == bias.shape[place]
