"""The cost table: the amounts of one metric by condition, and every number that follows from them.

``SumTable`` is the table of a metric that adds up over the nodes; ``supernet_onnx.cost.peaks`` has the one of a metric
of which the largest counts.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from supernet_onnx.cost.extremes import extreme
from supernet_onnx.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from supernet_onnx.diagram import Diagram, Number
    from supernet_onnx.supergraph import Condition, Pool

__all__ = ["Amounts", "CostTable", "Decomposition", "SumTable", "decompose", "expectation", "nearest", "total"]

Amounts: TypeAlias = "Mapping[Condition, Number]"
"""A sum: what is due under each condition."""


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A sum of amounts, split by the number of pools that an amount depends on.

    The total of a selection is ``trunk + sum(branches[pool][index]) + sum(joint amounts whose condition holds)``.

    Attributes:
        trunk: What every selection pays.
        branches: For each pool, what its branches cost wherever nothing but this pool decides: an amount for each.
        joint: What depends on several pools (nested ones, parts that branches of different pools share).
    """

    trunk: Number
    branches: Mapping[str, tuple[Number, ...]]
    joint: Mapping[Condition, Number]


@dataclass(frozen=True, slots=True)
class CostTable(ABC):
    """What one metric costs under every selection.

    Attributes:
        metric: The metric's name.
        unit: The unit of all its amounts.
        pools: The pools of the supergraph; level i of a condition is ``pools[i]``.
        live: For each pool, when any of its nodes is live.
        unknown: The operators that were left out because nobody can price them.
    """

    metric: str
    unit: str
    pools: tuple[Pool, ...]
    live: tuple[Condition, ...]
    unknown: tuple[str, ...]

    def __deepcopy__(self, memo: dict[int, object]) -> CostTable:
        return self  # nothing in it changes, and conditions are known by identity

    @property
    @abstractmethod
    def trunk(self) -> Number:
        """What every selection pays."""

    @abstractmethod
    def total(self, selection: Selection) -> Number:
        """Return what a selection costs.

        Raises:
            ValueError: The selection is one of other pools.
        """

    @abstractmethod
    def addends(self, *, trunk: bool = True) -> tuple[Decomposition, ...]:
        """Return the sums of which the largest is the cost; a metric that adds up has one.

        Args:
            trunk: Whether to include what no selection can remove.
        """

    @abstractmethod
    def without_trunk(self) -> CostTable:
        """Return the table of what a selection can remove: the trunk counts nothing."""

    @abstractmethod
    def branch_amounts(self, selection: Selection) -> dict[str, dict[str, Number]]:
        """Return what each branch of each pool costs, the other pools as selected.

        For a pool that the selection does not reach, the pools around it are set so that it is reached, as few of
        them as possible.

        Args:
            selection: The branches of the other pools.

        Returns:
            ``{pool: {branch: amount}}``.

        Raises:
            ValueError: The selection is one of other pools.
        """

    def expected(self, theta: Mapping[str, Sequence[float]]) -> float:
        """Return the expected cost where every pool draws its branch independently, in float64.

        For a sum over flat pools this is ``trunk + sum_p sum_i theta[p][i] * cost[p][i]``. For a cost of which the
        largest addend counts, it is the largest expectation of an addend, and at most the expectation of the largest
        (Jensen's inequality): exact where one addend is the largest under every selection that is drawn.

        Args:
            theta: For each pool, the probability of each branch.

        Raises:
            ValueError: A pool is missing, or has another number of branches.
        """
        return self._expected([self._theta(theta, pool) for pool in self.pools])

    def minimum(self) -> Number:
        """Return the smallest total of any selection, exactly, without going through them all."""
        return self.total(self.argminimum())

    def maximum(self) -> Number:
        """Return the largest total of any selection, exactly."""
        return self.total(self.argmaximum())

    def argminimum(self) -> Selection:
        """Return a selection of smallest total; of equals the one with the first branches, from the last pool on."""
        return self._select(self._extreme(min))

    def argmaximum(self) -> Selection:
        """Return a selection of largest total; of equals the one with the first branches, from the last pool on."""
        return self._select(self._extreme(max))

    @abstractmethod
    def _expected(self, probabilities: Sequence[Sequence[float]]) -> float:
        """Return the expected cost from the probabilities of each level."""

    @abstractmethod
    def _extreme(self, better: Callable[[Number, Number], Number]) -> tuple[int, ...]:
        """Return the choice of each level at the best total, ``better`` being ``min`` or ``max``."""

    @property
    def _sizes(self) -> list[int]:
        return [len(pool.branches) for pool in self.pools]

    def _select(self, indices: tuple[int, ...]) -> Selection:
        branches = tuple(pool.branches[i].name for pool, i in zip(self.pools, indices, strict=True))
        return Selection(tuple(pool.name for pool in self.pools), indices, branches)

    def _choices(self, selection: Selection) -> tuple[int, ...]:
        names = tuple(pool.name for pool in self.pools)
        if selection.pools != names:
            raise ValueError(f"the selection is one of the pools {selection.pools}, the table is about {names}")
        return selection.indices

    def _theta(self, theta: Mapping[str, Sequence[float]], pool: Pool) -> list[float]:
        if pool.name not in theta:
            raise ValueError(f"theta has no probabilities for pool '{pool.name}'")
        probabilities = [float(p) for p in theta[pool.name]]
        if len(probabilities) != len(pool.branches):
            raise ValueError(
                f"pool '{pool.name}' has {len(pool.branches)} branches, theta has {len(probabilities)} values for it"
            )
        return probabilities


@dataclass(frozen=True, slots=True)
class SumTable(CostTable):
    """The table of a metric that adds up: parameters, operations, cycles.

    Attributes:
        amounts: What is due under each condition; no amount is 0. Whole numbers are Python integers, and exact.
    """

    amounts: Amounts

    @property
    def trunk(self) -> Number:
        """What every selection pays."""
        return sum(amount for condition, amount in self.amounts.items() if condition.is_leaf)

    def total(self, selection: Selection) -> Number:
        """Return what a selection costs; raises ValueError for one of other pools."""
        return total(self.amounts, self._choices(selection))

    def decompose(self) -> Decomposition:
        """Split the amounts by the number of pools that they depend on."""
        return decompose(self.pools, self.amounts)

    def addends(self, *, trunk: bool = True) -> tuple[Decomposition, ...]:
        """Return the one sum, split; without the trunk, that is 0."""
        parts = self.decompose()
        return (parts if trunk else replace(parts, trunk=0),)

    def without_trunk(self) -> SumTable:
        """Return the table of what a selection can remove."""
        return replace(self, amounts={c: amount for c, amount in self.amounts.items() if not c.is_leaf})

    def branch_amounts(self, selection: Selection) -> dict[str, dict[str, Number]]:
        """Return what each branch adds, the other pools as selected (see ``CostTable``).

        For flat pools this is the branch's own cost, whatever the selection.
        """
        selected = self._choices(selection)
        concerned: list[dict[Condition, Number]] = [{} for _ in self.pools]
        for condition, amount in self.amounts.items():
            for level in condition.support():
                concerned[level][condition] = amount
        amounts: dict[str, dict[str, Number]] = {}
        for level, pool in enumerate(self.pools):
            choices = nearest(self.live[level], selected)
            of_pool = amounts[pool.name] = {}
            for i, branch in enumerate(pool.branches):
                choices[level] = i
                of_pool[branch.name] = total(concerned[level], choices)
        return amounts

    def _expected(self, probabilities: Sequence[Sequence[float]]) -> float:
        return expectation(self.amounts, probabilities, {})

    def _extreme(self, better: Callable[[Number, Number], Number]) -> tuple[int, ...]:
        return extreme(self._sizes, self.amounts, better)


def total(amounts: Amounts, choices: Sequence[int]) -> Number:
    """Add up the amounts whose condition holds for the choice of each level."""
    return sum(amount for condition, amount in amounts.items() if condition.at(choices))


def decompose(pools: Sequence[Pool], amounts: Amounts) -> Decomposition:
    """Split a sum by the number of pools that an amount depends on."""
    trunk: Number = 0
    branches: dict[str, list[Number]] = {pool.name: [0] * len(pool.branches) for pool in pools}
    joint: dict[Condition, Number] = {}
    for condition, amount in amounts.items():
        if condition.is_leaf:
            trunk += amount * condition.value
        elif all(child.is_leaf for child in condition.children):
            of_pool = branches[pools[condition.level].name]
            for i, child in enumerate(condition.children):
                of_pool[i] += amount * child.value
        else:
            joint[condition] = amount
    return Decomposition(trunk, {name: tuple(of_pool) for name, of_pool in branches.items()}, joint)


def expectation(amounts: Amounts, probabilities: Sequence[Sequence[float]], chances: dict[Diagram, float]) -> float:
    """Return the expectation of a sum where levels choose independently.

    Args:
        amounts: The sum.
        probabilities: For each level, the probability of each choice.
        chances: The probabilities of conditions that are known already; more are put in.
    """
    expected = 0.0
    for condition, amount in amounts.items():
        for node in condition.nodes() if condition not in chances else ():
            if node in chances:
                continue
            if node.is_leaf:
                chances[node] = float(node.value)
            else:
                pairs = zip(probabilities[node.level], node.children, strict=True)
                chances[node] = sum(p * chances[child] for p, child in pairs)
        expected += amount * chances[condition]
    return expected


def nearest(condition: Condition, selected: Sequence[int]) -> list[int]:
    """Return the choices that meet a condition with the fewest changes to ``selected``, or that if nothing does."""
    changes: dict[Diagram, float] = {}  # how many are needed from a node on

    def by_choice(node: Diagram) -> list[float]:
        return [changes[child] + (i != selected[node.level]) for i, child in enumerate(node.children)]

    for node in condition.nodes():
        changes[node] = min(by_choice(node)) if node.children else (0 if node.value else math.inf)
    choices = list(selected)
    node = condition
    while node.children and changes[node] < math.inf:
        costs = by_choice(node)
        choices[node.level] = costs.index(min(costs))
        node = node.children[choices[node.level]]
    return choices
