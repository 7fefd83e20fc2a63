"""What ``score`` reports: the score of each branch, and how far it can be relied on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.report.form import Table, clean, plural

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from supernet_onnx.report.form import Json, Part
    from supernet_onnx.search.scorer import Scored

__all__ = ["Scorecard"]


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Scores, and where they were written.

    Attributes:
        scored: The scores.
        method: How they were found.
        output: The file.
    """

    scored: Scored
    method: str
    output: Path

    def record(self) -> Json:
        """Return ``scores``, ``standard_errors``, ``rank_correlation``, what was measured, and ``output``."""
        scored = self.scored
        correlation, errors = scored.rank_correlation, scored.standard_errors
        return {
            "scores": self._by_branch(scored.scores),
            "standard_errors": None if errors is None else self._by_branch(errors),
            "rank_correlation": None if correlation is None or math.isnan(correlation) else correlation,
            "method": self.method,
            "measure": scored.measure,
            "samples": scored.num_samples,
            "recalibrated": scored.recalibrated,
            "measured": [
                {"selection": selection.as_dict(), "loss": loss}
                for selection, loss in zip(scored.selections, scored.losses, strict=True)
            ],
            "output": str(self.output),
        }

    def parts(self) -> list[Part]:
        """Return a row for each branch, and what was measured."""
        scored = self.scored
        errors = scored.standard_errors
        table = Table(["pool", "branch"], ["score", "error"] if errors else ["score"])
        for pool in scored.supergraph.pools:
            for i, branch in enumerate(pool.branches):
                error = [_told(errors[pool.name][i], 4)] if errors else []
                table.add_row(clean(pool.name), clean(branch.name), f"{scored.scores[pool.name][i]:.4f}", *error)
            table.add_section()
        losses = scored.losses
        kept = "BatchNorm statistics estimated anew for each" if scored.recalibrated else "without BatchNorm"
        lines = [
            f"{plural(len(losses), 'selection')} measured on {plural(scored.num_samples, 'sample')}, {kept}",
            f"{scored.measure}: loss from {min(losses):.4f} to {max(losses):.4f}",
        ]
        if scored.rank_correlation is not None:
            lines.append(f"rank correlation on selections held back: {_told(scored.rank_correlation, 3)}")
        if errors and any(math.isnan(error) for of_pool in errors.values() for error in of_pool):
            lines.append(
                f"errors are unknown: {plural(len(losses), 'selection')} leave nothing to tell them from; "
                "measure more with --selections"
            )
        return [table, *lines, f"wrote {clean(str(self.output))}"]

    def _by_branch(self, values: Mapping[str, tuple[float, ...]]) -> Json:
        return {
            pool.name: {
                branch.name: None if math.isnan(value) else value
                for branch, value in zip(pool.branches, values[pool.name], strict=True)
            }
            for pool in self.scored.supergraph.pools
        }


def _told(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
