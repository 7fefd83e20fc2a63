"""onnxruntime's own operators: models that its optimizer and quantizers rewrite cost what the originals cost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, load, numpy_helper, parser, save
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from supernet_onnx import supergraph
from supernet_onnx.cost import OpCall, Operand, measure, ops_no_bias, params, params_no_bias, roles, size
from supernet_onnx.cost.contrib import COUNTED
from supernet_onnx.cost.free import RULES
from supernet_onnx.cost.operators import macs, ops
from supernet_onnx.errors import CostError
from tests.cost.supergraphs import graph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CNN = """
<ir_version: 10, opset_import: ["" : 17]>
g (float[batch,3,16,16] x) => (float[batch,10] y) {
    a = Conv <pads = [1,1,1,1]> (x, wa, ba)  b = Relu (a)
    c = Conv <pads = [1,1,1,1], group = 16> (b, wc, bc)  d = HardSwish (c)
    e = Conv <strides = [2,2]> (d, we, be)  f = Conv <strides = [2,2]> (b, wf, bf)
    h = Add (e, f)  i = Relu (h)  j = LeakyRelu (i)  k = AveragePool <kernel_shape = [2,2], strides = [2,2]> (j)
    l = Sigmoid (k)  m = Mul (k, l)  n = Concat <axis = 1> (l, m)  o = GlobalAveragePool (n)
    p = Flatten (o)  q = Gemm <transB = 1> (p, wq, bq)  y = Softmax (q)
}
"""
CNN_WEIGHTS = {
    "wa": (16, 3, 3, 3), "ba": (16,), "wc": (16, 1, 3, 3), "bc": (16,), "we": (32, 16, 1, 1), "be": (32,),
    "wf": (32, 16, 1, 1), "bf": (32,), "wq": (10, 64), "bq": (10,),
}  # fmt: skip
CNN_COST = {
    "macs": 256 * 16 * 27 + 256 * 16 * 9 + 2 * 64 * 32 * 16 + 640,
    "ops": 256 * 16 * 28 + 256 * 16 * 10 + 2 * 64 * 32 * 17 + 650,
    "params": 16 * 28 + 16 * 10 + 2 * 32 * 17 + 650,
}

BLOCK = """
<ir_version: 10, opset_import: ["" : 17]>
g (int64[batch,8] x) => (float[batch,8,32] y) <int64[4] heads = {0, 8, 4, 8}, int64[3] flat = {0, 8, 32}, float root = {0.35}> {
    e = Gather (table, x)  t = Add (e, place)
    q = MatMul (t, wq)  qb = Add (q, bq)  qr = Reshape (qb, heads)  qt = Transpose <perm = [0,2,1,3]> (qr)
    k = MatMul (t, wk)  kb = Add (k, bk)  kr = Reshape (kb, heads)  kt = Transpose <perm = [0,2,3,1]> (kr)
    v = MatMul (t, wv)  vb = Add (v, bv)  vr = Reshape (vb, heads)  vt = Transpose <perm = [0,2,1,3]> (vr)
    s = MatMul (qt, kt)  ss = Mul (s, root)  sm = Softmax (ss)  o = MatMul (sm, vt)
    ot = Transpose <perm = [0,2,1,3]> (o)  of = Reshape (ot, flat)  p = MatMul (of, wo)  pb = Add (bo, p)
    r = Add (pb, t)  n = LayerNormalization (r, g1, b1)
    f = MatMul (n, w1)  fb = Add (f, c1)  d = Div (fb, two)  erf = Erf (d)  one = Add (erf, unit)  m1 = Mul (fb, one)
    act = Mul (m1, half)  z = MatMul (act, w2)  zb = Add (z, c2)  rr = Add (zb, n)
    y = LayerNormalization (rr, g2, b2)
}
"""  # noqa: E501
BLOCK_WEIGHTS = {
    "table": (50, 32), "place": (8, 32), "wq": (32, 32), "bq": (32,), "wk": (32, 32), "bk": (32,), "wv": (32, 32),
    "bv": (32,), "wo": (32, 32), "bo": (32,), "g1": (32,), "b1": (32,), "w1": (32, 64), "c1": (64,), "w2": (64, 32),
    "c2": (32,), "g2": (32,), "b2": (32,),
}  # fmt: skip
BLOCK_COST = {
    "macs": 8 * (4 * 1024 + 2 * 2048) + 2 * 8 * 8 * 32,
    "ops": 8 * (4 * 1024 + 2 * 2048) + 2 * 8 * 8 * 32 + 8 * (4 * 32 + 64 + 32),
    "params": 50 * 32 + 8 * 32 + 4 * (1024 + 32) + 4 * 32 + 2 * 2048 + 64 + 32,
}

SIX = (params, params_no_bias, macs, ops, ops_no_bias, size)
MODELS = {"cnn": (CNN, CNN_WEIGHTS, CNN_COST), "block": (BLOCK, BLOCK_WEIGHTS, BLOCK_COST)}
LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class Batches(CalibrationDataReader):
    def __init__(self, name: str) -> None:
        generator = np.random.default_rng(7)
        image = generator.standard_normal((2, 3, 16, 16)).astype(np.float32)
        tokens = generator.integers(0, 50, (2, 8))
        self.feeds: Iterator[dict[str, np.ndarray]] = iter([{"x": image if name == "cnn" else tokens}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)  # the quantizer recommends to preprocess
    yield
    logging.disable(logging.NOTSET)


def build(name: str, path: Path) -> Path:
    text, weights, _ = MODELS[name]
    model: ModelProto = parser.parse_model(text)
    generator = np.random.default_rng(7)
    for weight, shape in weights.items():
        values = generator.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, weight))
    for scalar, value in (("two", 2**0.5), ("unit", 1), ("half", 0.5)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), scalar))
    save(model, path)
    return path


def optimize(path: Path, level: str) -> Path:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(path.with_suffix(f".{level}.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return path.with_suffix(f".{level}.onnx")


def quantize(path: Path, name: str, how: str) -> Path:
    target = path.with_suffix(f".{how}.onnx")
    if how == "dynamic":
        quantize_dynamic(path, target, weight_type=QuantType.QUInt8)
    elif how == "4 bits":
        quantizer = MatMulNBitsQuantizer(load(path), block_size=32)
        quantizer.process()
        quantizer.model.save_model_to_file(str(target))
    else:
        quantize_static(path, target, Batches(name), quant_format=QuantFormat[how])
    return target


def costs(path: Path) -> dict[str, float]:
    return {name: table.trunk for name, table in measure(supergraph.read(path), SIX).items()}


def domains(path: Path) -> set[str]:
    return {node.domain for node in load(path).graph.node}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", MODELS)
def test_an_optimized_model_costs_what_it_did(name: str, level: str, tmp_path: Path) -> None:
    path = build(name, tmp_path / "m.onnx")
    found = costs(path)
    assert {metric: found[metric] for metric in MODELS[name][2]} == MODELS[name][2]
    optimized = optimize(path, level)
    assert {**costs(optimized), "size": 0} == {**found, "size": 0}  # constants that it makes for itself are stored
    assert (domains(optimized) != {""}) == (level != "basic")


@pytest.mark.parametrize("level", [None, "extended", "all"])
@pytest.mark.parametrize("how", ["QDQ", "QOperator", "dynamic", "4 bits"])
@pytest.mark.parametrize("name", MODELS)
def test_a_quantized_model_costs_what_it_did(name: str, how: str, level: str | None, tmp_path: Path) -> None:
    """Quantised to a byte or half of one, all but the size stays."""
    path = build(name, tmp_path / "m.onnx")
    quantized = quantize(path, name, how)
    found = costs(quantized if level is None else optimize(quantized, level))
    expected = MODELS[name][2]
    assert {metric: found[metric] for metric in expected} == expected
    assert found["size"] < costs(path)["size"] or (name, how) == ("cnn", "4 bits")


def operator(
    op_type: str, *shapes: tuple[int, ...] | None, outputs: tuple[tuple[int, ...], ...], **attrs: int
) -> OpCall:
    def operands(kind: str, dims: tuple[tuple[int, ...] | None, ...]) -> tuple[Operand | None, ...]:
        return tuple(None if d is None else Operand(f"{kind}{i}", TensorProto.FLOAT, d) for i, d in enumerate(dims))

    inputs = operands("i", shapes)
    return OpCall(op_type, "com.microsoft", 1, f"{op_type} node 'n'", attrs, inputs, operands("o", outputs))


B, S, L, P, H, E = 2, 6, 5, 3, 4, 8  # batch, tokens, keys, past keys, heads, size of a head


@pytest.mark.parametrize(
    ("call", "count", "additions"),
    [
        (operator("Attention", (B, S, 32), (32, 96), (96,), outputs=((B, S, 32),)),
         B * S * 32 * 96 + 2 * B * S * S * 32, B * S * 96),
        (operator("Attention", (B, S, 32), (32, 64), outputs=((B, S, 16),)),
         B * S * 32 * 64 + B * S * S * (24 + 16), 0),
        (operator("Attention", (B, S, 32), (32, 96), (96,), None, (2, B, H, P, E), outputs=((B, S, 32),)),
         B * S * 32 * 96 + 2 * B * S * (S + P) * 32, B * S * 96),
        (operator("MultiHeadAttention", (B, S, 32), (B, L, 32), (B, L, 16), outputs=((B, S, 16),)),
         B * S * L * (32 + 16), 0),
        (operator("MultiHeadAttention", (B, S, H, 3, E), outputs=((B, S, 32),)), 2 * B * S * S * 32, 0),
        (operator("MultiHeadAttention", (B, S, 32), (B, L, H, 2, E), outputs=((B, S, 32),)), 2 * B * S * L * 32, 0),
        (operator("MultiHeadAttention", (B, S, 32), (B, H, L, E), (B, H, L, E), outputs=((B, S, 32),)),
         2 * B * S * L * 32, 0),
        (operator("GroupQueryAttention", (B, S, 32), (B, S, 16), (B, S, 16), (B, 2, P, E), (B, 2, P, E),
                  outputs=((B, S, 32), (B, 2, S + P, E))), 2 * B * S * (S + P) * 32, 0),
        (operator("MatMulNBits", (B, S, 32), (16, 1, 16), None, None, None, (16,), outputs=((B, S, 16),), N=16, K=32),
         B * S * 32 * 16, B * S * 16),
        (operator("FusedMatMul", (B, 32, S), (B, 32, L), outputs=((B, S, L),), transA=1), B * S * L * 32, 0),
        (operator("FusedMatMul", (S, B, 32), (B, 32, L), outputs=((B, S, L),), transBatchA=1), B * S * L * 32, 0),
        (operator("FusedMatMul", (32, B, S), (B, 32, L), outputs=((B, S, L),), transBatchA=1, transA=1),
         B * S * L * 32, 0),
        (operator("DynamicQuantizeLSTM", (S, B, 8), (1, 8, 64), (1, 16, 64), (1, 128), outputs=((S, 1, B, 16),)),
         S * B * (8 * 64 + 16 * 64), S * B * 128),
        (operator("SkipLayerNormalization", (B, S, 32), (B, S, 32), (32,), (32,), (32,), outputs=((B, S, 32),)),
         0, B * S * 32),
        (operator("QLinearAdd", (B, S), None, None, (S,), outputs=((B, S),)), 0, 0),
    ],
)  # fmt: skip
def test_counts_of_single_operators(call: OpCall, count: int, additions: int) -> None:
    assert (macs.price(call), ops.price(call)) == (count, count + additions)


def test_a_packed_product_without_its_width_is_an_error() -> None:
    with pytest.raises(CostError, match=r"^MatMulNBits node 'n': attribute 'N' is missing"):
        macs.price(operator("MatMulNBits", (2, 32), outputs=((2, 16),)))


def test_every_operator_that_is_named_is_one_of_onnxruntime_and_every_slot_an_input() -> None:
    inputs: dict[tuple[str, str], int] = {}
    for schema in ort_state.get_all_operator_schema():
        key = (schema.domain, schema.name)
        inputs[key] = max(inputs.get(key, 0), schema.max_input)
    free = {(rule.domain, name) for rule in RULES for name in rule.operators if rule.domain}
    counted = {(domain, name) for domain, names in COUNTED.items() for name in names}
    assert not free & counted
    assert (free | counted) - set(inputs) == set()
    seen: set[tuple[str, int]] = set()
    for table in (roles._CONTRIB_WEIGHTS, roles._CONTRIB_BIASES, roles._CONTRIB_QUANTIZED, roles._CONTRIB_SETTINGS):
        for name, slots in table.items():
            most = max(count for (_, other), count in inputs.items() if other == name)
            assert max(slots) < most, name
            assert not {(name, slot) for slot in slots} & seen
            seen |= {(name, slot) for slot in slots}


def test_every_counted_operator_is_priced_by_all_three_metrics() -> None:
    text = "g (float[6,4] x) => (float[6,4] y) { y = com.microsoft.FusedMatMul (x, w) }"
    header = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>'
    model = parser.parse_model(f"{header} {text}")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((4, 4), np.float32), "w"))
    tables = measure(supergraph.read(model), SIX)
    assert {tables[name].trunk for name in ("macs", "ops", "ops_no_bias")} == {96}


def test_operators_of_other_domains_are_unknown_still() -> None:
    assert measure(graph("g (float[4] x) => (float[4] y) { y = other.FusedConv (x) }"), [macs], unknown="free")[
        "macs"
    ].unknown == ("other::FusedConv",)
