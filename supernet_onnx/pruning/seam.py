"""The surgery: collapse live pools on a bare copy of the topology, where branches meet the rest.

This is the only module that imports onnx-graphsurgeon. It sees nodes and names, no attributes and no weights, so it
can lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_graphsurgeon as gs

from supernet_onnx.graph import defined, has_subgraphs, subgraphs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from onnx import NodeProto

__all__ = ["Surgery", "operate"]


@dataclass(frozen=True, slots=True)
class Surgery:
    """What collapsing the live pools changes.

    Attributes:
        names: Tensors that have another name now, ``{old: new}``, for those who make and who read them.
        joined: The pool nodes that must stay, as an Identity, and the tensor that each reads, ``{index: name}``.
    """

    names: Mapping[str, str]
    joined: Mapping[int, str]


def operate(
    nodes: Sequence[NodeProto], live: Iterable[int], selected: Mapping[int, str], fixed: Collection[str]
) -> Surgery:
    """Collapse the live pools on a bare graph-surgeon graph: the seam.

    It holds the live pools, the nodes that make what these select, and for each tensor that meets at a pool one node
    that stands for all its readers. The rest of the graph keeps its names.

    Args:
        nodes: The nodes of the main graph.
        live: The indices of those that are live, in order.
        selected: What each live pool selects, ``{index: name}``.
        fixed: Tensors that must keep their names.
    """
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

    def clean(self, fixed: Collection[str]) -> Surgery:
        """Remove what nothing reads, and tell what is left."""
        self.graph.outputs = [output for node in self.readers.values() for output in node.outputs]
        self.graph.outputs += [tensor for name, tensor in self.tensors.items() if name in fixed]
        self.graph.cleanup(recurse_subgraphs=False, recurse_functions=False)
        now = {name: node.inputs[0].name for name, node in self.readers.items()}
        joined = {int(node.name): node.inputs[0].name for node in self.graph.nodes if node.op == "Pool"}
        return Surgery({old: new for old, new in now.items() if old != new}, joined)


def _collapse(pool: gs.Node, fixed: Collection[str], inner: Collection[str]) -> None:
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
