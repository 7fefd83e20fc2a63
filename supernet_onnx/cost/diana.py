"""The chip DIANA: how many cycles its digital and its analog array take for a layer.

Source: PLiNIO's model (eml-eda/plinio at 3d6b5e0, ``plinio/cost/diana_latency.py``) of the chip in IEEE 9731716. The
sizes of both arrays are also in that paper's abstract; clock, time of a product and bandwidth stand in PLiNIO alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supernet_onnx.cost.layers import ceil_div
from supernet_onnx.errors import CostError

if TYPE_CHECKING:
    from supernet_onnx.cost.layers import Layer

__all__ = ["diana_cycles"]

_ARRAY: Final = 16  # the digital array has 16 x 16 elements
_BYTES_PER_CYCLE: Final = 8
_ROWS, _COLUMNS = 1152, 512  # of the analog array
_ANALOG_NS: Final = 70  # for one product of the whole analog array
_GIGAHERTZ: Final = 0.26


def diana_cycles(layer: Layer, weight_bits: int) -> float:
    """Return the cycles of a layer of 8-bit activations: digital with weights of 8 bits, analog with those of 2.

    Raises:
        CostError: It is a grouped convolution for the analog array, which has none.
    """
    rows, columns = layer.positions
    if weight_bits == 8:
        filters = ceil_div(layer.channels_out // layer.groups, _ARRAY)
        multiply = filters * layer.channels_in * ceil_div(rows, _ARRAY) * columns * layer.taps
        move = rows * columns * (layer.channels_out + layer.channels_in) / _BYTES_PER_CYCLE
        return layer.repeats * (multiply + move)
    if layer.groups != 1:
        raise CostError(
            f"{layer.name}: it has {layer.groups} groups, the analog array of DIANA computes with one alone; give its "
            "weights 8 bits"
        )
    products = ceil_div(layer.channels_out, _COLUMNS) * ceil_div(layer.channels_in, 128) * rows * columns
    load = 4 * 2 * layer.channels_in * layer.taps  # the weights
    return layer.repeats * (load + products / _unrolled(layer) * _ANALOG_NS * _GIGAHERTZ)


def _unrolled(layer: Layer) -> int:
    """Return how many output positions the analog array computes at once: as many as its rows and columns hold."""
    kernel_x, kernel_y = layer.kernel
    channels = max(64, layer.channels_in)
    fitting = (
        count
        for count in (8, 4, 2)
        if count * layer.channels_out <= _COLUMNS and (count + kernel_x - 1) * channels * kernel_y <= _ROWS
    )
    return next(fitting, 1)
