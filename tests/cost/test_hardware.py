"""The models of chips: PLiNIO's integers on its networks, arithmetic by hand for each formula, bit widths, errors."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from supernet_onnx import supergraph
from supernet_onnx.cost import (
    METRICS,
    CostSpec,
    HardwareModel,
    OpCall,
    diana_latency,
    gap8_latency,
    macs,
    measure,
    mpic_energy,
    mpic_latency,
    ne16_latency,
)
from supernet_onnx.errors import CostError, UnknownOperatorError
from supernet_onnx.selection import every, resolve
from tests.cost.supergraphs import Constant, collapse, graph, model, pool

if TYPE_CHECKING:
    from supernet_onnx.cost import Metric
    from supernet_onnx.supergraph import SuperGraph

# The pools of PLiNIO's three networks: channels in and out, size of the output, stride, whether a branch is Identity.
RESNET8 = [
    (3, 16, (32, 32), 1, False), (16, 16, (32, 32), 1, False), (16, 16, (32, 32), 1, True),
    (16, 32, (16, 16), 2, False), (32, 32, (16, 16), 1, True), (32, 64, (8, 8), 2, False), (64, 64, (8, 8), 1, True),
]  # fmt: skip
DSCNN = [(64, 64, (25, 5), 1, True)] * 4
MOBILENET = [
    (8, 16, (48, 48), 1, False), (16, 32, (24, 24), 2, False), (32, 32, (24, 24), 1, True),
    (32, 64, (12, 12), 2, False), (64, 64, (12, 12), 1, True), (64, 128, (6, 6), 2, False),
    *[(128, 128, (6, 6), 1, True)] * 5, (128, 256, (3, 3), 2, False), (256, 256, (3, 3), 1, True),
]  # fmt: skip

CYCLES = {
    "resnet8": (RESNET8, Fraction(971_760), [748_544, 2_046_976, 596_992, 285_632]),
    "dscnn": (DSCNN, Fraction(1_770_320), [1_749_696, 4_838_080, 493_504, 0]),
    "mobilenet": (MOBILENET, 5_484_474 + Fraction(2, 3), [4_998_336, 13_821_120, 1_385_280, 478_336]),
}


def network(pools: list[tuple[int, int, tuple[int, int], int, bool]]) -> SuperGraph:
    """Chain pools of a 3x3, a 5x5 and a depthwise-separable convolution, and Identity where there is one."""
    lines, constants, last = [], {}, "x"
    for i, (channels_in, channels_out, _, stride, has_identity) in enumerate(pools):
        constants |= {
            f"a{i}": (channels_out, channels_in, 3, 3),
            f"b{i}": (channels_out, channels_in, 5, 5),
            f"c{i}": (channels_in, 1, 3, 3),
            f"d{i}": (channels_out, channels_in, 1, 1),
        }
        same = f'auto_pad = "SAME_UPPER", strides = [{stride}, {stride}]'
        lines.append(
            f"t{i} = Conv <{same}> ({last}, a{i})  f{i} = Conv <{same}> ({last}, b{i})"
            f"  w{i} = Conv <{same}, group = {channels_in}> ({last}, c{i})  p{i} = Conv (w{i}, d{i})"
        )
        names, skip = ("three five separable skip", f", {last}") if has_identity else ("three five separable", "")
        last = f"y{i}"
        lines.append(f"{last} = {pool(f'pool{i}', names)} t{i}, f{i}, p{i}{skip})")
    channels, (height, width), stride = pools[0][0], pools[0][2], pools[0][3]
    text = f"g (float[N,{channels},{height * stride},{width * stride}] x) => (float[N,c,h,w] {last})"
    return graph(f"{text} {{ {'  '.join(lines)} }}", constants)


@pytest.mark.parametrize("name", CYCLES)
def test_gap8_takes_the_cycles_that_plinio_counts(name: str) -> None:
    pools, uniform, by_branch = CYCLES[name]
    supernet = network(pools)
    table = measure(supernet, [gap8_latency])["gap8_latency"]
    for k, cycles in enumerate(by_branch):
        choices = {own.name: min(k, len(own.branches) - 1) for own in supernet.pools}
        assert table.total(resolve(supernet, choices)) == cycles
    branches = table.decompose().branches.values()
    assert sum(Fraction(sum(amounts), len(amounts)) for amounts in branches) == uniform


def cycles(metric: Metric, text: str, constants: dict[str, Constant] | None = None) -> float:
    return measure(graph(text, constants), [metric])[metric.name].trunk


def conv(weight: tuple[int, ...], size: str, *, group: int = 1) -> tuple[str, dict[str, Constant]]:
    """A convolution that keeps the size of its input."""
    signature = f"g (float[N,{weight[1] * group},{size}] x) => (float[N,{weight[0]},{size}] y)"
    return f'{signature} {{ y = Conv <auto_pad = "SAME_UPPER", group = {group}> (x, w) }}', {"w": weight}


def test_gap8() -> None:
    # 2 x 2 tiles of rows by eight columns; a patch of 27 in 7 words of four; 5 channels in 2 blocks of four
    assert cycles(gap8_latency, *conv((5, 3, 3, 3), "3,9")) == 2 * 2 * (2 * 27 + 2 * (5 + 7 * 14 + 10))
    assert cycles(gap8_latency, *conv((5, 1, 3, 5), "3,9", group=5)) == 4 * 2 * 27 * 15  # depthwise
    assert cycles(gap8_latency, *conv((4, 2, 1, 1), "2,8", group=2)) == 2 * (4 + 1 * (5 + 1 * 14 + 10))  # by groups
    assert cycles(gap8_latency, *conv((4, 2, 3), "17")) == 1 * 3 * (2 * 6 + 1 * (5 + 2 * 14 + 10))  # of one dim
    assert (
        cycles(gap8_latency, "g (float[N,7] x) => (float[N,5] y) { y = Gemm <transB = 1> (x, w) }", {"w": (5, 7)})
        == 4 * 2
    )
    assert (
        cycles(gap8_latency, "g (float[N,3,7] x) => (float[N,3,5] y) { y = MatMul (x, w) }", {"w": (7, 5)}) == 3 * 4 * 2
    )


def test_every_sample_of_a_batch_costs_the_same() -> None:
    supernet = graph(*conv((5, 3, 3, 3), "3,9"))
    models = [
        gap8_latency,
        *(metric(weight_bits=8, act_bits=8) for metric in (mpic_latency, ne16_latency, diana_latency)),
    ]
    one, four = (measure(supernet, models, dims={"N": n}) for n in (1, 4))
    assert all(four[name].trunk == 4 * one[name].trunk > 0 for name in one)


def test_mpic() -> None:
    text, constants = conv((6, 3, 3, 3), "4,5")
    work = 6 * 20 * 27
    rates = {
        (2, 2): 6.5,
        (2, 4): 4.0,
        (2, 8): 2.2,
        (4, 2): 3.9,
        (4, 4): 3.5,
        (4, 8): 2.1,
        (8, 2): 2.5,
        (8, 4): 2.3,
        (8, 8): 2.1,
    }
    for (act_bits, weight_bits), rate in rates.items():
        metric = mpic_latency(weight_bits=weight_bits, act_bits=act_bits)
        assert cycles(metric, text, constants) == pytest.approx(work / rate, rel=1e-12)
        energy = mpic_energy(weight_bits=weight_bits, act_bits=act_bits)
        assert cycles(energy, text, constants) == pytest.approx(work / rate / 250e6 * 5.3825e-3 * 1e6, rel=1e-12)


@pytest.mark.parametrize("weight_bits", [2, 5, 8])
def test_ne16(weight_bits: int) -> None:
    metric = ne16_latency(weight_bits=weight_bits, act_bits=8)
    finish = 9 + 13  # the scaling of no channel, and writing 3 x 3 positions

    def square(channels: int) -> int:
        return (6 + 25) + 6 + (6 + channels * weight_bits) + 2

    def single(channels: int) -> int:
        return (10 + 9) + 6 + (6 + channels) + 2

    # 40 channels are blocks of 32 and 8, 20 input channels two blocks, 4 x 7 positions 2 x 3 tiles
    of_squares = [2 * square(k) + k + finish for k in (32, 8)]
    of_singles = [2 * single(k) + k + finish for k in (32, 8)]
    assert cycles(metric, *conv((40, 20, 3, 3), "4,7")) == 6 * sum(of_squares)
    assert cycles(metric, *conv((40, 20, 1, 1), "4,7")) == 6 * sum(of_singles)
    assert cycles(metric, *conv((40, 20, 5, 5), "4,7")) == 6 * (sum(of_squares) + 16 * sum(of_singles))
    # depthwise: 20 channels are blocks of 16 and 4
    depthwise = [(6 + 25) + (6 + k) + (6 + k * weight_bits) + 2 + k + finish for k in (16, 4)]
    assert cycles(metric, *conv((20, 1, 3, 3), "4,7", group=20)) == 6 * sum(depthwise)
    linear = "g (float[N,20] x) => (float[N,40] y) { y = Gemm <transB = 1> (x, w) }"
    assert cycles(metric, linear, {"w": (40, 20)}) == sum(of_singles)


def test_diana() -> None:
    digital, analog = (diana_latency(weight_bits=bits, act_bits=8) for bits in (8, 2))
    # 40 channels are 3 columns of 16, 18 rows 2; two kilobytes move 8 bytes in a cycle
    assert cycles(digital, *conv((40, 20, 3, 5), "18,7")) == 3 * 20 * 2 * 7 * 15 + 18 * 7 * 60 / 8
    assert cycles(digital, *conv((20, 1, 3, 3), "18,7", group=20)) == 20 * 2 * 7 * 9 + 18 * 7 * 40 / 8
    # a 3x3 kernel over max(64, 20) channels: 4 positions take (4 + 2) * 64 * 3 = 1152 of 1152 rows, so 4 at once
    assert cycles(analog, *conv((40, 20, 3, 3), "18,7")) == 8 * 20 * 9 + 18 * 7 / 4 * 70 * 0.26
    # 200 channels: 2 positions take 400 of 512 columns; 130 input channels are 2 blocks of 128, but too many rows
    assert cycles(analog, *conv((200, 20, 3, 3), "18,7")) == 8 * 20 * 9 + 18 * 7 / 2 * 70 * 0.26
    assert cycles(analog, *conv((200, 130, 3, 3), "2,7")) == 8 * 130 * 9 + 2 * 2 * 7 * 70 * 0.26
    assert cycles(analog, *conv((600, 20, 1, 1), "2,7")) == 8 * 20 + 2 * 2 * 7 * 70 * 0.26


QLINEAR = (
    "g (int8[N,3,4,4] x) => (int8[N,6,4,4] y) <float s = {0.1}, int8 z = {0}>"
    " { y = QLinearConv (x, s, z, w, s, z, s, z) }"
)
QDQ = (
    "g (float[N,3,4,4] x) => (float[N,6,4,4] y) <float s = {0.1}, int8 z = {0}>"
    " { q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  f = DequantizeLinear (w, s, z)"
    "   t = Transpose <perm = [2, 3, 0, 1]> (f)  y = Conv (d, t) }"
)


def test_bit_widths_come_from_quantised_operators() -> None:
    weights = {"w": np.zeros((6, 3, 1, 1), np.int8)}
    assert cycles(mpic_latency, QLINEAR, weights) == pytest.approx(6 * 16 * 3 / 2.1)
    assert cycles(mpic_latency(weight_bits=2), QLINEAR, weights) == pytest.approx(6 * 16 * 3 / 2.5)


def test_bit_widths_come_from_what_was_dequantised() -> None:
    weights = {"w": np.zeros((1, 1, 6, 3), np.int8)}
    assert cycles(mpic_latency, QDQ, weights) == pytest.approx(6 * 16 * 3 / 2.1)


def mixed_precision() -> SuperGraph:
    """A pool of activations of 8 and of 4 bits, one of weights of 8 and of 4 bits, and a convolution behind both."""
    made = model(
        "g (float[N,3,4,4] x) => (float[N,6,4,4] y) <float s = {0.1}, int8 z = {0}, int4 z4 = {0}>"
        " { q = QuantizeLinear (x, s, z)  q4 = QuantizeLinear (x, s, z4)"
        "   d = DequantizeLinear (q, s, z)  d4 = DequantizeLinear (q4, s, z4)"
        f"  a = {pool('acts', 'eight four')} d, d4)"
        "   k = DequantizeLinear (w, s, z)  k4 = DequantizeLinear (w4, s, z4)"
        f"  f = {pool('weights', 'eight four')} k, k4)  y = Conv (a, f) }}",
        {"w": np.zeros((6, 3, 1, 1), np.int8)},
        opset=21,
    )
    four = made.graph.initializer.add(name="w4", data_type=22, dims=[6, 3, 1, 1])
    four.raw_data = bytes(9)
    return supergraph.read(made)


def test_a_pool_of_precisions_is_priced_selection_by_selection() -> None:
    supernet = mixed_precision()
    table = measure(supernet, [mpic_latency])["mpic_latency"]
    rates = {("eight", "eight"): 2.1, ("eight", "four"): 2.3, ("four", "eight"): 2.1, ("four", "four"): 3.5}
    for selection in every(supernet):
        rate = rates[selection["acts"], selection["weights"]]
        assert table.total(selection) == pytest.approx(6 * 16 * 3 / rate, rel=1e-12)
        alone = supergraph.read(collapse(supernet, selection))
        assert measure(alone, [mpic_latency])["mpic_latency"].trunk == pytest.approx(table.total(selection), rel=1e-12)


def test_a_float_model_has_no_bit_widths() -> None:
    for metric in (mpic_latency, mpic_energy, ne16_latency, diana_latency):
        with pytest.raises(CostError) as error:
            cycles(metric, *conv((6, 3, 3, 3), "4,5"))
        name = metric.name
        assert str(error.value) == (
            f"Conv node 'y': '{name}' depends on bit widths, and its input and weights are no integers; quantise the "
            f"model, or say what it will be: --metric {name}:weight_bits=8,act_bits=8, or "
            f"{name}(weight_bits=8, act_bits=8)"
        )
    with pytest.raises(CostError, match="and its input are no integers"):
        cycles(mpic_latency(weight_bits=8), *conv((6, 3, 3, 3), "4,5"))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (mpic_latency(weight_bits=3, act_bits=8), "weights of 3 bits, where 'mpic_latency' knows 2, 4, 8"),
        (mpic_latency(weight_bits=8, act_bits=16), "input of 16 bits, where 'mpic_latency' knows 2, 4, 8"),
        (ne16_latency(weight_bits=8, act_bits=4), "input of 4 bits, where 'ne16_latency' knows 8"),
        (diana_latency(weight_bits=4, act_bits=8), "weights of 4 bits, where 'diana_latency' knows 2, 8"),
    ],
)
def test_a_width_that_the_chip_lacks_is_an_error(metric: Metric, message: str) -> None:
    with pytest.raises(CostError, match=f"^Conv node 'y': {message}$"):
        cycles(metric, *conv((6, 3, 3, 3), "4,5"))


def test_layers_that_a_chip_lacks_are_errors() -> None:
    with pytest.raises(CostError, match="its depthwise kernel is 5 x 5, NE16 knows 3 x 3 alone"):
        cycles(ne16_latency(weight_bits=8, act_bits=8), *conv((4, 1, 5, 5), "4,5", group=4))
    with pytest.raises(CostError, match="it has 4 groups, the analog array of DIANA computes with one alone"):
        cycles(diana_latency(weight_bits=2, act_bits=8), *conv((4, 1, 3, 3), "4,5", group=4))
    with pytest.raises(CostError, match="its kernel has 3 dims, the hardware models know convolutions of 1 and 2"):
        cycles(gap8_latency, *conv((4, 3, 3, 3, 3), "4,4,4"))
    lstm = "g (float[5,N,3] x) => (float[5,1,N,4] y) { y = LSTM <hidden_size = 4> (x, w, r) }"
    with pytest.raises(UnknownOperatorError, match="'gap8_latency' cannot count this operator"):
        cycles(gap8_latency, lstm, {"w": (1, 16, 3), "r": (1, 16, 4)})


def test_a_handler_of_ones_own_counts_under_given_widths_too() -> None:
    own = HardwareModel("own", "cycles")
    own.counts("Conv")(lambda call: call.input(1).bits or 0)
    own.counts("LSTM")(lambda call: 7)
    assert cycles(own, *conv((4, 1, 5, 5), "4,5", group=4)) == 0
    assert cycles(own(weight_bits=3), *conv((4, 1, 5, 5), "4,5", group=4)) == 3


def test_metrics_of_given_widths_have_names_of_their_own() -> None:
    assert mpic_latency(weight_bits=4, act_bits=8).name == "mpic_latency:weight_bits=4,act_bits=8"
    assert mpic_latency(act_bits=8).name == "mpic_latency:act_bits=8"
    assert mpic_latency().name == "mpic_latency"
    metrics = [mpic_latency(weight_bits=bits, act_bits=8) for bits in (2, 8)]
    assert len(measure(graph(*conv((6, 3, 3, 3), "4,5")), metrics)) == 2
    with pytest.raises(ValueError, match="metric 'mpic_latency': weight_bits is 0, expected at least 1"):
        mpic_latency(weight_bits=0)


def test_all_models_are_metrics_of_the_package() -> None:
    for metric in (gap8_latency, mpic_latency, mpic_energy, ne16_latency, diana_latency):
        assert METRICS[metric.name] is metric
        assert isinstance(metric, CostSpec)


def test_widths_are_no_part_of_other_metrics() -> None:
    weights = {"w": np.zeros((6, 3, 1, 1), np.int8)}
    assert cycles(macs, QLINEAR, weights) == 6 * 16 * 3
    seen: list[OpCall] = []
    spy = CostSpec("spy", "calls", default="zero")
    spy.counts("QLinearConv")(lambda call: seen.append(call) or 1)
    cycles(spy, QLINEAR, weights)
    assert [operand and operand.bits for operand in seen[0].inputs] == [8, None, 8, 8, None, 8, None, 8]
