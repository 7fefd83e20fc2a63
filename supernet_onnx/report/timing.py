"""What ``bench`` reports: the latency of some models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from supernet_onnx.report.form import Table, clean, format_amount, plural

if TYPE_CHECKING:
    from supernet_onnx.bench import Benchmark
    from supernet_onnx.report.form import Json, Part

__all__ = ["Timings"]


@dataclass(frozen=True, slots=True)
class Timings:
    """The latency of some models.

    Attributes:
        benchmark: What was measured.
    """

    benchmark: Benchmark

    def record(self) -> Json:
        """Return ``models``, ``rounds`` and ``environment``."""
        return {
            "models": [asdict(timing) for timing in self.benchmark.timings],
            "rounds": self.benchmark.rounds,
            "environment": asdict(self.benchmark.environment),
        }

    def parts(self) -> list[Part]:
        """Return a row for each model, and where it was measured."""
        numeric = ["median ms", "p95 ms", "samples/s", "ratio", "bytes", "params", "macs"]
        table = Table(["file"], numeric)
        for timing in self.benchmark.timings:
            table.add_row(
                clean(timing.file),
                f"{timing.median_ms:,.3f}",
                f"{timing.p95_ms:,.3f}",
                f"{timing.throughput:,.1f}",
                f"{timing.ratio:.3f}",
                f"{timing.size_bytes:,}",
                format_amount(timing.params),
                format_amount(timing.macs),
            )
        where = self.benchmark.environment
        versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
        threads = "onnxruntime's choice" if where.threads is None else str(where.threads)
        return [
            table,
            f"{plural(self.benchmark.rounds, 'round')}, the models in turn; ratio of the medians to the first",
            f"{clean(where.processor)}, {plural(where.cores, 'core')}, threads: {threads}; {versions}",
        ]
