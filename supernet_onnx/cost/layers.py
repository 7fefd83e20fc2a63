"""Convolutions and linear layers as hardware models see them: channels, kernel, positions, bit widths.

The models are about accelerators of two-dimensional convolutions. A convolution in one dimension is one of height 1
and kernel 1 x k; a linear layer is one of kernel 1 x 1, whose tokens are its positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from supernet_onnx.errors import CostError

if TYPE_CHECKING:
    from supernet_onnx.cost.opcall import OpCall, Operand

__all__ = ["LAYERS", "Layer", "assume_bits", "ceil_div", "read_layer"]

LAYERS: Final = {
    "Conv": (0, 1),
    "ConvInteger": (0, 1),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
}
"""The operators of the standard domain that are layers, with the slots of their data and of their weights."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or a linear layer.

    Attributes:
        name: The node in words, for messages.
        is_linear: Whether it is a linear layer: Gemm or MatMul, also of two activations.
        channels_in: Its input channels, of all groups.
        channels_out: Its output channels, of all groups.
        groups: Its number of groups.
        kernel: The two dims of the kernel, in the order of ``positions``.
        positions: The two spatial dims of the output; for a linear layer the tokens, and 1.
        repeats: How often it runs: the batch, times the heads of a product of two activations.
        act_bits: The bits of an element of its input; None where they are no integers.
        weight_bits: Likewise of its weights.
    """

    name: str
    is_linear: bool
    channels_in: int
    channels_out: int
    groups: int
    kernel: tuple[int, int]
    positions: tuple[int, int]
    repeats: int
    act_bits: int | None
    weight_bits: int | None

    @property
    def is_depthwise(self) -> bool:
        """Whether it is a convolution in which each channel has a filter of its own."""
        return not self.is_linear and self.channels_in == self.channels_out == self.groups

    @property
    def taps(self) -> int:
        """The elements of the kernel."""
        return math.prod(self.kernel)

    @property
    def macs(self) -> int:
        """The multiply-accumulates."""
        per_position = self.taps * self.channels_in // self.groups * self.channels_out
        return self.repeats * math.prod(self.positions) * per_position


def read_layer(call: OpCall) -> Layer:
    """Read a layer from a call of one of ``LAYERS``.

    A product ``(..., tokens, K) @ (..., K, N)`` has tokens if its output has three dims or more; of two, the first is
    a batch.

    Raises:
        CostError: It is a convolution of three dims or more, or a shape is not known.
    """
    data, weights = (call.input(slot) for slot in LAYERS[call.op_type])
    return (_convolution if "Conv" in call.op_type else _linear)(call, data, weights)


def assume_bits(call: OpCall, *, act_bits: int | None, weight_bits: int | None) -> OpCall:
    """Return a call whose layer has the given bit widths; None leaves one as it is, and other calls stay."""
    if call.domain or call.op_type not in LAYERS:
        return call
    inputs = list(call.inputs)
    for slot, bits in zip(LAYERS[call.op_type], (act_bits, weight_bits), strict=True):
        operand = inputs[slot] if slot < len(inputs) else None
        if operand is not None and bits is not None:
            inputs[slot] = replace(operand, bits=bits)
    return replace(call, inputs=tuple(inputs))


def ceil_div(a: int, b: int) -> int:
    """Return ``a / b``, rounded up."""
    return -(-a // b)


def _convolution(call: OpCall, data: Operand, weights: Operand) -> Layer:
    shape, filters = call.output().shape, weights.shape
    if len(filters) not in (3, 4):
        raise CostError(
            f"{call.name}: its kernel has {len(filters) - 2} dims, the hardware models know convolutions of 1 and 2; "
            "leave the metric out, or register a handler with a condition (when=) for it"
        )
    line = (1,) if len(filters) == 3 else ()
    groups = call.attrs.get("group", 1)
    assert isinstance(groups, int)
    return Layer(
        call.name,
        is_linear=False,
        channels_in=filters[1] * groups,
        channels_out=filters[0],
        groups=groups,
        kernel=_pair((*line, *filters[2:])),
        positions=_pair((*line, *shape[2:])),
        repeats=shape[0],
        act_bits=data.bits,
        weight_bits=weights.bits,
    )


def _linear(call: OpCall, data: Operand, weights: Operand) -> Layer:
    shape = call.output().shape
    is_matrix = len(weights.shape) > 1
    channels_out = shape[-1] if is_matrix else 1
    tokens = shape[-2] if is_matrix and len(shape) > 2 else 1
    is_transposed = call.op_type == "Gemm" and call.attrs.get("transA")
    return Layer(
        call.name,
        is_linear=True,
        channels_in=data.shape[0 if is_transposed else -1],
        channels_out=channels_out,
        groups=1,
        kernel=(1, 1),
        positions=(tokens, 1),
        repeats=math.prod(shape) // max(channels_out * tokens, 1),
        act_bits=data.bits,
        weight_bits=weights.bits,
    )


def _pair(dims: tuple[int, ...]) -> tuple[int, int]:
    first, second = dims
    return first, second
