"""The cheapest and the dearest selection, exact and without going through them all.

Bucket elimination (R. Dechter, "Bucket elimination: A unifying framework for reasoning", 1999) over decision
diagrams. Pools are eliminated in the order of their levels: all that depends on a pool and on no earlier one is added
up for each of its branches, and the best of these sums is a function of the later pools, which joins what depends on
those. Inner pools of a nest and earlier pools of a chain have the lower levels, so the functions stay small: the time
is linear in the pools for flat, nested and chained ones, and exponential only in how many pools one sum entangles.
Where the largest of several sums is to be smallest, a maximum takes the place of the addition.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, NamedTuple

from supernet_onnx.diagram import Diagram, Diagrams, Number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Better = Callable[[Number, Number], Number]

__all__ = ["extreme", "largest_peak", "smallest_peak"]


class _Sum(NamedTuple):
    """A function of later pools: a constant, plus multiples of diagrams that are none."""

    constant: Number
    terms: dict[Diagram, Number]

    def at(self, choices: Sequence[int]) -> Number:
        return self.constant + sum(factor * diagram.at(choices) for diagram, factor in self.terms.items())


def extreme(sizes: Sequence[int], amounts: Mapping[Diagram, Number], better: Better) -> tuple[int, ...]:
    """Find the choices for which the amounts whose conditions hold add up to the best sum.

    Args:
        sizes: The number of choices of each level.
        amounts: The amount of each condition.
        better: ``min`` or ``max``.

    Returns:
        The choice of each level.
    """
    diagrams = Diagrams(sizes)  # our own: sums would only litter the supergraph's
    moved: dict[Diagram, Diagram] = {}
    buckets: list[dict[Diagram, Number]] = [{} for _ in sizes]
    for condition, amount in amounts.items():
        if not condition.is_leaf:
            _add(buckets[condition.level], _move(condition, diagrams, moved), amount)
    sides_of: list[list[_Sum]] = []
    for level, size in enumerate(sizes):
        sides_of.append([_side(buckets[level], choice) for choice in range(size)])
        for diagram, factor in _best(sides_of[level], better, diagrams).terms.items():
            _add(buckets[diagram.level], diagram, factor)
    choices = [0] * len(sizes)
    for level in range(len(sizes) - 1, -1, -1):  # each side depends on later levels only
        values = [side.at(choices) for side in sides_of[level]]
        choices[level] = values.index(_of_all(better, values))
    return tuple(choices)


def largest_peak(sizes: Sequence[int], sums: Sequence[Mapping[Diagram, Number]]) -> tuple[int, ...]:
    """Find the choices for which the largest of several sums is largest; arguments as for ``extreme``."""
    best: tuple[Number, tuple[int, ...]] | None = None
    bounds = [sum(amount for amount in amounts.values() if amount > 0) for amounts in sums]
    for bound, amounts in sorted(zip(bounds, sums, strict=True), key=operator.itemgetter(0), reverse=True):
        if best is not None and bound < best[0]:
            break
        choices = extreme(sizes, amounts, max)
        value = sum(amount * condition.at(choices) for condition, amount in amounts.items())
        if best is None or (value, best[1][::-1]) > (best[0], choices[::-1]):
            best = value, choices
    return best[1] if best else (0,) * len(sizes)


def smallest_peak(sizes: Sequence[int], sums: Sequence[Mapping[Diagram, Number]]) -> tuple[int, ...]:
    """Find the choices for which the largest of several sums is smallest; arguments as for ``extreme``.

    Sums are only told apart above the largest of their own minima, for none can be brought below: most are constant
    then, and the rest small.
    """
    diagrams = Diagrams(sizes)
    moved: dict[Diagram, Diagram] = {}
    optimum = max((_smallest(sizes, amounts) for amounts in sums), default=0)
    floor = diagrams.constant(optimum)
    buckets: list[list[Diagram]] = [[] for _ in sizes]

    def put(diagram: Diagram) -> None:
        nonlocal optimum
        if diagram.is_leaf:
            optimum = max(optimum, diagram.value)
        else:
            buckets[diagram.level].append(diagram)

    for amounts in sums:
        terms = {_move(condition, diagrams, moved): amount for condition, amount in amounts.items()}
        put(diagrams.pointwise(max, _drawn(_Sum(0, terms), diagrams), floor))
    peaks: dict[int, Diagram] = {}  # the largest of each bucket
    for level, bucket in enumerate(buckets):
        if bucket:
            peak = functools.reduce(functools.partial(diagrams.pointwise, max), bucket)
            if peak.level == level:
                peaks[level] = peak
                peak = functools.reduce(functools.partial(diagrams.pointwise, min), peak.children)
            put(peak)
    choices = [0] * len(sizes)
    for level in sorted(peaks, reverse=True):  # each depends on later levels only
        sides = peaks[level].children
        choices[level] = next(i for i, side in enumerate(sides) if side.at(choices) <= optimum)
    return tuple(choices)


def _smallest(sizes: Sequence[int], amounts: Mapping[Diagram, Number]) -> Number:
    choices = extreme(sizes, amounts, min)
    return sum(amount * condition.at(choices) for condition, amount in amounts.items())


def _add(terms: dict[Diagram, Number], diagram: Diagram, factor: Number) -> None:
    terms[diagram] = terms.get(diagram, 0) + factor


def _of_all(better: Better, values: Sequence[Number]) -> Number:
    best = values[0]
    for value in values[1:]:
        best = better(best, value)
    return best


def _side(bucket: Mapping[Diagram, Number], choice: int) -> _Sum:
    """Return what a bucket adds up to where its own level takes ``choice``."""
    constant: Number = 0
    terms: dict[Diagram, Number] = {}
    for diagram, factor in bucket.items():
        child = diagram.children[choice]
        if child.is_leaf:
            constant += factor * child.value
        else:
            _add(terms, child, factor)
    return _Sum(constant, terms)


def _best(sides: Sequence[_Sum], better: Better, diagrams: Diagrams) -> _Sum:
    """Return the best of several sums as a function of the later pools."""
    found = {diagram: None for side in sides for diagram in side.terms}
    if not found:
        return _Sum(_of_all(better, [side.constant for side in sides]), {})
    if len(found) == 1:
        (only,) = found
        if _is_condition(only):  # chains and nests: no new diagram is needed
            otherwise = _of_all(better, [side.constant for side in sides])
            where = _of_all(better, [side.constant + side.terms.get(only, 0) for side in sides])
            return _Sum(otherwise, {only: where - otherwise} if where != otherwise else {})
    best = _drawn(sides[0], diagrams)
    for side in sides[1:]:
        best = diagrams.pointwise(better, best, _drawn(side, diagrams))
    return _Sum(best.value, {}) if best.is_leaf else _Sum(0, {best: 1})


def _is_condition(diagram: Diagram) -> bool:
    return all(node.value in (0, 1) for node in diagram.nodes() if node.is_leaf)


def _drawn(side: _Sum, diagrams: Diagrams) -> Diagram:
    """Draw a sum as one diagram; what depends on the latest pools first, so that each step is short."""
    total = diagrams.constant(side.constant)
    for diagram, factor in sorted(side.terms.items(), key=lambda term: -term[0].level):
        total = diagrams.pointwise(
            operator.add, total, diagrams.pointwise(operator.mul, diagram, diagrams.constant(factor))
        )
    return total


def _move(condition: Diagram, diagrams: Diagrams, moved: dict[Diagram, Diagram]) -> Diagram:
    """Make the same function in other diagrams; ``moved`` remembers what was moved."""
    for node in condition.nodes():
        if node not in moved:
            children = [moved[child] for child in node.children]
            moved[node] = diagrams.ask(node.level, children) if children else diagrams.constant(node.value)
    return moved[condition]
