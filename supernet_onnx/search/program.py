"""Integer linear programs over selections: a binary column for each branch, exact columns for joint conditions.

A pool takes one branch: ``sum_i x[p, i] = 1``. A diagram node that asks for pool p has the value
``sum_i x[p, i] * v_i``, ``v_i`` being that of its child for branch i. Where ``v`` is no constant, the products with all
branches of the pool become columns w with ``sum_i w_i = v`` and ``w_i <= x[p, i]``: exact where the x are 0 or 1, and
the tightest relaxation of one pool and one value (H. D. Sherali and W. P. Adams, "A Hierarchy of Relaxations between
the Continuous and Convex Hull Representations for Zero-One Programming Problems", 1990, section 2). A unit thus flows
from the last pools of a diagram to the first. Diagrams are hash-consed, and products are shared, so a program is as
large as the diagrams that it is about.

HiGHS's tolerance of 1e-6 is one of the largest amount of a row. What passes it only is for callers to reject.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from supernet_onnx.errors import CheckFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from supernet_onnx.cost import Decomposition
    from supernet_onnx.diagram import Diagram, Number

__all__ = ["Linear", "Program", "Solution", "add_up"]

_PRECISION: Final = 2.0**14  # of the objective, which HiGHS maximizes up to 1e-6
_OPTIMAL, _STOPPED, _INFEASIBLE = 0, 1, 2  # of scipy.optimize.milp


@dataclass(slots=True)
class Linear:
    """A linear function of columns: a constant, and a factor for each column."""

    constant: float = 0.0
    terms: dict[int, float] = field(default_factory=dict)

    def add(self, other: Linear, factor: float = 1.0) -> None:
        """Add a multiple of another function."""
        self.constant += factor * other.constant
        for column, value in other.terms.items():
            self.terms[column] = self.terms.get(column, 0.0) + factor * value

    def least(self) -> float:
        """Return a lower bound of it where every column is between 0 and 1."""
        return self.constant + sum(value for value in self.terms.values() if value < 0)

    def most(self) -> float:
        """Return an upper bound of it, likewise."""
        return self.constant + sum(value for value in self.terms.values() if value > 0)


class Solution(NamedTuple):
    """The best that a solver found.

    Attributes:
        choices: The branch of each pool.
        gap: How much better any other could at most be; 0 is the proof that none is.
    """

    choices: tuple[int, ...]
    gap: float


class _Row(NamedTuple):
    terms: Mapping[int, float]
    lower: float
    upper: float


class Program:
    """A program that grows by conditions and rows; ``fork`` gives one that grows on its own.

    Args:
        sizes: The number of branches of each pool.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._starts = list(itertools.accumulate(sizes, initial=0))
        self._uppers = [1.0] * self._starts[-1]  # of the columns; all lower bounds are 0
        self._rows: list[_Row] = []
        self._values: dict[Diagram, Linear] = {}
        self._products: dict[tuple[int, Diagram], list[Linear]] = {}
        for level, size in enumerate(sizes):
            self._rows.append(_Row({self._column(level, i): 1.0 for i in range(size)}, 1.0, 1.0))

    def fork(self) -> Program:
        """Return a copy; what is added to one is not in the other."""
        other = Program(())
        other._starts = self._starts
        other._uppers, other._rows = self._uppers.copy(), self._rows.copy()
        other._values, other._products = self._values.copy(), self._products.copy()
        return other

    def branch(self, level: int, index: int) -> Linear:
        """Return the function that is 1 where a pool takes a branch, else 0."""
        return Linear(0.0, {self._column(level, index): 1.0})

    def value(self, condition: Diagram) -> Linear:
        """Return the function that is 1 where a condition holds, else 0."""
        for node in condition.nodes() if condition not in self._values else ():
            if node in self._values:
                continue
            total = Linear(float(node.value))
            for i, child in enumerate(node.children):
                total.add(self.where(node.level, child)[i])
            self._values[node] = total
        return self._values[condition]

    def where(self, level: int, condition: Diagram) -> list[Linear]:
        """Return, for each branch of a pool, the function that is 1 where the pool takes it and a condition holds."""
        branches = [self.branch(level, i) for i in range(self._starts[level + 1] - self._starts[level])]
        if condition.is_leaf:
            return branches if condition.value else [Linear() for _ in branches]
        if (level, condition) not in self._products:
            products = self._products[level, condition] = [self.column(1.0) for _ in branches]
            for product, branch in zip(products, branches, strict=True):
                self.at_most(add_up((product, 1.0), (branch, -1.0)), 0.0)
            difference = add_up(*((product, 1.0) for product in products), (self.value(condition), -1.0))
            self._rows.append(_Row(difference.terms, -difference.constant, -difference.constant))
        return self._products[level, condition]

    def column(self, upper: float) -> Linear:
        """Return a new column, a number between 0 and ``upper``."""
        self._uppers.append(upper)
        return Linear(0.0, {len(self._uppers) - 1: 1.0})

    def cost(self, addend: Decomposition, levels: Mapping[str, int]) -> Linear:
        """Return the cost of a sum of amounts under conditions.

        Args:
            addend: The sum.
            levels: The level of each pool.
        """
        total = Linear(float(addend.trunk))
        for name, amounts in addend.branches.items():
            for i, amount in enumerate(amounts):
                if amount:
                    total.add(self.branch(levels[name], i), float(amount))
        for condition, amount in addend.joint.items():
            total.add(self.value(condition), float(amount))
        return total

    def at_most(self, function: Linear, upper: float) -> None:
        """Demand that a function is at most a number."""
        self._rows.append(_Row(function.terms, -math.inf, upper - function.constant))

    def pin(self, level: int, index: int) -> None:
        """Demand that a pool takes a branch."""
        self._rows.append(_Row(self.branch(level, index).terms, 1.0, 1.0))

    def exclude(self, choices: Mapping[int, int]) -> None:
        """Demand that at least one of some pools does not take its branch."""
        total = add_up(*((self.branch(level, index), 1.0) for level, index in choices.items()))
        self.at_most(total, len(choices) - 1)

    def maximize(self, objective: Linear, *, time_limit_s: float | None = None) -> Solution | None:
        """Find the choices for which an objective is largest, by HiGHS's branch and cut.

        Args:
            objective: What to maximize.
            time_limit_s: When to stop with what was found.

        Returns:
            The choices; None if nothing meets the demands.

        Raises:
            CheckFailedError: The solver found nothing in time, or gave up.
        """
        from scipy import optimize

        scale = _scale(objective.terms.values()) * _PRECISION
        costs = np.zeros(len(self._uppers))
        costs[list(objective.terms)] = [-scale * value for value in objective.terms.values()]
        rows, lower, upper = self._matrix()
        integrality = np.zeros(len(self._uppers))
        integrality[: self._starts[-1]] = 1
        options: dict[str, float | bool] = {"mip_rel_gap": 0.0}
        if time_limit_s is not None:
            options["time_limit"] = time_limit_s
        for presolve in (True, False):  # presolve cannot always tell what is wrong with a program
            found = optimize.milp(
                costs,
                integrality=integrality,
                bounds=optimize.Bounds(0.0, np.asarray(self._uppers)),
                constraints=optimize.LinearConstraint(rows, lower, upper),
                options={**options, "presolve": presolve},
            )
            if found.status in (_OPTIMAL, _STOPPED, _INFEASIBLE):
                break
        if found.status == _INFEASIBLE:
            return None
        if found.x is None:
            raise CheckFailedError(f"the choice was not found: {found.message}; allow more time, or pin some pools")
        gap = max(0.0, (found.fun - found.mip_dual_bound) / scale) if found.mip_dual_bound is not None else 0.0
        largest = max(map(abs, objective.terms.values()), default=0.0)
        return Solution(self._choices(found.x), gap if gap > 1e-9 * largest else 0.0)

    def _column(self, level: int, index: int) -> int:
        return self._starts[level] + index

    def _choices(self, values: np.typing.NDArray[np.float64]) -> tuple[int, ...]:
        ends = itertools.pairwise(self._starts)
        return tuple(int(values[start:end].argmax()) for start, end in ends)

    def _matrix(
        self,
    ) -> tuple[object, np.typing.NDArray[np.float64], np.typing.NDArray[np.float64]]:
        """Return all rows as a sparse matrix, and their bounds."""
        from scipy import sparse

        scales = np.array([_scale(row.terms.values()) for row in self._rows])
        starts = list(itertools.accumulate((len(row.terms) for row in self._rows), initial=0))
        columns = [column for row in self._rows for column in row.terms]
        factors = np.array([value for row in self._rows for value in row.terms.values()])
        factors *= np.repeat(scales, np.diff(starts))
        matrix = sparse.csr_array((factors, columns, starts), shape=(len(self._rows), len(self._uppers)))
        lower = scales * [row.lower for row in self._rows]
        return matrix, lower, scales * [row.upper for row in self._rows]


def add_up(*terms: tuple[Linear, float]) -> Linear:
    """Return a sum of multiples of functions."""
    total = Linear()
    for function, factor in terms:
        total.add(function, factor)
    return total


def _scale(values: Iterable[Number]) -> float:
    """Return the power of two that brings the largest value between 1/2 and 1."""
    largest = max(map(abs, values), default=0.0)
    return math.ldexp(1.0, -math.frexp(largest)[1]) if largest else 1.0
