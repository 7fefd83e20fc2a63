"""All best trade-offs between costs and score, one exact choice for each.

``F(e)`` is the choice of the best score within the limits ``e``, of equal ones the cheapest. A selection that no other
one beats is ``F`` of its own costs, so all are known where ``F`` is known for all limits. One choice tells it for many:
if ``F(e)`` costs ``c``, it is ``F`` of all limits between ``c`` and ``e``; if there is none, there is none for tighter
limits either. What is still open is kept as disjoint boxes of limits (after G. Kirlik and S. Sayin, "A new algorithm
for generating all nondominated solutions of multiobjective discrete optimization problems", 2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from supernet_onnx.search.front import Front, FrontMetric, Point, nondominated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from supernet_onnx.cost import CostTable
    from supernet_onnx.diagram import Number
    from supernet_onnx.search.chooser import Choice, Chooser
    from supernet_onnx.search.scoring import Scores

__all__ = ["SCORE", "sweep"]

SCORE: Final = FrontMetric("score", "", "maximize")
"""What a sweep maximizes: the sum of the scores of the chosen branches."""

_RESOLUTION: Final = 1e-6  # of the largest subnet's cost; amounts that are no integers are not told apart below it
_SLACK: Final = 1e-7  # of a resolution: a box whose top was looked at must be gone, whatever the rounding

Corner: TypeAlias = "tuple[Number, ...]"
"""An amount of each metric."""


class _Box(NamedTuple):
    """Limits from ``low`` on, below ``high``; ``is_stale`` once a look into its middle has found nothing new."""

    low: Corner
    high: Corner
    is_stale: bool


@dataclass(frozen=True, slots=True)
class _Found:
    limits: Corner
    costs: Corner
    choice: Choice


def sweep(
    chooser: Chooser,
    metrics: Sequence[str],
    *,
    points: int | None = None,
    budgets: Mapping[str, float | str] | None = None,
    scores: Scores | None = None,
    pins: Mapping[str, int | str] | None = None,
    model: str = "",
    progress: Callable[[int, int], object] | None = None,
) -> Front:
    """Find the Pareto front of some costs and the score, by exact choices under limits.

    Every point is proved: no selection within the budgets and pins has a higher score at the same costs or less, nor
    costs less at the same score. Of selections with equal score and costs there is one point. Scores that differ by
    1e-9 of the largest are equal, and amounts that are no integers are told apart down to 1e-6 of the largest subnet's.

    Args:
        chooser: What to choose from; it must have priced the metrics.
        metrics: One to three of its metrics, to be minimized.
        points: How many to find, spread by looking where most can be missing; the front is complete if there are not
            as many. None finds them all, of which large spaces have very many.
        budgets: What all points must meet.
        scores: As for ``choose``.
        pins: As for ``choose``.
        model: The name of the supernet's file.
        progress: Called after each choice with how many points there are, and how many are looked for (0 for all).

    Raises:
        InfeasibleError: No selection meets the budgets and pins.
        BudgetError: As for ``choose``.
        ValueError: There are no metrics, more than three, one twice, or fewer than one point is looked for.
    """
    if not 1 <= len(metrics) <= 3 or len(set(metrics)) < len(metrics):
        raise ValueError(f"a sweep takes one to three different metrics, not {list(metrics)}")
    if points is not None and points < 1:
        raise ValueError(f"points must be at least 1, not {points}")
    search = _Sweep(chooser, metrics, chooser.limits(budgets or {}), scores, pins)
    search.begin(budgets or {})
    while search.boxes and (points is None or len(search.found) < points):
        search.look(exhaustive=points is None)
        if progress is not None:
            progress(len(search.found), points or 0)
    by = [FrontMetric(name, chooser.tables[name].unit, "minimize") for name in metrics]
    made = [
        Point(found.choice.selection.as_dict(), {**dict(zip(metrics, found.costs, strict=True)), SCORE.name: score})
        for found in search.found.values()
        for score in [found.choice.objective]
    ]
    note = f"score: the sum of {search.source}"
    return nondominated(model, [*by, SCORE], made, complete=not search.boxes, note=note)


class _Sweep:
    """A sweep in progress.

    Attributes:
        found: The points so far, by their costs.
        boxes: The limits for which the choice is not known yet; they are disjoint.
    """

    def __init__(
        self,
        chooser: Chooser,
        metrics: Sequence[str],
        limits: Mapping[str, Number],
        scores: Scores | None,
        pins: Mapping[str, int | str] | None,
    ) -> None:
        self._chooser, self._metrics, self._limits = chooser, metrics, limits
        self._scores, self._pins = scores, pins
        self._steps = tuple(_step(chooser.tables[name]) for name in metrics)
        self._reach = tuple(step if isinstance(step, int) else step * (1 + _SLACK) for step in self._steps)
        self._tops = tuple(min(limits.get(n, math.inf), chooser.tables[n].maximum()) for n in metrics)
        self._answers: list[_Found] = []
        self.found: dict[Corner, _Found] = {}
        self.boxes: list[_Box] = []

    @property
    def source(self) -> str:
        """What the scores are, in words."""
        return self._answers[0].choice.source

    def begin(self, budgets: Mapping[str, float | str]) -> None:
        """Find the best score, and the best of the cheapest by each metric: the ends of the front."""
        lows = []
        for name in self._metrics:
            low = self._chooser.smallest(name, self._limits, pins=self._pins)
            if low is None:
                self._chooser.choose(budgets=budgets, scores=self._scores, pins=self._pins)  # says why
                raise AssertionError("a choice and a smallest amount contradict each other")
            lows.append(low)
        self.boxes = [_Box(tuple(lows), self._above(self._tops), is_stale=False)]
        self._ask(self._tops)
        for axis, low in enumerate(lows):
            limits = tuple(low if i == axis else top for i, top in enumerate(self._tops))
            if any(_holds(box, limits) for box in self.boxes):
                self._ask(limits)

    def look(self, *, exhaustive: bool) -> None:
        """Choose within the limits at the top of a box, where that settles most; else in the most promising one."""
        if exhaustive:
            self._ask(self._top(self.boxes[-1]))
            return
        box = max(self.boxes, key=self._promise)
        before = len(self.found)
        self._ask(self._place(box))
        if len(self.found) == before:
            self.boxes = [rest._replace(is_stale=True) if _is_inside(rest, box) else rest for rest in self.boxes]

    def _top(self, box: _Box) -> Corner:
        sides = zip(box.high, self._steps, self._tops, strict=True)
        return tuple(min(high - step, most) for high, step, most in sides)  # rounding must not exceed a budget

    def _place(self, box: _Box) -> Corner:
        """Return the limits to look at in a box: in its middle, which halves it, unless that gave nothing new."""
        top = self._top(box)
        if box.is_stale:
            return top
        sides = zip(box.low, top, self._steps, strict=True)
        return tuple(low + int((high - low) / (2 * step)) * step for low, high, step in sides)

    def _ask(self, corner: Corner) -> None:
        """Choose within limits, and take what that settles out of the boxes."""
        limits = {**self._limits, **dict(zip(self._metrics, corner, strict=True))}
        choice = self._chooser.within(limits, scores=self._scores, pins=self._pins, thrifty=self._metrics)
        low: Corner = tuple(-math.inf for _ in corner)
        if choice is not None:
            spent = {budget.metric: budget.cost for budget in choice.budgets}
            low = tuple(spent[name] for name in self._metrics)
            answer = _Found(corner, low, choice)
            self._answers.append(answer)
            self.found.setdefault(low, answer)
        high = self._above(corner)
        self.boxes = [rest for box in self.boxes for rest in _without(box, low, high)]

    def _above(self, corner: Corner) -> Corner:
        return tuple(amount + step for amount, step in zip(corner, self._reach, strict=True))

    def _promise(self, box: _Box) -> float:
        """Return how much a look into a box may find: its share of the costs' ranges, times the score to be gained."""
        place, share = self._place(box), 1.0
        for axis, (low, high) in enumerate(zip(box.low, box.high, strict=True)):
            costs = [answer.costs[axis] for answer in self._answers]
            share *= (high - low) / (max(costs) - min(costs) + self._steps[axis])
        scores = [answer.choice.objective for answer in self._answers]
        at_most = min(a.choice.objective for a in self._answers if _is_within(place, a.limits))
        at_least = max((a.choice.objective for a in self._answers if _is_within(a.costs, place)), default=min(scores))
        return share * max(at_most - at_least, 1e-3 * (max(scores) - min(scores)) + 1e-300)


def _step(table: CostTable) -> Number:
    """Return what two different costs differ by at least: a common divisor of all amounts, or the resolution."""
    parts = table.addends()
    amounts = [part.trunk - parts[0].trunk for part in parts]
    for part in parts:
        amounts += [amount for of_pool in part.branches.values() for amount in of_pool]
        amounts += part.joint.values()
    whole = [int(amount) for amount in amounts if amount == int(amount)]
    if len(whole) == len(amounts) and isinstance(parts[0].trunk, int):
        return math.gcd(*whole) or 1
    return _RESOLUTION * float(table.maximum()) or 1.0


def _is_within(costs: Corner, limits: Corner) -> bool:
    return all(cost <= limit for cost, limit in zip(costs, limits, strict=True))


def _is_inside(box: _Box, other: _Box) -> bool:
    return _is_within(other.low, box.low) and _is_within(box.high, other.high)


def _holds(box: _Box, limits: Corner) -> bool:
    return all(a <= limit < b for a, limit, b in zip(box.low, limits, box.high, strict=True))


def _without(box: _Box, low: Corner, high: Corner) -> Iterator[_Box]:
    """Cut what lies between two corners out of a box: at most two boxes an axis are left, disjoint."""
    if not all(a < h and b > lo for a, b, lo, h in zip(box.low, box.high, low, high, strict=True)):
        yield box
        return
    for axis in range(len(low)):
        if box.low[axis] < low[axis]:
            yield box._replace(high=_set(box.high, axis, low[axis]))
            box = box._replace(low=_set(box.low, axis, low[axis]))
        if high[axis] < box.high[axis]:
            yield box._replace(low=_set(box.low, axis, high[axis]))
            box = box._replace(high=_set(box.high, axis, high[axis]))


def _set(corner: Corner, axis: int, amount: Number) -> Corner:
    return (*corner[:axis], amount, *corner[axis + 1 :])
