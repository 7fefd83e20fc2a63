"""Local functions, inlined: a call costs what the nodes of its body cost where they stand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import onnx.inliner
from onnx import FunctionProto, GraphProto, ModelProto, TensorProto

from supernet_onnx import marks
from supernet_onnx.graph import STANDARD, is_standard, standard_opset, subgraphs
from supernet_onnx.supergraph import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import NodeProto

    from supernet_onnx.supergraph import SuperGraph

__all__ = ["inline"]

_SMALL: Final = 1024  # elements; the values of larger constants are left behind
_PLACE: Final = "supernet_onnx.place"


def inline(supergraph: SuperGraph) -> SuperGraph:
    """Return a supergraph without calls of local functions; the same one if it has none.

    A constant in a function's body is stored once, however often the function is called. (One that stands in an If,
    Loop or Scan inside of the function counts once for each call.) A function that imports another version of the
    standard domain than the model, and uses an operator that differs between the two, stays a call, which nobody can
    price.

    Args:
        supergraph: Not changed.
    """
    functions = [function for function in supergraph.model.functions if function.domain != marks.DOMAIN]
    local = {(function.domain, function.name) for function in functions}
    if not any((node.domain, node.op_type) in local for node in _nodes(supergraph.graph)):
        return supergraph
    model = _without_values(supergraph.model)
    version = standard_opset(model)
    for function in functions:
        copy = model.functions.add()
        copy.CopyFrom(function)
        _align(copy, version)
        for index, node in enumerate(copy.node):
            if is_standard(node) and node.op_type == "Constant":
                place = f"{copy.domain}::{copy.name}::{copy.overload}::{index}"
                node.metadata_props.add(key=_PLACE, value=place)
    inlined = onnx.inliner.inline_local_functions(model)
    _store_once(inlined.graph)
    return read(inlined)


def _nodes(graph: GraphProto | FunctionProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for body in subgraphs(node):
            yield from _nodes(body)


def _without_values(model: ModelProto) -> ModelProto:
    """Copy a model without its functions and the values of its large initializers."""
    copy = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    source, graph = model.graph, copy.graph
    graph.name = source.name
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(graph, field).extend(getattr(source, field))
    for tensor in source.initializer:
        if math.prod(tensor.dims) <= _SMALL or tensor.data_type == TensorProto.STRING:
            graph.initializer.append(tensor)
        else:
            graph.initializer.add(
                name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL
            )
    return copy


def _align(function: FunctionProto, version: int) -> None:
    """Let a function import the model's version of the standard domain, if its operators are the same there."""
    for entry in function.opset_import:
        if entry.domain not in STANDARD or entry.version == version:
            continue
        used = {node.op_type for node in _nodes(function) if is_standard(node)}
        if all(_since(op_type, entry.version) == _since(op_type, version) for op_type in used):
            entry.version = version


def _since(op_type: str, version: int) -> int | None:
    """Return since which version an operator is as it is in ``version``."""
    try:
        return int(onnx.defs.get_schema(op_type, version).since_version)
    except onnx.defs.SchemaError:
        return None


def _store_once(graph: GraphProto) -> None:
    """Make each further copy of a function's constant an Identity of the first."""
    first: dict[tuple[str, bytes], str] = {}
    for node in graph.node:
        place = next((entry.value for entry in node.metadata_props if entry.key == _PLACE), None)
        if place is None:
            continue
        value = b"".join(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        known = first.setdefault((place, value), node.output[0])
        if known != node.output[0]:
            node.op_type = "Identity"
            node.input.append(known)
            del node.attribute[:]
