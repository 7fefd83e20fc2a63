"""What ``verify`` reports: how far a subnet is from its supernet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.report.form import Table, clean, plural

if TYPE_CHECKING:
    from supernet_onnx.report.form import Json, Part
    from supernet_onnx.runtime import Comparison
    from supernet_onnx.selection import Selection

__all__ = ["Verification", "explain", "verdict"]


@dataclass(frozen=True, slots=True)
class Verification:
    """How a subnet compares with its supernet.

    Attributes:
        comparison: What was measured.
        selection: The selection that the supernet ran.
    """

    comparison: Comparison
    selection: Selection

    def record(self) -> Json:
        """Return ``outputs``, ``passed`` and the rest. Infinite differences are null, and ``problem`` says why."""
        comparison = self.comparison
        return {
            "outputs": {
                output.name: {
                    "max_abs": output.max_abs if math.isfinite(output.max_abs) else None,
                    "max_rel": output.max_rel if math.isfinite(output.max_rel) else None,
                    "passed": output.passed,
                    "problem": output.problem or None,
                }
                for output in comparison.outputs
            },
            "passed": comparison.passed,
            "inputs": comparison.num_inputs,
            "atol": comparison.atol,
            "rtol": comparison.rtol,
            "selection": self.selection.as_dict(),
        }

    def parts(self) -> list[Part]:
        """Return a row for each output, and the verdict."""
        table = Table(["output"], ["max abs", "max rel"], ["result"])
        for output in self.comparison.outputs:
            result = "passed" if output.passed else clean(output.problem) or "over tolerance"
            table.add_row(clean(output.name), f"{output.max_abs:.2e}", f"{output.max_rel:.2e}", result)
        return [table, verdict(self.comparison)]


def verdict(comparison: Comparison) -> str:
    """Say in one line how a comparison ended."""
    worst = max((output.max_abs for output in comparison.outputs), default=0.0)
    result = "passed" if comparison.passed else "failed"
    tolerance = f"atol {comparison.atol:g}, rtol {comparison.rtol:g}"
    inputs = plural(comparison.num_inputs, "input")
    return f"verification {result}: largest difference {worst:.2e} on {inputs} ({tolerance})"


def explain(comparison: Comparison) -> str:
    """Say in one line which outputs failed, and how."""
    return "; ".join(
        f"output '{output.name}': {output.problem or f'differs by up to {output.max_abs:.2e}'}"
        for output in comparison.outputs
        if not output.passed
    )
