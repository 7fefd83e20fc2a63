"""Which of several equally good selections is chosen: the cheapest, and of those the first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from supernet_onnx.search.program import Linear, add_up

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from supernet_onnx.search.program import Program
    from supernet_onnx.search.space import Limits, Space

__all__ = ["break_ties"]

_EQUAL: Final = 1e-9  # of the largest score or share: what is taken for equal
_PATIENCE: Final = 20  # how many selections may pass the solver's tolerance only, before ties are left as they are
_CHUNK: Final = 2**18  # the selections of so many pools are told apart by one number that the solver can hold


def break_ties(
    space: Space,
    program: Program,
    limits: Limits,
    scores: Sequence[Sequence[float]],
    choices: tuple[int, ...],
    *,
    thrifty: Collection[str] | None = None,
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
        thrifty: The budgets of which the shares count; all if left out.
    """
    shares = {name: limit for name, limit in limits.items() if limit > 0 and (thrifty is None or name in thrifty)}

    def value(choices: Sequence[int]) -> float:
        return sum(scores[level][index] for level, index in space.reached(choices).items())

    best, margin = value(choices), _EQUAL * max(abs(score) for of_pool in scores for score in of_pool)
    program.at_most(add_up((space.gain(scores), -1.0)), margin - best)
    others = program.fork()
    others.exclude(space.reached(choices))

    def is_as_good(choices: Sequence[int]) -> bool:
        return value(choices) >= best - margin

    if space.best(others, Linear(), limits, accept=is_as_good, patience=_PATIENCE) is None:
        return choices
    choices, share = _cheapest(space, program, limits, shares, is_as_good) or (choices, math.inf)

    def is_as_cheap(choices: Sequence[int]) -> bool:
        return is_as_good(choices) and _share(space, choices, shares) <= share + _EQUAL

    for chunk in _chunks([len(pool.branches) for pool in space.pools]):
        order, place = Linear(), 1
        for level in reversed(chunk):
            for index in range(len(space.pools[level].branches)):
                order.add(program.branch(level, index), -place * index)
            place *= len(space.pools[level].branches)
        found = space.best(program, order, limits, accept=is_as_cheap, patience=_PATIENCE)
        choices = choices if found is None else found.choices
        for level in chunk:
            program.pin(level, choices[level])
    return choices


def _cheapest(
    space: Space, program: Program, limits: Limits, counted: Limits, accept: Callable[[tuple[int, ...]], bool]
) -> tuple[tuple[int, ...], float] | None:
    """Return a cheapest selection and its share, and demand that others cost no more."""
    if not counted:
        return None
    shares = add_up(*((space.cost(program, name), -1.0 / limit) for name, limit in counted.items()))
    found = space.best(program, shares, limits, accept=accept, patience=_PATIENCE)
    if found is None:
        return None
    share = _share(space, found.choices, counted)
    program.at_most(add_up((shares, -1.0)), share + _EQUAL)
    return found.choices, share


def _share(space: Space, choices: Sequence[int], counted: Limits) -> float:
    spent = space.spent(choices, counted)
    return sum(spent[name] / limit for name, limit in counted.items())


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
