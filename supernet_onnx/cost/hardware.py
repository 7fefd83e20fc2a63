"""Analytic models of chips: cycles and energy from a layer's dims and bit widths.

Each counts convolutions and linear layers, for the rest of a network takes little of such a chip's time: pooling,
activations, additions are free by the rules of ``supernet_onnx.cost.free``. A layer that the chip does not do, and an
operator with weights that its model does not know (recurrent layers, transposed convolutions), are errors.

The formulas and all their constants are those of PLiNIO (eml-eda/plinio at 3d6b5e0, ``plinio/cost``), restated for
whole numbers. The docstrings name the paper of each chip for what the chip is; the constants were not taken from there,
and where one was seen in a second place too, they say so. What PLiNIO leaves open is decided here: the groups of a
grouped convolution that is not depthwise run one after another, as do the samples of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from supernet_onnx.cost.diana import diana_cycles
from supernet_onnx.cost.layers import LAYERS, assume_bits, ceil_div, read_layer
from supernet_onnx.cost.ne16 import ne16_cycles
from supernet_onnx.cost.spec import CostSpec
from supernet_onnx.errors import CostError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from supernet_onnx.cost.calls import CallGraph
    from supernet_onnx.cost.layers import Layer
    from supernet_onnx.cost.spec import Bill, Unknown
    from supernet_onnx.diagram import Number

__all__ = [
    "AssumedBits",
    "HardwareModel",
    "diana_latency",
    "gap8_latency",
    "mpic_energy",
    "mpic_latency",
    "ne16_latency",
]


class HardwareModel(CostSpec):
    """A metric of layers that depends on bit widths.

    The widths are those of the graph's types: of the operands of quantised operators, or of what DequantizeLinear
    turned into floats. Calling the model gives the metric under assumed widths: ``mpic_latency(weight_bits=4)``.
    Handlers that are registered with the model count for both.
    """

    def __call__(self, *, weight_bits: int | None = None, act_bits: int | None = None) -> AssumedBits:
        """Return this metric for layers of given bit widths; None stands for those of the graph.

        Args:
            weight_bits: Of the weights.
            act_bits: Of the activations that a layer reads.

        Raises:
            ValueError: A width is less than 1.
        """
        return AssumedBits(self, weight_bits, act_bits)


@dataclass(frozen=True, slots=True)
class AssumedBits:
    """A hardware model of layers whose bit widths are given.

    Attributes:
        model: The model.
        weight_bits: The bits of the weights of every layer; None for the graph's own.
        act_bits: The bits of the activations that every layer reads; None for the graph's own.
    """

    model: HardwareModel
    weight_bits: int | None
    act_bits: int | None

    def __post_init__(self) -> None:
        for setting, bits in self._settings().items():
            if bits < 1:
                raise ValueError(f"metric '{self.model.name}': {setting} is {bits}, expected at least 1")

    @property
    def name(self) -> str:
        """The metric's name, as the command line takes it: ``mpic_latency:weight_bits=8,act_bits=8``."""
        settings = ",".join(f"{setting}={bits}" for setting, bits in self._settings().items())
        return f"{self.model.name}:{settings}" if settings else self.model.name

    @property
    def unit(self) -> str:
        """The model's unit."""
        return self.model.unit

    def bill(self, graph: CallGraph, *, unknown: Unknown = "error") -> Bill:
        """Price every call of a graph; raises like the model."""
        calls = tuple(
            call
            if call.call is None
            else call._replace(call=assume_bits(call.call, act_bits=self.act_bits, weight_bits=self.weight_bits))
            for call in graph.calls
        )
        return self.model.bill(replace(graph, calls=calls), unknown=unknown)

    def _settings(self) -> dict[str, int]:
        settings = {"weight_bits": self.weight_bits, "act_bits": self.act_bits}
        return {setting: bits for setting, bits in settings.items() if bits is not None}


def _count_layers(metric: CostSpec, count: Callable[[Layer], Number]) -> None:
    """Register a function of layers for all operators that are layers."""
    for op_type in LAYERS:
        metric.counts(op_type)(lambda call: count(read_layer(call)))


def _widths(metric: str, layer: Layer, *, act: Collection[int], weight: Collection[int]) -> tuple[int, int]:
    """Return the bits of a layer's input and weights.

    Raises:
        CostError: They are not known, or none of those that the chip computes with.
    """
    if layer.act_bits is None or layer.weight_bits is None:
        what = " and ".join(
            name for name, bits in (("input", layer.act_bits), ("weights", layer.weight_bits)) if bits is None
        )
        raise CostError(
            f"{layer.name}: '{metric}' depends on bit widths, and its {what} are no integers; quantise the model, or "
            f"say what it will be: --metric {metric}:weight_bits=8,act_bits=8, or {metric}(weight_bits=8, act_bits=8)"
        )
    for name, bits, known in (("input", layer.act_bits, act), ("weights", layer.weight_bits, weight)):
        if bits not in known:
            raise CostError(
                f"{layer.name}: {name} of {bits} bits, where '{metric}' knows {', '.join(map(str, sorted(known)))}"
            )
    return layer.act_bits, layer.weight_bits


def _gap8_cycles(layer: Layer) -> int:
    rows, columns = layer.positions
    if layer.is_linear:
        return layer.repeats * rows * ceil_div(layer.channels_in, 2) * ceil_div(layer.channels_out, 4)
    if layer.is_depthwise:
        return layer.repeats * 4 * ceil_div(layer.channels_out, 4) * rows * columns * layer.taps
    patch = layer.taps * layer.channels_in // layer.groups
    product = ceil_div(layer.channels_out // layer.groups, 4) * (5 + ceil_div(patch, 4) * (6 + 8) + 10)
    return layer.repeats * layer.groups * ceil_div(rows, 2) * ceil_div(columns, 8) * (2 * patch + product)


gap8_latency: Final = CostSpec("gap8_latency", "cycles")
"""Cycles on the eight cores of GAP8 (E. Flamand et al., "GAP-8: A RISC-V SoC for AI at the Edge of the IoT", 2018).

With ``c(x, n) = ceil(x / n)``, output ``(C_out, X, Y)``, kernel ``kx`` by ``ky``:

- convolution: ``c(X, 2) * c(Y, 8) * (2 * kx * ky * C_in + c(C_out, 4) * (5 + c(kx * ky * C_in, 4) * 14 + 10))``: each
  core fills a buffer with its patch of the input (im2col) and multiplies it by four filters at a time;
- depthwise: ``4 * c(C_out, 4) * X * Y * kx * ky``;
- linear: ``c(C_in, 2) * c(C_out, 4)``, for each token.

The kernels are those of 8-bit integers; a float model costs what it would cost once it is quantised.
"""
_count_layers(gap8_latency, _gap8_cycles)

_MPIC_MACS_PER_CYCLE: Final = {  # by the bits of the activations, then of the weights
    2: {2: 6.5, 4: 4.0, 8: 2.2},
    4: {2: 3.9, 4: 3.5, 8: 2.1},
    8: {2: 2.5, 4: 2.3, 8: 2.1},
}
_MPIC_HERTZ: Final = 250e6
_MPIC_MILLIWATTS: Final = (5.30 + 5.39 + 5.46 + 5.38) / 4


def _mpic_cycles(metric: str, layer: Layer) -> float:
    act_bits, weight_bits = _widths(metric, layer, act=_MPIC_MACS_PER_CYCLE, weight=_MPIC_MACS_PER_CYCLE)
    return layer.macs / _MPIC_MACS_PER_CYCLE[act_bits][weight_bits]


mpic_latency: Final = HardwareModel("mpic_latency", "cycles")
"""Cycles on MPIC, a RISC-V core that multiplies vectors of mixed 2-, 4- and 8-bit integers.

Multiply-accumulates over those it does in a cycle, for each pair of widths: between 6.5 with both of 2 bits and 2.1
with both of 8. PLiNIO, which the table is from, attributes it to the chip's paper (G. Ottavi et al., "A Mixed-Precision
RISC-V Processor for Extreme-Edge DNN Inference", arXiv 2010.04073). Additions of biases are not counted; PLiNIO counts
each as one multiply-accumulate.
"""
_count_layers(mpic_latency, lambda layer: _mpic_cycles("mpic_latency", layer))

mpic_energy: Final = HardwareModel("mpic_energy", "microjoules")
"""Energy on MPIC: the cycles of ``mpic_latency`` at 250 MHz and 5.3825 mW, 21.53 pJ each.

The power is the mean of the four figures in PLiNIO (5.30, 5.39, 5.46 and 5.38 mW); it hardly depends on widths.
"""
_count_layers(mpic_energy, lambda layer: _mpic_cycles("mpic_energy", layer) * (_MPIC_MILLIWATTS * 1e3 / _MPIC_HERTZ))


def _ne16(layer: Layer) -> int:
    _, weight_bits = _widths("ne16_latency", layer, act=(8,), weight=range(2, 9))
    return ne16_cycles(layer, weight_bits)


ne16_latency: Final = HardwareModel("ne16_latency", "cycles")
"""Cycles on NE16, the accelerator of GAP9, for 8-bit activations and weights of 2 to 8 bits.

``supernet_onnx.cost.ne16`` tells the formula.
"""
_count_layers(ne16_latency, _ne16)


def _diana(layer: Layer) -> float:
    _, weight_bits = _widths("diana_latency", layer, act=(8,), weight=(2, 8))
    return diana_cycles(layer, weight_bits)


diana_latency: Final = HardwareModel("diana_latency", "cycles")
"""Cycles on DIANA, for 8-bit activations: its digital array where weights have 8 bits, its analog one where 2.

(K. Ueyoshi et al., "DIANA: An End-to-End Energy-Efficient Digital and ANAlog Hybrid Neural Network SoC", ISSCC 2022.)
The analog array computes with ternary weights, stored as 2 bits here. ``supernet_onnx.cost.diana`` tells the formula.
"""
_count_layers(diana_latency, _diana)
