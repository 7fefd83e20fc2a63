"""Operators that cost no multiply-accumulates, each group with the rule that says so.

An operator of the standard domain that stands neither here nor in a metric's handlers is unknown: an error, not a
zero. Control flow (If, Loop, Scan, SequenceMap), transforms whose count depends on the algorithm (DFT, STFT, Det)
and LinearAttention are left unknown on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["RULES", "FreeRule", "reason"]


@dataclass(frozen=True, slots=True)
class FreeRule:
    """A reason, and the operators of the standard domain that it makes free.

    Attributes:
        why: The rule.
        operators: Whom it is about.
    """

    why: str
    operators: frozenset[str]


def _rule(why: str, operators: str) -> FreeRule:
    return FreeRule(why, frozenset(operators.split()))


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
)

_REASONS: Final = {operator: rule.why for rule in RULES for operator in rule.operators}


def reason(op_type: str, domain: str = "") -> str | None:
    """Return the rule that makes an operator free, or None. Operators of other domains are never free."""
    return _REASONS.get(op_type) if domain in ("", "ai.onnx") else None
