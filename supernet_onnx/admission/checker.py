"""onnx's own checker, with strict shape inference, on a copy without weights."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
)

from supernet_onnx import marks
from supernet_onnx.errors import ModelError
from supernet_onnx.graph import forget_shapes, has_subgraphs, is_standard, standard_opset, subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from supernet_onnx.admission.structure import Structure

__all__ = ["check_operators"]

_HIDING: Final = "supernet_onnx.hiding"
_COPIED: Final = 1 << 26  # bytes of weights of which there may be a second copy for a moment
_SMALL: Final = 1024  # elements; larger constants hold no shapes
_CONTEXT: Final = re.compile(r"\s*==> Context:.*", re.DOTALL)


def check_operators(model: ModelProto, structure: Structure) -> None:
    """Let onnx check a model: operators, attributes, scopes of names, and that operands fit together.

    It sees no weights, so that size does not matter, and no declared shapes but those of the inputs: shapes that are
    declared further on are false in honest models, and nothing here believes them.

    Args:
        model: Not changed. It has passed all other checks, for onnx recurses as deep as the model.
        structure: What the walk over it saw.

    Raises:
        ModelError: The checker refuses the model.
    """
    bare = _bare(model, structure)
    try:
        onnx.checker.check_model(bare, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        cause = " ".join(_CONTEXT.sub("", str(error)).split())
        raise ModelError(f"onnx's checker refuses the model: {cause[:600]}; mend it where it was made") from error


def _bare(model: ModelProto, structure: Structure) -> ModelProto:
    bare = ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    source, graph = model.graph, bare.graph
    if structure.raw_bytes <= _COPIED:  # a copy of the whole takes a fifth of the time of one node by node
        graph.CopyFrom(source)
        for name in ("output", "value_info", "sparse_initializer", "quantization_annotation"):
            graph.ClearField(name)
    else:
        graph.name = source.name
        graph.node.extend(source.node)
    _strip([graph.node[index] for index in dict.fromkeys((*structure.nested, *structure.outside))])
    _mix([graph.node[index] for index in structure.pools], model)
    _without_weights(graph, source)
    _hide_outputs(bare, source)
    return bare


def _without_weights(graph: GraphProto, source: GraphProto) -> None:
    """Let inputs stand for what is stored, but for small constants, which may be shapes."""
    small: list[TensorProto] = []
    stand_ins: list[ValueInfoProto] = []
    for tensor in source.initializer:
        dims = tensor.dims
        if math.prod(dims) > _SMALL or tensor.data_location == TensorProto.EXTERNAL:
            stand_ins.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(dims)))
        else:
            small.append(tensor)
    if len(small) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(small)
    for sparse in source.sparse_initializer:
        values = sparse.values
        stand_ins.append(helper.make_tensor_value_info(values.name, values.data_type, list(sparse.dims)))
    present = {value.name for value in stand_ins}
    del graph.input[:]
    graph.input.extend(stand_ins)
    graph.input.extend(value for value in source.input if value.name not in present)


def _mix(pools: Iterable[NodeProto], model: ModelProto) -> None:
    """Let a Sum of the branches stand for a pool whose function is the one that the export wrote.

    It takes the same types, and gives the same shape; but inference looks into a function again at every call.
    """
    opset = standard_opset(model)
    ours = {function.name for function in model.functions if _is_ours(function, opset)}
    for node in pools:
        if node.op_type in ours and len(node.input) > 1:
            node.domain, node.op_type = "", "Sum"
            del node.input[0]
            del node.attribute[:]


def _is_ours(function: FunctionProto, opset: int) -> bool:
    branches = len(function.input) - 1
    if function.domain != marks.DOMAIN or opset < marks.MIN_OPSET or len(function.node) != 4 + 5 * branches:
        return False
    return function == marks.pool_function(branches, opset=opset)


def _hide_outputs(bare: ModelProto, source: GraphProto) -> None:
    """Let an unknown operator stand between what nodes make and what the graph's outputs are declared to be."""
    for name, value in {value.name: value for value in source.output}.items():
        bare.graph.node.add(op_type="Output", domain=_HIDING, input=[name], output=[f"\0{name}"])
        output = bare.graph.output.add()
        output.CopyFrom(value)
        output.name = f"\0{name}"  # no tensor is named so
    bare.opset_import.add(domain=_HIDING, version=1)


def _strip(nodes: Iterable[NodeProto]) -> None:
    """Forget declared shapes in nested graphs, and let Constant nodes of external values be of no stated shape."""
    for node in nodes:
        attributes = node.attribute
        if not attributes:
            continue
        for attribute in attributes:
            if attribute.type == AttributeProto.TENSOR and attribute.t.data_location == TensorProto.EXTERNAL:
                kind = attribute.t.data_type
                node.CopyFrom(_stand_in(node, kind))
                break
        if has_subgraphs(node):
            for graph in subgraphs(node):
                forget_shapes(graph)
                _strip(graph.node)


def _stand_in(node: NodeProto, kind: int) -> NodeProto:
    """Return a Constant of no elements' worth of bytes that stands for one whose values are in a file."""
    if node.op_type != "Constant" or not is_standard(node):
        raise ModelError(
            f"node '{node.name}' ({node.op_type}) keeps an attribute in external data; only Constant nodes and "
            "initializers may: write the model with its values inside"
        )
    empty = TensorProto(data_type=kind, dims=[0])
    return helper.make_node("Constant", [], list(node.output), name=node.name, value=empty)
