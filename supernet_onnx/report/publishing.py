"""What ``report`` reports: the page that it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.report.form import clean, plural

if TYPE_CHECKING:
    from pathlib import Path

    from supernet_onnx.report.form import Json, Part

__all__ = ["Publishing"]


@dataclass(frozen=True, slots=True)
class Publishing:
    """A page that was written.

    Attributes:
        output: Where it is.
        size_bytes: How large it is.
        pools: How many pools it shows.
        points: How many points of a front.
    """

    output: Path
    size_bytes: int
    pools: int
    points: int

    def record(self) -> Json:
        """Return ``output``, ``size_bytes``, ``pools`` and ``points``."""
        return {
            "output": str(self.output),
            "size_bytes": self.size_bytes,
            "pools": self.pools,
            "points": self.points,
        }

    def parts(self) -> list[Part]:
        """Return one line."""
        shown = plural(self.pools, "pool") + (f", {plural(self.points, 'point')} of a front" if self.points else "")
        return [f"wrote {clean(str(self.output))}: {shown}, {self.size_bytes / 1e6:.1f} MB"]
