"""Operators that cost no multiply-accumulates, each group with the rule that says so.

An operator that stands neither here nor in a metric's handlers is unknown: an error, not a zero. Transforms whose
count depends on the algorithm (DFT, STFT, Det) and LinearAttention are left unknown on purpose; control flow costs
what the graphs in it do (``supernet_onnx.cost.nested``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["RULES", "FreeRule", "reason"]


@dataclass(frozen=True, slots=True)
class FreeRule:
    """A reason, and the operators that it makes free.

    Attributes:
        why: The rule.
        operators: Whom it is about.
        domain: Their domain, ``""`` for the standard one.
    """

    why: str
    operators: frozenset[str]
    domain: str = ""


def _rule(why: str, operators: str, domain: str = "") -> FreeRule:
    return FreeRule(why, frozenset(operators.split()), domain)


_MICROSOFT: Final = "com.microsoft"


RULES: Final = (
    _rule(
        "moves, repeats or selects elements and computes none (Dropout is a copy in inference)",
        """BitCast CenterCropPad Compress Concat DepthToSpace Dropout Expand Flatten Gather GatherElements GatherND
        Identity MaxUnpool OneHot Pad Reshape ReverseSequence Scatter ScatterElements ScatterND Slice SpaceToDepth Split
        Squeeze TensorScatter Tile Transpose Trilu Unsqueeze Where""",
    ),
    _rule(
        "changes the element type, with at most one scaling for each element",
        "Cast CastLike DequantizeLinear DynamicQuantizeLinear QuantizeLinear",
    ),
    _rule(
        "makes a constant, a shape or a table; it does not work on the data",
        """Bernoulli BlackmanWindow Constant ConstantOfShape EyeLike HammingWindow HannWindow MelWeightMatrix
        Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Shape Size""",
    ),
    _rule(
        "elementwise arithmetic: one operation for each element, nothing is accumulated",
        """Abs Acos Acosh Add Asin Asinh Atan Atanh BitShift Ceil Clip Cos Cosh Div Erf Exp Floor Log Max Mean Min Mod
        Mul Neg Pow Reciprocal RotaryEmbedding Round Sign Sin Sinh Sqrt Sub Sum Tan""",
    ),
    _rule(
        "comparison or logic, no multiplication",
        """And BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not
        Or Xor""",
    ),
    _rule(
        "activation: a function of one element, or of one row for the softmaxes",
        """Celu Elu Gelu HardSigmoid HardSwish Hardmax LeakyRelu LogSoftmax Mish PRelu Relu Selu Shrink Sigmoid Softmax
        Softplus Softsign SwiGLU Swish Tanh ThresholdedRelu""",
    ),
    _rule(
        "normalisation: scales elements by statistics; MAC counts leave it out (as fvcore, ptflops and PLiNIO do)",
        """BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization
        MeanVarianceNormalization RMSNormalization""",
    ),
    _rule(
        "pooling or reduction: adds or compares, without weights",
        """ArgMax ArgMin AveragePool Col2Im CumProd CumSum GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool
        NegativeLogLikelihoodLoss ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
        ReduceProd ReduceSum ReduceSumSquare SoftmaxCrossEntropyLoss""",
    ),
    _rule(
        "resampling: each element is a fixed mix of a few neighbours, without weights",
        "AffineGrid GridSample MaxRoiPool Resize RoiAlign Upsample",
    ),
    _rule("search or sorting: compares, no multiplication", "NonMaxSuppression NonZero TopK Unique"),
    _rule(
        "sequences, optionals, strings and encoded images: no tensor arithmetic",
        """ConcatFromSequence ImageDecoder Optional OptionalGetElement OptionalHasElement RegexFullMatch SequenceAt
        SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence StringConcat
        StringNormalizer StringSplit TfIdfVectorizer""",
    ),
    _rule(
        "of onnxruntime: moves, repeats or selects elements and computes none",
        """BiasDropout BitmaskBiasDropout BitmaskDropout ExpandDims GatherBlockQuantized GatherND Pad QLinearConcat
        RemovePadding RestorePadding Trilu UnfoldTensor""",
        _MICROSOFT,
    ),
    _rule(
        "of onnxruntime: changes the element type, with at most one scaling for each element",
        "DequantizeBFP DequantizeLinear QuantizeBFP QuantizeLinear",
        _MICROSOFT,
    ),
    _rule("of onnxruntime: makes a table; it does not work on the data", "Range RelativePositionBias", _MICROSOFT),
    _rule(
        "of onnxruntime: elementwise arithmetic, nothing is accumulated",
        """BiasAdd ComplexMul ComplexMulConj GemmaRotaryEmbedding MulInteger QLinearAdd QLinearMul QLinearWhere
        RotaryEmbedding""",
        _MICROSOFT,
    ),
    _rule(
        "of onnxruntime: activation, a function of one element or of one row",
        """BiasSoftmax BiasSplitGelu Gelu QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QuickGelu ScaledSiLU""",
        _MICROSOFT,
    ),
    _rule(
        "of onnxruntime: normalisation, as in the standard domain; embeddings are looked up, not multiplied",
        "EmbedLayerNormalization GroupNorm QEmbedLayerNormalization SkipGroupNorm",
        _MICROSOFT,
    ),
    _rule("of onnxruntime, though in the standard domain: normalisation", "SimplifiedLayerNormalization"),
    _rule(
        "of onnxruntime: pooling or reduction, adds or compares, without weights",
        """MaxpoolWithMask NhwcMaxPool QLinearAveragePool QLinearGlobalAveragePool QLinearReduceMean
        ReduceSumInteger""",
        _MICROSOFT,
    ),
    _rule("of onnxruntime: resampling, a fixed mix of a few neighbours", "CropAndResize GridSample", _MICROSOFT),
    _rule(
        "of onnxruntime: pooling, resampling or a change of layout on blocks of channels",
        "AveragePool GlobalAveragePool GlobalMaxPool MaxPool ReorderInput ReorderOutput Upsample",
        "com.microsoft.nchwc",
    ),
)

_REASONS: Final = {(rule.domain, operator): rule.why for rule in RULES for operator in rule.operators}


def reason(op_type: str, domain: str = "") -> str | None:
    """Return the rule that makes an operator free, or None."""
    return _REASONS.get(("" if domain == "ai.onnx" else domain, op_type))
