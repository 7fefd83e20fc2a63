"""What is a parameter, and what is stored, under which conditions."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

from supernet_onnx import supergraph
from supernet_onnx.cost import CostTable, measure, params, params_no_bias, size
from supernet_onnx.errors import UnknownShapeError
from supernet_onnx.selection import resolve
from tests.cost.supergraphs import Constant, graph, model, pool

IMAGE = "g (float[N,4,8,8] x) => (float[N,c,h,w] y)"
TOKENS = "g (float[N,6,4] x) => (float[N,6,4] y)"
VECTORS: dict[str, Constant] = {"s": (4,), "h": (4,), "m": (4,), "v": (4,)}
INT8 = np.int8


def tables(text: str, constants: dict[str, Constant] | None = None, *, opset: int = 20) -> dict[str, CostTable]:
    return measure(graph(text, constants, opset=opset), [params, params_no_bias, size])


def counts(text: str, constants: dict[str, Constant] | None = None, *, opset: int = 20) -> tuple[float, float]:
    """Return params and params_no_bias of a graph without pools."""
    found = tables(text, constants, opset=opset)
    return found["params"].trunk, found["params_no_bias"].trunk


def zeros(shape: tuple[int, ...], dtype: type = INT8) -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("nodes", "constants", "weights", "biases"),
    [
        ("y = Conv (x, w, b)", {"w": (5, 4, 3, 3), "b": (5,)}, 180, 5),
        ("y = Conv (x, w, b)", {"w": (1, 4, 1, 1), "b": (1,)}, 4, 1),
        ("y = ConvTranspose (x, w, b)", {"w": (4, 5, 3, 3), "b": (5,)}, 180, 5),
        ("y = InstanceNormalization (x, s, h)", VECTORS, 4, 4),
        ("y = LayerNormalization <axis = 1> (x, s, h)", {"s": (4, 8, 8), "h": (4, 8, 8)}, 256, 256),
        ("y = GroupNormalization <num_groups = 2> (x, s, h)", {"s": (2,), "h": (2,)}, 2, 2),
        ("y = BatchNormalization (x, s, h, m, v)", VECTORS, 12, 4),
        ("y = PRelu (x, s)", {"s": (4, 1, 1)}, 4, 0),
        ("y = PRelu (x, s)", {"s": (1,)}, 1, 0),
    ],
)
def test_weights_and_biases_of_layers(nodes: str, constants: dict[str, Constant], weights: int, biases: int) -> None:
    assert counts(f"{IMAGE} {{ {nodes} }}", constants) == (weights + biases, weights)


def test_weights_of_gemm_and_of_recurrent_layers() -> None:
    text = "g (float[N,4] x) => (float[N,3] y) { y = Gemm (x, w, b) }"
    assert counts(text, {"w": (4, 3), "b": (3,)}) == (15, 12)
    text = "g (float[5,2,3] x) => (float[5,1,2,4] y) { y = LSTM <hidden_size = 4> (x, w, r, b, , h0, c0, p) }"
    shapes = {"w": (1, 16, 3), "r": (1, 16, 4), "b": (1, 32), "h0": (1, 2, 4), "c0": (1, 2, 4), "p": (1, 12)}
    assert counts(text, shapes) == (48 + 64 + 32 + 12, 48 + 64 + 12)  # initial states are none


def test_the_bias_of_a_linear_layer_on_tokens_is_one() -> None:
    text = f"{TOKENS} {{ a = MatMul (x, w)  y = Add (a, b) }}"
    assert counts(text, {"w": (4, 4), "b": (4,)}) == (20, 16)
    text = "g (float[N,6,4] x) => (float[N,6,1] y) { a = MatMul (x, w)  y = Add (b, a) }"
    assert counts(text, {"w": (4, 1), "b": (1,)}) == (5, 4)


def test_the_bias_of_a_convolution_written_as_an_addition_is_one() -> None:
    text = "g (float[N,2,4,4] x) => (float[N,3,4,4] y) { a = Conv (x, k)  y = Add (a, b) }"
    assert counts(text, {"k": (3, 2, 1, 1), "b": (1, 3, 1, 1)}) == (9, 6)


def test_the_bias_of_a_dynamically_quantised_convolution_is_one() -> None:
    text = (
        "g (uint8[N,2,4,4] x, float scale) => (float[N,3,4,4] y) <int64[4] shape = {1, 3, 1, 1}>"
        "{ i = ConvInteger (x, k)  c = Cast <to = 1> (i)  m = Mul (c, scale)  r = Reshape (b, shape)  y = Add (m, r) }"
    )
    assert counts(text, {"k": np.ones((3, 2, 1, 1), np.uint8), "b": (3,)}) == (9, 6)


def test_tables_and_position_codes_are_parameters_that_are_no_biases() -> None:
    text = (
        "g (int64[N,6] ids) => (float[N,6,4] y) { e = Gather (table, ids)  a = Add (e, position)  y = Mul (a, scale) }"
    )
    assert counts(text, {"table": (100, 4), "position": (6, 4), "scale": (4,)}) == (400 + 24 + 4,) * 2


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ("y = Mul (x, c)", {"c": ()}),
        ("y = Mul (x, c)", {"c": (1,)}),
        ("y = Div (c, x)", {"c": (1, 1, 1)}),
        ("y = Clip (x, c, c)", {"c": ()}),
        ("y = Pow (x, c)", {"c": (4,)}),
        ("y = Greater (x, c)", {"c": (4,)}),
        ("y = Pad (x, n, c)", {"n": zeros((6,), np.int64), "c": ()}),
        ("y = Reshape (x, n)", {"n": np.array([-1, 4], np.int64)}),
        ("y = Gather (x, n)", {"n": zeros((3,), np.int64)}),
        ("y = Dropout (x, c)", {"c": ()}),
        ("y = Where (n, x, c)", {"n": zeros((4,), np.bool_), "c": ()}),
        ("q = QuantizeLinear (x, c, z)  y = DequantizeLinear (q, c, z)", {"c": (4,), "z": zeros((4,))}),
        ("i = Cast <to = 7> (x)  j = Add (i, n)  y = Cast <to = 1> (j)", {"n": zeros((4,), np.int64)}),
    ],
)
def test_settings_shapes_indices_and_scalars_are_no_parameters(nodes: str, constants: dict[str, Constant]) -> None:
    assert counts(f"{TOKENS} {{ {nodes} }}", constants) == (0, 0)


def test_scales_of_resize_and_floats_that_only_make_a_shape_are_no_parameters() -> None:
    text = f"{IMAGE} {{ y = Resize (x, , c) }}"
    assert counts(text, {"c": np.ones(4, np.float32)}) == (0, 0)
    text = (
        f"{IMAGE} {{ a = Shape (x)  f = Cast <to = 1> (a)  g = Mul (f, c)  n = Cast <to = 7> (g)"
        "  y = Resize (x, , , n) }"
    )
    assert counts(text, {"c": np.array([1, 1, 2, 2], np.float32)}) == (0, 0)


def test_a_constant_node_stores_weights_like_an_initializer() -> None:
    text = f"{TOKENS} {{ w = Constant <value = float[4,1] {{1, 2, 3, 4}}> ()  y = MatMul (x, w) }}"
    assert counts(text) == (4, 4)


def test_an_initializer_that_is_a_graph_input_too_is_a_weight() -> None:
    made = model(f"{IMAGE} {{ y = Conv (x, w) }}", {"w": (5, 4, 3, 3)})
    made.ir_version = 3
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, (5, 4, 3, 3)))
    assert measure(supergraph.read(made), [params])["params"].trunk == 180


def test_what_constant_of_shape_fills_is_a_weight_only_where_weights_are_taken() -> None:
    constants: dict[str, Constant] = {"n": np.array([5, 4, 3, 3], np.int64), "p": np.array([4, 8, 8], np.int64)}
    text = f"{IMAGE} {{ w = ConstantOfShape (n)  y = Conv (x, w) }}"
    assert counts(text, constants) == (180, 180)
    assert tables(text, constants)["size"].trunk == 32  # the shape is all that is stored
    assert counts(f"{IMAGE} {{ z = ConstantOfShape (p)  y = Add (x, z) }}", constants) == (0, 0)
    text = f"{IMAGE} {{ s = Shape (x)  w = ConstantOfShape (s)  y = Conv (x, w) }}"
    assert counts(text) == (0, 0)  # made anew from each input, so it is no weight


def test_a_fill_of_unknown_shape_is_an_error() -> None:
    made = model(
        f"{IMAGE} {{ e = Exp (u)  n = Cast <to = 7> (e)  w = ConstantOfShape (n)  y = Conv (x, w) }}",
        {"u": np.zeros(4, np.float32)},
    )
    with pytest.raises(UnknownShapeError, match=r"^tensor 'w' is float\[\?,\?,\?,\?\]: dim 0 is not known"):
        measure(supergraph.read(made), [params])


@pytest.mark.parametrize(
    ("way", "shape"),
    [
        ("t = Transpose (w)  y = MatMul (x, t)", (5, 4)),
        ("a = Reshape (w, n)  y = MatMul (x, a)", (20,)),
        ("a = Identity (w)  t = Cast <to = 1> (a)  y = MatMul (x, t)", (4, 5)),
        ("a = Mul (w, half)  y = MatMul (x, a)", (4, 5)),
    ],
)
def test_weights_are_followed_through_what_is_computed_before_the_run(way: str, shape: tuple[int, ...]) -> None:
    constants: dict[str, Constant] = {"w": shape, "n": np.array([4, 5], np.int64), "half": ()}
    assert counts(f"g (float[N,6,4] x) => (float[N,6,5] y) {{ {way} }}", constants) == (20, 20)


def test_a_bias_is_followed_too() -> None:
    text = f"{IMAGE} {{ a = Squeeze (b)  y = Conv (x, w, a) }}"
    assert counts(text, {"w": (5, 4, 1, 1), "b": (1, 5, 1)}) == (25, 20)


def test_weight_normalisation_counts_direction_and_gain() -> None:
    text = f"{IMAGE} {{ n = ReduceL2 <keepdims = 1> (d, axes)  u = Div (d, n)  w = Mul (u, g)  y = Conv (x, w) }}"
    constants: dict[str, Constant] = {"d": (5, 4, 3, 3), "g": (5, 1, 1, 1), "axes": np.array([1, 2, 3], np.int64)}
    assert counts(text, constants) == (185, 185)


def test_quantised_weights_are_parameters() -> None:
    constants: dict[str, Constant] = {"w": zeros((5, 4, 3, 3)), "b": zeros((5,), np.int32), "s": (5,), "z": zeros((5,))}
    text = (
        f"{IMAGE} {{ k = DequantizeLinear <axis = 0> (w, s, z)  c = DequantizeLinear <axis = 0> (b, s)"
        "  y = Conv (x, k, c) }"
    )
    assert counts(text, constants) == (185, 180)
    text = "g (int8[N,4,8,8] x) => (int32[N,5,6,6] y) { y = ConvInteger (x, w) }"
    assert counts(text, constants) == (180, 180)
    text = "g (int8[N,4,8,8] x) => (int8[N,5,6,6] y) { y = QLinearConv (x, c, u, w, c, u, c, u, b) }"
    assert counts(text, {**constants, "c": (), "u": zeros(())}) == (185, 180)
    text = "g (int8[N,6,4] x) => (int32[N,6,3] y) { y = MatMulInteger (x, w, u, u) }"
    assert counts(text, {"w": zeros((4, 3)), "u": zeros(())}) == (12, 12)


def test_a_quantised_embedding_table_is_a_parameter() -> None:
    constants: dict[str, Constant] = {"table": zeros((100, 4)), "s": (), "z": zeros(())}
    text = "g (int64[N,6] ids) => (float[N,6,4] y) { e = Gather (table, ids)  y = DequantizeLinear (e, s, z) }"
    assert counts(text, constants) == (400, 400)
    text = "g (int64[N,6] ids) => (float[N,6,4] y) { t = DequantizeLinear (table, s, z)  y = Gather (t, ids) }"
    assert counts(text, constants) == (400, 400)


def test_four_bit_weights_count_as_elements_and_are_stored_packed() -> None:
    constants: dict[str, Constant] = {"w": np.zeros((3, 5), ml_dtypes.int4), "s": ()}
    text = "g (float[N,6,3] x) => (float[N,6,5] y) { k = DequantizeLinear (w, s)  y = MatMul (x, k) }"
    found = tables(text, constants, opset=21)
    assert found["params"].trunk == 15
    assert found["size"].trunk == 8 + 4


def test_a_sparse_weight_counts_what_it_stores() -> None:
    made = model("g (float[N,6,4] x) => (float[N,6,5] y) { y = MatMul (x, w) }".replace("w)", "x)"))
    made.graph.node[0].input[1] = "w"
    values = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [3], [0, 5, 9])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 5]))
    found = measure(supergraph.read(made), [params, size])
    assert (found["params"].trunk, found["size"].trunk) == (3, 3 * 4 + 3 * 8)


def test_a_batchnorm_behind_a_convolution_is_priced_as_its_bias() -> None:
    constants = {"w": (4, 4, 3, 3), "b": (4,), **VECTORS}
    without = f"{IMAGE} {{ a = Conv (x, w)  y = BatchNormalization (a, s, h, m, v) }}"
    assert counts(without, constants) == (148, 144)
    with_bias = f"{IMAGE} {{ a = Conv (x, w, b)  y = BatchNormalization (a, s, h, m, v) }}"
    assert counts(with_bias, constants) == (148, 144)
    apart = f"{IMAGE} {{ a = Conv (x, w)  r = Relu (a)  y = BatchNormalization (r, s, h, m, v) }}"
    assert counts(apart, constants) == (144 + 16, 144 + 12)
    assert tables(without, constants)["size"].trunk == 4 * (144 + 16)  # stored is what is stored


def test_a_layer_that_is_used_twice_has_its_weights_once() -> None:
    constants = {"w": (4, 4, 1, 1), "k": (4, 4, 1, 1), **VECTORS}
    text = (
        f"{IMAGE} {{ a = Conv (x, w)  b = BatchNormalization (a, s, h, m, v)"
        "  c = Conv (b, w)  y = BatchNormalization (c, s, h, m, v) }"
    )
    assert counts(text, constants) == (20, 16)
    of_two = text.replace("Conv (b, w)", "Conv (b, k)")
    assert counts(of_two, constants) == (16 + 16 + 4 + 4, 32)  # one BatchNormalization folds into two biases


def test_pool_weights_are_no_parameters_and_are_not_stored_in_a_subnet() -> None:
    found = tables(f"{TOKENS} {{ a = Relu (x)  y = {pool('p', 'relu skip')} a, x) }}")
    assert [dict(table.amounts) for table in found.values()] == [{}, {}, {}]


def test_a_weight_that_branches_share_is_paid_where_any_of_them_is_chosen() -> None:
    supernet = graph(
        f"{TOKENS} {{ a = MatMul (x, w)  r = Relu (x)  b = MatMul (r, w)  c = MatMul (x, k)"
        f"  y = {pool('p', 'a b c skip')} a, b, c, x) }}",
        {"w": (4, 4), "k": (4, 4)},
    )
    table = measure(supernet, [params])["params"]
    assert [table.total(resolve(supernet, {"p": branch})) for branch in ["a", "b", "c", "skip"]] == [16, 16, 16, 0]
    assert sorted(table.amounts.values()) == [16, 16]


def test_a_constant_that_is_a_branch_is_paid_with_it() -> None:
    supernet = graph(f"{TOKENS} {{ y = {pool('p', 'learned skip')} table, x) }}", {"table": (1, 6, 4)})
    found = measure(supernet, [params, size])
    assert found["params"].decompose().branches == {"p": (24, 0)}
    assert found["size"].decompose().branches == {"p": (96, 0)}


def test_a_constant_used_as_weight_here_and_as_setting_there_is_a_parameter_only_here() -> None:
    supernet = graph(
        f"{TOKENS} {{ a = Mul (x, c)  b = Pow (x, c)  y = {pool('p', 'weight setting')} a, b) }}", {"c": (4,)}
    )
    found = measure(supernet, [params, size])
    assert found["params"].decompose().branches == {"p": (4, 0)}
    assert found["size"].trunk == 16


def test_a_constant_used_as_bias_here_and_as_weight_there_is_no_bias_only_there() -> None:
    supernet = graph(
        "g (float[N,4,4,4] x) => (float[N,4,4,4] y) "
        f"{{ a = Conv (x, w, c)  b = Mul (x, c)  y = {pool('p', 'bias scale')} a, b) }}",
        {"w": (4, 4, 1, 1), "c": (4,)},
    )
    found = measure(supernet, [params, params_no_bias])
    assert found["params"].trunk == 4
    assert found["params_no_bias"].decompose().branches == {"p": (16, 4)}


NESTED = """g (float[N,4] x, bool flag) => (float[N,4] y) {
    y = If (flag) <
        then_branch = t () => (float[N,4] r) { r = MatMul (x, outer) },
        else_branch = e () => (float[N,4] r) <float[4] w = {1, 2, 3, 4}> { m = Mul (x, w)  r = Add (m, half) }
    >
}"""


def test_weights_in_the_bodies_of_control_flow_count() -> None:
    found = tables(NESTED, {"outer": (4, 4), "half": ()})
    assert (found["params"].trunk, found["size"].trunk) == (16 + 4, 64 + 16 + 4)


def test_weights_in_a_branch_with_control_flow_are_paid_with_it() -> None:
    text = NESTED.replace("y = If", "i = If").rstrip("}") + f"  y = {pool('p', 'if skip')} i, x) }}"
    found = tables(text, {"outer": (4, 4), "half": ()})
    assert found["params"].decompose().branches == {"p": (20, 0)}
    assert found["size"].decompose().branches == {"p": (84, 0)}


def test_dead_weights_cost_nothing() -> None:
    text = f"{TOKENS} {{ dead = MatMul (x, w)  y = Relu (x) }}"
    assert counts(text, {"w": (4, 4), "unused": (7,)}) == (0, 0)
    assert tables(text, {"w": (4, 4), "unused": (7,)})["size"].trunk == 0
