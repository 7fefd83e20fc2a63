"""Pruning: collapse every pool of a supergraph to its selected branch.

onnx-graphsurgeon does the surgery (rewire, cleanup) on a bare copy of the topology of what can live: nodes and
names, no attributes, no weights. The subnet is then put together from the original messages, so everything that
survives stays what it was, byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import GraphProto, ModelProto, TrainingInfoProto, helper

from supernet_onnx import marks
from supernet_onnx.diagram import values
from supernet_onnx.graph import initializer_names
from supernet_onnx.pruning.calls import keep_called
from supernet_onnx.pruning.fields import copy_fields
from supernet_onnx.pruning.names import kept_annotations, mentioned, nested_parameters, parameters, restore
from supernet_onnx.pruning.seam import Surgery, operate
from supernet_onnx.selection import check
from supernet_onnx.supergraph import check_pools

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["prune"]


def prune(supergraph: SuperGraph, selection: Selection) -> ModelProto:
    """Return the subnet that a selection cuts out of a supergraph.

    The subnet computes what the supernet computes with one-hot weights on the selection. Nothing of another
    branch is left: no node, initializer, value_info, function or opset import. Graph inputs and outputs keep
    their names, types and order. What survives is unchanged, but for the names of tensors that met at a pool: its
    consumers read the selected branch's output, which takes the pool's name where the pool was a graph output. An
    Identity is left only where a pool that is a graph output meets a tensor whose name must stay: a graph input,
    an initializer, or another graph output; or where a nested graph uses the name for a tensor of its own. What
    training information names is kept like a graph output; training information that names something of another
    branch is left out, for its step could not run.

    Args:
        supergraph: Not changed. External data are neither read nor copied; the subnet refers to them.
        selection: One branch for each pool, made for this supergraph.

    Returns:
        A new model. Equal arguments give equal bytes.

    Raises:
        MarkError: The model has no pool.
        ValueError: The selection was made for another supergraph.
    """
    check_pools(supergraph)
    check(supergraph, selection)
    source = supergraph.model
    live = [i for i, holds in enumerate(values(supergraph.node_conditions, selection.indices)) if holds]
    chosen = dict(zip(selection.pools, selection.indices, strict=True))
    reads = supergraph.wiring.reads
    selected = {i: reads[i][1 + chosen[mark.pool]] for i in live if (mark := supergraph.marks.get(i))}
    training = _possible_training(supergraph, live, selected)
    trained = set().union(*map(mentioned, training))
    fixed = trained.union(value.name for value in source.graph.output)
    surgery = operate(supergraph.wiring, live, selected, fixed)
    subnet = ModelProto()
    copy_fields(subnet, source, but=("graph", "functions", "opset_import", "metadata_props", "training_info"))
    subnet.metadata_props.extend(
        entry
        for entry in source.metadata_props
        if entry.key not in (marks.FORMAT_KEY, marks.VERSION_KEY, marks.POOLS_KEY)
    )
    subnet.training_info.extend(training)
    _assemble(subnet.graph, supergraph, live, surgery, trained)
    keep_called(subnet, source)
    return subnet


def _possible_training(
    supergraph: SuperGraph, live: Sequence[int], selected: Mapping[int, str]
) -> list[TrainingInfoProto]:
    """Return the training steps that name nothing dead.

    An initializer that only they read, such as a learning rate, is of no branch.
    """
    training = list(supergraph.model.training_info)
    if not training:
        return []
    graph, node_reads = supergraph.graph, supergraph.node_reads
    stored = initializer_names(graph)
    there = {name for i in live for name in ([selected[i]] if i in selected else node_reads[i])}
    there.update(name for i in live for name in graph.node[i].output)
    there.update(value.name for value in graph.output)
    there.update(value.name for value in graph.input if value.name not in stored)
    there |= stored.difference(*node_reads)
    return [step for step in training if mentioned(step) <= there]


def _assemble(
    target: GraphProto, supergraph: SuperGraph, live: Sequence[int], surgery: Surgery, trained: Collection[str]
) -> None:
    """Fill the subnet's graph: the live nodes, and everything of the source graph that they still need."""
    source, names, wiring = supergraph.graph, surgery.names, supergraph.wiring
    present = {value.name for value in source.output}  # what a node reads or makes
    present.update(trained)
    made: set[str] = set()
    used: set[str] = set()
    for index in live:
        node, reads, makes = wiring.nodes[index], wiring.reads[index], wiring.makes[index]
        if index in surgery.joined:
            reads = [surgery.joined[index]]
            target.node.append(helper.make_node("Identity", reads, makes, name=node.name))
        elif index in supergraph.marks:
            continue
        elif names.keys().isdisjoint(reads) and names.keys().isdisjoint(makes):
            target.node.add().CopyFrom(node)
        else:
            restore(target.node.add(), node, reads, names)
            made.update(name for name in makes if name in names)
            reads, makes = [names.get(name, name) for name in reads], [names.get(name, name) for name in makes]
        if index in wiring.nested:
            used.update(nested_parameters(target.node[-1]))
        present.update(reads)
        present.update(makes)
    target.quantization_annotation.extend(kept_annotations(source, present, made, names))
    used.update(present, parameters(target.quantization_annotation))
    target.initializer.extend(tensor for tensor in source.initializer if tensor.name in used)
    target.sparse_initializer.extend(tensor for tensor in source.sparse_initializer if tensor.values.name in used)
    defaults = initializer_names(source)
    target.input.extend(value for value in source.input if value.name in used or value.name not in defaults)
    used.update(value.name for value in target.input)
    target.value_info.extend(value for value in source.value_info if value.name in used)
    done = ("node", "initializer", "sparse_initializer", "input", "value_info", "quantization_annotation")
    copy_fields(target, source, but=done)
