"""What ``prune`` reports: what was chosen, and what is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.report.choice import choice_parts, choice_record
from supernet_onnx.report.form import Table, clean, format_amount, format_fraction
from supernet_onnx.report.verification import verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from supernet_onnx.diagram import Number
    from supernet_onnx.report.form import Json, Part
    from supernet_onnx.runtime import Comparison
    from supernet_onnx.search import Choice
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Pruning"]


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a prune made.

    Attributes:
        supergraph: What was pruned.
        selection: To what.
        output: Where the subnet is, or would be.
        nodes: Of the subnet.
        metrics: Unit and amount of each metric of the subnet, the amount None where it cannot be priced.
        notes: What became of marks that a tool removed, and why metrics cannot be priced.
        sizes: Bytes of the supernet's files and the subnet's; None if nothing was written.
        comparison: Of the subnet with the supernet, if it was asked for.
        choice: How it was chosen, if under budgets or by scores.
        batchnorms: How many BatchNormalizations were recalibrated, from how many samples, and folded, if any.
    """

    supergraph: SuperGraph
    selection: Selection
    output: Path
    nodes: int
    metrics: Mapping[str, tuple[str, Number | None]]
    notes: Sequence[str]
    sizes: tuple[int, int] | None
    comparison: Comparison | None
    choice: Choice | None = None
    batchnorms: Mapping[str, int] | None = None

    def record(self) -> Json:
        """Return output, selection, costs and sizes, what was verified, and how it was chosen."""
        return {
            "output": str(self.output),
            "written": (self.sizes is not None),
            "selection": self.selection.as_dict(),
            "metrics": {name: {"unit": unit, "total": amount} for name, (unit, amount) in self.metrics.items()},
            "nodes": {"supernet": len(self.supergraph.graph.node), "subnet": self.nodes},
            "size_bytes": None if self.sizes is None else {"supernet": self.sizes[0], "subnet": self.sizes[1]},
            "verified": None if self.comparison is None else self.comparison.passed,
            "notes": list(self.notes),
            "choice": None if self.choice is None else choice_record(self.choice),
            "batchnorm": None if self.batchnorms is None else dict(self.batchnorms),
        }

    def parts(self) -> list[Part]:
        """Return the branch chosen for each pool, what the subnet costs, and where it is."""
        choices = Table(["pool", "branch"], ["of", "weight"])
        for pool, index in zip(self.supergraph.pools, self.selection.indices, strict=True):
            branch = pool.branches[index]
            choices.add_row(
                clean(pool.name), clean(branch.name), f"{len(pool.branches)}", format_fraction(branch.weight)
            )
        facts = [f"nodes: {len(self.supergraph.graph.node):,} -> {self.nodes:,}"]
        facts += [f"{name}: {format_amount(amount)} {unit}" for name, (unit, amount) in self.metrics.items()]
        facts += [clean(note) for note in self.notes]
        if self.batchnorms is not None:
            facts.append(
                "BatchNorm: {recalibrated} recalibrated on {samples} samples, {folded} folded".format(**self.batchnorms)
            )
        if self.sizes is not None:
            facts.append(f"file size: {self.sizes[0]:,} -> {self.sizes[1]:,} bytes")
        if self.comparison is not None:
            facts.append(verdict(self.comparison))
        facts.append(f"{'wrote' if (self.sizes is not None) else 'dry run, would write'} {clean(str(self.output))}")
        return [choices, *(choice_parts(self.choice) if self.choice else []), *facts]
