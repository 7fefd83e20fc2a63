"""Control flow: the dearer branch of an If, trip count times body of a Loop, and what is said where it is not known."""

from __future__ import annotations

import numpy as np
import pytest

from supernet_onnx.cost import CostSpec, macs, measure, ops, params, size
from supernet_onnx.errors import CostError, ShapeError, UnknownOperatorError
from tests.cost.supergraphs import Constant, graph

W = {"w": (4, 4), "v": (4, 4)}
DEAR = "t () => (r) { p = MatMul (x, w)  r = MatMul (p, v) }"
CHEAP = "e () => (r) { r = MatMul (x, w) }"
BODY = "b (int64 i, bool c, h) => (bool d, k) { d = Identity (c)  k = MatMul (h, w) }"


def price(text: str, constants: dict[str, Constant] | None = None, **given: object) -> float:
    return measure(graph(text, {**W, **(constants or {})}), [macs], **given)["macs"].trunk  # type: ignore[arg-type]


def test_an_if_costs_what_its_dearer_branch_costs_but_stores_both() -> None:
    text = (
        "g (float[6,4] x, bool f) => (float[6,4] y) "
        f"{{ y = If (f) <then_branch = {CHEAP}, else_branch = {DEAR.replace('t ()', 'e ()')}> }}"
    )
    tables = measure(graph(text, W), [macs, ops, params, size])
    assert {name: table.trunk for name, table in tables.items()} == {
        "macs": 2 * 96, "ops": 2 * 96, "params": 32, "size": 128
    }  # fmt: skip


def test_the_maximum_is_that_of_each_metric() -> None:
    """What has the most multiplications may have the fewest of something else."""
    relus = CostSpec("relus", "relus", default="zero")
    relus.counts("Relu")(lambda call: 1)
    text = (
        "g (float[6,4] x, bool f) => (float[6,4] y) "
        f"{{ y = If (f) <then_branch = {DEAR}, else_branch = e () => (r) {{ r = Relu (x) }}> }}"
    )
    tables = measure(graph(text, W), [macs, relus])
    assert (tables["macs"].trunk, tables["relus"].trunk) == (192, 1)


@pytest.mark.parametrize(("condition", "amount"), [(True, 192), (False, 96)])
def test_an_if_whose_condition_is_known_costs_what_the_branch_that_it_takes_costs(condition: bool, amount: int) -> None:
    text = f"g (float[6,4] x) => (float[6,4] y) {{ y = If (f) <then_branch = {DEAR}, else_branch = {CHEAP}> }}"
    assert price(text, {"f": np.array(condition)}) == amount


def test_a_condition_may_be_computed_from_shapes_or_from_the_value_of_an_input() -> None:
    branches = f"If (f) <then_branch = {DEAR}, else_branch = {CHEAP}>"
    of_shape = f"s = Size (x)  f = Greater (s, n)  y = {branches}"
    assert price(f"g (float[6,4] x) => (float[6,4] y) {{ {of_shape} }}", {"n": np.array(24)}) == 96
    text = f"g (float[6,4] x, int64 rate) => (float[6,4] y) {{ f = Equal (rate, n)  y = {branches} }}"
    constants: dict[str, Constant] = {"n": np.array(16000)}
    assert [price(text, constants, values={"rate": rate}) for rate in (8000, 16000)] == [96, 192]
    assert price(text, constants) == 192


def test_what_an_if_makes_is_known_behind_it_if_its_condition_is() -> None:
    text = (
        "g (float[6,4] x) => (float[6,4] y) { a = If (f) <then_branch = t () => (r) { r = Relu (x) }, "
        "else_branch = e () => (r) { r = Flatten <axis = 0> (x) }>  y = MatMul (a, w) }"
    )
    assert price(text, {"f": np.array(True)}) == 96


def test_a_loop_costs_its_trip_count_times_its_body() -> None:
    text = f"g (float[6,4] x) => (float[6,4] y) {{ a = Loop (n, , x) <body = {BODY}>  y = MatMul (a, v) }}"
    assert price(text, {"n": np.array(5)}) == 5 * 96 + 96
    assert price(text, {"n": np.array([3])}) == 3 * 96 + 96
    assert price(text, {"n": np.array(-1)}) == 96
    assert measure(graph(text, {**W, "n": np.array(5)}), [params])["params"].trunk == 32


def test_loops_in_loops_multiply() -> None:
    inner = "o (int64 j, bool e, float[6,4] u) => (bool f, float[6,4] q) "
    text = (
        f"g (float[6,4] x) => (float[6,4] y) {{ y = Loop (n, , x) <body = {inner}"
        f"{{ f = Identity (e)  q = Loop (m, , u) <body = {BODY}> }}> }}"
    )
    assert price(text, {"n": np.array(5), "m": np.array(7)}) == 35 * 96


def test_a_trip_count_may_be_computed_from_shapes() -> None:
    text = (
        "g (float[N,6,4] x) => (float[N,6,4] y) { s = Shape (x)  n = Gather (s, one)"
        f"  y = Loop (n, , x) <body = {BODY}> }}"
    )
    assert price(text, {"one": np.array(1)}) == 6 * 96
    assert price(text, {"one": np.array(1)}, dims={"N": 2}) == 6 * 192


def test_a_trip_count_that_is_not_known_is_asked_for() -> None:
    text = f"g (float[6,4] x, int64 n) => (float[6,4] y) {{ y = Loop (n, , x) <body = {BODY}> }}"
    with pytest.raises(UnknownOperatorError) as error:
        price(text)
    assert str(error.value) == (
        "Loop node 'y': the metric 'macs' cannot count it, how often its body runs is not known; give it with "
        "--trip-count y=COUNT, or leave it out with --unknown free"
    )
    assert price(text, trip_counts={"y": 4}) == price(text, values={"n": 4}) == 4 * 96
    table = measure(graph(text, W), [macs], unknown="free")["macs"]
    assert (table.trunk, table.unknown) == (0, ("Loop",))


def test_a_loop_whose_body_costs_nothing_needs_no_trip_count() -> None:
    body = BODY.replace("MatMul (h, w)", "Relu (h)")
    assert price(f"g (float[6,4] x, int64 n) => (float[6,4] y) {{ y = Loop (n, , x) <body = {body}> }}") == 0


def test_a_trip_count_for_a_node_that_is_not_there_is_an_error() -> None:
    text = f"g (float[6,4] x, int64 n) => (float[6,4] y) {{ y = Loop (n, , x) <body = {BODY}> }}"
    with pytest.raises(CostError, match=r"^no Loop, Scan or SequenceMap is named 'z'; the model's are: Loop node 'y'$"):
        price(text, trip_counts={"z": 4})


def test_a_body_that_changes_the_shape_of_what_it_carries_has_no_price() -> None:
    body = "b (int64 i, bool c, h) => (bool d, k) { d = Identity (c)  m = MatMul (h, w)  k = Concat <axis = 0> (m, x) }"
    with pytest.raises(UnknownOperatorError) as error:
        price(f"g (float[6,4] x) => (float[n,4] y) {{ y = Loop (n, , x) <body = {body}> }}", {"n": np.array(5)})
    assert str(error.value) == (
        "Loop node 'y': the metric 'macs' cannot count it, its body takes 'h' as float[6,4] and gives it back as "
        "float[12,4], so that its cost changes each time; register a handler for the operator, or leave it out with "
        "--unknown free"
    )


@pytest.mark.parametrize(
    ("attributes", "steps"), [("", 6), (", scan_input_axes = [1]", 4), (", scan_input_axes = [-1]", 4)]
)
def test_a_scan_costs_the_length_of_its_axis_times_its_body(attributes: str, steps: int) -> None:
    text = (
        "g (float[3,4] h, float[6,4] x) => (float[3,4] y, z) { y, z = Scan <num_scan_inputs = 1"
        f"{attributes}, body = b (s, a) => (t, u) {{ t = MatMul (s, w)  u = Relu (a) }}> (h, x) }}"
    )
    assert price(text) == steps * 3 * 16


def test_a_sequence_map_costs_what_the_caller_says() -> None:
    text = (
        "g (float[6,4] x) => (seq(float[6,4]) y) { s = SequenceConstruct (x, x)"
        "  y = SequenceMap <body = b (float[6,4] a) => (float[6,4] r) { r = MatMul (a, w) }> (s) }"
    )
    assert price(text, trip_counts={"y": 2}) == 2 * 96


def test_an_unknown_operator_in_a_body_is_named() -> None:
    text = f"g (float[6,4] x, bool f) => (float[6,4] y) {{ y = If (f) <then_branch = t () => (float[6,4] r) {{ r = other.Magic (x) }}, else_branch = {CHEAP}> }}"  # noqa: E501
    with pytest.raises(UnknownOperatorError, match=r"^other::Magic node 'r': the metric 'macs' cannot count"):
        price(text)
    table = measure(graph(text, W), [macs], unknown="free")["macs"]
    assert (table.trunk, table.unknown) == (96, ("other::Magic",))


def test_a_handler_for_the_node_itself_is_over_its_bodies() -> None:
    cycles = CostSpec("cycles", "cycles")
    cycles.counts("Loop")(lambda call: 1000 * len(call.bodies))
    text = f"g (float[6,4] x) => (float[6,4] y) {{ y = Loop (n, , x) <body = {BODY}> }}"
    assert measure(graph(text, {**W, "n": np.array(5)}), [cycles])["cycles"].trunk == 1000


def test_a_value_can_be_given_for_one_element_only() -> None:
    text = "g (float[6,4] x) => (float[6,4] y) { y = MatMul (x, w) }"
    with pytest.raises(ShapeError, match=r"^input 'x' is float\[6,4\]; a value can be given only for one element$"):
        price(text, values={"x": 1})
    with pytest.raises(ShapeError, match=r"^no input is named 'z'; the model's are: x$"):
        price(text, values={"z": 1})
