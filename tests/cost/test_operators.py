"""Multiply-accumulates and operations of each operator, against arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from supernet_onnx.cost import OpCall, Operand, macs, measure, ops, ops_no_bias
from supernet_onnx.errors import CostError, UnknownOperatorError
from tests.cost.supergraphs import Constant, graph


def counts(text: str, constants: dict[str, Constant] | None = None, *, opset: int = 20) -> tuple[int, int]:
    """Return macs and ops of a graph."""
    tables = measure(graph(text, constants, opset=opset), [macs, ops, ops_no_bias])
    assert tables["ops_no_bias"].trunk == tables["macs"].trunk
    return tables["macs"].trunk, tables["ops"].trunk


# The output of a convolution has C_out * H' * W' elements, each the sum of C_in / group * kernel products.
CONVOLUTIONS = {
    "plain": ("", (4, 3, 3, 3), 4 * 6 * 6, 3 * 3 * 3),
    "padded": ("<pads = [1, 1, 1, 1]>", (4, 3, 3, 3), 4 * 8 * 8, 3 * 3 * 3),
    "same": ('<auto_pad = "SAME_UPPER">', (4, 3, 5, 3), 4 * 8 * 8, 3 * 5 * 3),
    "strided": ("<strides = [2, 2], pads = [1, 1, 1, 1]>", (4, 3, 3, 3), 4 * 4 * 4, 3 * 3 * 3),
    "dilated": ("<dilations = [2, 3]>", (4, 3, 3, 3), 4 * 4 * 2, 3 * 3 * 3),
    "grouped": ("<group = 3>", (6, 1, 3, 3), 6 * 6 * 6, 1 * 3 * 3),
    "depthwise": ("<group = 3, pads = [1, 1, 1, 1]>", (3, 1, 3, 3), 3 * 8 * 8, 1 * 3 * 3),
    "pointwise": ("", (16, 3, 1, 1), 16 * 8 * 8, 3),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolution(kind: str) -> None:
    attributes, weight, elements, products = CONVOLUTIONS[kind]
    signature = "g (float[N,3,8,8] x) => (float[N,c,h,w] y)"
    without = counts(f"{signature} {{ y = Conv {attributes} (x, k) }}", {"k": weight})
    assert without == (elements * products, elements * products)
    with_bias = counts(f"{signature} {{ y = Conv {attributes} (x, k, b) }}", {"k": weight, "b": weight[:1]})
    assert with_bias == (elements * products, elements * products + elements)


def test_convolution_of_one_and_three_dims() -> None:
    assert counts("g (float[N,2,10] x) => (float[N,c,t] y) { y = Conv (x, k) }", {"k": (5, 2, 4)})[0] == 5 * 7 * 2 * 4
    text = "g (float[N,2,4,4,4] x) => (float[N,c,d,h,w] y) { y = Conv (x, k) }"
    assert counts(text, {"k": (5, 2, 2, 2, 2)})[0] == 5 * 27 * 2 * 8


def test_a_batch_multiplies_and_is_one_unless_bound() -> None:
    supernet = graph("g (float[N,3,8,8] x) => (float[N,4,8,8] y) { y = Conv (x, k) }", {"k": (4, 3, 1, 1)})
    assert measure(supernet, [macs])["macs"].trunk == 4 * 3 * 64
    assert measure(supernet, [macs], dims={"N": 8})["macs"].trunk == 8 * 4 * 3 * 64


# Each *input* element of a transposed convolution is spread over C_out / group * kernel elements.
@pytest.mark.parametrize(
    ("attributes", "weight", "spread", "output"),
    [
        ("", (4, 2, 3, 3), 2 * 9, 2 * 7 * 7),
        ("<strides = [2, 2]>", (4, 2, 3, 3), 2 * 9, 2 * 11 * 11),
        ("<strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]>", (4, 2, 3, 3), 2 * 9, 2 * 10 * 10),
        ("<group = 2>", (4, 3, 3, 3), 3 * 9, 6 * 7 * 7),
        ("<dilations = [2, 2]>", (4, 2, 3, 3), 2 * 9, 2 * 9 * 9),
    ],
)
def test_transposed_convolution(attributes: str, weight: tuple[int, ...], spread: int, output: int) -> None:
    channels = weight[1] * (2 if "group" in attributes else 1)
    text = f"g (float[N,4,5,5] x) => (float[N,c,h,w] y) {{ y = ConvTranspose {attributes} (x, k, b) }}"
    expected = 4 * 5 * 5 * spread
    assert counts(text, {"k": weight, "b": (channels,)}) == (expected, expected + output)


@pytest.mark.parametrize(
    ("attributes", "a", "b"),
    [
        ("", (5, 7), (7, 3)),
        ("<transA = 1>", (7, 5), (7, 3)),
        ("<transB = 1>", (5, 7), (3, 7)),
        ("<transA = 1, transB = 1, alpha = 0.5>", (7, 5), (3, 7)),
    ],
)
def test_gemm(attributes: str, a: tuple[int, int], b: tuple[int, int]) -> None:
    signature = f"g (float[{a[0]},{a[1]}] x) => (float[m,n] y)"
    assert counts(f"{signature} {{ y = Gemm {attributes} (x, w) }}", {"w": b}) == (105, 105)
    assert counts(f"{signature} {{ y = Gemm {attributes} (x, w, c) }}", {"w": b, "c": (3,)}) == (105, 105 + 15)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((5, 7), (7, 3), 5 * 7 * 3),
        ((2, 5, 7), (2, 7, 3), 2 * 5 * 7 * 3),
        ((2, 1, 5, 7), (4, 7, 3), 2 * 4 * 5 * 7 * 3),
        ((6, 5, 7), (7, 3), 6 * 5 * 7 * 3),
        ((7,), (7, 3), 7 * 3),
        ((5, 7), (7,), 5 * 7),
        ((7,), (7,), 7),
        ((4, 7), (2, 7, 3), 2 * 4 * 7 * 3),
    ],
)
def test_matmul_broadcasts_batches_and_takes_vectors(a: tuple[int, ...], b: tuple[int, ...], expected: int) -> None:
    sides = [",".join(map(str, shape)) for shape in (a, b)]
    assert np.matmul(np.zeros(a), np.zeros(b)).size * a[-1] == expected
    text = f"g (float[{sides[0]}] x, float[{sides[1]}] z) => (float y) {{ y = MatMul (x, z) }}"
    assert counts(text) == (expected, expected)


def test_the_bias_of_a_linear_layer_on_tokens_is_an_operation() -> None:
    signature = "g (float[N,6,4] x) => (float[N,6,3] y)"
    for add in ("Add (a, b)", "Add (b, a)"):
        text = f"{signature} {{ a = MatMul (x, w)  y = {add} }}"
        assert counts(text, {"w": (4, 3), "b": (3,)}) == (6 * 4 * 3, 6 * 4 * 3 + 6 * 3)
        assert counts(text, {"w": (4, 3), "b": (1, 1, 3)})[1] == 6 * 4 * 3 + 6 * 3


@pytest.mark.parametrize("layer", ["Conv (x, k)", "ConvTranspose (x, t)"])
@pytest.mark.parametrize("bias", [(1, 3, 1, 1), (3, 1, 1)])
def test_the_bias_of_a_convolution_written_as_an_addition_is_an_operation(layer: str, bias: tuple[int, ...]) -> None:
    text = f"g (float[N,2,4,4] x) => (float[N,3,4,4] y) {{ a = {layer}  y = Add (b, a) }}"
    mac_count, op_count = counts(text, {"k": (3, 2, 1, 1), "t": (2, 3, 1, 1), "b": bias})
    assert (mac_count, op_count) == (3 * 2 * 16, 3 * 2 * 16 + 3 * 16)


def test_a_constant_along_another_dim_of_a_convolution_is_no_bias() -> None:
    for shape in ((3,), (1, 1, 3, 1), (1, 3, 3, 3), (1,)):
        text = "g (float[N,2,3,3] x) => (float[N,3,3,3] y) { a = Conv (x, k)  y = Add (a, b) }"
        mac_count, op_count = counts(text, {"k": (3, 2, 1, 1), "b": shape})
        assert op_count == mac_count


@pytest.mark.parametrize(
    "text",
    [
        "{ a = MatMul (x, w)  c = Relu (a)  y = Add (c, b) }",  # not behind the product
        "{ a = MatMul (x, w)  y = Add (a, p) }",  # a position code
        "{ a = MatMul (x, w)  y = Add (a, half) }",  # a scalar
        "{ a = MatMul (x, w)  y = Add (a, one) }",  # one element for three
        "{ a = MatMul (x, w)  c = Relu (b)  d = MatMul (x, w)  y = Add (a, d) }",  # no constant
        "{ a = MatMul (x, x)  y = Sub (a, b) }",
    ],
)
def test_other_additions_are_no_biases(text: str) -> None:
    constants = {"w": (3, 3), "b": (3,), "p": (1, 3, 3), "half": (), "one": (1,)}
    mac_count, op_count = counts(f"g (float[N,3,3] x) => (float[N,3,3] y) {text}", constants)
    assert op_count == mac_count


def test_scores_of_attention_have_no_bias() -> None:
    text = "g (float[N,3,3] q, float[N,3,3] k) => (float[N,3,3] y) { a = MatMul (q, k)  y = Add (a, mask) }"
    assert counts(text, {"mask": (3,)}) == (27, 27)


@pytest.mark.parametrize(
    ("equation", "a", "b", "expected"),
    [
        ("ij,jk->ik", (2, 3), (3, 5), 2 * 3 * 5),
        ("bij, bjk -> bik", (4, 2, 3), (4, 3, 5), 4 * 2 * 3 * 5),
        ("...ij,...jk->...ik", (4, 6, 2, 3), (6, 3, 5), 4 * 6 * 2 * 3 * 5),
        ("bhqd,bhkd->bhqk", (1, 2, 6, 4), (1, 2, 7, 4), 2 * 6 * 7 * 4),
        ("ij,jk", (2, 3), (3, 5), 2 * 3 * 5),
        ("i,j->ij", (3,), (5,), 15),
        ("i,i->", (7,), (7,), 7),
        ("ij,k->k", (2, 3), (5,), 5),  # i and j are summed up first
        ("ij,jk->k", (2, 3), (3, 5), 3 * 5),  # i is summed up first
        ("ii,i->i", (3, 3), (3,), 3),
        ("b...,b->...", (2, 3, 4), (2,), 2 * 3 * 4),
    ],
)
def test_einsum_of_two(equation: str, a: tuple[int, ...], b: tuple[int, ...], expected: int) -> None:
    np.einsum(equation, np.zeros(a), np.zeros(b))  # it is one
    sides = [",".join(map(str, shape)) for shape in (a, b)]
    text = (
        f'g (float[{sides[0]}] x, float[{sides[1]}] z) => (float y) {{ y = Einsum <equation = "{equation}"> (x, z) }}'
    )
    assert counts(text) == (expected, expected)


def test_einsum_of_one_only_moves_or_sums() -> None:
    assert counts('g (float[3,3] x) => (float y) { y = Einsum <equation = "ij->ji"> (x) }') == (0, 0)


def test_einsum_of_three_depends_on_the_order_and_is_unknown() -> None:
    text = 'g (float[2,3] x) => (float[2,2] y) { y = Einsum <equation = "ij,jk,kl->il"> (x, v, w) }'
    with pytest.raises(UnknownOperatorError, match=r"^Einsum node 'y': the metric 'macs' cannot count this operator"):
        counts(text, {"v": (3, 4), "w": (4, 2)})


def test_an_equation_that_does_not_fit_is_an_error() -> None:
    x = Operand("x", TensorProto.FLOAT, (2, 3))
    for equation, message in [
        ("i,ij->i", "term 'i' of its equation does not fit the shape [2, 3]"),
        ("ij->i", "1 terms"),
    ]:
        call = OpCall("Einsum", "", 20, "Einsum node 'e'", {"equation": equation}, (x, x), (x,))
        with pytest.raises(CostError) as error:
            macs.price(call)
        assert str(error.value).startswith("Einsum node 'e': ")
        assert message in str(error.value)


@pytest.mark.parametrize(("op_type", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers_multiply_at_every_step(op_type: str, gates: int, directions: int) -> None:
    steps, batch, inputs, hidden = 5, 2, 3, 4
    direction = "bidirectional" if directions == 2 else "forward"
    shapes = {
        "w": (directions, gates * hidden, inputs),
        "r": (directions, gates * hidden, hidden),
        "b": (directions, 2 * gates * hidden),
    }
    text = (
        f"g (float[{steps},{batch},{inputs}] x) => (float y) "
        f'{{ y = {op_type} <hidden_size = {hidden}, direction = "{direction}"> (x, w, r, b) }}'
    )
    expected = steps * batch * directions * gates * hidden * (inputs + hidden)
    assert counts(text, shapes) == (expected, expected + steps * batch * directions * 2 * gates * hidden)


def test_integer_convolution_and_products() -> None:
    bytes_ = {"k": np.zeros((4, 3, 3, 3), np.int8), "w": np.zeros((7, 3), np.int8)}
    text = "g (int8[N,3,8,8] x) => (int32[N,c,h,w] y) { y = ConvInteger (x, k) }"
    assert counts(text, {"k": bytes_["k"]})[0] == 4 * 6 * 6 * 27
    text = "g (int8[N,5,7] x) => (int32[N,5,3] y) { y = MatMulInteger (x, w) }"
    assert counts(text, {"w": bytes_["w"]})[0] == 5 * 7 * 3


def test_quantised_convolution_and_product() -> None:
    constants: dict[str, Constant] = {
        "s": (),
        "z": np.zeros((), np.int8),
        "k": np.zeros((4, 3, 3, 3), np.int8),
        "b": np.zeros(4, np.int32),
        "w": np.zeros((7, 3), np.int8),
    }
    text = "g (int8[N,3,8,8] x) => (int8[N,c,h,w] y) { y = QLinearConv (x, s, z, k, s, z, s, z, b) }"
    assert counts(text, constants) == (4 * 6 * 6 * 27, 4 * 6 * 6 * 27 + 4 * 6 * 6)
    text = "g (int8[N,5,7] x) => (int8[N,5,3] y) { y = QLinearMatMul (x, s, z, w, s, z, s, z) }"
    assert counts(text, constants) == (5 * 7 * 3, 5 * 7 * 3)


def test_deformable_and_causal_convolution_count_their_filters() -> None:
    text = "g (float[1,4,5,5] x, float[1,8,4,4] o) => (float[1,6,4,4] y) { y = DeformConv <group = 2> (x, k, o, b) }"
    assert counts(text, {"k": (6, 2, 2, 2), "b": (6,)}, opset=22) == (6 * 16 * 2 * 4, 6 * 16 * 2 * 4 + 6 * 16)
    text = "g (float[1,4,10] x) => (float[1,4,10] y) { y, s = CausalConvWithState (x, k, b) }"
    assert counts(text, {"k": (4, 1, 3), "b": (4,)}, opset=27) == (4 * 10 * 3, 4 * 10 * 3 + 4 * 10)


def test_attention_multiplies_twice() -> None:
    heads, queries, keys, size, value_size = 2, 6, 7, 4, 5
    expected = heads * queries * keys * (size + value_size)
    text = "g (float[1,2,6,4] q, float[1,2,7,4] k, float[1,2,7,5] v) => (float y) { y = Attention (q, k, v) }"
    assert counts(text, opset=23) == (expected, expected)
    text = (
        "g (float[1,6,8] q, float[1,7,8] k, float[1,7,10] v) => (float y) "
        "{ y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v) }"
    )
    assert counts(text, opset=23) == (expected, expected)


def test_attention_over_past_keys_and_shared_heads() -> None:
    past, new, heads = 3, 2, 4  # four query heads share one key head
    text = (
        "g (float[1,4,2,8] q, float[1,1,2,8] k, float[1,1,2,8] v, float[1,1,3,8] pk, float[1,1,3,8] pv) => (float y) "
        "{ y, a, b = Attention (q, k, v, , pk, pv) }"
    )
    assert counts(text, opset=23)[0] == heads * new * (past + new) * (8 + 8)


def test_elementwise_pooling_and_normalisation_cost_nothing() -> None:
    text = (
        "g (float[N,3,8,8] x) => (float[N,3,4,4] y) "
        "{ a = Relu (x)  b = Mul (a, a)  c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)  y = Softmax (c) }"
    )
    assert counts(text) == (0, 0)


def test_counts_are_exact_above_what_float32_holds() -> None:
    text = "g (float[4097,4099] x, float[4099,4111] z) => (float[m,n] y) { y = MatMul (x, z) }"
    total = measure(graph(text), [macs])["macs"].trunk
    assert total == 4097 * 4099 * 4111
    assert isinstance(total, int)
