"""Multiply-accumulates of onnxruntime's own operators: what its optimizers fuse and its quantizers write.

Slots and shapes are those of onnxruntime's ``ContribOperators.md``. A fused operator counts what the operators that it
replaces count, so that an optimized model costs what the original does. Layouts with blocked channels
(``com.microsoft.nchwc``) pad these to whole blocks, which is computed and counts.

Left unknown on purpose: mixtures of experts, sparse, paged and packed attention, whose count depends on data, and
decoders that run a whole search.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from supernet_onnx.cost.operators import counted, once_an_element, ops
from supernet_onnx.errors import CostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from supernet_onnx.cost.opcall import OpCall

    Count = Callable[[OpCall], int]

__all__ = ["COUNTED"]

_MICROSOFT: Final = "com.microsoft"

COUNTED: Final[dict[str, set[str]]] = {_MICROSOFT: set(), "com.microsoft.nchwc": set()}
"""The operators that are counted here, by domain."""


def _register(count: Count, operators: str, *, bias: int | None = None, domain: str = _MICROSOFT) -> None:
    """Register a count for several operators; ``bias`` is the slot of what they add to all they make."""
    for op_type in operators.split():
        COUNTED[domain].add(op_type)
        counted(op_type, domain=domain, bias=None if bias is None else once_an_element(bias))(count)


def _convolved(weight_slot: int) -> Count:
    """``(C_out, C_in / group, *kernel)``, or its dims behind the first in another order."""
    return lambda call: call.output().numel * math.prod(call.input(weight_slot).shape[1:])


_register(_convolved(1), "FusedConv NhwcConv NhwcFusedConv", bias=2)
_register(_convolved(1), "Conv", bias=2, domain="com.microsoft.nchwc")
_register(_convolved(3), "QLinearConv", bias=8)
_register(lambda call: call.input(0).numel * math.prod(call.input(1).shape[1:]), "ConvTransposeWithDynamicPads", bias=3)


def _gemm(call: OpCall) -> int:
    """``A`` is ``(M, K)``, or ``(K, M)`` with ``transA``."""
    return call.output().numel * call.input(0).shape[0 if call.attrs.get("transA") else -1]


_register(_gemm, "FusedGemm GemmFloat8", bias=2)
_register(_gemm, "QGemm", bias=6)


def _multiplied(call: OpCall) -> int:
    """``(..., M, K) @ (..., K, N)``."""
    return call.output().numel * call.input(0).shape[-1]


_register(_multiplied, "MatMulFpQ4 MatMulInteger16")
_register(_multiplied, "GemmFastGelu", bias=2)
_register(_multiplied, "DynamicQuantizeMatMul", bias=4)
_register(_multiplied, "MatMulIntegerToFloat", bias=6)


def _transposed(call: OpCall) -> int:
    """``A`` is ``(..., M, K)``; ``(..., K, M)`` with ``transA``, its ``M`` or ``K`` first with ``transBatchA``."""
    outer = 0 if call.attrs.get("transBatchA") else -2
    return call.output().numel * call.input(0).shape[outer if call.attrs.get("transA") else -1]


_register(_transposed, "FusedMatMul FusedMatMulActivation TransposeMatMul")


def _packed(call: OpCall) -> int:
    """``A`` is ``(..., K)``; ``B`` holds ``(N, K)`` packed, so that ``N`` is an attribute."""
    width = call.attrs.get("N")
    if not isinstance(width, int):
        raise CostError(f"{call.name}: attribute 'N' is missing, its cost depends on it; check the model")
    return call.input(0).numel * width


_register(_packed, "MatMulNBits", bias=5)
_register(_packed, "MatMulBnb4")


def _lstm(call: OpCall) -> int:
    """As LSTM, but ``W`` and ``R`` are ``(directions, size, gates * hidden)``: the product is the same."""
    return math.prod(call.input(0).shape[:2]) * (call.input(1).numel + call.input(2).numel)


def _lstm_bias(call: OpCall) -> int:
    return math.prod(call.input(0).shape[:2]) * call.input(3).numel if call.has_input(3) else 0


COUNTED[_MICROSOFT].add("DynamicQuantizeLSTM")
counted("DynamicQuantizeLSTM", domain=_MICROSOFT, bias=_lstm_bias)(_lstm)


def _past(call: OpCall, slot: int) -> int:
    """Return how many past keys there are: ``past`` is ``(2, B, heads, P, size)``, ``past_key (B, heads, P, size)``."""
    return call.input(slot).shape[-2] if call.has_input(slot) else 0


def _projected(past_slot: int) -> Count:
    """Attention that first projects ``input (B, S, D)`` by ``weights (D, Dq + Dk + Dv)``; it makes ``(B, S, Dv)``."""

    def count(call: OpCall) -> int:
        tokens, length = math.prod(call.input(0).shape[:2]), call.input(0).shape[1]
        widths = call.input(1).shape[1]
        values = call.output().shape[-1]
        queries = (widths - values) // 2
        past = _past(call, past_slot)
        keys = past if past and call.attrs.get("past_present_share_buffer") else past + length
        return call.input(0).numel * widths + tokens * keys * (queries + values)

    return count


def _projection_bias(call: OpCall) -> int:
    """``bias`` is ``(Dq + Dk + Dv,)``, added to every token."""
    return math.prod(call.input(0).shape[:2]) * call.input(2).numel if call.has_input(2) else 0


for _op_type, _slot in (("Attention", 4), ("QAttention", 8)):
    COUNTED[_MICROSOFT].add(_op_type)
    counted(_op_type, domain=_MICROSOFT, bias=_projection_bias)(_projected(_slot))


def _attended(past_slot: int) -> Count:
    """Attention over ``query (B, S, D)`` or packed ``(B, S, heads, 3, size)``; the output is ``(B, S, Dv)``.

    ``key`` is ``(B, L, D)``, packed ``(B, L, heads, 2, size)``, or ``(B, heads, L, size)``.
    """

    def count(call: OpCall) -> int:
        query = call.input(0)
        packed = len(query.shape) == 5
        queries = query.numel // 3 if packed else query.numel
        if packed or not call.has_input(1):
            keys = query.shape[1]
        else:
            keys = call.input(1).shape[2 if len(call.input(1).shape) == 4 else 1]
        past = _past(call, past_slot)
        keys = past if past and call.attrs.get("past_present_share_buffer") else past + keys
        return keys * (queries + call.output().numel)

    return count


def _query_bias(slot: int) -> Count:
    """``bias`` is ``(Dq + Dk + Dv,)``, added to queries, keys and values; counted by the queries' tokens."""
    return lambda call: math.prod(call.input(0).shape[:2]) * call.input(slot).numel if call.has_input(slot) else 0


for _op_type, _slot, _bias_slot in (("MultiHeadAttention", 6, 3), ("DecoderMaskedMultiHeadAttention", 5, 10)):
    COUNTED[_MICROSOFT].add(_op_type)
    counted(_op_type, domain=_MICROSOFT, bias=_query_bias(_bias_slot))(_attended(_slot))


def _grouped(call: OpCall) -> int:
    """Attention whose heads share keys; the output is ``(B, S, heads * size)`` like the queries.

    Keys are those of ``present_key (B, key heads, T, size)``: with a shared buffer, all that it has room for.
    """
    keys = call.output(1).shape[-2] if len(call.outputs) > 1 and call.outputs[1] is not None else call.input(0).shape[1]
    return 2 * keys * call.output().numel


_register(_grouped, "GroupQueryAttention")


def _nothing(call: OpCall) -> int:
    """Elementwise, and free but for the bias."""
    return 0


_register(_nothing, "BiasGelu FastGelu", bias=1)
_register(_nothing, "SkipLayerNormalization", bias=4)
_register(_nothing, "SkipSimplifiedLayerNormalization", bias=3)


@ops.counts("QLinearAdd", domain=_MICROSOFT, when=lambda call: any(o is not None and o.is_bias for o in call.inputs))
def _linear_bias(call: OpCall) -> int:
    """The bias of a quantised linear layer on tokens."""
    return call.output().numel
