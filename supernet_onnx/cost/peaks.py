"""The cost table of a metric of which the largest counts, such as the memory that is live at each step.

Each step is a sum of amounts under conditions, and the cost of a selection is the largest step. What the steps say of
one pool alone is put together first: a *part* for each pool holds, for each of its branches, the largest of all steps
that depend on this pool and no other. Steps that depend on several pools (nested ones, say) stay parts of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from supernet_onnx.cost.extremes import extreme_peak
from supernet_onnx.cost.table import Amounts, CostTable, Decomposition, decompose, expectation, nearest, total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from supernet_onnx.diagram import Diagrams, Number
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import Condition

__all__ = ["Part", "PeakTable", "parts_of"]


class Part(NamedTuple):
    """A sum that may be the largest.

    Attributes:
        levels: The levels of the pools that it depends on.
        amounts: What is due under each condition.
    """

    levels: frozenset[int]
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class PeakTable(CostTable):
    """The table of a metric of which the largest part counts.

    The total of a selection is the larger of ``trunk`` and ``branch_amounts`` of each pool at the selected branch.

    Attributes:
        parts: The sums of which the largest is the cost; the first depends on no pool.
    """

    parts: tuple[Part, ...]

    @property
    def trunk(self) -> Number:
        """The largest step, counting at each what every selection pays there: the peak of what is always live."""
        return total(self.parts[0].amounts, ())

    def total(self, selection: Selection) -> Number:
        """Return what a selection costs; raises ValueError for one of other pools."""
        choices = self._choices(selection)
        return max(total(part.amounts, choices) for part in self.parts)

    def addends(self, *, trunk: bool = True) -> tuple[Decomposition, ...]:
        """Return the parts, split; without the trunk, those that depend on a pool."""
        return tuple(decompose(self.pools, part.amounts) for part in self.parts if part.levels or trunk)

    def without_trunk(self) -> PeakTable:
        """Return the table of the steps that depend on a pool; 0 where none does."""
        return replace(self, parts=(Part(frozenset(), {}), *self.parts[1:]))

    def branch_amounts(self, selection: Selection) -> dict[str, dict[str, Number]]:
        """Return the largest step that depends on each pool, for each of its branches (see ``CostTable``).

        It is the whole amount of that step, with what other parts of the network hold there.
        """
        selected = self._choices(selection)
        amounts: dict[str, dict[str, Number]] = {}
        for level, pool in enumerate(self.pools):
            concerned = [part.amounts for part in self.parts if level in part.levels]
            choices = nearest(self.live[level], selected)
            of_pool = amounts[pool.name] = {}
            for i, branch in enumerate(pool.branches):
                choices[level] = i
                of_pool[branch.name] = max((total(part, choices) for part in concerned), default=0)
        return amounts

    def _expected(self, probabilities: Sequence[Sequence[float]]) -> float:
        chances: dict[Condition, float] = {}
        return max(expectation(part.amounts, probabilities, chances) for part in self.parts)

    def _extreme(self, better: Callable[[Number, Number], Number]) -> tuple[int, ...]:
        return extreme_peak(self._sizes, [part.amounts for part in self.parts], better)


def parts_of(diagrams: Diagrams, steps: Iterable[Amounts]) -> tuple[Part, ...]:
    """Put steps together to the parts of a ``PeakTable``, in the order of their pools; larger sets of pools last.

    Args:
        diagrams: The maker of all conditions.
        steps: The sums of which the largest counts.
    """
    supports: dict[Condition, frozenset[int]] = {}
    trunk: Number = 0
    of_pool: dict[int, list[Number]] = {}
    joint: dict[frozenset[int], list[Amounts]] = {}
    for amounts in steps:
        for condition in amounts:
            if condition not in supports:
                supports[condition] = condition.support()
        levels = frozenset[int]().union(*(supports[condition] for condition in amounts))
        trunk = max(trunk, amounts.get(diagrams.true, 0))
        if len(levels) > 1:
            _keep(joint.setdefault(levels, []), amounts)
            continue
        level = next(iter(levels), None)
        if level is not None:
            values = _values(amounts, diagrams.sizes[level])
            before = of_pool.get(level, values)
            of_pool[level] = [max(pair) for pair in zip(before, values, strict=True)]
    parts = [Part(frozenset(), {diagrams.true: trunk})]
    for level, values in sorted(of_pool.items()):
        literals = {diagrams.literal(level, i): value for i, value in enumerate(values)}
        parts.append(Part(frozenset([level]), literals))
    for levels, kept in sorted(joint.items(), key=lambda item: (len(item[0]), sorted(item[0]))):
        parts += [Part(levels, amounts) for amounts in kept]
    return tuple(parts)


def _values(amounts: Amounts, size: int) -> list[Number]:
    """Return a sum that depends on one level, for each of its choices."""
    values: list[Number] = [0] * size
    for condition, amount in amounts.items():
        for i in range(size):
            leaf = condition if condition.is_leaf else condition.children[i]
            values[i] += amount * leaf.value
    return values


def _keep(steps: list[Amounts], amounts: Amounts) -> None:
    """Add a step to those of the same pools, unless it or the last one cannot be larger than the other."""
    if steps:
        last = steps[-1]
        conditions = {**last, **amounts}
        if all(amounts.get(condition, 0) <= last.get(condition, 0) for condition in conditions):
            return
        if all(last.get(condition, 0) <= amounts.get(condition, 0) for condition in conditions):
            steps[-1] = amounts
            return
    steps.append(amounts)
