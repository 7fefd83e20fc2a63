"""Costs as formulas in open dims, against arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from supernet_onnx.cost import Formula, macs, measure, ops, params, peak_memory, symbolic
from supernet_onnx.errors import UnknownShapeError
from supernet_onnx.selection import resolve
from tests.cost.supergraphs import graph, pool

ATTENTION = (
    "g (float[N,T,8] x) => (float[N,T,8] y) { q = MatMul (x, w)  t = Transpose <perm = [0,2,1]> (q)"
    "  s = MatMul (q, t)  p = Softmax (s)  y = MatMul (p, q) }"
)


def test_a_product_of_matrices_has_the_square_of_the_sequence() -> None:
    supernet = graph(ATTENTION, {"w": (8, 8)})
    found = symbolic(supernet, [macs, params], resolve(supernet, {}), {})
    assert {name: str(formula) for name, formula in found.items()} == {"macs": "16*N*T^2 + 64*N*T", "params": "64"}
    formula = found["macs"]
    assert formula is not None
    assert formula.multiple == 1
    assert formula.at({"N": 3, "T": 5}) == measure(supernet, [macs], dims={"N": 3, "T": 5})["macs"].trunk


def test_dims_that_are_bound_are_numbers() -> None:
    supernet = graph(ATTENTION, {"w": (8, 8)})
    assert str(symbolic(supernet, [macs], resolve(supernet, {}), {"dims": {"N": 1}})["macs"]) == "16*T^2 + 64*T"
    assert str(symbolic(supernet, [macs], resolve(supernet, {}), {"shapes": {"x": (1, 6, 8)}})["macs"]) == "960"


def test_a_strided_convolution_has_a_formula_for_multiples_of_its_stride() -> None:
    supernet = graph(
        "g (float[1,3,H,W] x) => (float[1,4,h,w] y) { y = Conv <strides = [2,2], pads = [1,1,1,1]> (x, k) }",
        {"k": (4, 3, 3, 3)},
    )
    formula = symbolic(supernet, [macs], resolve(supernet, {}), {})["macs"]
    assert formula is not None
    assert (str(formula), formula.multiple) == ("27*H*W", 8)


def test_a_model_that_takes_multiples_of_a_size_alone_has_a_formula_for_those() -> None:
    supernet = graph(
        "g (float[1,3,H] x) => (float[1,3,H] y) {"
        '  a = MaxPool <kernel_shape = [2], strides = [2]> (x)  b = Resize <mode = "nearest"> (a, , scales)'
        "  c = Add (b, x)  y = Conv <pads = [1,1]> (c, k) }",
        {"k": (3, 3, 3), "scales": np.array([1, 1, 2], np.float32)},
    )
    formula = symbolic(supernet, [macs], resolve(supernet, {}), {})["macs"]
    assert formula is not None
    assert (str(formula), formula.multiple) == ("27*H", 8)


def test_a_model_that_takes_no_size_says_why() -> None:
    supernet = graph(
        "g (float[H] x) => (float[n] y) { a = NonZero (x)  b = Cast <to = 1> (a)  y = MatMul (b, w) }", {"w": (4, 4)}
    )
    with pytest.raises(UnknownShapeError, match="is not known"):
        symbolic(supernet, [macs], resolve(supernet, {}), {})


def test_what_is_no_polynomial_has_no_formula() -> None:
    supernet = graph("g (float[1,3,H] x) => (float[1,4,h] y) { y = Conv <strides = [7]> (x, k) }", {"k": (4, 3, 7)})
    assert symbolic(supernet, [macs, peak_memory], resolve(supernet, {}), {}) == {"macs": None, "peak_memory": None}


def test_the_formula_is_that_of_the_selection() -> None:
    text = (
        "g (float[N,T,8] x) => (float[N,T,8] y) { a = MatMul (x, w)  b = Add (a, c)"
        f"  y = {pool('p', 'linear skip')} b, x) }}"
    )
    supernet = graph(text, {"w": (8, 8), "c": (8,)})
    for branch, formula in (("linear", "72*N*T"), ("skip", "0")):
        found = symbolic(supernet, [ops], resolve(supernet, {"p": branch}), {})["ops"]
        assert str(found) == formula


def test_formulas_are_written_with_signs_and_fractions() -> None:
    terms = {(2,): Fraction(1), (1,): Fraction(-3, 2), (0,): Fraction(-1)}
    assert str(Formula(("n",), terms, 1)) == "n^2 - 3/2*n - 1"
    assert str(Formula(("n",), {}, 1)) == "0"
    assert Formula(("n",), terms, 1).at({"n": 4}) == 9
