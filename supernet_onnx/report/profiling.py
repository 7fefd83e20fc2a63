"""What ``profile`` reports: the latency of the trunk and of every branch, and how well subnets are predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.report.form import Table, clean, plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from supernet_onnx.profiling import Profile, SubnetTime
    from supernet_onnx.report.form import Json, Part

__all__ = ["Profiling"]


@dataclass(frozen=True, slots=True)
class Profiling:
    """A profile, and where it was written.

    Attributes:
        profile: What was measured.
        output: The file.
    """

    profile: Profile
    output: Path

    def record(self) -> Json:
        """Return ``output`` and all that the file holds."""
        return {"output": str(self.output), **self.profile.record()}

    def parts(self) -> list[Part]:
        """Return a row for the trunk and each branch, how subnets are predicted, and where it was measured."""
        table = self.profile.table()
        rows = Table(["pool", "branch"], ["latency ms"])
        rows.add_row("trunk", "", f"{table.trunk:.4f}")
        rows.add_section()
        amounts = table.branch_amounts(table.argminimum())
        for pool, of_pool in amounts.items():
            for branch, amount in of_pool.items():
                rows.add_row(clean(pool), clean(branch), f"{amount:.4f}")
            rows.add_section()
        rows.add_row("minimum", "", f"{table.minimum():.4f}")
        rows.add_row("maximum", "", f"{table.maximum():.4f}")
        return [rows, *self._errors(), *self._facts()]

    def _errors(self) -> list[str]:
        lines = []
        fitted = [subnet for subnet in self.profile.subnets if subnet.fitted]
        unseen = [subnet for subnet in self.profile.subnets if not subnet.fitted]
        if unseen:
            lines.append(f"{plural(len(unseen), 'subnet')} that the fit has not seen: {_told(unseen)}")
        errors = self.profile.correction.errors
        if errors:
            lines.append(
                f"{plural(len(fitted), 'subnet')} fitted, each predicted from the others: mean error "
                f"{errors['correction']:.1%}; with one line for all {errors['line']:.1%}; pieces as they are alone "
                f"{errors['pieces']:.1%}"
            )
        else:
            lines.append(
                f"{plural(len(fitted), 'subnet')} fitted, too few to predict each from the others; see --subnets"
            )
        alone = [piece for piece in self.profile.pieces if piece.isolated_ms is None]
        if alone:
            told = "; ".join(clean(", ".join(piece.operators)) for piece in alone)
            lines.append(f"onnxruntime cannot run these pieces alone, so only subnets tell what they take: {told}")
        return lines

    def _facts(self) -> list[str]:
        on = self.profile.measured_on
        where = on.environment
        places = sum(piece.places for piece in self.profile.pieces)
        versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
        return [
            f"{places:,} pieces, {len(self.profile.pieces):,} of them different; "
            f"{plural(on.rounds, 'round')}, lower quartile of {on.clock}; batch {self.profile.batch}",
            f"{clean(where.processor)}, {plural(where.cores, 'core')}, threads: {where.threads}, "
            f"{', '.join(on.providers)}; {versions}",
            f"wrote {clean(str(self.output))}",
        ]


def _told(subnets: Sequence[SubnetTime]) -> str:
    errors = [subnet.error for subnet in subnets]
    within = sum(error <= 0.1 for error in errors) / len(errors)
    return f"mean error {sum(errors) / len(errors):.1%}, largest {max(errors):.1%}, {within:.0%} within 10 %"
