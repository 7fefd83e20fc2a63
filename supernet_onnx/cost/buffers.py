"""Which tensors of a supergraph share a buffer, which nodes run, and when: what memory metrics are counted from.

A *view* gives another name, or shape, to the buffer of its input: Identity, Reshape, Flatten, Squeeze, Unsqueeze. So
do a pool, to that of the selected branch, and a BatchNormalization that is priced as folded, to that of its
convolution. What can be computed before the model runs, and views of it, is constant; nodes that make it do not run.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from onnx import TensorProto

from supernet_onnx.cost.facts import is_pure, without
from supernet_onnx.cost.opcall import Operand
from supernet_onnx.cost.stored import packed_bytes
from supernet_onnx.errors import CostError, UnknownOperatorError, UnknownShapeError
from supernet_onnx.graph import describe, has_subgraphs, is_standard
from supernet_onnx.marks import DOMAIN
from supernet_onnx.shapes import TensorType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from supernet_onnx.cost.calls import CallGraph
    from supernet_onnx.cost.spec import Unknown
    from supernet_onnx.supergraph import Condition

__all__ = ["Buffers", "opaque"]

_VIEWS: Final = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


class Buffers:
    """The buffers of a supergraph's main graph.

    Args:
        graph: Whose.

    Attributes:
        aliases: For each tensor that may share the buffer of another: of which, and when; in graph order.
        runs: For each node, when it computes something; never for pools, views and what is constant.
    """

    def __init__(self, graph: CallGraph) -> None:
        self._graph = graph
        self._diagrams = graph.supergraph.diagrams
        self.aliases = self._find_aliases()
        nodes = graph.supergraph.graph.node
        self._made = {name: index for index, node in enumerate(nodes) for name in node.output if name}
        self._constant = self._find_constants()
        self.runs: tuple[Condition, ...] = tuple(map(self._find_runs, range(len(nodes))))
        self._groups = _groups((name, source) for name, edges in self.aliases.items() for _, source in edges)
        self._sizes: dict[str, int] = {}
        self._same: dict[tuple[str, str], Condition] = {}

    def constant(self, name: str) -> Condition:
        """Return when a tensor is constant."""
        return self._constant.get(name, self._diagrams.false)

    def made(self, name: str) -> int:
        """Return the index of the node that makes a tensor; -1 for graph inputs and initializers."""
        return self._made.get(name, -1)

    def group(self, name: str) -> str:
        """Return a tensor that stands for all that may share a buffer with this one."""
        return self._groups.get(name, name)

    def size_bytes(self, name: str) -> int:
        """Return the bytes of a tensor; elements of less than a byte are packed.

        Raises:
            UnknownShapeError: A dim of it is not known.
            CostError: It holds strings.
        """
        if name not in self._sizes:
            kind = self._graph.types.get(name, TensorType(0, None))
            if kind.dtype == TensorProto.STRING:
                raise CostError(f"tensor '{name}' holds strings, whose size its type does not tell")
            try:
                numel = Operand(name, kind.dtype, kind.shape).numel
            except UnknownShapeError as error:
                raise UnknownShapeError(f"{error}{self._graph.hint}") from error
            self._sizes[name] = packed_bytes(numel, kind.dtype, name)
        return self._sizes[name]

    def same(self, a: str, b: str) -> Condition:
        """Return when two tensors are one buffer."""
        if a == b:
            return self._diagrams.true
        if self.group(a) != self.group(b):
            return self._diagrams.false
        key = (a, b) if a < b else (b, a)
        if key not in self._same:
            self._same[key] = self._meet(a, b)
        return self._same[key]

    def same_as_any(self, name: str, others: Iterable[tuple[str, Condition]]) -> Condition:
        """Return when a tensor is one buffer with any of several others whose condition holds."""
        diagrams = self._diagrams
        return diagrams.any_of(
            diagrams.both(condition, self.same(name, other))
            for other, condition in others
            if self.group(other) == self.group(name)
        )

    def _meet(self, a: str, b: str) -> Condition:
        """Follow two tensors to where they come from, the one made later first, until they are one."""
        diagrams = self._diagrams
        met = diagrams.false
        pending: dict[tuple[str, str], Condition] = {}
        queue: list[tuple[int, int, str, str]] = []

        def follow(x: str, y: str, condition: Condition) -> None:
            nonlocal met
            if x == y:
                met = diagrams.either(met, condition)
                return
            if (self.made(x), x) < (self.made(y), y):
                x, y = y, x
            if (x, y) not in pending:
                heapq.heappush(queue, (-self.made(x), -self.made(y), x, y))
            pending[x, y] = diagrams.either(pending.get((x, y), diagrams.false), condition)

        follow(a, b, diagrams.true)
        while queue:
            _, _, x, y = heapq.heappop(queue)
            condition = pending.pop((x, y))
            for when, source in self.aliases.get(x, ()):
                through = diagrams.both(condition, when)
                if through is not diagrams.false:
                    follow(source, y, through)
        return met

    def _find_aliases(self) -> dict[str, list[tuple[Condition, str]]]:
        supergraph, facts = self._graph.supergraph, self._graph.facts
        aliases: dict[str, list[tuple[Condition, str]]] = {}
        for index, node in enumerate(supergraph.graph.node):
            if index in supergraph.marks:
                aliases[node.output[0]] = facts.branches[node.output[0]]
            elif is_standard(node) and node.op_type in _VIEWS and node.input[0]:
                aliases[node.output[0]] = [(self._diagrams.true, node.input[0])]
            elif index in facts.folded:
                aliases[node.output[0]] = [(facts.folded[index], node.input[0])]
        return aliases

    def _find_constants(self) -> dict[str, Condition]:
        diagrams = self._diagrams
        constant = dict.fromkeys(self._graph.facts.constant, diagrams.true)
        for node in self._graph.supergraph.graph.node:
            output = next(iter(node.output), "")
            when = [
                diagrams.both(alias, constant[source])
                for alias, source in self.aliases.get(output, ())
                if source in constant
            ]
            if is_pure(node) and all(name in constant for name in node.input if name):
                always = diagrams.true
                for name in filter(None, node.input):
                    always = diagrams.both(always, constant[name])
                when.append(always)
            if when and output not in self._graph.facts.constant:
                constant.update(dict.fromkeys(filter(None, node.output), diagrams.any_of(when)))
        return constant

    def _find_runs(self, index: int) -> Condition:
        supergraph, diagrams = self._graph.supergraph, self._diagrams
        runs = supergraph.node_conditions[index]
        output = next(filter(None, supergraph.graph.node[index].output), "")
        if index in supergraph.marks or not output:
            return diagrams.false
        for when, _ in self.aliases.get(output, ()):
            runs = without(diagrams, runs, when)
        return without(diagrams, runs, self.constant(output))


def opaque(metric: str, graph: CallGraph, unknown: Unknown) -> tuple[str, ...]:
    """Return the live operators whose inside is not looked into, or refuse them.

    These are local functions that could not be inlined, and operators of other domains that hold graphs.

    Raises:
        UnknownOperatorError: There is one, and ``unknown`` is ``"error"``.
    """
    supergraph = graph.supergraph
    local = {(f.domain, f.name) for f in supergraph.model.functions if f.domain != DOMAIN}
    found: dict[str, None] = {}
    for index, node in enumerate(supergraph.graph.node):
        if supergraph.node_conditions[index] is supergraph.diagrams.false:
            continue
        if (has_subgraphs(node) and not is_standard(node)) or (node.domain, node.op_type) in local:
            if unknown == "error":
                raise UnknownOperatorError(
                    f"{describe(node)}: '{metric}' does not look into what it runs; inline it, or count what it reads "
                    "and makes alone with --unknown free"
                )
            found[f"{node.domain}::{node.op_type}" if node.domain else node.op_type] = None
    return tuple(found)


def _groups(edges: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return, for each tensor of an edge, one of all those that edges join it with."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            parent[name] = parent.setdefault(above, above)
            name = parent[name]
        return name

    for a, b in edges:
        parent[find(a)] = find(b)
    return {name: find(name) for name in list(parent)}
