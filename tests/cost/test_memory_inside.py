"""What If, Loop and Scan hold and move inside: by hand, and against the same graphs without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from onnx import GraphProto, ModelProto, TensorProto, helper, parser

from supernet_onnx import supergraph
from supernet_onnx.cost import by_node, measure, peak_memory, traffic
from supernet_onnx.errors import UnknownOperatorError
from supernet_onnx.graph import captured
from supernet_onnx.pruning import prune
from supernet_onnx.selection import every
from tests.cost.naive import supergraphs
from tests.cost.supergraphs import graph, pool

if TYPE_CHECKING:
    from supernet_onnx.supergraph import SuperGraph


def both(text: str, **options: object) -> tuple[float, float]:
    tables = measure(graph(text), [peak_memory, traffic], **options)
    return tables["peak_memory"].trunk, tables["traffic"].trunk


# 16 bytes each; a switch has 1
THEN = "then_branch = t () => (float[4] r) { a = Exp (x)  r = Exp (a) }"
ELSE = "else_branch = e () => (float[4] r) { r = Neg (x) }"


def test_an_if_holds_and_moves_what_the_dearer_of_its_graphs_does() -> None:
    text = f"g (float[4] x, bool flag) => (float[4] y) {{ y = If (flag) <{THEN}, {ELSE}> }}"
    assert both(text) == (16 + 1 + (16 + 16), (16 + 16) + (16 + 16))


@pytest.mark.parametrize(("flag", "expected"), [(1, (16 + 32, 64)), (0, (16 + 16, 32))])
def test_an_if_whose_condition_is_known_takes_one_graph(flag: int, expected: tuple[float, float]) -> None:
    text = f"g (float[4] x) => (float[4] y) <bool flag = {{{flag}}}> {{ y = If (flag) <{THEN}, {ELSE}> }}"
    assert both(text) == expected


def test_what_is_needed_behind_stays_while_an_if_runs() -> None:
    text = (
        f"g (float[4] x, bool flag) => (float[4] z) {{ k = Exp (x)  y = If (flag) <{THEN}, {ELSE}>  z = Add (y, k) }}"
    )
    assert both(text) == (16 + 16 + 1 + 32, 32 + 64 + 48)


LOOP = (
    "body = b (int64 i, bool c, float[4] v) => (bool d, float[4] w, float[4] s)"
    " { d = Identity (c)  w = Exp (v)  s = Neg (w) }"
)


def test_a_loop_holds_what_a_turn_does_and_all_that_it_collects_and_moves_that_of_each_turn() -> None:
    text = (
        "g (float[4] x, bool go) => (float[4] y, float[3,4] z) <int64 three = {3}>"
        f" {{ y, z = Loop (three, go, x) <{LOOP}> }}"
    )
    turn = 16 + 16 + 1  # v and w, then w and s; and the condition
    assert both(text) == (16 + 1 + turn + 3 * 16, 3 * (32 + 32))


def test_how_often_a_loop_runs_can_be_given() -> None:
    body = "body = b (int64 i, bool c, float[4] v) => (bool d, float[4] w) { d = Identity (c)  w = Exp (v) }"
    text = f"g (float[4] x, int64 n, bool go) => (float[4] y) {{ y = Loop (n, go, x) <{body}> }}"
    with pytest.raises(UnknownOperatorError) as error:
        both(text)
    assert str(error.value) == (
        "Loop node 'y': how often its body runs is not known; give it with --trip-count y=COUNT, or leave it out of "
        "'traffic' with --unknown free"
    )
    assert both(text, trip_counts={"y": 5}) == (16 + 8 + 1 + 16 + 16 + 1, 5 * 32)
    table = measure(graph(text), [traffic], unknown="free")["traffic"]
    assert (table.trunk, table.unknown) == (0, ("Loop",))


def test_the_slices_of_a_scan_are_held_with_what_they_are_slices_of() -> None:
    body = "body = b (float[4] v, float[4] s) => (float[4] w, float[4] o) { w = Add (v, s)  o = Neg (w) }"
    text = (
        "g (float[4] x, float[5,4] seq) => (float[4] y, float[5,4] z)"
        f" {{ y, z = Scan (x, seq) <num_scan_inputs = 1, {body}> }}"
    )
    assert both(text) == (16 + 80 + (16 + 16) + 80, 5 * (48 + 32))


def test_graphs_nest() -> None:
    graphs = f"{THEN}, {ELSE}".replace("(x)", "(v)")
    body = (
        "body = b (int64 i, bool c, float[4] v) => (bool d, float[4] w)"
        f" {{ d = Identity (c)  w = If (flag) <{graphs}> }}"
    )
    text = (
        "g (float[4] x, bool go, bool flag) => (float[4] y) <int64 three = {3}>"
        f" {{ y = Loop (three, go, x) <{body}> }}"
    )
    assert both(text) == (16 + 1 + 1 + (1 + 16 + 32), 3 * 64)


def test_what_depends_on_a_pool_is_due_where_the_branch_is_chosen() -> None:
    text = (
        f"g (float[4] x, bool flag) => (float[4] y) {{ a = If (flag) <{THEN}, {ELSE}>  b = Neg (x)"
        f"  y = {pool('p', 'if neg')} a, b) }}"
    )
    tables = measure(graph(text), [peak_memory, traffic])
    assert [tables["traffic"].total(selection) for selection in every(graph(text))] == [64, 32]
    assert [tables["peak_memory"].total(selection) for selection in every(graph(text))] == [16 + 1 + 32, 32]


@settings(max_examples=60, deadline=None)
@given(supergraphs())
def test_a_network_in_an_if_moves_what_it_does_outside_of_it(supernet: SuperGraph) -> None:
    assume(supernet.pools)
    subnet = prune(supernet, next(every(supernet)))
    inside = measure(supergraph.read(_in_an_if(subnet)), [traffic])["traffic"].trunk
    assert inside == measure(supergraph.read(subnet), [traffic])["traffic"].trunk


def _in_an_if(model: ModelProto) -> ModelProto:
    """Make the whole of a model both graphs of an If."""
    body = GraphProto()
    body.CopyFrom(model.graph)
    del body.input[:]
    wrapped = ModelProto()
    wrapped.CopyFrom(model)
    del wrapped.graph.node[:], wrapped.graph.initializer[:], wrapped.graph.sparse_initializer[:]
    del wrapped.graph.value_info[:], wrapped.graph.output[:]
    outputs = []
    for value in model.graph.output:
        output = wrapped.graph.output.add()
        output.CopyFrom(value)
        output.name += ".out"
        outputs.append(output.name)
    assert captured(body) <= {value.name for value in model.graph.input}
    wrapped.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    wrapped.graph.node.append(helper.make_node("If", ["flag"], outputs, then_branch=body, else_branch=body))
    return wrapped


@pytest.mark.parametrize("metric", [peak_memory, traffic])
def test_functions_that_cannot_be_inlined_are_unknown(metric: object) -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
    g (float[1,4] x) => (float[4] y) { y = local.squeezed (x) }
    <domain: "local", opset_import: ["": 11]> squeezed (x) => (y) { y = Squeeze <axes = [0]> (x) }"""
    model = parser.parse_model(text)
    with pytest.raises(UnknownOperatorError, match=f"'{metric.name}' does not look into what it runs"):
        measure(supergraph.read(model), [metric])


def test_what_is_inside_stands_with_the_node_that_holds_it() -> None:
    text = f"g (float[4] x, bool flag) => (float[4] y) {{ y = If (flag) <{THEN}, {ELSE}> }}"
    lines = by_node(graph(text), [peak_memory, traffic])
    assert [dict(line.amounts) for line in lines] == [{"peak_memory": 49, "traffic": 64}]
