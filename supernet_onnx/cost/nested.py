"""The graphs nested in nodes, as calls, and how often each runs.

Whatever a metric counts in them: an If costs what the dearer of its branches costs, or the one that it takes where
its condition is known; a Loop and a SequenceMap their trip count times their body, whether or not a condition ends the
Loop early; a Scan the length of the scanned axis times its body.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from supernet_onnx.cost.opcall import Body
from supernet_onnx.cost.reading import Reader
from supernet_onnx.errors import CostError
from supernet_onnx.graph import describe, has_subgraphs, is_standard, num_scan_inputs, subgraphs
from supernet_onnx.shapes import TensorType, carried, constants_in, taken_branch, types_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import GraphProto, NodeProto

    from supernet_onnx.cost.opcall import OpCall
    from supernet_onnx.shapes import Inference, Values

__all__ = ["Nested", "Scope", "trip_counts_in"]


class Scope(NamedTuple):
    """A graph nested in a node, with what is known inside of it.

    Attributes:
        body: The graph.
        inferred: What stands for it in the inferred model.
        types: The types of its tensors, and of those around it.
        values: The small constants known there.
        times: How often it runs each time that the node does; None where that is not known.
        problem: Why it is not known, and what to do.
    """

    body: GraphProto
    inferred: GraphProto
    types: ChainMap[str, TensorType]
    values: Values
    times: int | None
    problem: str


class Nested:
    """Reads the graphs nested in the nodes of a main graph.

    Args:
        graph: The main graph.
        inference: What is inferred of it.
        reader: Its reader.
        trip_counts: How often bodies run, by the node's name or first output.

    Raises:
        CostError: A trip count is given for a node that is not there.
    """

    def __init__(self, graph: GraphProto, inference: Inference, reader: Reader, trip_counts: Mapping[str, int]) -> None:
        self._graph = graph
        self._inference = inference
        self._reader = reader
        self._trip_counts = trip_counts
        self._values: Values | None = None
        if trip_counts:
            _check(graph, trip_counts)

    def scopes(self, index: int) -> Iterator[Scope]:
        """Iterate over the graphs that node ``index`` of the main graph may run."""
        node, twin = self._graph.node[index], self._inference.graph.node[index]
        return self._scopes(node, twin, self._reader, self._known())

    def bodies(self, index: int) -> tuple[Body, ...]:
        """Return the graphs that node ``index`` of the main graph may run, as calls."""
        node, twin = self._graph.node[index], self._inference.graph.node[index]
        return self._bodies(node, twin, self._reader, self._known())

    def _known(self) -> Values:
        """Return the small constants of the main graph."""
        if self._values is None:
            self._values = constants_in(self._inference.graph)
        return self._values

    def _bodies(self, node: NodeProto, twin: NodeProto, reader: Reader, values: Values) -> tuple[Body, ...]:
        bodies = []
        for scope in self._scopes(node, twin, reader, values):
            inner = Reader(scope.body, scope.types, reader.opsets, reader)
            calls = tuple(self._calls(scope.body, scope.inferred, inner, scope.values))
            bodies.append(Body(calls, scope.times, scope.problem))
        return tuple(bodies)

    def _scopes(self, node: NodeProto, twin: NodeProto, reader: Reader, values: Values) -> Iterator[Scope]:
        """Read the graphs of a node.

        Args:
            node: The node.
            twin: What stands for it in the inferred model.
            reader: Of the graph that it stands in.
            values: The constants known there.
        """
        if not is_standard(node) or twin.op_type == "Constant":
            return
        taken = taken_branch(twin, values)
        for body, inferred in zip(subgraphs(node), subgraphs(twin), strict=True):
            if taken is not None and inferred is not taken:
                continue
            types = ChainMap(types_in(inferred, self._inference.dims), reader.types)
            times, problem = self._times(node, twin, reader, values)
            problem = _changes(twin, inferred, reader.types, types) or problem
            yield Scope(body, inferred, types, constants_in(inferred, values), None if problem else times, problem)

    def _calls(self, body: GraphProto, inferred: GraphProto, reader: Reader, values: Values) -> list[OpCall]:
        calls = []
        for node, twin in zip(body.node, inferred.node, strict=True):
            call = reader.call(node)
            calls.append(
                replace(call, bodies=self._bodies(node, twin, reader, values)) if has_subgraphs(node) else call
            )
        return calls

    def _times(self, node: NodeProto, twin: NodeProto, reader: Reader, values: Values) -> tuple[int | None, str]:
        """Return how often a node's graphs run, or why that is not known."""
        if node.op_type == "If":
            return 1, ""
        given = next((self._trip_counts[name] for name in _names(node) if name in self._trip_counts), None)
        if given is not None:
            return given, ""
        if node.op_type == "Scan":
            times = _scanned(node, reader)
        else:
            count = values.get(twin.input[0]) if node.op_type == "Loop" else None
            times = max(0, int(count.item())) if count is not None and count.size == 1 else None
        if times is not None:
            return times, ""
        return None, f"how often its body runs is not known; give it with --trip-count {_names(node)[0]}=COUNT"


def trip_counts_in(graph: GraphProto, trip_counts: Mapping[str, int]) -> dict[str, int]:
    """Return those trip counts that are of nodes in a graph, at any depth."""
    known = _repeating(graph) if trip_counts else {}
    return {name: times for name, times in trip_counts.items() if name in known}


def _check(graph: GraphProto, trip_counts: Mapping[str, int]) -> None:
    known = _repeating(graph)
    for name in trip_counts:
        if name not in known:
            there = ", ".join(dict.fromkeys(known.values())) or "none"
            raise CostError(f"no Loop, Scan or SequenceMap is named '{name}'; the model's are: {there}")


def _repeating(graph: GraphProto) -> dict[str, str]:
    """Describe the nodes that run a graph repeatedly, at any depth, by each of their names."""
    known: dict[str, str] = {}
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            if has_subgraphs(node):
                waiting.extend(subgraphs(node))
                known.update(dict.fromkeys(_names(node), describe(node)) if node.op_type != "If" else {})
    return known


def _names(node: NodeProto) -> list[str]:
    """Return what a trip count may be given for: the node's name, its first output."""
    return [name for name in (node.name, next(filter(None, node.output), "")) if name]


def _scanned(node: NodeProto, reader: Reader) -> int | None:
    """Return the length of the axes that a Scan goes along."""
    axes = next((attribute.ints for attribute in node.attribute if attribute.name == "scan_input_axes"), ())
    for i, name in enumerate(node.input[len(node.input) - num_scan_inputs(node) :]):
        shape = reader.types.get(name, TensorType(0, None)).shape
        if shape is None:
            continue
        if reader.opsets.get("", 1) < 9:  # then each sequence of the batch is scanned
            sizes = shape[:2]
        else:
            axis = axes[i] if i < len(axes) else 0
            sizes = shape[axis : axis + 1] if axis >= 0 else (shape[axis],)
        known = [size for size in sizes if isinstance(size, int)]
        if known and len(known) == len(sizes):
            return known[0] if len(known) == 1 else known[0] * known[1]
    return None


def _changes(
    twin: NodeProto, body: GraphProto, outer: Mapping[str, TensorType], inner: Mapping[str, TensorType]
) -> str:
    """Say what a body gives back with another shape than it took; then its cost changes from turn to turn."""
    for start, taken, returned, _ in carried(twin, body):
        first, last = outer.get(start), inner.get(body.output[returned].name)
        if first is None or last is None or first.shape is None or last.shape is None:
            continue
        if first.numel is not None and first.shape != last.shape:
            name = body.input[taken].name
            return (
                f"its body takes '{name}' as {first} and gives it back as {last}, so that its cost changes each time; "
                "register a handler for the operator"
            )
    return ""
