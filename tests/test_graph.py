from __future__ import annotations

import re

import pytest
from onnx import AttributeProto, GraphProto, NodeProto, helper, parser

from supernet_onnx import graph
from supernet_onnx.errors import ModelError


def parsed(text: str) -> GraphProto:
    return parser.parse_graph(text)


def check(topology: GraphProto) -> None:
    graph.check_topology(topology, graph.wire(topology))


CONTROL_FLOW = """
g (float[2] x, bool flag, int64 trips, float[2] outer) => (float[2] y) {
    inside = Neg (x)
    y = If (flag) <
        then_branch = t () => (float[2] a) {
            inner = If (flag) <
                then_branch = tt () => (float[2] b) { own = Neg (inside)  b = Add (own, outer) },
                else_branch = te () => (float[2] b) <float[2] constant = {1, 2}> { b = Add (constant, x) }>
            a = Identity (inner)
        },
        else_branch = e () => (float[2] c) {
            c = Loop (trips, , x) <body = l (int64 i, bool go, float[2] state) => (bool go_on, float[2] next) {
                go_on = Identity (go)
                next = Add (state, outer)
            }>
        }>
}
"""


def test_a_node_reads_its_inputs_and_what_its_nested_graphs_capture_at_any_depth() -> None:
    node = parsed(CONTROL_FLOW).node[1]
    assert graph.has_subgraphs(node)
    then, other = graph.subgraphs(node)
    assert graph.captured(then) == {"flag", "inside", "outer", "x"}
    assert graph.captured(other) == {"trips", "x", "outer"}
    assert set(graph.reads(node)) == {"flag", "inside", "outer", "x", "trips"}
    assert graph.reads(node)[0] == "flag"  # inputs come first


def test_what_nested_graphs_make_for_themselves_is_known_at_any_depth() -> None:
    then, other = graph.subgraphs(parsed(CONTROL_FLOW).node[1])
    assert graph.defined(then) == {"inner", "own", "b", "constant", "a"}
    assert graph.defined(other) == {"c", "i", "go", "state", "go_on", "next"}


def test_an_output_of_a_nested_graph_may_be_a_captured_tensor() -> None:
    body = GraphProto()
    body.output.add(name="outer")
    assert graph.captured(body) == {"outer"}


def test_omitted_inputs_are_not_read() -> None:
    node = helper.make_node("Clip", ["x", "", "upper"], ["y"])
    assert graph.reads(node) == ["x", "upper"]
    assert not graph.has_subgraphs(node)


def test_lists_of_graphs_are_subgraphs_too() -> None:
    node = NodeProto(op_type="Switch")
    attribute = node.attribute.add(name="bodies", type=AttributeProto.GRAPHS)
    attribute.graphs.extend([parsed("a (float[2] i) => (float[2] o) { o = Add (i, p) }"), parsed("b () => () { }")])
    assert [body.name for body in graph.subgraphs(node)] == ["a", "b"]
    assert graph.reads(node) == ["p"]


def test_inputs_with_a_default_need_not_be_fed() -> None:
    topology = parsed("g (float[2] x, float[2] w, float[2] s) => (float[2] y) <float[2] w = {1, 2}> { y = Add (x, w) }")
    values = helper.make_tensor("s", 1, [1], [1.0])
    indices = helper.make_tensor("", 7, [1], [0])
    topology.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2]))
    assert graph.initializer_names(topology) == {"w", "s"}
    assert graph.input_names(topology) == ["x"]


def test_a_node_is_described_by_its_operator_and_name_or_first_output() -> None:
    assert graph.describe(helper.make_node("Relu", ["x"], ["y"], name="act")) == "Relu node 'act'"
    assert graph.describe(helper.make_node("GRU", ["x"], ["", "h"])) == "GRU node 'h'"
    assert graph.describe(helper.make_node("Gelu", ["x"], [], domain="com.microsoft")) == "com.microsoft::Gelu node ''"


@pytest.mark.parametrize(
    "text",
    [
        CONTROL_FLOW,
        "g (float[2] x) => (float[2] x) { }",
        'g (float[2] x) => (float[2] y, float[2] y) { y, "" = Dropout (x)  z, "" = Dropout (y) }',
        "g (float[2] x, float[2] c) => (float[2] c) <float[2] c = {1, 2}> { y = Neg (x) }",
    ],
)
def test_sound_graphs_pass(text: str) -> None:
    check(parsed(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "g (float[2] x) => (float[2] y) { y = Add (x, lost) }",
            "Add node 'y' reads tensor 'lost', which no node, input or initializer makes",
        ),
        (
            "g (float[2] x) => (float[2] y) { y = Neg (late)  late = Neg (x) }",
            "Neg node 'y' reads tensor 'late', which is made only later: the graph has a cycle or its nodes are not "
            "sorted; sort them and try again",
        ),
        (
            "g (float[2] x) => (float[2] y) { y = Add (x, y) }",
            "Add node 'y' reads tensor 'y', which is made only later: the graph has a cycle",
        ),
        (
            "g (bool f) => (float[2] y) { y = If (f) <then_branch = t () => (float[2] a) { a = Neg (lost) }, "
            "else_branch = e () => (float[2] b) { b = Neg (lost) }> }",
            "If node 'y' reads tensor 'lost', which no node, input or initializer makes",
        ),
        (
            "g (float[2] x) => (float[2] y) { y = Neg (x)  y = Abs (x) }",
            "Abs node 'y' makes tensor 'y', which exists already; names must be unique",
        ),
        (
            "g (float[2] x) => (float[2] y) { x = Neg (x)  y = Abs (x) }",
            "Neg node 'x' makes tensor 'x', which exists already; names must be unique",
        ),
        (
            "g (float[2] x) => (float[2] y) { y, y = local.pair (x) }",
            "local::pair node 'y' makes tensor 'y', which exists already",
        ),
        ("g (float[2] x) => (float[2] y) { z = Neg (x) }", "graph output 'y' is made by no node"),
        (
            "g (float[2] x, float[2] x) => (float[2] y) { y = Neg (x) }",
            "graph input 'x' is declared twice; names must be unique",
        ),
        (
            "g (float[2] x) => (float[2] y) <float[2] c = {1, 2}, float[2] c = {3, 4}> { y = Add (x, c) }",
            "initializer 'c' is stored twice; names must be unique",
        ),
    ],
)
def test_unsound_graphs_are_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        check(parsed(text))
