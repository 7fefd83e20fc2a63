"""The exact choice under budgets: the selection of the best scores among all that meet them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Unpack

from supernet_onnx.cost import Given, Metrics
from supernet_onnx.errors import BudgetError, InfeasibleError
from supernet_onnx.search.budgets import Budget, limit_of
from supernet_onnx.search.reachable import explain
from supernet_onnx.search.scoring import score_pools
from supernet_onnx.search.space import Space
from supernet_onnx.search.ties import break_ties
from supernet_onnx.selection import find
from supernet_onnx.supergraph import check_pools

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from supernet_onnx.cost import CostTable, Metric
    from supernet_onnx.diagram import Number
    from supernet_onnx.search.scoring import Scores
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Choice", "Chooser", "choose"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The best selection that meets its budgets.

    Attributes:
        selection: One branch for each pool. A pool that is not reached has its pinned branch, or that of its highest
            score.
        objective: The sum of the scores of the chosen branches, over the pools that are reached.
        source: What the scores are, in words.
        budgets: What was allowed of each metric, and what the selection costs.
        gap: How much larger the objective of any other selection that meets the budgets could at most be; 0 is the
            proof that there is none.
        status: ``"optimal"``, or ``"time limit"`` if the solver was stopped before its proof.
    """

    selection: Selection
    objective: float
    source: str
    budgets: tuple[Budget, ...]
    gap: float
    status: Literal["optimal", "time limit"]


def choose(
    supergraph: SuperGraph,
    *,
    budgets: Mapping[str, float | str],
    scores: Scores | None = None,
    pins: Mapping[str, int | str] | None = None,
    metrics: Iterable[Metric] = (),
    time_limit_s: float | None = None,
    **given: Unpack[Given],
) -> Choice:
    """Choose the selection of the best scores that meets all budgets, exactly.

    It is solved as an integer program over the conditions of the cost tables (``supernet_onnx.search.program``), so
    nested, tied and shared parts, and metrics of which the largest counts, are exact. The objective is the sum of the
    scores of the chosen branches **over the pools that are reached**: what a nested pool would do that nothing runs
    counts neither for nor against a selection. Scores that differ by 1e-9 of the largest are equal; of equal
    selections the one is taken that costs least (the budgets' shares of their limits added up), and of those the one
    with the first branches, from the last pool on.

    Args:
        supergraph: What to choose from; not changed.
        budgets: For each metric's name, the most that may be spent: a number in its unit, or a text such as ``"50k"``,
            or ``"60%"`` of the largest of all subnets.
        scores: How much each branch helps, higher is better, for each pool that has a choice. Otherwise those in the
            file; if there are none, ``log(weight / largest weight of the pool)``.
        pins: Branches that must be taken, by name or index, for some pools.
        metrics: Metrics of your own, which ``budgets`` may name; they come before those of the package.
        time_limit_s: When the solver is to stop with what it found.
        given: Sizes of dims and the like, as for ``measure``.

    Raises:
        InfeasibleError: No selection meets the budgets and pins; the message says what is reachable.
        BudgetError: A budget is no amount or of no metric, or scores are not finite or of other pools.
        SelectionError: A pin names what is not there, or a pool has neither scores nor stored weights.
        CostError: A metric cannot price the supergraph.
    """
    known, own = Metrics(), {metric.name: metric for metric in metrics}
    wanted = []
    for name in budgets:
        metric = own.get(name) or known.find(name)
        if metric is None:
            raise BudgetError(f"'{name}' is no metric; the metrics are: {', '.join([*own, *known.names])}")
        wanted.append(metric)
    chooser = Chooser(supergraph, wanted, **given)
    return chooser.choose(budgets=budgets, scores=scores, pins=pins, time_limit_s=time_limit_s)


class Chooser:
    """A priced supergraph to choose from many times: it is priced once.

    Args:
        supergraph: What to choose from; not changed.
        metrics: Those that budgets may name.
        given: As for ``measure``.

    Raises:
        CostError: A metric cannot price the supergraph.
        MarkError: The supergraph has no pool, or a tool has hidden one.
    """

    def __init__(self, supergraph: SuperGraph, metrics: Iterable[Metric], **given: Unpack[Given]) -> None:
        check_pools(supergraph)
        self._supergraph = supergraph
        self._space = Space(supergraph, metrics, given)

    @property
    def tables(self) -> Mapping[str, CostTable]:
        """The cost table of each metric."""
        return self._space.tables

    def choose(
        self,
        *,
        budgets: Mapping[str, float | str],
        scores: Scores | None = None,
        pins: Mapping[str, int | str] | None = None,
        time_limit_s: float | None = None,
    ) -> Choice:
        """Choose as the function ``choose`` does; budgets may name the metrics that were priced."""
        limits = self.limits(budgets)
        choice = self.within(limits, scores=scores, pins=pins, time_limit_s=time_limit_s)
        if choice is None:
            raise InfeasibleError(explain(self._space, limits, find(self._supergraph, pins or {})))
        return choice

    def limits(self, budgets: Mapping[str, float | str]) -> dict[str, Number]:
        """Return the amounts that budgets allow, in the metrics' units.

        Raises:
            BudgetError: A budget is no amount, or of no metric that was priced.
        """
        tables = self._space.tables
        for name in budgets:
            if name not in tables:
                raise BudgetError(f"'{name}' was not priced; the metrics are: {', '.join(tables) or 'none'}")
        return {name: limit_of(tables[name], budget) for name, budget in budgets.items()}

    def within(
        self,
        limits: Mapping[str, Number],
        *,
        scores: Scores | None = None,
        pins: Mapping[str, int | str] | None = None,
        thrifty: Collection[str] | None = None,
        time_limit_s: float | None = None,
    ) -> Choice | None:
        """Choose as ``choose`` does, and return None where no selection meets the limits and pins.

        Args:
            limits: The most that may be spent.
            scores: As for ``choose``.
            pins: As for ``choose``.
            thrifty: Those of the limits' metrics of which the shares decide between equal scores; all if left out.
            time_limit_s: As for ``choose``.
        """
        space, pinned = self._space, find(self._supergraph, pins or {})
        scoring = score_pools(space.pools, scores, pinned=frozenset(pins or {}))
        program = space.pinned(pinned)
        space.limit(program, limits)
        found = space.best(program, space.gain(scoring.of), limits, time_limit_s=time_limit_s)
        if found is None:
            return None
        choices = found.choices
        if found.gap == 0:
            choices = break_ties(space, program, limits, scoring.of, choices, thrifty=thrifty)
        reached = space.reached(choices)
        choices = tuple(reached.get(i, pinned.get(i, scoring.best(i))) for i in range(len(choices)))
        spent = space.spent(choices, limits)
        used = tuple(Budget(name, space.tables[name].unit, limit, spent[name]) for name, limit in limits.items())
        assert all(budget.slack >= 0 for budget in used)
        value = sum(scoring.of[level][index] for level, index in reached.items())
        status: Literal["optimal", "time limit"] = "time limit" if found.gap else "optimal"
        return Choice(space.select(choices), value, scoring.source, used, found.gap, status)

    def smallest(
        self, metric: str, limits: Mapping[str, Number], *, pins: Mapping[str, int | str] | None = None
    ) -> Number | None:
        """Return the smallest amount of a metric that a selection within limits and pins costs; None without any."""
        return self._space.smallest(metric, limits, find(self._supergraph, pins or {}))
