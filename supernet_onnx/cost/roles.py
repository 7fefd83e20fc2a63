"""Which operand of an operator is a weight, a bias, or no parameter at all.

Slots are input indices, of operators of the standard domain and of onnxruntime's own. A slot that stands in none of
the tables takes data: a float constant there (an embedding table, a position code, the operand of an addition) is a
weight if it has more than one element.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, Literal

from supernet_onnx.graph import STANDARD, is_standard

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["Role", "is_shape_slot", "role"]

Role = Literal["weight", "bias", "setting", "data", "quantized"]
"""What an operator does with a constant: ``weight`` and ``bias`` are parameters, a ``setting`` never is; ``quantized``
data are what floats would be in a ``data`` slot.
"""

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

# The same for onnxruntime's own operators, whose names are unique: FusedConv, MatMulNBits, SkipLayerNormalization, ...
_CONTRIB_WEIGHTS: Final[dict[str, frozenset[int]]] = {
    "Attention": frozenset({1}),
    "Conv": frozenset({1}),  # of com.microsoft.nchwc
    "ConvTransposeWithDynamicPads": frozenset({1}),
    "DequantizeLinear": frozenset({0}),
    "DynamicQuantizeLSTM": frozenset({1, 2, 7}),
    "DynamicQuantizeMatMul": frozenset({1}),
    "EmbedLayerNormalization": frozenset({2, 3, 4, 5}),
    "FusedConv": frozenset({1}),
    "FusedGemm": frozenset({1}),
    "FusedMatMul": frozenset({1}),
    "FusedMatMulActivation": frozenset({1}),
    "GatherBlockQuantized": frozenset({0}),
    "GemmFastGelu": frozenset({1}),
    "GemmFloat8": frozenset({1}),
    "GroupNorm": frozenset({1}),
    "GroupQueryAttention": frozenset({11, 14, 15}),
    "MatMulBnb4": frozenset({1}),
    "MatMulFpQ4": frozenset({1}),
    "MatMulInteger16": frozenset({0, 1}),
    "MatMulIntegerToFloat": frozenset({0, 1}),
    "MatMulNBits": frozenset({1}),
    "NhwcConv": frozenset({1}),
    "NhwcFusedConv": frozenset({1}),
    "QAttention": frozenset({1}),
    "QEmbedLayerNormalization": frozenset({2, 3, 4, 5}),
    "QGemm": frozenset({0, 3}),
    "QLinearConv": frozenset({3}),
    "RelativePositionBias": frozenset({0}),
    "SimplifiedLayerNormalization": frozenset({1}),
    "SkipGroupNorm": frozenset({1}),
    "SkipLayerNormalization": frozenset({2}),
    "SkipSimplifiedLayerNormalization": frozenset({2}),
    "TransposeMatMul": frozenset({1}),
}

_CONTRIB_BIASES: Final[dict[str, frozenset[int]]] = {
    "Attention": frozenset({2}),
    "BiasAdd": frozenset({1}),
    "BiasGelu": frozenset({1}),
    "BiasSplitGelu": frozenset({1}),
    "Conv": frozenset({2}),
    "ConvTransposeWithDynamicPads": frozenset({3}),
    "DecoderMaskedMultiHeadAttention": frozenset({10}),
    "DynamicQuantizeLSTM": frozenset({3}),
    "DynamicQuantizeMatMul": frozenset({4}),
    "EmbedLayerNormalization": frozenset({6}),
    "FastGelu": frozenset({1}),
    "FusedConv": frozenset({2}),
    "FusedGemm": frozenset({2}),
    "GemmFastGelu": frozenset({2}),
    "GemmFloat8": frozenset({2}),
    "GroupNorm": frozenset({2}),
    "MatMulIntegerToFloat": frozenset({6}),
    "MatMulNBits": frozenset({5}),
    "MultiHeadAttention": frozenset({3}),
    "NhwcConv": frozenset({2}),
    "NhwcFusedConv": frozenset({2}),
    "QAttention": frozenset({2}),
    "QEmbedLayerNormalization": frozenset({6}),
    "QGemm": frozenset({6}),
    "QLinearConv": frozenset({8}),
    "SkipGroupNorm": frozenset({2, 4}),
    "SkipLayerNormalization": frozenset({3, 4}),
    "SkipSimplifiedLayerNormalization": frozenset({3}),
}

_CONTRIB_QUANTIZED: Final[dict[str, frozenset[int]]] = {
    "QLinearAdd": frozenset({0, 3}),
    "QLinearMul": frozenset({0, 3}),
    "QLinearWhere": frozenset({1, 4}),
}

_CONTRIB_SETTINGS: Final[dict[str, frozenset[int]]] = {
    "Attention": frozenset({3, 5, 6}),
    "DecoderMaskedMultiHeadAttention": frozenset({3, 4, 7, 8, 9}),
    "DequantizeLinear": frozenset({1, 2}),
    "DynamicQuantizeLSTM": frozenset({4, 5, 6, 8, 9, 10, 11}),
    "DynamicQuantizeMatMul": frozenset({2, 3}),
    "EmbedLayerNormalization": frozenset({0, 1, 7, 8}),
    "GatherBlockQuantized": frozenset({1, 2, 3}),
    "GatherND": frozenset({1}),
    "GemmFloat8": frozenset({3, 4, 5}),
    "GemmaRotaryEmbedding": frozenset({0}),
    "GroupQueryAttention": frozenset({5, 6, 7, 8, 9, 10, 12, 13, 16}),
    "MatMulBnb4": frozenset({2}),
    "MatMulFpQ4": frozenset({2}),
    "MatMulIntegerToFloat": frozenset({2, 3, 4, 5}),
    "MatMulNBits": frozenset({2, 3, 4}),
    "MulInteger": frozenset({1, 3}),
    "MultiHeadAttention": frozenset({4, 5, 8, 9}),
    "Pad": frozenset({1, 2}),
    "QAttention": frozenset({3, 4, 5, 6, 7}),
    "QEmbedLayerNormalization": frozenset({0, 1, *range(7, 18)}),
    "QGemm": frozenset({1, 2, 4, 5, 7, 8}),
    "QLinearAdd": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearAveragePool": frozenset({1, 2, 3, 4}),
    "QLinearConv": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearGlobalAveragePool": frozenset({1, 2, 3, 4}),
    "QLinearLeakyRelu": frozenset({1, 2, 3, 4}),
    "QLinearMul": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearReduceMean": frozenset({1, 2, 3, 4}),
    "QLinearSigmoid": frozenset({1, 2, 3, 4}),
    "QLinearSoftmax": frozenset({1, 2, 3, 4}),
    "QLinearWhere": frozenset({0, 2, 3, 5, 6, 7, 8}),
    "QuantizeLinear": frozenset({1, 2}),
    "Range": frozenset({0, 1, 2}),
    "RelativePositionBias": frozenset({1, 2}),
    "RotaryEmbedding": frozenset({1, 2, 3}),
}

_CONTRIB_DOMAINS: Final = ("com.microsoft", "com.microsoft.nchwc")
_NONE: Final[frozenset[int]] = frozenset()


def role(node: NodeProto, slot: int) -> Role:
    """Return what a node does with a constant in input ``slot``."""
    return _role(node.domain, node.op_type, slot)


@functools.lru_cache(maxsize=4096)  # it is asked for every input of every node
def _role(domain: str, op_type: str, slot: int) -> Role:
    if domain in _CONTRIB_DOMAINS or op_type == "SimplifiedLayerNormalization":
        return _contrib_role(op_type, slot)
    if domain not in STANDARD:
        return "data"
    if slot in _WEIGHTS.get(op_type, _NONE):
        return "weight"
    if slot in _BIASES.get(op_type, _NONE):
        return "bias"
    if slot in _SETTINGS.get(op_type, _NONE) or _is_shape_slot(op_type, slot):
        return "setting"
    return "data"


def _contrib_role(op_type: str, slot: int) -> Role:
    if op_type == "QLinearConcat":  # the scale and zero point of its output, then three operands for each input
        return "quantized" if slot % 3 == 2 else "setting"
    if slot in _CONTRIB_WEIGHTS.get(op_type, _NONE):
        return "weight"
    if slot in _CONTRIB_BIASES.get(op_type, _NONE):
        return "bias"
    if slot in _CONTRIB_QUANTIZED.get(op_type, _NONE):
        return "quantized"
    return "setting" if slot in _CONTRIB_SETTINGS.get(op_type, _NONE) else "data"


def is_shape_slot(node: NodeProto, slot: int) -> bool:
    """Tell whether input ``slot`` describes a shape or a range, so that no data pass through it."""
    return is_standard(node) and _is_shape_slot(node.op_type, slot)


def _is_shape_slot(op_type: str, slot: int) -> bool:
    return slot == 1 if op_type.startswith("Reduce") else slot in _SHAPES.get(op_type, _NONE)
