"""The cost table: the amounts of one metric by condition, and every number that follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.cost.extremes import extreme
from supernet_onnx.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from supernet_onnx.diagram import Diagram, Number
    from supernet_onnx.supergraph import Condition, Pool

__all__ = ["CostTable", "Decomposition"]


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A cost table, split by the number of pools that an amount depends on.

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
class CostTable:
    """What one metric costs, by condition.

    Attributes:
        metric: The metric's name.
        unit: The unit of all its amounts.
        pools: The pools of the supergraph; level i of a condition is ``pools[i]``.
        live: For each pool, when any of its nodes is live.
        amounts: What is due under each condition; no amount is 0. Whole numbers are Python integers, and exact.
        unknown: The operators that were left out because nobody can price them.
    """

    metric: str
    unit: str
    pools: tuple[Pool, ...]
    live: tuple[Condition, ...]
    amounts: Mapping[Condition, Number]
    unknown: tuple[str, ...] = ()

    def __deepcopy__(self, memo: dict[int, object]) -> CostTable:
        return self  # nothing in it changes, and conditions are known by identity

    @property
    def trunk(self) -> Number:
        """What every selection pays."""
        return sum(amount for condition, amount in self.amounts.items() if condition.is_leaf)

    def total(self, selection: Selection) -> Number:
        """Return what a selection costs.

        Raises:
            ValueError: The selection is one of other pools.
        """
        choices = self._choices(selection)
        return sum(amount for condition, amount in self.amounts.items() if condition.at(choices))

    def decompose(self) -> Decomposition:
        """Split the amounts by the number of pools that they depend on."""
        branches: dict[str, list[Number]] = {pool.name: [0] * len(pool.branches) for pool in self.pools}
        joint: dict[Condition, Number] = {}
        for condition, amount in self.amounts.items():
            if condition.is_leaf:
                continue
            if not all(child.is_leaf for child in condition.children):
                joint[condition] = amount
                continue
            of_pool = branches[self.pools[condition.level].name]
            for i, child in enumerate(condition.children):
                of_pool[i] += amount * child.value
        return Decomposition(self.trunk, {name: tuple(amounts) for name, amounts in branches.items()}, joint)

    def expected(self, theta: Mapping[str, Sequence[float]]) -> float:
        """Return the expected cost where every pool draws its branch independently.

        For flat pools this is ``trunk + sum_p sum_i theta[p][i] * cost[p][i]``. It is computed in float64.

        Args:
            theta: For each pool, the probability of each branch.

        Raises:
            ValueError: A pool is missing, or has another number of branches.
        """
        probabilities = [self._theta(theta, pool) for pool in self.pools]
        chance: dict[Diagram, float] = {}
        total = 0.0
        for condition, amount in self.amounts.items():
            for node in condition.nodes():
                if node in chance:
                    continue
                if node.is_leaf:
                    chance[node] = float(node.value)
                else:
                    pairs = zip(probabilities[node.level], node.children, strict=True)
                    chance[node] = sum(p * chance[child] for p, child in pairs)
            total += amount * chance[condition]
        return total

    def branch_amounts(self, selection: Selection) -> dict[str, dict[str, Number]]:
        """Return what each branch of each pool costs, the other pools as selected.

        For a pool that the selection does not reach, the pools around it are set so that it is reached, as few of
        them as possible. For flat pools this is the branch's own cost, whatever the selection.

        Args:
            selection: The branches of the other pools.

        Returns:
            ``{pool: {branch: amount}}``.

        Raises:
            ValueError: The selection is one of other pools.
        """
        selected = self._choices(selection)
        concerned: list[list[tuple[Condition, Number]]] = [[] for _ in self.pools]
        for condition, amount in self.amounts.items():
            for level in condition.support():
                concerned[level].append((condition, amount))
        amounts: dict[str, dict[str, Number]] = {}
        for level, pool in enumerate(self.pools):
            choices = _nearest(self.live[level], selected)
            of_pool = amounts[pool.name] = {}
            for i, branch in enumerate(pool.branches):
                choices[level] = i
                of_pool[branch.name] = sum(amount for condition, amount in concerned[level] if condition.at(choices))
        return amounts

    def minimum(self) -> Number:
        """Return the smallest total of any selection, exactly, without going through them all."""
        return self.total(self.argminimum())

    def maximum(self) -> Number:
        """Return the largest total of any selection, exactly."""
        return self.total(self.argmaximum())

    def argminimum(self) -> Selection:
        """Return a selection of smallest total; of equals the one with the first branches, from the last pool on."""
        return self._extreme(min)

    def argmaximum(self) -> Selection:
        """Return a selection of largest total; of equals the one with the first branches, from the last pool on."""
        return self._extreme(max)

    def _extreme(self, better: Callable[[Number, Number], Number]) -> Selection:
        indices = extreme([len(pool.branches) for pool in self.pools], self.amounts, better)
        branches = tuple(pool.branches[i].name for pool, i in zip(self.pools, indices, strict=True))
        return Selection(self._names, indices, branches)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(pool.name for pool in self.pools)

    def _choices(self, selection: Selection) -> tuple[int, ...]:
        if selection.pools != self._names:
            raise ValueError(f"the selection is one of the pools {selection.pools}, the table is about {self._names}")
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


def _nearest(condition: Condition, selected: Sequence[int]) -> list[int]:
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
