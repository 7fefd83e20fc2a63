"""onnx's own checker, with strict shape inference, on a copy without weights."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from supernet_onnx.errors import ModelError
from supernet_onnx.graph import forget_shapes, has_subgraphs, is_standard, subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_operators"]

_HIDING: Final = "supernet_onnx.hiding"
_SMALL: Final = 1024  # elements; larger constants hold no shapes
_CONTEXT: Final = re.compile(r"\s*==> Context:.*", re.DOTALL)


def check_operators(model: ModelProto) -> None:
    """Let onnx check a model: operators, attributes, scopes of names, and that operands fit together.

    It sees no weights, so that size does not matter, and no declared shapes but those of the inputs: shapes that are
    declared further on are false in honest models, and nothing here believes them.

    Args:
        model: Not changed. It has passed all other checks, for onnx recurses as deep as the model.

    Raises:
        ModelError: The checker refuses the model.
    """
    bare = _bare(model)
    try:
        onnx.checker.check_model(bare, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        cause = " ".join(_CONTEXT.sub("", str(error)).split())
        raise ModelError(f"onnx's checker refuses the model: {cause[:600]}; mend it where it was made") from error


def _bare(model: ModelProto) -> ModelProto:
    bare = ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    source, graph = model.graph, bare.graph
    graph.name = source.name
    graph.node.extend(source.node)
    _strip(graph.node)
    for tensor in source.initializer:
        if math.prod(tensor.dims) > _SMALL or tensor.data_location == TensorProto.EXTERNAL:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        else:
            graph.initializer.append(tensor)
    present = {value.name for value in graph.input}
    for sparse in source.sparse_initializer:
        graph.input.append(
            helper.make_tensor_value_info(sparse.values.name, sparse.values.data_type, list(sparse.dims))
        )
        present.add(sparse.values.name)
    graph.input.extend(value for value in source.input if value.name not in present)
    _hide_outputs(bare, source)
    return bare


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
