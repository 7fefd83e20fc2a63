"""What moves and what is held: by hand on small graphs, and against plain loops on every selection of random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from onnx import TensorProto, helper

from supernet_onnx import supergraph
from supernet_onnx.cost import by_node, measure, peak_memory, traffic
from supernet_onnx.errors import CostError, UnknownShapeError
from supernet_onnx.pruning import prune
from supernet_onnx.selection import every
from tests.cost.naive import measure_memory, supergraphs
from tests.cost.supergraphs import Constant, graph, model, pool

if TYPE_CHECKING:
    from supernet_onnx.supergraph import SuperGraph


def peak(text: str, constants: dict[str, Constant] | None = None) -> float:
    return measure(graph(text, constants), [peak_memory])["peak_memory"].trunk


def moved(text: str, constants: dict[str, Constant] | None = None) -> float:
    return measure(graph(text, constants), [traffic])["traffic"].trunk


@settings(max_examples=300, deadline=None)
@given(supergraphs())
def test_every_selection_holds_and_moves_what_its_subnet_does(supernet: SuperGraph) -> None:
    assume(supernet.pools)
    tables = measure(supernet, [peak_memory, traffic])
    for selection in every(supernet):
        subnet = prune(supernet, selection)
        expected = measure_memory(subnet)
        assert {name: table.total(selection) for name, table in tables.items()} == expected
        alone = measure(supergraph.read(subnet), [peak_memory, traffic])
        assert {name: table.trunk for name, table in alone.items()} == expected


FOUR = "g (float[4] x) => (float[4] y)"  # 16 bytes each


def test_an_activation_lives_from_its_maker_to_its_last_reader() -> None:
    assert peak(f"{FOUR} {{ y = Exp (x) }}") == 16 + 16
    assert peak(f"{FOUR} {{ a = Exp (x)  b = Exp (a)  y = Exp (b) }}") == 16 + 16
    assert peak(f"{FOUR} {{ a = Exp (x)  b = Exp (a)  c = Exp (b)  y = Add (c, a) }}") == 3 * 16
    assert peak(f"{FOUR} {{ a = Exp (x)  b = Exp (a)  c = Exp (b)  y = Add (c, x) }}") == 3 * 16


def test_graph_outputs_are_kept_to_the_end() -> None:
    text = "g (float[4] x) => (float[4] a, float[4] y) { a = Exp (x)  b = Exp (a)  c = Exp (b)  y = Exp (c) }"
    assert peak(text) == 3 * 16


def test_outputs_that_nobody_reads_are_made_all_the_same() -> None:
    text = "g (float[4] x) => (float[2] y) { a, b = Split <num_outputs = 2> (x)  y = Exp (a) }"
    assert (peak(text), moved(text)) == (16 + 8 + 8, 16 + 16 + 8 + 8)


TWICE = "g (float[4] x) => (float y) { c = Concat <axis = 0> (x, x)"  # 32 bytes


def test_activation_functions_write_into_an_input_that_nothing_else_reads() -> None:
    total = "y = ReduceSum <keepdims = 0> (r) }"
    assert peak(f"{TWICE}  r = Exp (c)  {total}") == 32 + 32
    assert peak(f"{TWICE}  r = Relu (c)  {total}") == 16 + 32
    assert (
        peak(f"{TWICE}  r = Cast <to = 6> (c)  y = ReduceSum <keepdims = 0> (r) }}".replace("float y", "int32 y")) == 48
    )
    assert (
        peak(f"{TWICE}  r = Cast <to = 11> (c)  y = ReduceSum <keepdims = 0> (r) }}".replace("float y", "double y"))
        == 96
    )


def test_not_if_it_is_read_later_or_comes_from_outside_or_what_is_made_leaves() -> None:
    assert peak(f"{TWICE}  r = Relu (c)  a = Add (r, c)  y = ReduceSum <keepdims = 0> (a) }}") == 3 * 32
    assert peak(f"{FOUR} {{ a = Relu (x)  y = Exp (a) }}") == 2 * 16
    assert peak(f"{TWICE}  y = Relu (c) }}".replace("float y", "float[8] y")) == 2 * 32


def test_views_share_the_buffer_of_their_input() -> None:
    views = "f = Flatten <axis = 0> (a)  i = Identity (f)  u = Unsqueeze (i, one)  s = Squeeze (u, one)"
    text = (
        f"{FOUR} <int64[1] one = {{1}}, int64[1] four = {{4}}>"
        f" {{ a = Exp (x)  {views}  r = Reshape (s, four)  b = Exp (r)  y = Add (b, a) }}"
    )
    assert peak(text) == 3 * 16
    assert moved(text) == 16 + 16 + 16 + 16 + 16 + 16 + 16  # Exp, Exp, and Add of two buffers


def test_a_graph_of_views_holds_its_input() -> None:
    assert (peak(f"{FOUR} {{ y = Identity (x) }}"), moved(f"{FOUR} {{ y = Identity (x) }}")) == (16, 0)
    supernet = graph(f"g (float[4] x, float[4] z) => (float[4] y) {{ y = {pool('p', 'a b')} x, z) }}")
    tables = measure(supernet, [peak_memory, traffic])
    assert [tables["peak_memory"].total(selection) for selection in every(supernet)] == [16, 16]
    assert tables["traffic"].maximum() == 0


def test_constants_are_no_activations_but_are_read() -> None:
    text = f"{FOUR} {{ t = Transpose (w)  a = Add (x, t)  y = Add (a, w) }}"
    assert peak(text, {"w": (4,)}) == 16 + 16
    assert moved(text, {"w": (4,)}) == 2 * 3 * 16


def test_each_buffer_is_read_once_by_a_node() -> None:
    assert moved(f"{FOUR} {{ y = Add (x, x) }}") == 16 + 16
    assert moved(f"{FOUR} {{ i = Identity (x)  y = Add (x, i) }}") == 16 + 16
    supernet = graph(f"{FOUR} {{ a = Exp (x)  p = {pool('p', 'exp skip')} a, x)  y = Add (p, x) }}")
    tables = measure(supernet, [peak_memory, traffic])
    assert [tables["traffic"].total(selection) for selection in every(supernet)] == [32 + 48, 32]
    assert [tables["peak_memory"].total(selection) for selection in every(supernet)] == [48, 32]


def test_what_only_looks_at_a_shape_reads_nothing_and_a_gather_no_more_than_it_writes() -> None:
    assert moved("g (float[4,5] x) => (int64[2] y) { y = Shape (x) }") == 16
    text = "g (int64[3] i) => (float[3,5] y) { y = Gather (table, i) }"
    assert moved(text, {"table": (1000, 5)}) == 3 * 8 + 3 * 5 * 4 + 3 * 5 * 4


def test_elements_of_half_a_byte_are_packed() -> None:
    made = model(
        "g (float[5] x, float s) => (float[5] y) { q = QuantizeLinear (x, s, z)  y = DequantizeLinear (q, s, z) }",
        opset=21,
    )
    made.graph.initializer.append(helper.make_tensor("z", TensorProto.INT4, [], [0]))
    table = measure(supergraph.read(made), [traffic])["traffic"]
    assert table.trunk == (20 + 4 + 1 + 3) + (3 + 4 + 1 + 20)


def test_a_folded_batchnorm_is_the_bias_of_its_convolution() -> None:
    signature = "g (float[N,4,8,8] x) => (float[N,4,8,8] y)"
    constants = {"w": (4, 4, 1, 1), "b": (4,), "s": (4,)}
    behind = f"{signature} {{ a = Conv (x, w)  y = BatchNormalization (a, s, s, s, s) }}"
    biased = f"{signature} {{ y = Conv (x, w, b) }}"
    assert moved(behind, constants) == moved(biased, constants) == 1024 + 64 + 16 + 1024
    assert peak(behind, constants) == peak(biased, constants) == 2048
    alone = f"{signature} {{ a = Relu (x)  y = BatchNormalization (a, s, s, s, s) }}"
    assert moved(alone, constants) == 2048 + 1024 + 16 + 1024


def test_a_sample_counts_unless_the_batch_is_bound() -> None:
    supernet = graph("g (float[N,4] x) => (float[N,4] y) { y = Exp (x) }")
    assert measure(supernet, [peak_memory], dims={"N": 8})["peak_memory"].trunk == 8 * 32


def test_the_lines_of_the_nodes_tell_what_is_live_at_each() -> None:
    supernet = graph(
        f"{FOUR} {{ a = Exp (x)  b = Concat <axis = 0> (a, a)  c = Slice (b, zero, four)"
        f"  p = {pool('p', 'long short')} c, a)  y = Exp (p) }}",
        {"zero": np.zeros(1, np.int64), "four": np.full(1, 4)},
    )
    lines = [(line.node, line.condition, line.amounts["peak_memory"]) for line in by_node(supernet, [peak_memory])]
    long, short = (supernet.diagrams.literal(0, i) for i in range(2))
    always = supernet.diagrams.true
    assert {(node, long if c is long else short if c is short else always, n) for node, c, n in lines if n} == {
        ("Exp node 'a'", always, 32),
        ("Concat node 'b'", always, 16),
        ("Concat node 'b'", long, 32),
        ("Slice node 'c'", short, 16),
        ("Slice node 'c'", long, 48),
        ("Exp node 'y'", always, 32),
    }


def test_a_size_that_is_not_known_is_an_error() -> None:
    with pytest.raises(
        UnknownShapeError, match=r"^tensor 'x' is float\[1,n\]: dim 1 'n' must be a number; .*--dim NAME=VALUE"
    ):
        peak("g (float[N,n] x) => (float[N,n] y) { y = Exp (x) }")
    with pytest.raises(CostError, match="tensor 'y' holds strings, whose size its type does not tell"):
        moved("g (string[4] x) => (string[4] y) { y = Expand (x, s) }", {"s": np.full(1, 4)})
