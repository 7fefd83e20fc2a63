"""What stands for onnxruntime's own operators in shape inference, against the shapes that onnxruntime makes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, parser

from supernet_onnx import shapes
from supernet_onnx.shapes import stand_ins

HEADER = '<ir_version: 10, opset_import: ["" : 17, "com.microsoft" : 1]>'
CASES = {
    "FusedConv <activation = \"Relu\", strides = [2, 2]> (x, w)": {"x": (1, 3, 9, 9), "w": (4, 3, 3, 3)},
    "FusedMatMul <transA = 1> (x, w)": {"x": (2, 5, 3), "w": (2, 5, 4)},
    "FusedMatMul <transB = 1, alpha = 2.0> (x, w)": {"x": (2, 3, 5), "w": (2, 4, 5)},
    "FusedMatMul <transBatchA = 1> (x, w)": {"x": (3, 2, 5), "w": (2, 5, 4)},
    "FusedMatMul <transBatchA = 1, transA = 1> (x, w)": {"x": (5, 2, 3), "w": (2, 5, 4)},
    "FusedMatMul <transBatchB = 1> (x, w)": {"x": (2, 3, 5), "w": (5, 2, 4)},
    "FusedMatMul <transBatchB = 1, transB = 1> (x, w)": {"x": (2, 3, 5), "w": (4, 2, 5)},
    "FusedGemm <transB = 1, activation = \"Relu\"> (x, w)": {"x": (2, 5), "w": (4, 5)},
    "TransposeMatMul <transA = 1> (x, w)": {"x": (2, 5, 3), "w": (2, 5, 4)},
    "BiasGelu (x, w)": {"x": (2, 3, 4), "w": (4,)},
    "SkipLayerNormalization (x, v, w)": {"x": (2, 3, 4), "v": (2, 3, 4), "w": (4,)},
    "SkipSimplifiedLayerNormalization (x, v, w)": {"x": (2, 3, 4), "v": (2, 3, 4), "w": (4,)},
    "Attention <num_heads = 2> (x, w, b)": {"x": (2, 3, 8), "w": (8, 24), "b": (24,)},
    "MultiHeadAttention <num_heads = 2> (x, v, w)": {"x": (2, 3, 8), "v": (2, 5, 8), "w": (2, 5, 4)},
    "QLinearAdd (q, s, z, r, s, z, s, z)": {"q": (2, 3, 4), "r": (3, 1)},
    "QLinearMul (q, s, z, r, s, z, s, z)": {"q": (2, 3, 4), "r": (4,)},
    "QLinearConcat <axis = 1> (s, z, q, s, z, r, s, z)": {"q": (2, 3, 4), "r": (2, 5, 4)},
    "QLinearSigmoid (q, s, z, s, z)": {"q": (2, 3)},
    "QLinearAveragePool <kernel_shape = [2, 2], strides = [2, 2]> (q, s, z, s, z)": {"q": (1, 3, 8, 8)},
    "QLinearAveragePool <kernel_shape = [3, 2], channels_last = 1> (q, s, z, s, z)": {"q": (1, 8, 9, 3)},
    "QLinearGlobalAveragePool (q, s, z, s, z)": {"q": (1, 3, 8, 8)},
    "QLinearGlobalAveragePool <channels_last = 1> (q, s, z, s, z)": {"q": (1, 8, 8, 3)},
    "QLinearConv <channels_last = 1, strides = [2, 1]> (q, s, z, r, s, z, s, z)": {
        "q": (1, 9, 8, 3), "r": (4, 3, 3, 3)
    },
    "QGemm <transB = 1> (q, s, z, r, s, z, , s, z)": {"q": (2, 5), "r": (4, 5)},
    "QGemm (q, s, z, r, s, z)": {"q": (2, 5), "r": (5, 4)},
    "DequantizeLinear (q, s, z)": {"q": (2, 5)},
    "QuantizeLinear (x, s, z)": {"x": (2, 5)},
    "NhwcMaxPool <kernel_shape = [2, 2], strides = [2, 2]> (q)": {"q": (1, 8, 8, 3)},
    "DynamicQuantizeMatMul (x, r, s, z)": {"x": (2, 3, 5), "r": (5, 4)},
    "MatMulIntegerToFloat (q, r, s, s, z, z)": {"q": (2, 3, 5), "r": (5, 4)},
    "MatMulNBits <K = 32, N = 16, bits = 4, block_size = 32> (x, r, w)": {
        "x": (2, 3, 32), "r": (16, 1, 16), "w": (16,)
    },
}  # fmt: skip


def model(text: str, sizes: dict[str, tuple[int, ...]]) -> ModelProto:
    """Parse one node whose inputs x, v, w, b are floats, q and r bytes, s a scale and z a zero point."""
    made = parser.parse_model(f"{HEADER} g () => (float y) {{ y = com.microsoft.{text} }}")
    kinds = {"q": TensorProto.UINT8, "r": TensorProto.UINT8}
    for name, shape in sizes.items():
        made.graph.input.append(helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape))
    made.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "s"))
    made.graph.initializer.append(numpy_helper.from_array(np.array(1, np.uint8), "z"))
    is_byte = text.startswith(("QLinear", "QGemm <", "Nhwc", "QuantizeLinear"))
    made.graph.output[0].type.CopyFrom(
        helper.make_tensor_type_proto(TensorProto.UINT8 if is_byte else TensorProto.FLOAT, None)
    )
    return made


@pytest.mark.parametrize("text", CASES)
def test_the_shape_is_the_one_that_onnxruntime_makes(text: str) -> None:
    made = model(text, CASES[text])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {name: np.ones(shape, np.uint8 if name in "qr" else np.float32) for name, shape in CASES[text].items()}
    (output,) = session.run(None, feeds)
    assert shapes.infer(made)["y"].shape == output.shape


def test_every_function_parses_and_standard_operators_need_no_stand_in() -> None:
    nodes = [NodeProto(domain=stand_ins.DOMAIN, op_type=name) for name in stand_ins._TEXTS]
    assert [function.name for function in stand_ins.functions(nodes)] == sorted(stand_ins._TEXTS)
    assert stand_ins.stand_in(helper.make_node("Conv", ["x", "w"], ["y"])) is None
    assert stand_ins.stand_in(helper.make_node("BiasGelu", ["x"], ["y"], domain="other")) is None


def test_a_declared_shape_is_believed_where_nothing_stands_for_the_operator() -> None:
    text = "g (float[2,3] x) => (float z) <float[5,7] y> { y = com.microsoft.Mystery (x)  z = Relu (y) }"
    assert shapes.infer(parser.parse_model(f"{HEADER} {text}"))["z"].shape == (5, 7)


def test_operators_stand_in_nested_graphs_too() -> None:
    then, other = (f"g () => (float {r}) {{ {r} = com.microsoft.BiasGelu (x, w) }}" for r in "rs")
    text = (
        "g (float[2,3] x, float[3] w, bool f) => (float y) "
        f"{{ y = If (f) <then_branch = {then}, else_branch = {other}> }}"
    )
    assert shapes.infer(parser.parse_model(f"{HEADER} {text}"))["y"].shape == (2, 3)


@pytest.mark.parametrize(
    ("declared", "size"), [("2*n", 8), ("(n + 1)//2", 2), ("floor(n/3)", 1), ("max(n, 9) - n", 5), ("n % 3", 1)]
)
def test_a_declared_dim_may_be_a_formula_of_others(declared: str, size: int) -> None:
    text = "g (float[1, n] x) => (float z) <float[d] y> { y = com.microsoft.Mystery (x)  z = Relu (y) }"
    made = parser.parse_model(f"{HEADER} {text}")
    made.graph.value_info[0].type.tensor_type.shape.dim[0].dim_param = declared
    assert shapes.infer(made, dims={"n": 4})["z"].shape == (size,)
    assert shapes.infer(made)["z"].shape == (None,)
