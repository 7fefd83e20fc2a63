"""The options of a verb that chooses under budgets, and what they ask for."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.output import muted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from supernet_onnx.cost import Metric
    from supernet_onnx.search import Choice, Scores
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Demands", "budgeting"]

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Demands:
    """What a choice must meet, and what it maximizes.

    Attributes:
        budgets: Texts ``METRIC=AMOUNT``.
        scores_file: Where the scores stand; None for those of the model.
        modules: Python files that define metrics.
        tables: Cost tables that were measured.
    """

    budgets: tuple[str, ...]
    scores_file: Path | None
    modules: tuple[Path, ...]
    tables: tuple[Path, ...]

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.budgets or self.scores_file)

    def choose(
        self, supergraph: SuperGraph, pairs: Sequence[str], selection_file: Path | None, dims: Mapping[str, int]
    ) -> Choice:
        """Choose the best selection that meets the budgets and takes the branches that are selected.

        Raises:
            InfeasibleError: There is none.
            BudgetError: A budget or a score is none, or a metric cannot be priced.
            click.BadParameter: A budget names no metric.
        """
        from supernet_onnx import search

        budgets, metrics = self.parsed()
        pins = options.choices(supergraph, pairs, selection_file)
        chooser = search.Chooser(supergraph, metrics, dims=dims)
        scores = self.scores()
        with muted():
            return chooser.choose(budgets=budgets, scores=scores, pins=pins)

    def parsed(self) -> tuple[dict[str, str], list[Metric]]:
        """Return the amount of each metric's budget, as it was given, and the metrics.

        Raises:
            click.BadParameter: A budget is none, or of no metric.
        """
        split = [text.rpartition("=") for text in self.budgets]
        for text, (_, equals, _) in zip(self.budgets, split, strict=True):
            if not equals:
                raise _bad_budget(f"'{text}' is no budget; expected METRIC=AMOUNT, for example params=50k or size=60%")
        metrics = options.find_metrics((name for name, _, _ in split), self.modules, self.tables, flag="--budget")
        budgets: dict[str, str] = {}
        for metric, (_, _, amount) in zip(metrics, split, strict=True):
            if budgets.setdefault(metric.name, amount) != amount:
                raise _bad_budget(f"'{metric.name}' has two budgets, {budgets[metric.name]} and {amount}")
        return budgets, list({metric.name: metric for metric in metrics}.values())

    def scores(self) -> Scores | None:
        """Return the scores that were given, or None.

        Raises:
            BudgetError: The file cannot be read, or holds none.
        """
        from supernet_onnx import storage
        from supernet_onnx.errors import BudgetError
        from supernet_onnx.search import scores_from_json

        if self.scores_file is None:
            return None
        with options.reading(self.scores_file, BudgetError):
            return scores_from_json(storage.read_text(self.scores_file))


def budgeting(command: Callable[..., R]) -> Callable[..., R]:
    """Add ``--budget``, ``--scores``, ``--cost-module`` and ``--cost-table``; the command takes them as ``demands``."""

    @functools.wraps(command)
    def bundled(
        *args: object,
        budgets: tuple[str, ...],
        scores_file: Path | None,
        modules: tuple[Path, ...],
        tables: tuple[Path, ...],
        **kwargs: object,
    ) -> R:
        return command(*args, demands=Demands(budgets, scores_file, modules, tables), **kwargs)

    added = options.cost_sources(bundled, flag="--budget")
    added = click.option(
        "--scores",
        "scores_file",
        type=options.PATH,
        metavar="F.json",
        help="Maximize these scores of branches; those in FILE if left out, or the logs of the weights.",
    )(added)
    return click.option(
        "--budget",
        "budgets",
        multiple=True,
        metavar="METRIC=AMOUNT",
        help="Choose the best branches that cost at most this: params=50k (k, M, G, Ki, Mi, Gi), latency=2ms (us, "
        "ms, s), or size=60% of the largest subnet. Selected branches are kept. Repeatable.",
    )(added)


def _bad_budget(message: str) -> click.BadParameter:
    return click.BadParameter(message, click.get_current_context(), param_hint="--budget")
