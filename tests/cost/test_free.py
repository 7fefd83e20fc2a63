"""Which operators are free, and that every operator of the standard domain was thought of."""

from collections import Counter

import onnx
from onnx import TensorProto

from supernet_onnx.cost import METRICS, CostSpec, OpCall, Operand
from supernet_onnx.cost.free import RULES, reason
from supernet_onnx.cost.operators import macs, ops

UNKNOWN = {"DFT", "Det", "If", "LinearAttention", "Loop", "STFT", "Scan", "SequenceMap"}
ONNXRUNTIME = {"SimplifiedLayerNormalization"}  # puts it into the standard domain, but onnx does not know it
COUNTED = {
    "Attention",
    "CausalConvWithState",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DeformConv",
    "Einsum",
    "GRU",
    "Gemm",
    "LSTM",
    "MatMul",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "RNN",
}


def test_every_operator_of_the_standard_domain_is_counted_free_or_unknown_on_purpose() -> None:
    standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    free = {operator for rule in RULES if not rule.domain for operator in rule.operators} - ONNXRUNTIME
    assert not free & COUNTED
    assert not free & UNKNOWN
    assert standard - free - COUNTED - UNKNOWN == set()


def test_no_operator_is_free_for_two_reasons() -> None:
    counts = Counter((rule.domain, operator) for rule in RULES for operator in rule.operators)
    assert [operator for operator, times in counts.items() if times > 1] == []


def test_every_rule_gives_its_reason() -> None:
    assert all(len(rule.why.split()) >= 4 and rule.operators for rule in RULES)
    assert reason("Reshape") == reason("Reshape", "ai.onnx") is not None


def test_operators_of_other_domains_are_free_only_where_a_rule_names_them() -> None:
    assert reason("Reshape", "com.microsoft") is None
    assert reason("QLinearAdd", "com.microsoft") is not None
    assert reason("QLinearAdd") is None


def test_unknown_operators_have_no_price() -> None:
    x = Operand("x", TensorProto.FLOAT, (2, 2))
    for operator in UNKNOWN:
        call = OpCall(operator, "", 20, f"{operator} node 'n'", {}, (x,), (x,))
        for metric in METRICS.values():
            if isinstance(metric, CostSpec):
                assert metric.price(call) is None


def test_free_operators_cost_nothing() -> None:
    x = Operand("x", TensorProto.FLOAT, (2, 2))
    for rule in RULES:
        for operator in rule.operators:
            call = OpCall(operator, rule.domain, 20, f"{operator} node 'n'", {}, (x, x), (x,))
            assert macs.price(call) == ops.price(call) == 0
