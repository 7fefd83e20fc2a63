"""The surgery: collapse live pools on a bare copy of the topology, where branches meet the rest.

This is the only module that imports onnx-graphsurgeon. It sees nodes and names, no attributes and no weights, so it
can lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_graphsurgeon as gs

from supernet_onnx.graph import defined, subgraphs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from supernet_onnx.graph import Wiring

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


def operate(wiring: Wiring, live: Sequence[int], selected: Mapping[int, str], fixed: Collection[str]) -> Surgery:
    """Collapse the live pools on a bare graph-surgeon graph: the seam.

    It holds the live pools, the nodes that make what these select, and one node that reads every tensor that meets at
    a pool, in place of all others. The rest of the graph keeps its names.

    Args:
        wiring: Of the main graph.
        live: The indices of those that are live, in order.
        selected: What each live pool selects, ``{index: name}``.
        fixed: Tensors that must keep their names.
    """
    nested = [graph for i in live if i in wiring.nested for graph in subgraphs(wiring.nodes[i])]
    inner = {name for graph in nested for name in defined(graph)}
    met = dict.fromkeys(name for i, source in selected.items() for name in (source, wiring.makes[i][0]))
    seam = _Seam(met, fixed, inner)
    for index in live:
        if index in selected:
            seam.collapse(index, selected[index], wiring.makes[index][0])
        elif not met.keys().isdisjoint(wiring.makes[index]):
            seam.add_maker(wiring.makes[index])
    return seam.clean()


class _Seam:
    """A bare graph of the given tensors, with one node that stands for all their readers.

    Args:
        names: Of the tensors; each is one input of that node.
        fixed: Tensors that must keep their names.
        inner: Names that nested graphs use for tensors of their own.
    """

    def __init__(self, names: Iterable[str], fixed: Collection[str], inner: Collection[str]) -> None:
        self._fixed, self._inner = fixed, inner
        self._tensors = {name: gs.Variable(name) for name in names}
        self._places = {name: place for place, name in enumerate(self._tensors)}  # of those who read it at first
        self._read_at = {name: [place] for name, place in self._places.items()}  # the places that read it by now
        output = gs.Variable("\0")  # no tensor is named so
        self._readers = gs.Node("Readers", inputs=list(self._tensors.values()), outputs=[output])
        self._graph = gs.Graph(nodes=[self._readers])

    def add_maker(self, outputs: Iterable[str]) -> None:
        """Add a node that makes some of the tensors."""
        made = [self._tensors[name] for name in outputs if name in self._tensors]
        self._graph.nodes.append(gs.Node("Maker", outputs=made))

    def collapse(self, index: int, selected: str, output: str) -> None:
        """Join a pool's selected branch output to the pool's readers, if one of the names may go; else add the pool.

        It reads what stands for ``selected`` by now.
        """
        source, target = self._readers.inputs[self._places[selected]], self._tensors[output]
        fixed, inner = self._fixed, self._inner
        if target.name not in fixed and source.name not in inner:
            self._move_readers(target, source)
        elif target.name in fixed and source.inputs and source.name not in fixed and target.name not in inner:
            maker = source.inputs[0]
            maker.outputs[_position(maker.outputs, source)] = target
            self._move_readers(source, target)
        else:
            self._graph.nodes.append(gs.Node("Pool", str(index), inputs=[source], outputs=[target]))

    def _move_readers(self, old: gs.Variable, new: gs.Variable) -> None:
        places = self._read_at.pop(old.name, [])
        for place in places:
            self._readers.inputs[place] = new
        self._read_at.setdefault(new.name, []).extend(places)
        for pool in list(old.outputs):  # one that could not be collapsed
            pool.inputs[0] = new

    def clean(self) -> Surgery:
        """Remove what nothing reads, and tell what is left."""
        self._graph.outputs = list(self._readers.outputs)
        self._graph.outputs += [tensor for name, tensor in self._tensors.items() if name in self._fixed]
        self._graph.cleanup(recurse_subgraphs=False, recurse_functions=False)
        now = zip(self._places, self._readers.inputs, strict=True)
        joined = {int(node.name): node.inputs[0].name for node in self._graph.nodes if node.op == "Pool"}
        return Surgery({old: tensor.name for old, tensor in now if old != tensor.name}, joined)


def _position(items: Iterable[gs.Variable], wanted: gs.Variable) -> int:
    return next(position for position, item in enumerate(items) if item is wanted)
