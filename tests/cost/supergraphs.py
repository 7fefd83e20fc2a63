"""Small supergraphs for the cost tests: written as ONNX text, or drawn by hypothesis, and collapsed naively."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, parser

from supernet_onnx import marks, supergraph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

Constant = tuple[int, ...] | np.ndarray


def pool(name: str, branches: str, *, call: int = 0) -> str:
    """Write a pool node's operator and attributes as ONNX text, ready for its inputs."""
    names = branches.split()
    quoted = ", ".join(f'"{branch}"' for branch in names)
    return f'supernet_onnx.Pool{len(names)} <pool = "{name}", branches = [{quoted}], call = {call}> ({name}_theta, '


def model(text: str, constants: Mapping[str, Constant] | None = None, *, opset: int = 20) -> ModelProto:
    """Parse a graph, and give it its constants: arrays, or float zeros of a shape. Pools get uniform weights."""
    header = f'<ir_version: 10, opset_import: ["" : {opset}, "supernet_onnx" : 1, "other" : 3]>'
    made = parser.parse_model(f"{header} {text}")
    for name, value in (constants or {}).items():
        array = np.zeros(value, np.float32) if isinstance(value, tuple) else value
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    add_pool_weights(made)
    return made


def add_pool_weights(made: ModelProto) -> None:
    known = {tensor.name for tensor in made.graph.initializer}
    for node in made.graph.node:
        if marks.is_pool(node) and node.input[0] not in known:
            n = len(node.input) - 1
            made.graph.initializer.append(numpy_helper.from_array(np.full(n, 1 / n, np.float32), node.input[0]))
            known.add(node.input[0])


def graph(text: str, constants: Mapping[str, Constant] | None = None, *, opset: int = 20) -> SuperGraph:
    return supergraph.read(model(text, constants, opset=opset))


def collapse(graph: SuperGraph, selection: Selection) -> ModelProto:
    """Cut a supergraph to a selection, in the plainest way: rename what pools give, keep what the outputs reach."""
    chosen = dict(zip(selection.pools, selection.indices, strict=True))
    alias: dict[str, str] = {}
    nodes: list[NodeProto] = []
    for index, node in enumerate(graph.graph.node):
        inputs = [alias.get(name, name) for name in node.input]
        if index in graph.marks:
            alias[node.output[0]] = inputs[1 + chosen[graph.marks[index].pool]]
            continue
        renamed = NodeProto()
        renamed.CopyFrom(node)
        del renamed.input[:]
        renamed.input.extend(inputs)
        nodes.append(renamed)
    outputs = [f"{value.name}.out" for value in graph.graph.output]
    for value, output in zip(graph.graph.output, outputs, strict=True):
        nodes.append(helper.make_node("Identity", [alias.get(value.name, value.name)], [output]))
    needed = set(outputs)
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    types = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    constants = [tensor for tensor in graph.graph.initializer if tensor.name in needed]
    cut = helper.make_graph(kept[::-1], "cut", graph.graph.input, types, constants)
    return helper.make_model(cut, opset_imports=graph.model.opset_import, ir_version=10)
