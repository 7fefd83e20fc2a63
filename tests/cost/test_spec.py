"""Metrics made of handlers: which handler counts a call, and what becomes of a call that none counts."""

import doctest
import math
from collections.abc import Callable

import pytest
from onnx import TensorProto

from supernet_onnx.cost import CostSpec, OpCall, Operand, measure
from supernet_onnx.cost import spec as module
from supernet_onnx.errors import UnknownOperatorError, UnknownShapeError
from tests.cost.supergraphs import graph, pool


def call(op_type: str = "Conv", *, domain: str = "", opset: int = 20, **attrs: int) -> OpCall:
    x = Operand("x", TensorProto.FLOAT, (1, 8, 4, 4))
    return OpCall(op_type, domain, opset, f"{op_type} node 'n'", attrs, (x,), (x,))


def test_the_example_of_the_docstring_runs() -> None:
    outcome = doctest.testmod(module)
    assert (outcome.attempted, outcome.failed) == (2, 0)


def is_grouped(call: OpCall) -> bool:
    return "group" in call.attrs


def is_depthwise(call: OpCall) -> bool:
    return call.attrs.get("group") == 8


def constant(value: float) -> Callable[[OpCall], float]:
    def count(call: OpCall) -> float:
        return value

    return count


def test_a_metric_of_ones_own_in_a_few_lines() -> None:
    cycles = CostSpec("cycles", unit="cycles")

    @cycles.counts("Conv")
    def dense(call: OpCall) -> float:
        return 2.0 * call.output().numel

    @cycles.counts("Conv", when=lambda call: call.attrs.get("group", 1) == call.input(0).shape[1])
    def depthwise(call: OpCall) -> float:
        return 0.5 * call.output().numel

    supergraph = graph(
        "g (float[N,8,4,4] x) => (float[N,8,4,4] y) { "
        f"a = Conv (x, w)  b = Conv <group = 8> (x, d)  y = {pool('p', 'dense depthwise skip')} a, b, x) }}",
        {"w": (8, 8, 1, 1), "d": (8, 1, 1, 1)},
    )
    table = measure(supergraph, [cycles])["cycles"]
    assert table.decompose().branches == {"p": (2.0 * 128, 0.5 * 128, 0)}
    assert table.unit == "cycles"


@pytest.mark.parametrize("constrained_first", [True, False])
def test_a_constrained_handler_wins_whatever_the_order(constrained_first: bool) -> None:
    spec = CostSpec("m", "u")
    registrations = [
        lambda: spec.counts("Conv", when=is_grouped)(constant(1)),
        lambda: spec.counts("Conv")(constant(2)),
    ]
    for register in registrations if constrained_first else registrations[::-1]:
        register()
    assert spec.price(call(group=4)) == 1
    assert spec.price(call()) == 2


@pytest.mark.parametrize("swapped", [True, False])
def test_two_handlers_that_match_equally_are_an_error_whatever_the_order(swapped: bool) -> None:
    spec = CostSpec("m", "u")
    spec.counts("Conv", when=is_depthwise if swapped else is_grouped)(constant(1))
    spec.counts("Conv", when=is_grouped if swapped else is_depthwise)(constant(2))
    assert spec.price(call(group=4)) == (2 if swapped else 1)
    with pytest.raises(ValueError, match=r"metric 'm', Conv node 'n': the handlers .* and .* match equally"):
        spec.price(call(group=8))


def test_a_second_handler_for_the_same_versions_is_an_error_when_it_is_registered() -> None:
    spec = CostSpec("m", "u")
    spec.counts("Conv", since=11)(constant(1))
    spec.counts("Conv", until=10)(constant(2))
    with pytest.raises(
        ValueError, match=r"metric 'm': Conv is counted by '.*' already, in the opset versions from 11 on"
    ):
        spec.counts("Conv", since=12, until=12)(constant(3))
    with pytest.raises(ValueError, match="in the opset versions 1 to 10"):
        spec.counts("Conv", domain="ai.onnx", since=10, until=10)(constant(3))
    assert [spec.price(call(opset=opset)) for opset in (10, 11)] == [2, 1]


def test_an_empty_range_of_versions_is_an_error() -> None:
    with pytest.raises(ValueError, match="metric 'm', Conv: since=9 is after until=8"):
        CostSpec("m", "u").counts("Conv", since=9, until=8)


def test_a_handler_is_that_of_its_domain_alone() -> None:
    spec = CostSpec("m", "u")
    spec.counts("Conv", domain="other")(constant(1))
    assert spec.price(call(domain="other")) == 1
    assert spec.price(call()) is None


def test_what_nobody_counts_is_unknown_free_or_zero() -> None:
    assert CostSpec("m", "u").price(call("Conv")) is None
    assert CostSpec("m", "u").price(call("Relu")) == 0
    assert CostSpec("m", "u").price(call("Relu", domain="other")) is None
    assert CostSpec("m", "u", default="zero").price(call("Conv")) == 0


@pytest.mark.parametrize("amount", [math.nan, math.inf])
def test_a_handler_must_return_a_finite_number(amount: float) -> None:
    spec = CostSpec("m", "u")
    spec.counts("Conv")(constant(amount))
    with pytest.raises(ValueError, match=f"metric 'm', Conv node 'n': '.*count' returned {amount}"):
        spec.price(call())


def test_words_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="metric 'm': default is 'free', expected 'fail' or 'zero'"):
        CostSpec("m", "u", default="free")  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(ValueError, match="metric 'm': combine is 'min', expected 'sum' or 'max'"):
        CostSpec("m", "u", combine="min")  # type: ignore[arg-type]  # the mistake that is tested


FOREIGN = "g (float[N,4] x) => (float[N,4] y) { a = other.Magic (x)  b = MatMul (a, w)  y = Add (x, a) }"


def test_an_unknown_operator_is_an_error_and_not_a_zero() -> None:
    spec = CostSpec("joules", "J")
    with pytest.raises(UnknownOperatorError) as error:
        measure(graph(FOREIGN, {"w": (4, 4)}), [spec])
    assert str(error.value) == (
        "other::Magic node 'a': the metric 'joules' cannot count this operator (opset 3); register a handler for it, "
        "@joules.counts('Magic', domain='other'), or leave it out with --unknown free"
    )


def test_an_unknown_operator_can_be_left_out_and_is_reported() -> None:
    spec = CostSpec("joules", "J")
    spec.counts("Add")(constant(7))
    table = measure(graph(FOREIGN, {"w": (4, 4)}), [spec], unknown="free")["joules"]
    assert table.unknown == ("other::Magic",)  # the MatMul is dead: nobody asks for it
    assert table.trunk == 7


def test_an_unknown_shape_names_the_node_and_what_the_inputs_leave_open() -> None:
    spec = CostSpec("m", "u")
    spec.counts("Relu")(lambda call: call.output().numel)
    supergraph = graph("g (float[N,T,4] x) => (float[N,T,4] y) { y = Relu (x) }")
    with pytest.raises(UnknownShapeError) as error:
        measure(supergraph, [spec])
    assert str(error.value) == (
        "Relu node 'y': tensor 'y' is float[1,T,4]: dim 1 'T' must be a number; bind it with --dim T=VALUE "
        "(open dims of the graph inputs: T; bind each with --dim NAME=VALUE)"
    )
    assert measure(supergraph, [spec], dims={"T": 5})["m"].trunk == 20
    assert measure(supergraph, [spec], dims={"T": 5, "N": 2})["m"].trunk == 40


def test_an_unknown_shape_behind_control_flow_asks_for_the_value_that_steers_it() -> None:
    spec = CostSpec("m", "u")
    spec.counts("Relu")(lambda call: call.output().numel)
    text = """g (float[4] x, bool flag, float gain) => (float[n] y) {
        a = If (flag) <
            then_branch = t () => (float[n] b) { b = Concat <axis = 0> (x, x) },
            else_branch = e () => (float[m] c) { c = Identity (x) }
        >
        y = Relu (a)
    }"""
    with pytest.raises(
        UnknownShapeError, match=r"if control flow depends on 'flag', give it with --value flag=\.\.\.; "
    ):
        measure(graph(text), [spec])
    assert measure(graph(text), [spec], values={"flag": 1})["m"].trunk == 8


def test_a_dim_that_depends_on_data_is_said_to_be_one() -> None:
    spec = CostSpec("m", "u")
    spec.counts("Cast")(lambda call: call.output().numel)
    supergraph = graph("g (float[4] x) => (float[1,n] y) { a = NonZero (x)  y = Cast <to = 1> (a) }")
    with pytest.raises(UnknownShapeError) as error:
        measure(supergraph, [spec])
    assert str(error.value).endswith(
        "dim 1 is not known (no dim of the graph inputs is open: what NonZero node 'a' makes depends on data or is not "
        "inferred)"
    )
