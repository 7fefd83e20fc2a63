"""Counts of multiply-accumulates: one small function for each operator, registered once.

Conventions, those of ``torch.utils.flop_counter`` (halved) wherever that counts an operator too:

- the direct algorithm is counted, from shapes alone: neither padding nor masks nor zeros make it cheaper;
- a bias is no multiply-accumulate; ``ops`` adds one operation each time one is added, ``ops_no_bias`` does not;
- scalings (``alpha``, ``beta``, quantisation) and the gates of recurrent cells are elementwise, and free.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from supernet_onnx.cost.spec import CostSpec
from supernet_onnx.errors import CostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from supernet_onnx.cost.opcall import OpCall

    Count = Callable[[OpCall], int]

__all__ = ["counted", "macs", "once_an_element", "ops", "ops_no_bias"]

macs: Final = CostSpec("macs", "multiply-accumulates")
"""Multiply-accumulates."""

ops: Final = CostSpec("ops", "operations")
"""Multiply-accumulates, plus one for each addition of a bias."""

ops_no_bias: Final = CostSpec("ops_no_bias", "operations")
"""``ops`` without the additions of biases."""


def counted(
    op_type: str, *, domain: str = "", bias: Count | None = None, when: Callable[[OpCall], bool] | None = None
) -> Callable[[Count], Count]:
    """Register a function that counts multiply-accumulates with all three metrics.

    Args:
        op_type: The operator.
        domain: Its domain.
        bias: How often it adds a bias; None for never.
        when: Which calls are counted; None for all.
    """

    def register(count: Count) -> Count:
        def count_with_bias(call: OpCall) -> int:
            return count(call) + (bias(call) if bias else 0)

        macs.counts(op_type, domain=domain, when=when)(count)
        ops_no_bias.counts(op_type, domain=domain, when=when)(count)
        ops.counts(op_type, domain=domain, when=when)(count_with_bias)
        return count

    return register


def once_an_element(slot: int) -> Count:
    """Return the count of bias additions of an operator that adds input ``slot``, if given, to all it makes."""
    return lambda call: call.output().numel if call.has_input(slot) else 0


def _convolved(call: OpCall, weight_slot: int) -> int:
    """Each output element sums over one filter, whose weight is ``(C_out, C_in / group, *kernel)``."""
    return call.output().numel * math.prod(call.input(weight_slot).shape[1:])


@counted("Conv", bias=once_an_element(2))
def _conv(call: OpCall) -> int:
    return _convolved(call, 1)


@counted("DeformConv", bias=once_an_element(3))
def _deform_conv(call: OpCall) -> int:
    """The filters alone; sampling at the offsets is resampling, and free."""
    return _convolved(call, 1)


@counted("CausalConvWithState", bias=once_an_element(2))
def _causal_conv(call: OpCall) -> int:
    return _convolved(call, 1)


@counted("ConvInteger")
def _conv_integer(call: OpCall) -> int:
    return _convolved(call, 1)


@counted("QLinearConv", bias=once_an_element(8))
def _qlinear_conv(call: OpCall) -> int:
    return _convolved(call, 3)


@counted("ConvTranspose", bias=once_an_element(2))
def _conv_transpose(call: OpCall) -> int:
    """Each *input* element is spread by one filter, whose weight is ``(C_in, C_out / group, *kernel)``.

    What ``pads`` and ``output_shape`` cut off again is counted: it is computed.
    """
    return call.input(0).numel * math.prod(call.input(1).shape[1:])


@counted("Gemm", bias=once_an_element(2))
def _gemm(call: OpCall) -> int:
    """``A`` is ``(M, K)``, or ``(K, M)`` with ``transA``."""
    inner = call.input(0).shape[0 if call.attrs.get("transA") else -1]
    return call.output().numel * inner


def _multiplied(call: OpCall) -> int:
    """``(..., M, K) @ (..., K, N)``, batches broadcast; a 1-D operand is ``(K,)``."""
    return call.output().numel * call.input(0).shape[-1]


@counted("MatMul")
def _matmul(call: OpCall) -> int:
    return _multiplied(call)


@counted("MatMulInteger")
def _matmul_integer(call: OpCall) -> int:
    return _multiplied(call)


@counted("QLinearMatMul")
def _qlinear_matmul(call: OpCall) -> int:
    return _multiplied(call)


@ops.counts("Add", when=lambda call: any(operand is not None and operand.is_bias for operand in call.inputs))
def _added_bias(call: OpCall) -> int:
    """The bias of a layer that is written as an addition of its own."""
    return call.output().numel


@counted("Einsum", when=lambda call: len(call.inputs) <= 2)  # with three, the count depends on the order
def _einsum(call: OpCall) -> int:
    """One for each combination of the indices that the product runs over.

    An index of one operand alone that is not in the output is summed up before the product. One operand alone is
    only permuted or summed, which is free.
    """
    equation = str(call.attrs.get("equation", "")).replace(" ", "")
    terms, arrow, output = equation.partition("->")
    labels = [_labels(term, call, slot) for slot, term in enumerate(terms.split(","))]
    if len(labels) != len(call.inputs):
        raise CostError(f"{call.name}: equation '{equation}' has {len(labels)} terms for {len(call.inputs)} inputs")
    if len(labels) == 1:
        return 0
    sizes = {label: max(side.get(label, 1) for side in labels) for label in {**labels[0], **labels[1]}}
    if arrow:
        kept = set(output) | {label for label in sizes if label.startswith(".")}
    else:
        counts = Counter(terms.replace(".", ""))
        kept = {label for label in sizes if label.startswith(".") or counts[label] == 1}
    return math.prod(size for label, size in sizes.items() if label in kept or all(label in side for side in labels))


def _labels(term: str, call: OpCall, slot: int) -> dict[str, int]:
    """Return the size of each index of a term; the dims of an ellipsis are ``.1``, ``.2``, ... from the last."""
    shape = call.input(slot).shape
    before, dots, after = term.partition("...")
    spread = len(shape) - len(before) - len(after)
    if spread < 0 or (spread and not dots):
        raise CostError(f"{call.name}: term '{term}' of its equation does not fit the shape {list(shape)}")
    names = [*before, *(f".{i}" for i in range(spread, 0, -1)), *after]
    return dict(zip(names, shape, strict=True))


def _steps(call: OpCall) -> int:
    """Time steps times batch: the first two dims of ``X``, in either layout."""
    return math.prod(call.input(0).shape[:2])


def _recurrent_bias(call: OpCall) -> int:
    """``B`` is ``(directions, 2 * gates * hidden)``: one bias for the input, one for the state, added each step."""
    return _steps(call) * call.input(3).numel if call.has_input(3) else 0


def _recurrent(call: OpCall) -> int:
    """Each step multiplies by ``W (directions, gates * hidden, input)`` and ``R (directions, gates * hidden, hidden)``.

    All steps count, whatever ``sequence_lens`` says. Peepholes are elementwise.
    """
    return _steps(call) * (call.input(1).numel + call.input(2).numel)


@counted("RNN", bias=_recurrent_bias)
def _rnn(call: OpCall) -> int:
    return _recurrent(call)


@counted("GRU", bias=_recurrent_bias)
def _gru(call: OpCall) -> int:
    return _recurrent(call)


@counted("LSTM", bias=_recurrent_bias)
def _lstm(call: OpCall) -> int:
    return _recurrent(call)


@counted("Attention")
def _attention(call: OpCall) -> int:
    """``Q K^T`` and the product with ``V``, dense: masks and windows make it no cheaper.

    Operands are ``(B, heads, S, size)`` or ``(B, S, heads * size)``; with grouped heads each query head still meets
    every key. Past keys count.
    """
    keys = call.input(1).shape[-2]
    if call.has_input(4):
        keys += call.input(4).shape[-2]
    return keys * (call.input(0).numel + call.output().numel)
