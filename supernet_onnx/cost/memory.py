"""Metrics of activations: the bytes that move, and the most that are held at once.

Both are counted on the graph as it is written, node by node in graph order, for what runs when the constants have been
computed (``supernet_onnx.cost.buffers``): a quantised graph of QuantizeLinear and DequantizeLinear is counted as it
stands, floats between them. Local functions are inlined. The graphs of If, Loop, Scan and SequenceMap are counted as
graphs of their own, whose tensors from around them are held there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supernet_onnx.cost.bodies import carries, insides
from supernet_onnx.cost.buffers import opaque
from supernet_onnx.cost.facts import without
from supernet_onnx.cost.spec import Bill, Entry
from supernet_onnx.errors import UnknownOperatorError
from supernet_onnx.graph import has_subgraphs, is_standard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from onnx import NodeProto

    from supernet_onnx.cost.buffers import Buffers
    from supernet_onnx.cost.calls import CallGraph
    from supernet_onnx.cost.spec import Unknown
    from supernet_onnx.diagram import Number
    from supernet_onnx.supergraph import Condition

__all__ = ["PeakMemory", "Traffic", "peak_memory", "traffic"]

_SHAPE_ONLY: Final = ("Shape", "Size")
_PICKS: Final = ("Gather", "GatherElements", "GatherND", "Slice")

# What onnxruntime 1.32 computes in place on the CPU, as its arena shows; its other elementwise kernels do not.
_IN_PLACE: Final = frozenset({
    "Cast", "Celu", "Clip", "Elu", "HardSigmoid", "LeakyRelu", "Relu", "Selu", "Shrink", "Sigmoid", "Softmax",
    "Softplus", "Softsign", "Tanh", "ThresholdedRelu", "Trilu",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Traffic:
    """The bytes that nodes read and write, weights and activations.

    A node reads each buffer among its inputs once, and writes each of its outputs once; nothing is kept in a cache
    between nodes. Views cost nothing. Shape and Size read nothing. Gather, GatherElements, GatherND and Slice read
    of their data as much as they write, not the whole table. An If moves what the dearer of its graphs does, or the
    one that it takes where its condition is known; a Loop, Scan or SequenceMap what its graph does, times its turns.

    Attributes:
        name: The metric's name.
        unit: Bytes.
    """

    name: str
    unit: str

    def bill(self, graph: CallGraph, *, unknown: Unknown = "error") -> Bill:
        """Count what every node moves.

        Raises:
            UnknownOperatorError: A local function could not be inlined, or it is not known how often a graph runs, and
                ``unknown`` is ``"error"``.
            UnknownShapeError: A tensor's size is not known.
        """
        left_out = dict.fromkeys(opaque(self.name, graph, unknown))
        buffers = graph.buffers
        entries: list[Entry] = []
        for index, (node, runs) in enumerate(zip(graph.supergraph.graph.node, buffers.runs, strict=True)):
            if not has_subgraphs(node):
                entries += _moved(graph, buffers, index)
            elif runs is not graph.supergraph.diagrams.false:
                entries.append(Entry(index, runs, self._moved_inside(graph, index, unknown, left_out)))
        return Bill((*entries, *_reads_of_folded_biases(graph, buffers)), tuple(left_out))

    def _moved_inside(self, graph: CallGraph, index: int, unknown: Unknown, left_out: dict[str, None]) -> Number:
        """Count what the graphs of a node move."""
        most: Number = 0
        for inside in insides(graph, index):
            bill = self.bill(inside.graph, unknown=unknown)
            left_out.update(dict.fromkeys(bill.unknown))
            once = sum(entry.amount for entry in bill.entries)
            if inside.times is not None:
                most = max(most, once * inside.times)
            elif once and unknown == "error":
                raise UnknownOperatorError(f"{inside.problem}, or leave it out of '{self.name}' with --unknown free")
            elif once:
                left_out[graph.supergraph.graph.node[index].op_type] = None
        return most


def _moved(graph: CallGraph, buffers: Buffers, index: int) -> Iterator[Entry]:
    """Count what one node moves; an input that is another one's buffer under some selections is read once there."""
    supergraph, runs = graph.supergraph, buffers.runs[index]
    if runs is supergraph.diagrams.false:
        return
    node = supergraph.graph.node[index]
    written = sum(map(buffers.size_bytes, filter(None, node.output)))
    reads: dict[str, int] = {}
    if not (is_standard(node) and node.op_type in _SHAPE_ONLY):
        reads = {name: buffers.size_bytes(name) for name in dict.fromkeys(supergraph.node_reads[index])}
    if is_standard(node) and node.op_type in _PICKS:
        reads[node.input[0]] = min(reads[node.input[0]], written)
    if written or any(reads.values()):
        yield Entry(index, runs, written + sum(reads.values()))
    before: list[tuple[str, Condition]] = []
    for name, amount in reads.items():
        again = supergraph.diagrams.both(runs, buffers.same_as_any(name, before))
        if again is not supergraph.diagrams.false and amount:
            yield Entry(index, again, -amount)
        before.append((name, supergraph.diagrams.true))


def _reads_of_folded_biases(graph: CallGraph, buffers: Buffers) -> Iterator[Entry]:
    """Count the biases that convolutions without one read once a BatchNormalization is folded into them."""
    nodes, diagrams = graph.supergraph.graph.node, graph.supergraph.diagrams
    for fold in graph.facts.folds:
        condition = diagrams.both(fold.condition, buffers.runs[fold.conv])
        if not any(nodes[fold.conv].input[2:]) and condition is not diagrams.false:
            yield Entry(fold.conv, condition, buffers.size_bytes(nodes[fold.batchnorm].input[2]))


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """The largest sum of bytes of live activations while any node runs, without weights and workspaces.

    An activation lives from the node that makes it to the last live node that reads it, graph inputs from the start,
    graph outputs to the end. Views share the buffer of their input. An activation function (Relu, Sigmoid, Softmax,
    ...) writes into the buffer of its input if nothing else reads that, unless it is a graph input or constant, or
    what the function makes is a graph output; all other operators, Add among them, write into a buffer of their own.
    These are the rules of onnxruntime's allocation planner on the CPU (``core/framework/allocation_planner.cc``,
    ``FindReusableInput``), except that it copies a view that is a graph output, and keeps graph inputs to the end.
    Its arena packs the same lifetimes into one block, by best fit, whose gaps took up to a third more on the
    reference supernets (``tools/bench_memory.py``).

    While an If, Loop, Scan or SequenceMap runs, there is live what is live around it and the peak of its graph, of an
    If's dearer one. What a graph makes for the node is held there once; what a Loop or Scan puts together of all its
    turns is held as a whole from the first. Of what a Loop carries there are two, the one that the turn takes and
    the one that it makes, beside that which it starts with. What a graph captures, and what a Scan slices for it,
    is held around it.

    Amounts stand with nodes, each the bytes that are live while it runs, and add up by ``max``.

    Attributes:
        name: The metric's name.
        unit: Bytes.
    """

    name: str
    unit: str

    def bill(self, graph: CallGraph, *, unknown: Unknown = "error") -> Bill:
        """Count what is live at every node.

        Raises:
            UnknownOperatorError: A local function could not be inlined, and ``unknown`` is ``"error"``.
            UnknownShapeError: A tensor's size is not known.
        """
        left_out = dict.fromkeys(opaque(self.name, graph, unknown))

        def held_inside(graph: CallGraph, index: int) -> Number:
            most: Number = 0
            for inside in insides(graph, index):
                left_out.update(dict.fromkeys(opaque(self.name, inside.graph, unknown)))
                most = max(most, _largest(_Liveness(inside.graph, held_inside, outside=inside.outside).entries()))
            return most

        return Bill(tuple(_Liveness(graph, held_inside).entries()), tuple(left_out), "max")


def _largest(entries: Iterable[Entry]) -> Number:
    """Return the largest sum of a graph without pools, in which all conditions hold."""
    sums: dict[int | None, Number] = {}
    for entry in entries:
        sums[entry.node] = sums.get(entry.node, 0) + entry.amount
    return max(sums.values(), default=0)


class _Liveness:
    """One sweep from the last node back, with what is needed behind each.

    Args:
        graph: Whose.
        held_inside: Returns the peak of the graphs of a node.
        outside: Inputs whose buffers are held around the graph, and not counted.
    """

    def __init__(
        self,
        graph: CallGraph,
        held_inside: Callable[[CallGraph, int], Number],
        *,
        outside: frozenset[str] = frozenset(),
    ) -> None:
        self._graph = graph
        self._held_inside = held_inside
        self._outside = outside
        self._supergraph = graph.supergraph
        self._diagrams = graph.supergraph.diagrams
        self._buffers = graph.buffers
        self._types = graph.types
        always = self._diagrams.true
        self._needed: dict[str, Condition] = {}  # when something behind reads a tensor
        self._kept = dict.fromkeys((value.name for value in self._supergraph.graph.output), always)  # is a graph output
        for name in self._kept:
            self._need(name, always)
        self._given = dict.fromkeys((value.name for value in self._supergraph.graph.input), always)  # is a graph input
        for name, edges in self._buffers.aliases.items():
            found = [self._diagrams.both(when, self._given[source]) for when, source in edges if source in self._given]
            if found:
                self._given[name] = self._diagrams.any_of(found)

    def entries(self) -> Iterator[Entry]:
        """Iterate over what is live at each node; with no node, what is before those that are counted."""
        counted = False
        for index in range(len(self._supergraph.graph.node) - 1, -1, -1):
            if self._supergraph.node_conditions[index] is self._diagrams.false:
                continue
            node = self._supergraph.graph.node[index]
            counted = index not in self._supergraph.marks
            if counted:
                for condition, amount in self._live_at(index, node).items():
                    yield Entry(index, condition, amount)
            else:
                self._pass_on(node.output[0], self._needed.pop(node.output[0], self._diagrams.false))
                self._pass_kept(node.output[0])
        if not counted:
            for condition, amount in self._amounts(self._needed).items():
                yield Entry(None, condition, amount)

    def _need(self, name: str, condition: Condition) -> None:
        """Note that something reads a tensor, which matters where that is no constant."""
        if name in self._outside:
            return
        condition = without(self._diagrams, condition, self._buffers.constant(name))
        if condition is not self._diagrams.false:
            self._needed[name] = self._diagrams.either(self._needed.get(name, self._diagrams.false), condition)

    def _pass_on(self, name: str, needed: Condition) -> None:
        """Pass what a tensor is needed for to those whose buffer it shares."""
        for when, source in self._buffers.aliases.get(name, ()):
            self._need(source, self._diagrams.both(needed, when))

    def _pass_kept(self, name: str) -> None:
        if name in self._kept:
            for when, source in self._buffers.aliases[name]:
                kept = self._diagrams.both(self._kept[name], when)
                self._kept[source] = self._diagrams.either(self._kept.get(source, self._diagrams.false), kept)

    def _live_at(self, index: int, node: NodeProto) -> dict[Condition, Number]:
        """Return the bytes that are live at a node, and go on to what is needed before it."""
        outputs, runs = [name for name in node.output if name], self._buffers.runs[index]
        for name in outputs:
            self._pass_on(name, self._needed.pop(name, self._diagrams.false))
        fresh = without(self._diagrams, runs, self._in_place(node, runs))
        for name in self._supergraph.node_reads[index]:
            self._need(name, runs)
        amounts = self._amounts(self._needed)
        made: Number = sum(map(self._buffers.size_bytes, outputs))
        if has_subgraphs(node) and runs is not self._diagrams.false:
            of_graph = sum(
                self._buffers.size_bytes(name)
                for place, name in enumerate(node.output)
                if name and carries(node, place)
            )
            made += max(0, self._held_inside(self._graph, index) - of_graph)
        _add(amounts, fresh, made)
        return amounts

    def _in_place(self, node: NodeProto, runs: Condition) -> Condition:
        """Return when a node that runs writes into the buffer of one of its inputs, while nothing needed it behind."""
        diagrams, never = self._diagrams, self._diagrams.false
        if runs is never or node.op_type not in _IN_PLACE or not is_standard(node) or len(node.output) != 1:
            return never
        name, output = node.input[0], node.output[0]
        sizes = {self._buffers.size_bytes(tensor) for tensor in (name, output)}
        if len(sizes) > 1 or self._types[name].shape != self._types[output].shape:
            return never
        others = [(other, diagrams.true) for other in node.input[1:] if other]
        spared = [
            self._buffers.constant(name),
            self._given.get(name, never),
            self._kept.get(output, never),
            self._buffers.same_as_any(name, [*self._needed.items(), *others]),
        ]
        return without(diagrams, runs, diagrams.any_of(spared))

    def _amounts(self, needed: Mapping[str, Condition]) -> dict[Condition, Number]:
        """Add up the sizes of the buffers behind some tensors, each buffer once."""
        groups: dict[str, list[str]] = {}
        for name in needed:
            groups.setdefault(self._buffers.group(name), []).append(name)
        amounts: dict[Condition, Number] = {}
        for names in groups.values():
            before: list[tuple[str, Condition]] = []
            for name in sorted(names, key=self._buffers.made) if len(names) > 1 else names:
                condition = needed[name]
                if before:
                    condition = without(self._diagrams, condition, self._buffers.same_as_any(name, before))
                _add(amounts, condition, self._buffers.size_bytes(name))
                before.append((name, needed[name]))
        return amounts


def _add(amounts: dict[Condition, Number], condition: Condition, amount: Number) -> None:
    if amount and not (condition.is_leaf and condition.value == 0):
        amounts[condition] = amounts.get(condition, 0) + amount


traffic: Final = Traffic("traffic", "bytes")
"""Weights and activations read and written, for one sample."""

peak_memory: Final = PeakMemory("peak_memory", "bytes")
"""The most bytes of activations that are live at once, for one sample."""
