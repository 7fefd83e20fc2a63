"""Pruning: collapse every pool of a supergraph to its selected branch.

onnx-graphsurgeon does the surgery (rewire, cleanup) on a bare copy of the topology of what can live: nodes and
names, no attributes, no weights. The subnet is then put together from the original messages, so everything that
survives stays what it was, byte for byte. This is the only module that imports onnx-graphsurgeon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_graphsurgeon as gs
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, helper

from supernet_onnx import marks
from supernet_onnx.graph import has_subgraphs, subgraphs

if TYPE_CHECKING:
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["prune"]


@dataclass(frozen=True, slots=True)
class _Survivor:
    """A node that is left after the surgery, and the names that the surgery gave it.

    Attributes:
        index: Its place in the original graph.
        renamed_reads: What it reads under another name now, ``{old: new}``.
        renamed_outputs: What it makes under another name now.
        joined: The tensor that it reads if it is a pool node that must stay, as an Identity; else None.
    """

    index: int
    renamed_reads: Mapping[str, str]
    renamed_outputs: Mapping[str, str]
    joined: str | None = None


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
    _assemble(subnet.graph, supergraph, survivors)
    functions = _live_functions(source.functions, subnet.graph)
    subnet.functions.extend(functions)
    domains = {"", "ai.onnx", *_domains(subnet.graph.node)}
    for function in functions:
        domains.update([function.domain], (entry.domain for entry in function.opset_import))
    subnet.opset_import.extend(entry for entry in source.opset_import if entry.domain in domains)
    return subnet


def _operate(supergraph: SuperGraph, selection: Selection) -> list[_Survivor]:
    """Collapse the live pools on a bare graph-surgeon graph, and return the nodes that are left, in order.

    The bare graph is the seam: the live pools, and the live nodes that read a pool or make what one selects. What
    the seam's other nodes make is read by the rest of the graph, which keeps its names; it is the seam's output.
    """
    live = list(_live(supergraph, selection))
    seam = _seam(supergraph, selection, live)
    graph_outputs = {value.name for value in supergraph.graph.output}
    tensors = {name: gs.Variable(name) for names in seam.values() for name in (*names[0], *names[1])}
    bare = gs.Graph(outputs=[tensors[name] for name in graph_outputs if name in tensors])
    for index, (reads, made) in seam.items():
        node = gs.Node(
            op="Pool" if index in supergraph.marks else "Node",
            name=str(index),
            inputs=[tensors[name] for name in reads],
            outputs=[tensors[name] for name in made],
        )
        bare.nodes.append(node)
        if node.op != "Pool":
            bare.outputs.extend(node.outputs)
    for node in list(bare.nodes):
        if node.op == "Pool":
            _collapse(node, graph_outputs)
    bare.cleanup(recurse_subgraphs=False, recurse_functions=False)
    changed = {int(node.name): _survivor(node, *seam[int(node.name)]) for node in bare.nodes}
    unchanged: dict[str, str] = {}
    return [
        changed.get(index) or _Survivor(index, unchanged, unchanged)
        for index in live
        if index in changed or index not in seam
    ]


def _seam(supergraph: SuperGraph, selection: Selection, live: Sequence[int]) -> dict[int, tuple[list[str], list[str]]]:
    """Return for each node of the seam what it reads of the tensors that meet at pools, and all that it makes."""
    graph = supergraph.graph
    chosen = dict(zip(selection.pools, selection.indices, strict=True))
    selected = {
        index: graph.node[index].input[1 + chosen[supergraph.marks[index].pool]]
        for index in live
        if index in supergraph.marks
    }
    meeting = {*selected.values(), *(graph.node[index].output[0] for index in selected)}
    seam = {}
    for index in live:
        made = [name for name in graph.node[index].output if name]
        if index in selected:
            seam[index] = ([selected[index]], made)
            continue
        reads = [name for name in supergraph.node_reads[index] if name in meeting]
        if reads or not meeting.isdisjoint(made):
            seam[index] = (reads, made)
    return seam


def _survivor(node: gs.Node, reads: list[str], made: list[str]) -> _Survivor:
    """Compare what a node reads and makes after the surgery with what it did before."""
    now = [tensor.name for tensor in node.inputs]
    renamed_reads = {old: new for old, new in zip(reads, now, strict=True) if old != new}
    outputs = [tensor.name for tensor in node.outputs]
    renamed_outputs = {old: new for old, new in zip(made, outputs, strict=True) if old != new}
    return _Survivor(int(node.name), renamed_reads, renamed_outputs, now[0] if node.op == "Pool" else None)


def _live(supergraph: SuperGraph, selection: Selection) -> Iterator[int]:
    """Iterate over the nodes that are live under a selection; each condition is evaluated once."""
    holds: dict[Condition, bool] = {}
    for index, condition in enumerate(supergraph.node_conditions):
        known = holds.get(condition)
        if known is None:
            known = holds[condition] = bool(condition.at(selection.indices))
        if known:
            yield index


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


def _assemble(target: GraphProto, supergraph: SuperGraph, survivors: list[_Survivor]) -> None:
    """Fill the subnet's graph: everything of the source graph that the surviving nodes still need."""
    source = supergraph.graph
    used = {value.name for value in source.output}
    made: set[str] = set()
    for survivor in survivors:
        node = target.node.add()
        _restore(node, source.node[survivor.index], survivor)
        reads = supergraph.node_reads[survivor.index] if survivor.joined is None else [survivor.joined]
        renamed = survivor.renamed_reads
        used.update([renamed.get(name, name) for name in reads] if renamed else reads)
        made.update(node.output)
    inputs = {value.name for value in source.input}
    for annotation in source.quantization_annotation:
        if annotation.tensor_name in used | made:
            used.update(entry.value for entry in annotation.quant_parameter_tensor_names)

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
    if survivor.joined is not None:
        target.CopyFrom(helper.make_node("Identity", [survivor.joined], source.output, name=source.name))
        return
    target.CopyFrom(source)
    if survivor.renamed_reads:
        _rename_reads(target, survivor.renamed_reads)
    for position, name in enumerate(target.output if survivor.renamed_outputs else ()):
        target.output[position] = survivor.renamed_outputs.get(name, name)


def _rename_reads(node: NodeProto, renamed: Mapping[str, str]) -> None:
    for position, name in enumerate(node.input):
        if name in renamed:
            node.input[position] = renamed[name]
    for graph in subgraphs(node) if has_subgraphs(node) else ():
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
