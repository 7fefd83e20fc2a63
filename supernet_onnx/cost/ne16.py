"""The accelerator NE16: how many cycles it takes for a layer.

It works through the output in tiles of 3 x 3 positions and 32 channels (16 of a depthwise layer), and for each through
the input in blocks of 16 channels. Every tile loads a patch of 5 x 5 positions (3 x 3 for a 1 x 1 kernel), multiplies
it bit by bit of the weights, scales the sums to 8 bits and writes them out. Strides are not in it.

Source: PLiNIO (eml-eda/plinio at 3d6b5e0, ``plinio/cost/ne16_latency.py``). The blocks of channels and the width of the
memory are also those of the hardware's description (pulp-platform/ne16 at 6bd7272, ``rtl/ne16_package.sv``); the cycles
of queues, indices and scaling stand in PLiNIO alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supernet_onnx.cost.layers import ceil_div
from supernet_onnx.errors import CostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from supernet_onnx.cost.layers import Layer

__all__ = ["ne16_cycles"]

_TILE: Final = 3  # positions of the output, in each dim
_PATCH: Final = 5  # positions of the input that a tile of a 3 x 3 kernel needs
_CHANNELS_IN: Final = 16
_CHANNELS_OUT: Final = 32
_MEMORY_BITS: Final = 256  # that are read or written in a cycle
_FIFO: Final = 6
_UPDATE: Final = 2  # of the indices
_SCALE_BYTES: Final = 4  # of each channel's factor; four multipliers take one byte each


def ne16_cycles(layer: Layer, weight_bits: int) -> int:
    """Return the cycles of a layer of 8-bit activations.

    Another kernel than 3 x 3 and 1 x 1 is made up of those: 5 x 5 of one 3 x 3 and sixteen 1 x 1.

    Raises:
        CostError: It is a depthwise convolution of another kernel than 3 x 3.
    """
    if layer.is_depthwise and layer.channels_out > 1:
        if layer.kernel != (3, 3):
            raise CostError(
                f"{layer.name}: its depthwise kernel is {layer.kernel[0]} x {layer.kernel[1]}, NE16 knows 3 x 3 alone; "
                "leave the metric out, or give the branch another kernel"
            )
        return _tiles(layer, layer.channels_out, _CHANNELS_IN, lambda k: _depthwise(k, weight_bits))
    squares = (layer.kernel[0] // 3) * (layer.kernel[1] // 3)
    singles = layer.taps - 9 * squares
    blocks = ceil_div(layer.channels_in // layer.groups, _CHANNELS_IN)
    channels_out = layer.channels_out // layer.groups

    def tile(channels: int) -> int:
        square = squares * _dense(channels, blocks, weight_bits, is_3x3=True)
        return square + singles * _dense(channels, blocks, weight_bits, is_3x3=False)

    return layer.groups * _tiles(layer, channels_out, _CHANNELS_OUT, tile)


def _tiles(layer: Layer, channels: int, block: int, cycles: Callable[[int], int]) -> int:
    """Add up the cycles of all tiles; the last block of channels may be smaller, edges of the image are not."""
    whole, rest = divmod(channels, block)
    of_column = whole * cycles(block) + (cycles(rest) if rest else 0)
    rows, columns = layer.positions
    return layer.repeats * ceil_div(rows, _TILE) * ceil_div(columns, _TILE) * of_column


def _dense(channels: int, blocks: int, weight_bits: int, *, is_3x3: bool) -> int:
    """Return the cycles of a tile of ``channels`` output channels, over ``blocks`` of input channels."""
    load = _FIFO + _PATCH**2 * _lines(_CHANNELS_IN) if is_3x3 else 10 + _TILE**2 * _lines(_CHANNELS_IN)
    multiply = _FIFO + (channels * weight_bits if is_3x3 else channels)  # a 1 x 1 kernel does all bits at once
    return blocks * (load + _FIFO + multiply + _UPDATE) + _finish(channels)


def _depthwise(channels: int, weight_bits: int) -> int:
    load = _FIFO + _PATCH**2 * _lines(_CHANNELS_IN)
    multiply = _FIFO + channels * weight_bits
    return load + (_FIFO + channels) + multiply + _UPDATE + _finish(channels)


def _finish(channels: int) -> int:
    """Return the cycles to scale a tile and to write it out."""
    return 9 + channels * _SCALE_BYTES // 4 + 3 + _TILE**2 * _lines(_CHANNELS_OUT) + 1


def _lines(channels: int) -> int:
    """Return the memory accesses for the 8-bit channels of one position."""
    return ceil_div(channels * 8, _MEMORY_BITS)
