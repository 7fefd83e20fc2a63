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
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Better = Callable[[Number, Number], Number]

__all__ = ["extreme", "extreme_peak"]


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


def extreme_peak(sizes: Sequence[int], sums: Sequence[Mapping[Diagram, Number]], better: Better) -> tuple[int, ...]:
    """Find the choices for which the largest of several sums is best; arguments as for ``extreme``."""
    diagrams = Diagrams(sizes)
    moved: dict[Diagram, Diagram] = {}
    drawn = dict.fromkeys(
        _drawn(_Sum(0, {_move(condition, diagrams, moved): amount for condition, amount in amounts.items()}), diagrams)
        for amounts in sums
    )
    values = {diagram: [node.value for node in diagram.nodes() if node.is_leaf] for diagram in drawn}
    if better is max:
        top = diagrams.constant(max(map(max, values.values())))
        first = min(
            _first(diagrams.pointwise(operator.ge, diagram, top))
            for diagram in drawn
            if max(values[diagram]) == top.value
        )
        return tuple(dict(first).get(level, 0) for level in range(len(sizes)))
    floor = diagrams.constant(max(map(min, values.values())))  # none can be brought below its own minimum
    return _smallest_peak(diagrams, [diagrams.pointwise(max, diagram, floor) for diagram in drawn])


def _first(condition: Diagram) -> tuple[tuple[int, int], ...]:
    """Return the choices that meet a condition with the first branches, from the last level on.

    Returns:
        ``(level, choice)`` for each level, last one first, where that is not 0: of two such tuples, the smaller one
        is the earlier.
    """
    found: dict[Diagram, tuple[tuple[int, int], ...]] = {}
    for node in condition.nodes():
        if node.is_leaf and node.value:
            found[node] = ()
        elif not node.is_leaf:
            ways = ((i, found[child]) for i, child in enumerate(node.children) if child in found)
            found[node] = min((*way, (node.level, i)) if i else way for i, way in ways)
    return found[condition]


def _smallest_peak(diagrams: Diagrams, functions: Iterable[Diagram]) -> tuple[int, ...]:
    """Find the choices for which the largest of several functions is smallest."""
    buckets: list[list[Diagram]] = [[] for _ in diagrams.sizes]
    leaves: list[Number] = []

    def put(diagram: Diagram) -> None:
        if diagram.is_leaf:
            leaves.append(diagram.value)
        else:
            buckets[diagram.level].append(diagram)

    for function in functions:
        put(function)
    peaks: dict[int, Diagram] = {}  # the largest of each bucket
    for level, bucket in enumerate(buckets):
        if bucket:
            peak = functools.reduce(functools.partial(diagrams.pointwise, max), dict.fromkeys(bucket))
            if peak.level == level:
                peaks[level] = peak
                peak = functools.reduce(functools.partial(diagrams.pointwise, min), peak.children)
            put(peak)
    choices, optimum = [0] * len(diagrams.sizes), max(leaves)
    for level in sorted(peaks, reverse=True):  # each depends on later levels only
        sides = [side.at(choices) for side in peaks[level].children]
        choices[level] = next(i for i, side in enumerate(sides) if side <= optimum)
    return tuple(choices)


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
        total = diagrams.pointwise(_adding(factor), total, diagram)
    return total


def _adding(factor: Number) -> Callable[[Number, Number], Number]:
    return lambda total, value: total + factor * value


def _move(condition: Diagram, diagrams: Diagrams, moved: dict[Diagram, Diagram]) -> Diagram:
    """Make the same function in other diagrams; ``moved`` remembers what was moved."""
    for node in condition.nodes():
        if node not in moved:
            children = [moved[child] for child in node.children]
            moved[node] = diagrams.ask(node.level, children) if children else diagrams.constant(node.value)
    return moved[condition]
