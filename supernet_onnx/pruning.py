"""Pruning: collapse every pool of a supergraph to its selected branch.

onnx-graphsurgeon does the surgery (rewire, cleanup) on a bare copy of the topology of what can live: nodes and
names, no attributes, no weights. The subnet is then put together from the original messages, so everything that
survives stays what it was, byte for byte. This is the only module that imports onnx-graphsurgeon.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_graphsurgeon as gs
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorAnnotation, helper

from supernet_onnx import marks
from supernet_onnx.diagram import values
from supernet_onnx.errors import MarkError
from supernet_onnx.graph import captured, defined, has_subgraphs, initializer_names, subgraphs
from supernet_onnx.selection import check

if TYPE_CHECKING:
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["prune"]

_Call = tuple[str, str, str]  # domain, name and overload of an operator or a local function


@dataclass(frozen=True, slots=True)
class _Surgery:
    """What collapsing the live pools changes.

    Attributes:
        names: Tensors that have another name now, ``{old: new}``, for those who make and who read them.
        joined: The pool nodes that must stay, as an Identity, and the tensor that each reads, ``{index: name}``.
    """

    names: Mapping[str, str]
    joined: Mapping[int, str]


def prune(supergraph: SuperGraph, selection: Selection) -> ModelProto:
    """Return the subnet that a selection cuts out of a supergraph.

    The subnet computes what the supernet computes with one-hot weights on the selection. Nothing of another
    branch is left: no node, initializer, value_info, function or opset import. Graph inputs and outputs keep
    their names, types and order. What survives is unchanged, but for the names of tensors that met at a pool: its
    consumers read the selected branch's output, which takes the pool's name where the pool was a graph output. An
    Identity is left only where a pool that is a graph output meets a tensor whose name must stay: a graph input,
    an initializer, or another graph output; or where a nested graph uses the name for a tensor of its own.

    Args:
        supergraph: Not changed. External data are neither read nor copied; the subnet refers to them.
        selection: One branch for each pool, made for this supergraph.

    Returns:
        A new model. Equal arguments give equal bytes.

    Raises:
        MarkError: The model has no pool.
        ValueError: The selection was made for another supergraph.
    """
    if not supergraph.pools:
        raise MarkError("the model has no pool, so there is nothing to select: export it with SuperNet.export_onnx")
    check(supergraph, selection)
    live = [i for i, holds in enumerate(values(supergraph.node_conditions, selection.indices)) if holds]
    surgery = _operate(supergraph, selection, live)
    source = supergraph.model
    subnet = ModelProto()
    for field, value in source.ListFields():
        if field.name not in ("graph", "functions", "opset_import", "metadata_props"):
            _copy_field(subnet, field.name, value)
    subnet.metadata_props.extend(
        entry for entry in source.metadata_props if entry.key not in (marks.FORMAT_KEY, marks.VERSION_KEY)
    )
    _assemble(subnet.graph, supergraph, live, surgery)
    functions = _live_functions(source.functions, subnet.graph)
    subnet.functions.extend(functions)
    domains = {"", "ai.onnx", *(domain for domain, _, _ in _calls(subnet.graph.node))}
    for function in functions:
        domains.update([function.domain], (entry.domain for entry in function.opset_import))
    subnet.opset_import.extend(entry for entry in source.opset_import if entry.domain in domains)
    return subnet


def _operate(supergraph: SuperGraph, selection: Selection, live: Sequence[int]) -> _Surgery:
    """Collapse the live pools on a bare graph-surgeon graph: the seam, where branches meet the rest.

    It holds the live pools, the nodes that make what these select, and for each tensor that meets at a pool one node
    that stands for all its readers. The rest of the graph keeps its names.
    """
    nodes = supergraph.graph.node
    chosen = dict(zip(selection.pools, selection.indices, strict=True))
    selected = {i: nodes[i].input[1 + chosen[mark.pool]] for i in live if (mark := supergraph.marks.get(i))}
    fixed = {value.name for value in supergraph.graph.output}
    inner = {name for i in live if has_subgraphs(nodes[i]) for graph in subgraphs(nodes[i]) for name in defined(graph)}
    seam = _Seam(dict.fromkeys(name for i, source in selected.items() for name in (source, nodes[i].output[0])))
    for index in live:
        if index in selected:
            _collapse(seam.add_pool(index, selected[index], nodes[index].output[0]), fixed, inner)
        else:
            seam.add_maker(nodes[index].output)
    return seam.clean(fixed)


class _Seam:
    """A bare graph of the given tensors, each with one node that stands for all its readers."""

    def __init__(self, names: Iterable[str]) -> None:
        self.tensors = {name: gs.Variable(name) for name in names}
        self.readers = {
            name: gs.Node("Readers", inputs=[tensor], outputs=[gs.Variable(f"\0{name}")])  # no tensor is named so
            for name, tensor in self.tensors.items()
        }
        self.graph = gs.Graph(nodes=list(self.readers.values()))

    def add_pool(self, index: int, source: str, target: str) -> gs.Node:
        """Add a pool that reads what stands for ``source`` by now."""
        inputs = list(self.readers[source].inputs)
        pool = gs.Node("Pool", str(index), inputs=inputs, outputs=[self.tensors[target]])
        self.graph.nodes.append(pool)
        return pool

    def add_maker(self, outputs: Iterable[str]) -> None:
        """Add a node if it makes one of the tensors."""
        made = [self.tensors[name] for name in outputs if name in self.tensors]
        if made:
            self.graph.nodes.append(gs.Node("Maker", outputs=made))

    def clean(self, fixed: set[str]) -> _Surgery:
        """Remove what nothing reads, and tell what is left."""
        self.graph.outputs = [output for node in self.readers.values() for output in node.outputs]
        self.graph.outputs += [tensor for name, tensor in self.tensors.items() if name in fixed]
        self.graph.cleanup(recurse_subgraphs=False, recurse_functions=False)
        now = {name: node.inputs[0].name for name, node in self.readers.items()}
        joined = {int(node.name): node.inputs[0].name for node in self.graph.nodes if node.op == "Pool"}
        return _Surgery({old: new for old, new in now.items() if old != new}, joined)


def _collapse(pool: gs.Node, fixed: set[str], inner: set[str]) -> None:
    """Join the pool's selected branch output, its only input, to the pool's readers, if one of the names may go.

    The pool was added last, so it is the last reader of its input.
    """
    source, target = pool.inputs[0], pool.outputs[0]
    if target.name not in fixed and source.name not in inner:
        del source.outputs[-1]
        _move_readers(target, source)
    elif target.name in fixed and source.inputs and source.name not in fixed and target.name not in inner:
        maker = source.inputs[0]
        del source.outputs[-1]
        pool.outputs.clear()
        maker.outputs[_position(maker.outputs, source)] = target
        _move_readers(source, target)


def _move_readers(old: gs.Variable, new: gs.Variable) -> None:
    for node in list(old.outputs):
        node.inputs[0] = new


def _position(items: Iterable[gs.Variable], wanted: gs.Variable) -> int:
    return next(position for position, item in enumerate(items) if item is wanted)


def _assemble(target: GraphProto, supergraph: SuperGraph, live: Iterable[int], surgery: _Surgery) -> None:
    """Fill the subnet's graph: the live nodes, and everything of the source graph that they still need."""
    source, names = supergraph.graph, surgery.names
    present = {value.name for value in source.output}  # what a node reads or makes
    renamed: dict[str, str] = {}
    for index in live:
        node, reads = source.node[index], supergraph.node_reads[index]
        if index in surgery.joined:
            reads = [surgery.joined[index]]
            target.node.append(helper.make_node("Identity", reads, node.output, name=node.name))
        elif index in supergraph.marks:
            continue
        else:
            _restore(target.node.add(), node, reads, names)
            renamed.update((name, names[name]) for name in node.output if name in names)
        present.update([names.get(name, name) for name in reads])
        present.update(target.node[-1].output)
    target.quantization_annotation.extend(_annotations(source, present, renamed))
    used = present.union(
        entry.value
        for annotation in target.quantization_annotation
        for entry in annotation.quant_parameter_tensor_names
    )
    target.initializer.extend(tensor for tensor in source.initializer if tensor.name in used)
    target.sparse_initializer.extend(tensor for tensor in source.sparse_initializer if tensor.values.name in used)
    defaults = initializer_names(source)
    target.input.extend(value for value in source.input if value.name in used or value.name not in defaults)
    used.update(value.name for value in target.input)
    target.value_info.extend(value for value in source.value_info if value.name in used)
    done = ("node", "initializer", "sparse_initializer", "input", "value_info", "quantization_annotation")
    for field, value in source.ListFields():
        if field.name not in done:
            _copy_field(target, field.name, value)


def _annotations(
    source: GraphProto, present: Collection[str], renamed: Mapping[str, str]
) -> Iterator[TensorAnnotation]:
    """Iterate over the quantization annotations of what is left; a renamed tensor takes its own along."""
    annotated = {annotation.tensor_name for annotation in source.quantization_annotation}
    for annotation in source.quantization_annotation:
        name = annotation.tensor_name
        if name in present:
            yield annotation
        elif name in renamed and renamed[name] not in annotated:
            moved = TensorAnnotation()
            moved.CopyFrom(annotation)
            moved.tensor_name = renamed[name]
            yield moved


def _restore(target: NodeProto, source: NodeProto, reads: Iterable[str], names: Mapping[str, str]) -> None:
    """Copy a node, and give the tensors that it reads and makes the names that the surgery gave them."""
    target.CopyFrom(source)
    if not names.keys().isdisjoint(reads):
        _rename_reads(target, names)
    if not names.keys().isdisjoint(source.output):
        target.output[:] = [names.get(name, name) for name in source.output]


def _rename_reads(node: NodeProto, names: Mapping[str, str]) -> None:
    for position, name in enumerate(node.input):
        if name in names:
            node.input[position] = names[name]
    for graph in subgraphs(node) if has_subgraphs(node) else ():
        seen = {name: names[name] for name in captured(graph) if name in names}
        for inner in graph.node if seen else ():
            _rename_reads(inner, seen)
        for value in graph.output if seen else ():
            if value.name in seen:
                value.name = seen[value.name]


def _live_functions(functions: Iterable[FunctionProto], graph: GraphProto) -> list[FunctionProto]:
    """Return the local functions that the graph still calls, directly or through others, in their order."""
    by_name = {(function.domain, function.name, function.overload): function for function in functions}
    called: set[_Call] = set()
    waiting = list(_calls(graph.node))
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in called:
            called.add(name)
            waiting.extend(_calls(by_name[name].node))
    return [function for name, function in by_name.items() if name in called]


def _calls(nodes: Iterable[NodeProto]) -> Iterator[_Call]:
    for node in nodes:
        yield node.domain, node.op_type, node.overload
        for graph in subgraphs(node):
            yield from _calls(graph.node)


def _copy_field(target: ModelProto | GraphProto, name: str, value: object) -> None:
    """Copy one field of a message: a scalar, a message, or a repeated one."""
    if isinstance(value, str | int | float | bytes):
        setattr(target, name, value)
    elif isinstance(value, Iterable):
        getattr(target, name).extend(value)
    else:
        getattr(target, name).CopyFrom(value)
