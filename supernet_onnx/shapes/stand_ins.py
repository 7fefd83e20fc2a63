"""Standard operators that stand for onnxruntime's own in shape inference, because what they make has the same shape.

Element types need not agree. Operators that stand in none of the tables stay unknown to onnx: then the shape that the
file declares is believed. Blocks of channels (``com.microsoft.nchwc``) are taken for plain channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx
from onnx import FunctionProto, NodeProto, TensorProto, ValueInfoProto, helper, parser

from supernet_onnx.graph import is_standard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DOMAIN", "functions", "matrices", "stand_in"]

DOMAIN: Final = "supernet_onnx.stand_in"
"""The domain of functions that stand for an operator where no single standard one does."""

_UNUSED: Final = "supernet_onnx.stand_in.output "
_MATRIX: Final = "supernet_onnx.stand_in.matrix "
_MICROSOFT: Final = "com.microsoft"
_BLOCKED: Final = "com.microsoft.nchwc"

# Operator: what stands for it, with which of its inputs.
_DIRECT: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    **dict.fromkeys(
        ("BiasAdd", "BiasGelu", "BiasSoftmax", "DecoderMaskedMultiHeadAttention", "FastGelu",
         "Gelu", "GroupNorm", "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "QuickGelu",
         "RotaryEmbedding", "ScaledSiLU"),
        ("Identity", (0,)),
    ),
    **dict.fromkeys(
        ("DynamicQuantizeMatMul", "GemmFastGelu"), ("MatMul", (0, 1))
    ),
    **dict.fromkeys(("FusedGemm", "GemmFloat8"), ("Gemm", (0, 1))),
    "DynamicQuantizeLSTM": ("LSTM", (0, 1, 2)),
    "FusedConv": ("Conv", (0, 1)),
    "GatherND": ("GatherND", (0, 1)),
    "MulInteger": ("Mul", (0, 2)),
    "Pad": ("Pad", (0, 1)),
    "QGemm": ("Gemm", (0, 3)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearConv": ("QLinearConv", tuple(range(8))),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearWhere": ("Where", (0, 1, 4)),
    "Trilu": ("Trilu", (0, 1)),
}  # fmt: skip

# Function: with which inputs of the operator of that name.
_FUNCTIONS: Final[dict[str, tuple[int, ...]]] = {
    "Attention": (0, 1),
    "DequantizeLinear": (0,),
    "EmbedLayerNormalization": (0, 2),
    "MatMulInteger16": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "MultiHeadAttention": (0, 2),
    "NhwcMaxPool": (0,),
    "QAttention": (0, 1),
    "QEmbedLayerNormalization": (0, 2),
    "QLinearReduceMean": (0,),
    "QuantizeLinear": (0, 2),
    "SimplifiedLayerNormalization": (0,),
    "SkipGroupNorm": (0,),
    "SkipLayerNormalization": (0,),
    "SkipSimplifiedLayerNormalization": (0,),
}

_LAST: Final = "t = Transpose <perm = [0, 3, 1, 2]> (x)"  # from channels last to channels first, and back
_FIRST: Final = "y = Transpose <perm = [0, 2, 3, 1]> (u)"
_WINDOW: Final = (
    "auto_pad: string = @auto_pad, kernel_shape: ints = @kernel_shape, pads: ints = @pads, strides: ints = @strides"
)

_TEXTS: Final = {
    "Attention": "<> (x, w) => (y) { p = MatMul (x, w)  a, b, y = Split <axis = -1> (p) }",
    "DequantizeLinear": "<> (x) => (y) { y = Cast <to = 1> (x) }",
    "EmbedLayerNormalization": "<> (ids, table) => (y, mask, sum) { y = Gather (table, ids)  sum = Identity (y) "
    "m = ReduceMax <axes = [1], keepdims = 0> (ids)  mask = Cast <to = 6> (m) }",
    "MatMulInteger16": "<> (a, b) => (y) { p = MatMul (a, b)  y = Cast <to = 6> (p) }",
    "MatMulIntegerToFloat": "<> (a, b) => (y) { p = MatMul (a, b)  y = Cast <to = 1> (p) }",
    "MultiHeadAttention": '<> (q, v) => (y) { y = Einsum <equation = "bsd,blv->bsv"> (q, v) }',
    "NhwcMaxPool": f"<auto_pad, kernel_shape, pads, strides, dilations, ceil_mode> (x) => (y) {{ {_LAST} "
    f"u = MaxPool <{_WINDOW}, dilations: ints = @dilations, ceil_mode: int = @ceil_mode> (t)  {_FIRST} }}",
    "QLinearReduceMean": "<axes, keepdims> (x) => (y) "
    "{ y = ReduceMean <axes: ints = @axes, keepdims: int = @keepdims> (x) }",
    "QuantizeLinear": "<> (x, zero) => (y) { y = CastLike (x, zero) }",
    "SimplifiedLayerNormalization": "<> (x) => (y, inverse) { y = Identity (x)  "
    "inverse = ReduceMean <axes = [-1]> (x) }",
    "SkipGroupNorm": "<> (x) => (y, sum) { y = Identity (x)  sum = Identity (x) }",
    "SkipLayerNormalization": "<> (x) => (y, mean, inverse, sum) { y = Identity (x)  sum = Identity (x) "
    "mean = ReduceMean <axes = [-1]> (x)  inverse = Identity (mean) }",
    "floatQGemm": "<transA, transB> (a, b) => (y) "
    "{ p = Gemm <transA: int = @transA, transB: int = @transB> (a, b)  y = Cast <to = 1> (p) }",
    "lastQLinearAveragePool": f"<auto_pad, kernel_shape, pads, strides, ceil_mode> (x) => (y) {{ {_LAST} "
    f"u = AveragePool <{_WINDOW}, ceil_mode: int = @ceil_mode> (t)  {_FIRST} }}",
    "lastQLinearConv": "<auto_pad, kernel_shape, pads, strides, dilations, group> (x, a, b, w, c, d, e, f) => (y) "
    f"{{ {_LAST} u = QLinearConv <{_WINDOW}, dilations: ints = @dilations, group: int = @group> "
    f"(t, a, b, w, c, d, e, f)  {_FIRST} }}",
    "lastQLinearGlobalAveragePool": "<> (x) => (y) { y = ReduceMean <axes = [1, 2]> (x) }",
}
_TEXTS["QAttention"] = _TEXTS["Attention"]
_TEXTS["QEmbedLayerNormalization"] = _TEXTS["EmbedLayerNormalization"]
_TEXTS["SkipSimplifiedLayerNormalization"] = _TEXTS["SkipLayerNormalization"]


def stand_in(node: NodeProto) -> NodeProto | None:
    """Return what stands for a node; None for a standard node, or where nothing does."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.domain == _BLOCKED:
        return _blocked(node)
    if node.op_type == "SimplifiedLayerNormalization" and is_standard(node):
        return _call(node, node.op_type, DOMAIN, (0,))
    if node.domain != _MICROSOFT:
        return None
    if "channels_last" in attributes and attributes["channels_last"].i and f"last{node.op_type}" in _TEXTS:
        return _call(node, f"last{node.op_type}", DOMAIN, _DIRECT[node.op_type][1])
    if node.op_type == "QGemm" and not any(node.input[7:]):  # without a scale for its output it makes floats
        return _call(node, "floatQGemm", DOMAIN, (0, 3))
    if node.op_type in _DIRECT:
        op_type, slots = _DIRECT[node.op_type]
        return _call(node, op_type, "", slots)
    if node.op_type in ("FusedMatMul", "FusedMatMulActivation", "TransposeMatMul"):
        flags = {name: bool(attribute.i) for name, attribute in attributes.items() if name.startswith("trans")}
        return _einsum(node, flags)
    if node.op_type in ("MatMulBnb4", "MatMulNBits") and "K" in attributes and "N" in attributes:
        matrix = f"{_MATRIX}{attributes['K'].i}x{attributes['N'].i}"
        return helper.make_node("MatMul", [node.input[0], matrix], node.output, name=node.name)
    if node.op_type == "QLinearConcat":
        return _call(node, "Concat", "", range(2, len(node.input), 3))
    if node.op_type == "GroupQueryAttention" and len(node.input) > 1 and node.input[1]:
        return helper.make_node("Identity", node.input[:1], node.output[:1], name=node.name)
    if node.op_type not in _FUNCTIONS or "qkv_hidden_sizes" in attributes:
        return None
    return _call(node, node.op_type, DOMAIN, _FUNCTIONS[node.op_type])


def functions(nodes: Iterable[NodeProto]) -> list[FunctionProto]:
    """Return the functions that nodes call as stand-ins."""
    called = sorted({node.op_type for node in nodes if node.domain == DOMAIN})
    header = f'<domain: "{DOMAIN}", opset_import: ["" : 15]>'
    return [parser.parse_function(f"{header} {name} {_TEXTS[name].removeprefix('<>')}") for name in called]


def matrices(nodes: Iterable[NodeProto]) -> list[ValueInfoProto]:
    """Return the inputs that stand for packed weights, whose own shape is that of the packing."""
    called = sorted({name for node in nodes for name in node.input if name.startswith(_MATRIX)})
    return [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [int(size) for size in name.removeprefix(_MATRIX).split("x")]
        )
        for name in called
    ]


def _call(node: NodeProto, op_type: str, domain: str, slots: Sequence[int]) -> NodeProto | None:
    """Make a node of another operator, with the attributes that it knows and those outputs that it has."""
    inputs = [node.input[slot] if slot < len(node.input) else "" for slot in slots]
    if domain:
        head = _TEXTS[op_type].partition("=>")
        known = {name.strip() for name in head[0].partition(">")[0].lstrip("<").split(",")}
        most = head[2].partition("{")[0].count(",") + 1
    else:
        if not onnx.defs.has(op_type):
            return None
        schema = onnx.defs.get_schema(op_type)
        known, most = set(schema.attributes), schema.max_output
    outputs = list(node.output[:most])
    if domain:  # onnx refuses a call that omits an output
        outputs += [""] * (most - len(outputs))
        outputs = [name or f"{_UNUSED}{i} of {outputs[0]}" for i, name in enumerate(outputs)]
    twin = helper.make_node(op_type, inputs, outputs, name=node.name, domain=domain)
    twin.attribute.extend(attribute for attribute in node.attribute if attribute.name in known)
    return twin


def _einsum(node: NodeProto, flags: dict[str, bool]) -> NodeProto:
    """Write a product of transposed operands; a transposed batch stands between the two dims of the matrices."""
    terms = []
    for side, (rows, columns) in (("A", "mk"), ("B", "kn")):
        if flags.get(f"trans{side}"):
            rows, columns = columns, rows
        terms.append(f"{rows}...{columns}" if flags.get(f"transBatch{side}") else f"...{rows}{columns}")
    if terms == ["...mk", "...kn"]:
        return helper.make_node("MatMul", node.input[:2], node.output, name=node.name)
    equation = f"{','.join(terms)}->...mn"
    return helper.make_node("Einsum", node.input[:2], node.output, name=node.name, equation=equation)


def _blocked(node: NodeProto) -> NodeProto | None:
    """Return the standard operator on plain channels; ReorderOutput, which may cut padded ones off, is a Transpose."""
    if node.op_type in ("ReorderInput", "ReorderOutput"):
        last = any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute)
        to_first, to_last = [0, 3, 1, 2], [0, 2, 3, 1]
        perm = (to_first if node.op_type == "ReorderInput" else to_last) if last else [0, 1, 2, 3]
        return helper.make_node("Transpose", node.input, node.output, name=node.name, perm=perm)
    slots = {"Conv": (0, 1), "AveragePool": (0,), "GlobalAveragePool": (0,), "GlobalMaxPool": (0,), "MaxPool": (0,)}
    return _call(node, node.op_type, "", slots[node.op_type]) if node.op_type in slots else None
