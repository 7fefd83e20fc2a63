"""Which of several equally good selections is chosen: the cheapest, and of those the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supernet_onnx.search.program import Linear, add_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from supernet_onnx.search.program import Program
    from supernet_onnx.search.space import Limits, Space

__all__ = ["break_ties"]

_EQUAL: Final = 1e-9  # of the largest score or share: what is taken for equal
_CHUNK: Final = 2**18  # the selections of so many pools are told apart by one number that the solver can hold


def break_ties(
    space: Space, program: Program, limits: Limits, scores: Sequence[Sequence[float]], choices: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the one of all selections that are as good as a given one, whatever the solver found first.

    It is the one that costs least, the shares of the budgets added up, and of equally cheap ones that with the first
    branches, from the last pool on. Choices that differ only in pools that are not reached are one.

    Args:
        space: The selections.
        program: A fork with all demands; it is used up.
        limits: The budgets.
        scores: What was maximized.
        choices: A best selection.
    """
    gain = space.gain(scores)
    value = sum(scores[level][index] for level, index in space.reached(choices).items())
    program.at_most(add_up((gain, -1.0)), _EQUAL * _largest(scores) - value)
    others = program.fork()
    others.exclude(space.reached(choices))
    if space.best(others, Linear(), limits) is None:
        return choices
    choices = _cheapest(space, program, limits) or choices
    for chunk in _chunks([len(pool.branches) for pool in space.pools]):
        order, place = Linear(), 1
        for level in reversed(chunk):
            for index in range(len(space.pools[level].branches)):
                order.add(program.branch(level, index), -place * index)
            place *= len(space.pools[level].branches)
        found = space.best(program, order, limits)
        choices = choices if found is None else found.choices
        for level in chunk:
            program.pin(level, choices[level])
    return choices


def _cheapest(space: Space, program: Program, limits: Limits) -> tuple[int, ...] | None:
    """Return a cheapest selection, and demand that others cost no more."""
    priced = {name: limit for name, limit in limits.items() if limit > 0}
    if not priced:
        return None
    shares = add_up(*((space.cost(program, name), -1.0 / limit) for name, limit in priced.items()))
    found = space.best(program, shares, limits)
    if found is None:
        return None
    spent = space.spent(found.choices, priced)
    share = sum(spent[name] / limit for name, limit in priced.items())
    program.at_most(add_up((shares, -1.0)), share + _EQUAL * len(priced))
    return found.choices


def _chunks(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Cut the levels into groups, from the last one on, of which each has at most so many selections."""
    chunk: list[int] = []
    count = 1
    for level in range(len(sizes) - 1, -1, -1):
        if chunk and count * sizes[level] > _CHUNK:
            yield chunk
            chunk, count = [], 1
        chunk.append(level)
        count *= sizes[level]
    if chunk:
        yield chunk


def _largest(scores: Sequence[Sequence[float]]) -> float:
    return max((abs(score) for of_pool in scores for score in of_pool), default=0.0)
