"""Pruning: collapse every pool of a supergraph to its selected branch.

onnx-graphsurgeon does the surgery (rewire, cleanup) on a bare copy of the topology of what can live: nodes and
names, no attributes, no weights. The subnet is then put together from the original messages, so everything that
survives stays what it was, byte for byte. This is the only module that imports onnx-graphsurgeon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_graphsurgeon as gs
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, helper

from supernet_onnx import marks
from supernet_onnx.graph import reads, subgraphs

if TYPE_CHECKING:
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["prune"]


@dataclass(frozen=True, slots=True)
class _Survivor:
    """A node that is left after the surgery.

    Attributes:
        index: Its place in the original graph.
        reads: What it reads now, in the order of ``graph.reads``.
        outputs: What it makes now.
        joins: It is a pool node that must stay, as an Identity.
    """

    index: int
    reads: tuple[str, ...]
    outputs: tuple[str, ...]
    joins: bool


def prune(supergraph: SuperGraph, selection: Selection) -> ModelProto:
    """Return the subnet that a selection cuts out of a supergraph.

    The subnet computes what the supernet computes with one-hot weights on the selection. Nothing of another
    branch is left: no node, initializer, value_info, function or opset import. Graph inputs and outputs keep
    their names, types and order. What survives is unchanged, but for the names of tensors that met at a pool: its
    consumers read the selected branch's output, which takes the pool's name where the pool was a graph output. An
    Identity is left only where a pool that is a graph output meets a tensor whose name must stay: a graph input,
    an initializer, or another graph output.

    Args:
        supergraph: Not changed. External data are neither read nor copied; the subnet refers to them.
        selection: One branch for each pool, made for this supergraph.

    Returns:
        A new model. Equal arguments give equal bytes.
    """
    survivors = _operate(supergraph, selection)
    source = supergraph.model
    subnet = ModelProto()
    for field, value in source.ListFields():
        if field.name not in ("graph", "functions", "opset_import", "metadata_props"):
            _copy_field(subnet, field.name, value)
    subnet.metadata_props.extend(
        entry for entry in source.metadata_props if entry.key not in (marks.FORMAT_KEY, marks.VERSION_KEY)
    )
    _assemble(subnet.graph, source.graph, survivors)
    functions = _live_functions(source.functions, subnet.graph)
    subnet.functions.extend(functions)
    domains = {"", "ai.onnx", *_domains(subnet.graph.node)}
    for function in functions:
        domains.update([function.domain], (entry.domain for entry in function.opset_import))
    subnet.opset_import.extend(entry for entry in source.opset_import if entry.domain in domains)
    return subnet


def _operate(supergraph: SuperGraph, selection: Selection) -> list[_Survivor]:
    """Collapse the pools on a bare graph-surgeon graph of the live nodes, and return what is left, in order."""
    graph = supergraph.graph
    tensors: dict[str, gs.Variable] = {}

    def tensor(name: str) -> gs.Variable:
        known = tensors.get(name)
        if known is None:
            known = tensors[name] = gs.Variable(name)
        return known

    outputs = {value.name for value in graph.output}
    nodes, pools = [], []
    for index, condition in enumerate(supergraph.node_conditions):
        if not condition.at(selection.indices):
            continue
        node = graph.node[index]
        mark = supergraph.marks.get(index)
        names = reads(node)
        if mark is not None:
            names = [node.input[1 + selection.indices[selection.pools.index(mark.pool)]]]
        bare = gs.Node(
            op="Pool" if mark is not None else "Node",
            name=str(index),
            inputs=[tensor(name) for name in names],
            outputs=[tensor(name) for name in node.output if name],
        )
        nodes.append(bare)
        if mark is not None:
            pools.append(bare)
    bare_graph = gs.Graph(
        nodes=nodes,
        inputs=[tensor(value.name) for value in graph.input],
        outputs=[tensor(value.name) for value in graph.output],
    )
    for pool in pools:
        _collapse(pool, outputs)
    bare_graph.cleanup(recurse_functions=False)
    return [
        _Survivor(
            int(node.name),
            tuple(item.name for item in node.inputs),
            tuple(item.name for item in node.outputs),
            node.op == "Pool",
        )
        for node in bare_graph.nodes
    ]


def _collapse(pool: gs.Node, graph_outputs: set[str]) -> None:
    """Join the pool's selected branch output, its only input, to the pool's consumers."""
    source, target = pool.inputs[0], pool.outputs[0]
    if target.name not in graph_outputs:
        _move_consumers(target, source)
    elif source.inputs and source.name not in graph_outputs:
        producer = source.inputs[0]
        pool.outputs.clear()
        pool.inputs.clear()
        producer.outputs[_position(producer.outputs, source)] = target
        _move_consumers(source, target)


def _move_consumers(old: gs.Variable, new: gs.Variable) -> None:
    for consumer in list(old.outputs):
        for position, item in enumerate(consumer.inputs):
            if item is old:
                consumer.inputs[position] = new


def _position(items: Iterable[gs.Variable], wanted: gs.Variable) -> int:
    return next(position for position, item in enumerate(items) if item is wanted)


def _assemble(target: GraphProto, source: GraphProto, survivors: list[_Survivor]) -> None:
    """Fill the subnet's graph: everything of the source graph that the surviving nodes still need."""
    used = {name for survivor in survivors for name in survivor.reads}
    used.update(value.name for value in source.output)
    made = {name for survivor in survivors for name in survivor.outputs}
    inputs = {value.name for value in source.input}
    for annotation in source.quantization_annotation:
        if annotation.tensor_name in used | made:
            used.update(entry.value for entry in annotation.quant_parameter_tensor_names)

    for survivor in survivors:
        _restore(target.node.add(), source.node[survivor.index], survivor)
    target.initializer.extend(tensor for tensor in source.initializer if tensor.name in used)
    target.sparse_initializer.extend(tensor for tensor in source.sparse_initializer if tensor.values.name in used)
    defaults = {tensor.name for tensor in source.initializer}
    target.input.extend(value for value in source.input if value.name in used or value.name not in defaults)
    outputs = {value.name for value in source.output}
    kept = (used | made | inputs) - outputs
    was_output = {value.name for value in source.value_info} & outputs
    target.value_info.extend(value for value in source.value_info if value.name in kept | was_output)
    target.quantization_annotation.extend(
        annotation for annotation in source.quantization_annotation if annotation.tensor_name in used | made
    )
    done = ("node", "initializer", "sparse_initializer", "input", "value_info", "quantization_annotation")
    for field, value in source.ListFields():
        if field.name not in done:
            _copy_field(target, field.name, value)


def _restore(target: NodeProto, source: NodeProto, survivor: _Survivor) -> None:
    """Copy a node, and give it the names that the surgery gave it."""
    if survivor.joins:
        target.CopyFrom(helper.make_node("Identity", survivor.reads, survivor.outputs, name=source.name))
        return
    target.CopyFrom(source)
    renamed = {old: new for old, new in zip(reads(source), survivor.reads, strict=True) if old != new}
    if renamed:
        _rename_reads(target, renamed)
    outputs = iter(survivor.outputs)
    for position, name in enumerate(target.output):
        if name and name != (new := next(outputs)):
            target.output[position] = new


def _rename_reads(node: NodeProto, renamed: Mapping[str, str]) -> None:
    for position, name in enumerate(node.input):
        if name in renamed:
            node.input[position] = renamed[name]
    for graph in subgraphs(node):
        for inner in graph.node:
            _rename_reads(inner, renamed)
        for value in graph.output:
            value.name = renamed.get(value.name, value.name)


def _live_functions(functions: Iterable[FunctionProto], graph: GraphProto) -> list[FunctionProto]:
    """Return the local functions that the graph still calls, directly or through others, in their order."""
    by_name: dict[tuple[str, str], list[FunctionProto]] = {}
    for function in functions:
        by_name.setdefault((function.domain, function.name), []).append(function)
    called: set[tuple[str, str]] = set()
    waiting = list(_calls(graph.node))
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in called:
            called.add(name)
            for function in by_name[name]:
                waiting.extend(_calls(function.node))
    return [function for function in functions if (function.domain, function.name) in called]


def _calls(nodes: Iterable[NodeProto]) -> Iterable[tuple[str, str]]:
    for node in nodes:
        yield node.domain, node.op_type
        for graph in subgraphs(node):
            yield from _calls(graph.node)


def _domains(nodes: Iterable[NodeProto]) -> set[str]:
    return {domain for domain, _ in _calls(nodes)}


def _copy_field(target: ModelProto | GraphProto, name: str, value: object) -> None:
    """Copy one field of a message: a scalar, a message, or a repeated one."""
    if isinstance(value, str | int | float | bytes):
        setattr(target, name, value)
    elif isinstance(value, Iterable):
        getattr(target, name).extend(value)
    else:
        getattr(target, name).CopyFrom(value)
