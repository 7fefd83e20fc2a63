"""Pricing whole supergraphs: the numbers of the README, every selection against an independent counter, by node."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from onnx import TensorProto

import supernet_onnx.cost
from supernet_onnx import supergraph
from supernet_onnx.cost import METRICS, CostSpec, by_node, macs, measure, params, size
from supernet_onnx.errors import UnknownShapeError
from supernet_onnx.selection import every
from tests.cost.naive import COUNTED, count, supergraphs
from tests.cost.supergraphs import collapse, graph, model, pool

if TYPE_CHECKING:
    from supernet_onnx.supergraph import SuperGraph


def readme_example() -> SuperGraph:
    """Conv 3x3, two of them, Conv 5x5, Identity; on 32 channels of 64x64."""
    return graph(
        "g (float[N,32,64,64] x) => (float[N,32,64,64] y) {"
        "  a = Conv <pads = [1,1,1,1]> (x, wa, ba)"
        "  h = Conv <pads = [1,1,1,1]> (x, wb, bb)  b = Conv <pads = [1,1,1,1]> (h, wc, bc)"
        "  c = Conv <pads = [2,2,2,2]> (x, wd, bd)"
        f"  y = {pool('conv', 'conv3 double conv5 skip')} a, b, c, x) }}",
        {
            **dict.fromkeys(["wa", "wb", "wc"], (32, 32, 3, 3)),
            "wd": (32, 32, 5, 5),
            **dict.fromkeys(["ba", "bb", "bc", "bd"], (32,)),
        },
    )


def test_the_example_of_the_readme() -> None:
    tables = measure(readme_example(), COUNTED)
    uniform = {"conv": [0.25] * 4}
    assert tables["params"].expected(uniform) == 13_344
    assert tables["ops"].expected(uniform) == 54_657_024
    three, five = 32 * 32 * 9, 32 * 32 * 25
    assert tables["params"].decompose().branches["conv"] == (three + 32, 2 * (three + 32), five + 32, 0)
    assert tables["params_no_bias"].decompose().branches["conv"] == (three, 2 * three, five, 0)
    assert tables["macs"].decompose().branches["conv"] == tuple(4096 * n for n in (three, 2 * three, five, 0))
    assert tables["size"].decompose().branches["conv"] == tuple(
        4 * n for n in (three + 32, 2 * three + 64, five + 32, 0)
    )
    assert {table.trunk for table in tables.values()} == {0}


@settings(max_examples=300, deadline=None)
@given(supergraphs())
def test_every_selection_costs_what_its_subnet_costs(supernet: SuperGraph) -> None:
    tables = measure(supernet, COUNTED)
    for selection in every(supernet):
        subnet = collapse(supernet, selection)
        expected = count(subnet)
        assert {name: table.total(selection) for name, table in tables.items()} == expected
        alone = measure(supergraph.read(subnet), COUNTED)
        assert {name: table.trunk for name, table in alone.items()} == expected


@settings(max_examples=60, deadline=None)
@given(supergraphs())
def test_the_lines_of_the_nodes_add_up_to_the_tables(supernet: SuperGraph) -> None:
    lines = by_node(supernet, COUNTED)
    for name, table in measure(supernet, COUNTED).items():
        amounts: dict[object, float] = {}
        for line in lines:
            amounts[line.condition] = amounts.get(line.condition, 0) + line.amounts[name]
        assert {condition: amount for condition, amount in amounts.items() if amount} == table.amounts


def test_each_node_has_its_line() -> None:
    supernet = readme_example()
    lines = by_node(supernet, [macs, params])
    assert [(node, op_type) for node, op_type, _, _ in lines] == [
        ("Conv node 'a'", "Conv"), ("Conv node 'h'", "Conv"), ("Conv node 'b'", "Conv"), ("Conv node 'c'", "Conv")
    ]  # fmt: skip
    assert lines[0].amounts == {"macs": 9216 * 4096, "params": 9248}
    assert lines[0].condition is supernet.node_conditions[0]


def test_a_shared_weight_stands_with_its_first_reader_under_its_own_condition() -> None:
    supernet = graph(
        "g (float[N,6,4] x) => (float[N,6,4] y) { a = MatMul (x, w)  r = Relu (x)  b = MatMul (r, w)"
        f"  y = {pool('p', 'a b skip')} a, b, x) }}",
        {"w": (4, 4)},
    )
    lines = by_node(supernet, [params, macs])
    either = supernet.diagrams.either(*(supernet.node_conditions[index] for index in (0, 2)))
    assert [(line.node, line.amounts) for line in lines] == [
        ("MatMul node 'a'", {"params": 0, "macs": 96}),
        ("MatMul node 'a'", {"params": 16, "macs": 0}),
        ("Relu node 'r'", {"params": 0, "macs": 0}),
        ("MatMul node 'b'", {"params": 0, "macs": 96}),
    ]
    assert lines[1].condition is either


def test_the_first_reader_counts_even_behind_a_pool() -> None:
    supernet = graph(
        f"g (float[4] x) => (float[4] y) {{ q = {pool('p', 'c skip')} c, x)  a = Add (x, c)  b = Add (q, a)"
        "  y = Relu (b) }",
        {"c": (4,)},
    )
    assert [(line.node, line.amounts["size"]) for line in by_node(supernet, [size])] == [
        ("Add node 'a'", 16),
        ("Add node 'b'", 0),
        ("Relu node 'y'", 0),
    ]


def test_a_constant_that_only_leaves_the_graph_has_a_line_too() -> None:
    supernet = graph("g (float[4] x) => (float[4] y, float[7] c) { y = Relu (x) }", {"c": (7,)})
    assert [(line.node, line.op_type, line.amounts) for line in by_node(supernet, [size])] == [
        ("Relu node 'y'", "Relu", {"size": 0}),
        ("graph outputs", "", {"size": 28}),
    ]


def test_a_dead_node_needs_no_handler() -> None:
    text = "g (float[4] x) => (float[4] y) { dead = other.Magic (x)  y = Relu (x) }"
    assert measure(graph(text), [macs])["macs"].trunk == 0


def test_unknown_operators_do_not_hide_parameters() -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { y = other.Magic (x, w) }"
    tables = measure(graph(text, {"w": (4, 4)}), [params, macs], unknown="free")
    assert (tables["params"].trunk, tables["params"].unknown) == (16, ())
    assert (tables["macs"].trunk, tables["macs"].unknown) == (0, ("other::Magic",))


def test_a_metric_that_costs_less_as_part_of_another_node() -> None:
    """A BatchNormalization that is folded under one selection is paid under the others only."""
    cycles = CostSpec("cycles", "cycles", default="zero")
    cycles.counts("BatchNormalization")(lambda call: 100)
    cycles.counts("Conv")(lambda call: 10)
    supernet = graph(
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) "
        f"{{ a = Conv (x, w)  r = Relu (x)  q = {pool('p', 'conv relu')} a, r)"
        "  y = BatchNormalization (q, s, s, s, s) }",
        {"w": (4, 4, 1, 1), "s": (4,)},
    )
    table = measure(supernet, [cycles])["cycles"]
    assert [table.total(selection) for selection in every(supernet)] == [10, 100]
    assert (table.minimum(), table.maximum()) == (10, 100)


def test_amounts_that_cancel_leave_nothing() -> None:
    spec = CostSpec("m", "u")
    spec.counts("Relu")(lambda call: 1)
    spec.counts("Neg")(lambda call: -1)
    table = measure(graph("g (float[4] x) => (float[4] y) { a = Relu (x)  y = Neg (a) }"), [spec])["m"]
    assert (table.amounts, table.trunk) == ({}, 0)


def test_two_metrics_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two metrics are named 'macs'; names must be unique"):
        measure(readme_example(), [macs, CostSpec("macs", "u")])


def test_a_node_whose_shapes_cannot_be_is_an_error() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,4,8,8] y) { y = Conv (x, w) }"
    with pytest.raises(UnknownShapeError) as error:
        measure(graph(text, {"w": (4, 4, 3, 3, 3)}), [macs])
    assert str(error.value) == (
        "Conv node 'y': tensor 'y' is float[...]: its rank is not known (shapes contradict each other: (op_type:Conv, "
        "node name: y): [ShapeInferenceError] Number of spatial dimensions in the weight tensor (3) does not match the "
        "number of spatial dimensions in the input tensor (2).)"
    )


def test_pricing_leaves_the_model_as_it_was() -> None:
    made = model("g (float[N,32,8,8] x) => (float[N,32,8,8] y) { y = Conv (x, w) }", {"w": (32, 32, 1, 1)})
    before = made.SerializeToString(deterministic=True)
    measure(supergraph.read(made), COUNTED)
    by_node(supergraph.read(made), COUNTED)
    assert made.SerializeToString(deterministic=True) == before


def test_external_data_are_not_read() -> None:
    made = model("g (float[N,32,8,8] x) => (float[N,32,8,8] y) { y = Conv (x, w) }")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[32, 32, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="nowhere.bin")
    made.graph.initializer.append(tensor)
    tables = measure(supergraph.read(made), COUNTED)
    assert (tables["params"].trunk, tables["size"].trunk, tables["macs"].trunk) == (1024, 4096, 65536)


def test_the_metrics_of_the_package_are_found_by_name_and_as_values() -> None:
    assert list(METRICS)[: len(COUNTED)] == [metric.name for metric in COUNTED]
    assert all(metric.name == name for name, metric in METRICS.items())
    assert {name: METRICS[name].unit for name in ("params", "macs", "ops", "size")} == {
        "params": "elements", "macs": "multiply-accumulates", "ops": "operations", "size": "bytes"
    }  # fmt: skip
    for metric in COUNTED:
        assert METRICS[metric.name] is metric


def test_no_module_bears_the_name_of_a_metric_or_function() -> None:
    """Importing a submodule would replace that name in the package."""
    modules = {name for name, value in vars(supernet_onnx.cost).items() if type(value) is type(math)}
    assert not modules & set(supernet_onnx.cost.__all__)
