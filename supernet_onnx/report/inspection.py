"""What ``inspect`` reports: the pools of a supergraph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supernet_onnx.report.form import Table, clean, format_fraction, plural

if TYPE_CHECKING:
    from pathlib import Path

    from supernet_onnx.report.form import Json, Part
    from supernet_onnx.supergraph import Branch, Pool, SuperGraph

__all__ = ["Inspection", "own_nodes"]

_TOO_LONG: Final = 1 << 13_000  # Python writes no integer of more than 4,300 digits


@dataclass(frozen=True, slots=True)
class Inspection:
    """The pools of a supergraph.

    Attributes:
        file: Where it was read from.
        supergraph: What was read.
        version: The mark format version that the file states, if any.
        selections: How many selections there are.
    """

    file: Path
    supergraph: SuperGraph
    version: str | None
    selections: int

    def record(self) -> Json:
        """Return ``format``, ``pools``, ``selections``, ``nodes`` and ``notes``.

        A branch's ``nodes`` are those that only selections with this branch need; ``selected`` is null where the
        weights are computed, and ``selections`` where the number has too many digits to be written.
        """
        own = own_nodes(self.supergraph)
        return {
            "format": self.version,
            "pools": [
                {
                    "name": pool.name,
                    "branches": [_branch(branch, own[level][i]) for i, branch in enumerate(pool.branches)],
                    "calls": pool.calls,
                    "selected": _selected(pool),
                }
                for level, pool in enumerate(self.supergraph.pools)
            ],
            "selections": self.selections if _is_writable(self.selections) else None,
            "nodes": len(self.supergraph.graph.node),
            "notes": list(self.supergraph.recovery.notes),
        }

    def parts(self) -> list[Part]:
        """Return a line of totals and a row for each branch."""
        pools, name = self.supergraph.pools, clean(str(self.file))
        recovery = [clean(note) for note in self.supergraph.recovery.notes]
        nodes = plural(len(self.supergraph.graph.node), "node")
        if not pools:
            return [f"{name}: no pools, {nodes}", *recovery]
        exact = _is_writable(self.selections)
        space = plural(self.selections, "selection") if exact else f"2^{math.log2(self.selections):.0f} selections"
        version = f"mark format {clean(self.version)}" if self.version else "mark format not stated"
        own = own_nodes(self.supergraph)
        table = Table(["pool", "branch"], ["calls", "weight", "score", "nodes"], ["selected"])
        for level, pool in enumerate(pools):
            for i, branch in enumerate(pool.branches):
                numbers = [
                    f"{pool.calls:,}",
                    format_fraction(branch.weight),
                    format_fraction(branch.score),
                    f"{own[level][i]:,}",
                ]
                star = "*" if branch.name == _selected(pool) else ""
                table.add_row(clean(pool.name), clean(branch.name), *numbers, star)
            table.add_section()
        notes: list[Part] = [
            f"pool '{clean(pool.name)}': its weights are computed; --select chooses its branch"
            for pool in pools
            if _selected(pool) is None
        ]
        return [f"{name}: {plural(len(pools), 'pool')}, {space}, {nodes}, {version}", table, *notes, *recovery]


def _branch(branch: Branch, nodes: int) -> Json:
    score = branch.score if branch.score is not None and math.isfinite(branch.score) else None  # JSON has no NaN
    return {"name": branch.name, "weight": branch.weight, "score": score, "nodes": nodes}


def _is_writable(number: int) -> bool:
    return number < _TOO_LONG


def _selected(pool: Pool) -> str | None:
    """Return the branch of largest weight, as ``selection.argmax`` chooses it; None where weights are computed."""
    weights = [branch.weight for branch in pool.branches if branch.weight is not None]
    return pool.branches[weights.index(max(weights))].name if weights else None


def own_nodes(supergraph: SuperGraph) -> list[list[int]]:
    """Count for each branch of each pool the nodes that are live only with it; the pools' marks are no such nodes."""
    diagrams = supergraph.diagrams
    owners: dict[int, list[tuple[int, int]]] = {}
    counts = [[0] * len(pool.branches) for pool in supergraph.pools]
    for index, condition in enumerate(supergraph.node_conditions):
        if index in supergraph.marks or condition is diagrams.false:
            continue
        if id(condition) not in owners:
            own = owners[id(condition)] = []
            for level in condition.support():
                compatible = [
                    i
                    for i in range(diagrams.sizes[level])
                    if diagrams.both(condition, diagrams.literal(level, i)) is not diagrams.false
                ]
                if len(compatible) == 1:
                    own.append((level, compatible[0]))
        for level, branch in owners[id(condition)]:
            counts[level][branch] += 1
    return counts
