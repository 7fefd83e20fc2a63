"""A priced supergraph as an integer program: which selections there are, what they cost, which pools they reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from supernet_onnx.cost import measure
from supernet_onnx.search.program import Linear, Program, add_up
from supernet_onnx.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from supernet_onnx.cost import CostTable, Given, Metric
    from supernet_onnx.diagram import Number
    from supernet_onnx.search.program import Solution
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Limits", "Space"]

Limits: TypeAlias = "Mapping[str, Number]"
"""The most that may be spent of each metric."""


class Space:
    """All selections of a supergraph, and what they cost. Programs are forks of its own.

    Args:
        supergraph: Not changed.
        metrics: To price it by.
        given: As for ``measure``.

    Attributes:
        pools: Those of the supergraph.
        tables: The cost table of each metric.
        program: The selections, without any demand.

    Raises:
        CostError: A metric cannot price the supergraph.
    """

    def __init__(self, supergraph: SuperGraph, metrics: Iterable[Metric], given: Given) -> None:
        metrics = list(metrics)
        self.pools = supergraph.pools
        self.tables: dict[str, CostTable] = measure(supergraph, metrics, **given) if metrics else {}
        self.program = Program([len(pool.branches) for pool in self.pools])
        levels = {pool.name: level for level, pool in enumerate(self.pools)}
        self._costs = {
            name: [self.program.cost(addend, levels) for addend in table.addends()]
            for name, table in self.tables.items()
        }
        self._live = [supergraph.live(pool) for pool in self.pools]
        self._reached = [self.program.where(level, live) for level, live in enumerate(self._live)]

    def select(self, choices: Sequence[int]) -> Selection:
        """Return choices as a selection."""
        branches = tuple(pool.branches[i].name for pool, i in zip(self.pools, choices, strict=True))
        return Selection(tuple(pool.name for pool in self.pools), tuple(choices), branches)

    def reached(self, choices: Sequence[int]) -> dict[int, int]:
        """Return the levels of the pools that choices reach, and their branches."""
        return {level: choices[level] for level, live in enumerate(self._live) if live.at(choices)}

    def spent(self, choices: Sequence[int], metrics: Iterable[str]) -> dict[str, Number]:
        """Return what choices cost, for each metric."""
        selection = self.select(choices)
        return {name: self.tables[name].total(selection) for name in metrics}

    def gain(self, scores: Sequence[Sequence[float]]) -> Linear:
        """Return the sum of the scores of the chosen branches, over the pools that are reached."""
        ways = (way for of_pool in self._reached for way in of_pool)
        values = (score for of_pool in scores for score in of_pool)
        return add_up(*zip(ways, values, strict=True))

    def cost(self, program: Program, name: str) -> Linear:
        """Return what a selection costs, to be minimized in a fork; where the largest counts, at least that."""
        addends = self._costs[name]
        if len(addends) == 1:
            return addends[0]
        largest = program.column(max((addend.most() for addend in addends), default=0.0))
        for addend in addends:
            program.at_most(add_up((addend, 1.0), (largest, -1.0)), 0.0)
        return largest

    def pinned(self, pins: Mapping[int, int]) -> Program:
        """Return a fork in which some pools, by their level, take a given branch."""
        program = self.program.fork()
        for level, index in pins.items():
            program.pin(level, index)
        return program

    def smallest(self, name: str, limits: Limits, pins: Mapping[int, int]) -> Number | None:
        """Return the smallest amount of a metric within limits and pins; None if no selection meets them."""
        program = self.pinned(pins)
        self.limit(program, limits)
        found = self.best(program, add_up((self.cost(program, name), -1.0)), limits)
        return None if found is None else self.spent(found.choices, [name])[name]

    def limit(self, program: Program, limits: Limits, *, excess: Linear | None = None) -> None:
        """Demand of a fork that costs are within limits.

        Args:
            program: The fork.
            limits: The most for each metric.
            excess: How much more is allowed, in units of the largest subnet's costs.
        """
        for name, limit in limits.items():
            for addend in self._costs[name]:
                if excess is not None:
                    more = (excess, -float(self.tables[name].maximum()))
                    program.at_most(add_up((addend, 1.0), more), float(limit))
                elif addend.most() > limit:
                    program.at_most(addend, float(limit))

    def best(
        self,
        program: Program,
        objective: Linear,
        limits: Limits,
        *,
        accept: Callable[[tuple[int, ...]], bool] = lambda choices: True,
        patience: int | None = None,
        time_limit_s: float | None = None,
    ) -> Solution | None:
        """Maximize in a fork, and check the limits in the tables' own numbers, for a solver's are rounded.

        Choices that pass the solver's tolerance only are excluded, and it goes on.

        Args:
            program: The fork.
            objective: What to maximize.
            limits: The most for each metric.
            accept: What else choices must pass.
            patience: After how many rejected choices to give up.
            time_limit_s: As for ``Program.maximize``.

        Returns:
            The choices; None if there are none, or patience is at its end.
        """
        while (found := program.maximize(objective, time_limit_s=time_limit_s)) is not None:
            spent = self.spent(found.choices, limits)
            if all(spent[name] <= limit for name, limit in limits.items()) and accept(found.choices):
                return found
            if patience is not None and (patience := patience - 1) < 0:
                return None
            program.exclude(self.reached(found.choices))
        return None
