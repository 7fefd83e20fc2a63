"""The cheapest and the dearest selection, exact and without going through them all.

Bucket elimination (R. Dechter, "Bucket elimination: A unifying framework for reasoning", 1999) over decision
diagrams: pools are eliminated in the order of their levels. All that depends on a pool and on no earlier one is added
up, and the best of its branches is taken as a function of the later pools, which joins what depends on those. Inner
pools of a nest and earlier pools of a chain have the lower levels, so these functions stay small: time is linear in
the pools for flat, nested and chained ones, and exponential only in how many pools one sum entangles.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from supernet_onnx.diagram import Diagram, Diagrams, Number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["extreme"]


def extreme(
    sizes: Sequence[int], amounts: Mapping[Diagram, Number], better: Callable[[Number, Number], Number]
) -> tuple[Number, tuple[int, ...]]:
    """Find the best sum of the amounts whose conditions hold.

    Args:
        sizes: The number of choices of each level.
        amounts: The amount of each condition.
        better: ``min`` or ``max``.

    Returns:
        The best sum, and the choice of each level that gives it.
    """
    diagrams = Diagrams(sizes)  # our own: sums would only litter the supergraph's
    buckets: list[Diagram] = [diagrams.constant(0)] * len(sizes)
    constant: Number = 0
    moved: dict[int, Diagram] = {}
    for condition, amount in amounts.items():
        if condition.is_leaf:
            constant += amount * condition.value
        else:
            term = _scaled(_move(condition, diagrams, moved), amount, diagrams)
            buckets[term.level] = diagrams.pointwise(operator.add, buckets[term.level], term)
    sums = []
    for level in range(len(sizes)):
        total = buckets[level]
        sums.append(total)
        best = total.children[0] if total.level == level else total
        for child in total.children[1:] if total.level == level else ():
            best = diagrams.pointwise(better, best, child)
        if best.is_leaf:
            constant += best.value
        else:
            buckets[best.level] = diagrams.pointwise(operator.add, buckets[best.level], best)
    return constant, _choices(sums, better)


def _scaled(condition: Diagram, amount: Number, diagrams: Diagrams) -> Diagram:
    return diagrams.pointwise(operator.mul, condition, diagrams.constant(amount))


def _choices(sums: Sequence[Diagram], better: Callable[[Number, Number], Number]) -> tuple[int, ...]:
    """Choose level by level, the last first: each sum depends on its own level and later ones."""
    choices = [0] * len(sums)
    for level in range(len(sums) - 1, -1, -1):
        total = sums[level]
        if total.level == level:
            values = [child.at(choices) for child in total.children]
            best = values[0]
            for value in values[1:]:
                best = better(best, value)
            choices[level] = values.index(best)
    return tuple(choices)


def _move(condition: Diagram, diagrams: Diagrams, moved: dict[int, Diagram]) -> Diagram:
    """Make the same function in other diagrams; ``moved`` remembers what was moved, by identity."""
    for node in condition.nodes():
        if id(node) not in moved:
            moved[id(node)] = (
                diagrams.constant(node.value)
                if node.is_leaf
                else diagrams.ask(node.level, [moved[id(child)] for child in node.children])
            )
    return moved[id(condition)]
