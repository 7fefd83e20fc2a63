"""How reports tell an exact choice: what was maximized, what each budget has left, and the proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet_onnx.report.form import Table, clean, format_amount

if TYPE_CHECKING:
    from supernet_onnx.report.form import Json, Part
    from supernet_onnx.search import Choice

__all__ = ["choice_parts", "choice_record"]


def choice_record(choice: Choice) -> Json:
    """Return ``objective``, ``scores``, ``budgets``, ``gap`` and ``status``."""
    return {
        "objective": choice.objective,
        "scores": choice.source,
        "budgets": {
            budget.metric: {
                "unit": budget.unit,
                "limit": budget.limit,
                "cost": budget.cost,
                "slack": budget.slack,
            }
            for budget in choice.budgets
        },
        "gap": choice.gap,
        "status": choice.status,
    }


def choice_parts(choice: Choice) -> list[Part]:
    """Return a row for each budget, and a line about the optimum."""
    parts: list[Part] = []
    if choice.budgets:
        table = Table(["budget"], ["cost", "at most", "left"], ["unit"])
        for budget in choice.budgets:
            amounts = (format_amount(amount) for amount in (budget.cost, budget.limit, budget.slack))
            table.add_row(clean(budget.metric), *amounts, clean(budget.unit))
        parts.append(table)
    proof = "no selection within the budgets has more" if choice.budgets else "no selection has more"
    parts.append(f"sum of {choice.source}: {choice.objective:.6g}; {proof} (gap {choice.gap:g})")
    return parts
