"""Which operand of an operator is a weight, a bias, or no parameter at all.

Slots are input indices of operators of the standard domain. A slot that stands in none of the tables takes data: a
float constant there (an embedding table, a position code, the operand of an addition) is a weight if it has more
than one element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["Role", "is_shape_slot", "is_standard", "role"]

Role = Literal["weight", "bias", "setting", "data"]
"""What an operator does with a constant: ``weight`` and ``bias`` are parameters, a ``setting`` never is."""

_WEIGHTS: Final[dict[str, frozenset[int]]] = {
    "BatchNormalization": frozenset({1, 3, 4}),  # scale, running mean, running variance
    "CausalConvWithState": frozenset({1}),
    "Conv": frozenset({1}),
    "ConvInteger": frozenset({1}),
    "ConvTranspose": frozenset({1}),
    "DeformConv": frozenset({1}),
    "DequantizeLinear": frozenset({0}),
    "GRU": frozenset({1, 2}),
    "Gemm": frozenset({1}),
    "GroupNormalization": frozenset({1}),
    "InstanceNormalization": frozenset({1}),
    "LSTM": frozenset({1, 2, 7}),  # input and recurrent weights, peepholes
    "LayerNormalization": frozenset({1}),
    "MatMul": frozenset({1}),
    "MatMulInteger": frozenset({0, 1}),
    "PRelu": frozenset({1}),
    "QLinearConv": frozenset({3}),
    "QLinearMatMul": frozenset({0, 3}),
    "RMSNormalization": frozenset({1}),
    "RNN": frozenset({1, 2}),
}

_BIASES: Final[dict[str, frozenset[int]]] = {
    "BatchNormalization": frozenset({2}),
    "CausalConvWithState": frozenset({2}),
    "Conv": frozenset({2}),
    "ConvTranspose": frozenset({2}),
    "DeformConv": frozenset({3}),
    "GRU": frozenset({3}),
    "Gemm": frozenset({2}),
    "GroupNormalization": frozenset({2}),
    "InstanceNormalization": frozenset({2}),
    "LSTM": frozenset({3}),
    "LayerNormalization": frozenset({2}),
    "QLinearConv": frozenset({8}),
    "RNN": frozenset({3}),
}

_ALL: Final = frozenset(range(16))

# Operands that describe shapes, positions along an axis, or how many: what is computed for them alone is no data.
_SHAPES: Final[dict[str, frozenset[int]]] = {
    "AffineGrid": frozenset({1}),
    "CenterCropPad": frozenset({1}),
    "Col2Im": frozenset({1, 2}),
    "ConstantOfShape": _ALL,
    "Expand": frozenset({1}),
    "EyeLike": _ALL,
    "MaxUnpool": frozenset({2}),
    "Pad": frozenset({1, 3}),
    "RandomNormalLike": _ALL,
    "RandomUniformLike": _ALL,
    "Range": _ALL,
    "Reshape": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "Shape": _ALL,
    "Size": _ALL,
    "Slice": frozenset({1, 2, 3, 4}),
    "Split": frozenset({1}),
    "SplitToSequence": frozenset({1}),
    "Squeeze": frozenset({1}),
    "Tile": frozenset({1}),
    "TopK": frozenset({1}),
    "Unsqueeze": frozenset({1}),
    "Upsample": frozenset({1}),
}

# Limits, scales, indices, masks, states and tables of positions: they steer an operator and are not learned.
_SETTINGS: Final[dict[str, frozenset[int]]] = {
    "Attention": frozenset({3, 4, 5, 6}),
    "CastLike": frozenset({1}),
    "CausalConvWithState": frozenset({3}),
    "Clip": frozenset({1, 2}),
    "Compress": frozenset({1}),
    "ConvInteger": frozenset({2, 3}),
    "CumProd": frozenset({1}),
    "CumSum": frozenset({1}),
    "DFT": frozenset({1, 2}),
    "DequantizeLinear": frozenset({1, 2}),
    "Dropout": frozenset({1, 2}),
    "Equal": _ALL,
    "GRU": frozenset({4, 5}),
    "Gather": frozenset({1}),
    "GatherElements": frozenset({1}),
    "GatherND": frozenset({1}),
    "Greater": _ALL,
    "GreaterOrEqual": _ALL,
    "If": frozenset({0}),
    "LSTM": frozenset({4, 5, 6}),
    "Less": _ALL,
    "LessOrEqual": _ALL,
    "Loop": frozenset({0, 1}),
    "MatMulInteger": frozenset({2, 3}),
    "MaxRoiPool": frozenset({1}),
    "MaxUnpool": frozenset({1}),
    "MelWeightMatrix": _ALL,
    "NonMaxSuppression": _ALL,
    "OneHot": frozenset({1, 2}),
    "Pad": frozenset({2}),
    "Pow": frozenset({1}),
    "QLinearConv": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMatMul": frozenset({1, 2, 4, 5, 6, 7}),
    "QuantizeLinear": frozenset({1, 2}),
    "RNN": frozenset({4, 5}),
    "ReverseSequence": frozenset({1}),
    "RoiAlign": frozenset({1, 2}),
    "RotaryEmbedding": frozenset({1, 2, 3}),
    "STFT": frozenset({1, 2, 3}),
    "Scatter": frozenset({1}),
    "ScatterElements": frozenset({1}),
    "ScatterND": frozenset({1}),
    "SequenceAt": frozenset({1}),
    "TensorScatter": frozenset({2}),
    "Trilu": frozenset({1}),
    "Where": frozenset({0}),
}

_NONE: Final[frozenset[int]] = frozenset()


def is_standard(node: NodeProto) -> bool:
    """Tell whether a node's operator is one of the standard domain."""
    return node.domain in ("", "ai.onnx")


def role(node: NodeProto, slot: int) -> Role:
    """Return what a node does with a constant in input ``slot``."""
    if not is_standard(node):
        return "data"
    op_type = node.op_type
    if slot in _WEIGHTS.get(op_type, _NONE):
        return "weight"
    if slot in _BIASES.get(op_type, _NONE):
        return "bias"
    if slot in _SETTINGS.get(op_type, _NONE) or is_shape_slot(node, slot):
        return "setting"
    return "data"


def is_shape_slot(node: NodeProto, slot: int) -> bool:
    """Tell whether input ``slot`` describes a shape or a range, so that no data pass through it."""
    if not is_standard(node):
        return False
    if node.op_type.startswith("Reduce"):
        return slot == 1
    return slot in _SHAPES.get(node.op_type, _NONE)
