"""What holds of a node under which selections: constants, folded BatchNormalizations, biases of linear layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from supernet_onnx.cost.calls import CallGraph, resolve_calls
from supernet_onnx.selection import every
from tests.cost.supergraphs import graph, pool

if TYPE_CHECKING:
    from supernet_onnx.supergraph import Condition

VECTORS = {"s": (4,), "h": (4,), "m": (4,), "v": (4,)}
CONSTANTS = {"w": (4, 4, 1, 1), "w5": (4, 4, 5, 5), "b": (4,), "k": (4, 4), "row": (4,), **VECTORS}
SIGNATURE = "g (float[N,4,8,8] x) => (float[N,4,8,8] y)"
BATCHNORM = "BatchNormalization"


def resolved(body: str, signature: str = SIGNATURE) -> CallGraph:
    return resolve_calls(graph(f"{signature} {{ {body} }}", CONSTANTS))


def holds(calls: CallGraph, condition: Condition) -> list[tuple[int, ...]]:
    return [choice.indices for choice in every(calls.supergraph) if condition.at(choice.indices)]


def folds(calls: CallGraph) -> list[tuple[str, list[tuple[int, ...]]]]:
    nodes = calls.supergraph.graph.node
    return [(nodes[fold.conv].output[0], holds(calls, fold.condition)) for fold in calls.facts.folds]


def norm(tensor: str) -> str:
    return f"BatchNormalization ({tensor}, s, h, m, v)"


@pytest.mark.parametrize("conv", ["Conv (x, w)", "Conv (x, w, b)", "ConvTranspose (x, w)"])
def test_a_batchnorm_right_behind_a_convolution_folds(conv: str) -> None:
    assert folds(resolved(f"a = {conv}  y = {norm('a')}")) == [("a", [()])]


def test_a_batchnorm_behind_gemm_folds() -> None:
    calls = resolved(f"a = Gemm (x, k, b)  y = {norm('a')}", "g (float[N,4] x) => (float[N,4] y)")
    assert folds(calls) == [("a", [()])]


@pytest.mark.parametrize(
    "body",
    [
        f"y = {norm('x')}",
        f"a = Conv (x, w)  c = Relu (a)  y = {norm('c')}",
        f"a = Conv (x, w)  c = {norm('a')}  y = Add (a, c)",  # something else reads the convolution
        "a = Conv (x, w)  y, rm, rv = BatchNormalization <training_mode = 1> (a, s, h, m, v)",
        f"q = Relu (w)  u = Mul (q, x2)  a = Conv (x, u)  y = {norm('a')}",  # computed weights
    ],
)
def test_a_batchnorm_elsewhere_does_not_fold(body: str) -> None:
    signature = "g (float[N,4,8,8] x, float[1] x2) => (float[N,4,8,8] y)"
    assert folds(resolved(body, signature)) == []


def test_a_convolution_that_is_a_graph_output_keeps_its_batchnorm() -> None:
    signature = "g (float[N,4,8,8] x) => (float[N,4,8,8] y, float[N,4,8,8] a)"
    assert folds(resolved(f"a = Conv (x, w)  y = {norm('a')}", signature)) == []


def test_a_batchnorm_behind_a_pool_folds_into_the_branches_that_end_in_a_convolution() -> None:
    body = (
        f"a = Conv (x, w)  c = Conv <pads = [2,2,2,2]> (x, w5)  q = {pool('p', 'a c skip')} a, c, x)  y = {norm('q')}"
    )
    assert folds(resolved(body)) == [("a", [(0,)]), ("c", [(1,)])]


def test_a_convolution_before_a_pool_folds_where_nothing_else_reads_it() -> None:
    body = f"a = Conv (x, w)  n = {norm('a')}  r = Relu (a)  c = Add (n, r)  y = {pool('p', 'n c r')} n, c, r)"
    assert folds(resolved(body)) == [("a", [(0,)])]


def test_constants_are_what_can_be_computed_before_the_run() -> None:
    body = (
        f"t = Transpose (k)  u = Add (t, k)  c = {pool('p', 'row b')} row, b)  f = ConstantOfShape (n)"
        f"  r = RandomNormalLike (k)  d = {pool('q', 'row z')} row, z)  e = Add (c, d)  g = Add (e, z)"
        "  i = Add (u, r)  j = Add (i, f)  y = Add (g, j)"
    )
    signature = "g (float[4] z) => (float[4,4] y) <int64[2] n = {4, 4}>"
    found = resolved(body, signature).facts.constant
    assert {"t", "u", "c", "f"} <= found
    assert not {"r", "d", "e", "g", "i", "j", "y", "z"} & found


def test_the_bias_of_a_linear_layer_is_found_through_pools() -> None:
    body = (
        f"a = MatMul (x, k)  c = Relu (x)  q = {pool('p', 'linear relu')} a, c)"
        f"  r = {pool('b', 'row b')} row, b)  y = Add (r, q)"
    )
    calls = resolved(body, "g (float[N,6,4] x) => (float[N,6,4] y)")
    ((node, slot),) = calls.facts.added_biases
    assert (calls.supergraph.graph.node[node].op_type, slot) == ("Add", 0)
    assert {choice[0] for choice in holds(calls, calls.facts.added_biases[node, slot])} == {0}
