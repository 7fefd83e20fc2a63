"""Costs as formulas in the dims that a model leaves open.

A cost is a sum of products of sizes, so in most models a polynomial of the open dims. It is found by pricing the model
at a grid of sizes and interpolating with fractions, exactly, and then holds at further sizes or is given up. Strided
operators round, and some models take multiples of a size alone; then the polynomial holds for those, and says so.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from supernet_onnx.cost.pricing import measure
from supernet_onnx.cost.table import SumTable
from supernet_onnx.errors import UnknownShapeError
from supernet_onnx.graph import input_names
from supernet_onnx.shapes import Bindings, type_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from supernet_onnx.cost.pricing import Given
    from supernet_onnx.cost.spec import Metric
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Formula", "open_dims", "symbolic"]

_DEGREE: Final = 2  # in each dim: attention has the square of the sequence
_STEPS: Final = (1, 8, 32, 64)  # sizes are multiples of these; a formula for all sizes is looked for first
_CHECKS: Final = (7, 11, 97)  # multiples at which the formula must hold, too

_Terms = dict[tuple[int, ...], Fraction]


@dataclass(frozen=True, slots=True)
class Formula:
    """A polynomial in open dims.

    Attributes:
        dims: Their names.
        terms: The factor of each product of powers of the dims; none is 0.
        multiple: What every dim must be a multiple of for the formula to hold.
    """

    dims: tuple[str, ...]
    terms: Mapping[tuple[int, ...], Fraction]
    multiple: int

    def at(self, sizes: Mapping[str, int]) -> Fraction:
        """Return the value at given sizes."""
        values = [sizes[dim] for dim in self.dims]
        return sum((factor * _power(values, powers) for powers, factor in self.terms.items()), Fraction(0))

    def __str__(self) -> str:
        written = []
        for powers, factor in sorted(self.terms.items(), reverse=True):
            names = [
                f"{dim}^{power}" if power > 1 else dim for dim, power in zip(self.dims, powers, strict=True) if power
            ]
            number = [] if abs(factor) == 1 and names else [_number(abs(factor))]
            written.append(("- " if factor < 0 else "+ ") + "*".join([*number, *names]))
        return " ".join(written).removeprefix("+ ") or "0"


def _number(value: Fraction) -> str:
    return f"{value.numerator:,}" if value.denominator == 1 else f"{value.numerator:,}/{value.denominator:,}"


def open_dims(supergraph: SuperGraph, given: Given) -> tuple[str, ...]:
    """Return the named dims of the graph inputs that nothing binds; the batch is one of them.

    Raises:
        ShapeError: What is given contradicts what the model declares.
    """
    bindings = Bindings(given.get("dims") or {}, given.get("shapes") or {})
    bindings.sizes(supergraph.graph)
    fed = set(input_names(supergraph.graph))
    bound = set(bindings.dims)
    found: dict[str, None] = {}
    for value in supergraph.graph.input:
        named = [dim for dim in type_of(value.type).shape or () if isinstance(dim, str)] if value.name in fed else []
        if value.name in bindings.shapes:
            bound.update(named)
        found.update(dict.fromkeys(named))
    return tuple(dim for dim in found if dim not in bound)


def symbolic(
    supergraph: SuperGraph, metrics: Iterable[Metric], selection: Selection, given: Given
) -> dict[str, Formula | None]:
    """Find the total of a selection as a formula in the open dims.

    Args:
        supergraph: What to price.
        metrics: By what.
        selection: Whose total.
        given: The other arguments of ``measure``. Dims that it binds are numbers in the formula.

    Returns:
        ``{metric name: formula}``; None where the cost is no polynomial of degree 2 in each dim, and for metrics that
        add up by the largest, where another node may be the largest at other sizes.

    Raises:
        SuperNetError: As ``measure`` raises.
    """
    dims = open_dims(supergraph, given)
    wanted = list(metrics)
    found: dict[str, Formula | None] = {metric.name: None for metric in wanted}
    problem: UnknownShapeError | None = None
    for step in _STEPS:
        grid = [step * (i + 1) for i in range(_DEGREE + 1)]
        points = list(itertools.product(grid, repeat=len(dims)))
        checks = [tuple(step * (check + i) for i in range(len(dims))) for check in _CHECKS]
        try:
            totals = _totals(supergraph, wanted, selection, given, dims, [*points, *checks])
        except UnknownShapeError as error:  # some models take multiples of a size alone
            problem = error
            continue
        problem = None
        for name, values in totals.items():
            formula = Formula(dims, _interpolate(grid, len(dims), values), step)
            if all(formula.at(dict(zip(dims, check, strict=True))) == values[check] for check in checks):
                found[name] = formula
        wanted = [metric for metric in wanted if metric.name in totals and found[metric.name] is None]
        if not wanted:
            break
    if problem is not None and not any(found.values()):
        raise problem
    return found


def _totals(
    supergraph: SuperGraph,
    metrics: Sequence[Metric],
    selection: Selection,
    given: Given,
    dims: Sequence[str],
    points: Iterable[tuple[int, ...]],
) -> dict[str, dict[tuple[int, ...], Fraction]]:
    """Return the total at each point, for each of the metrics that adds up."""
    totals: dict[str, dict[tuple[int, ...], Fraction]] = {}
    for point in dict.fromkeys(points):
        sized = given.copy()
        sized["dims"] = {**(given.get("dims") or {}), **dict(zip(dims, point, strict=True))}
        for name, table in measure(supergraph, metrics, **sized).items():
            if isinstance(table, SumTable):
                totals.setdefault(name, {})[point] = Fraction(table.total(selection))
    return totals


def _interpolate(grid: Sequence[int], variables: int, values: Mapping[tuple[int, ...], Fraction]) -> _Terms:
    """Return the polynomial through the values at all points of a grid, by Lagrange's formula in each variable."""
    bases = [_lagrange(grid, i) for i in range(len(grid))]
    terms: _Terms = {}
    for indices in itertools.product(range(len(grid)), repeat=variables):
        value = values[tuple(grid[i] for i in indices)]
        for powers in itertools.product(range(len(grid)), repeat=variables):
            factor = value
            for i, power in zip(indices, powers, strict=True):
                factor *= bases[i][power]
            terms[powers] = terms.get(powers, Fraction(0)) + factor
    return {powers: factor for powers, factor in terms.items() if factor}


def _lagrange(grid: Sequence[int], i: int) -> list[Fraction]:
    """Return the coefficients of the polynomial that is 1 at ``grid[i]`` and 0 at the other points."""
    coefficients = [Fraction(1)]
    for j, x in enumerate(grid):
        if j == i:
            continue
        scale = Fraction(1, grid[i] - x)
        shifted = [Fraction(0), *coefficients]
        padded = [*coefficients, Fraction(0)]
        coefficients = [scale * (up - x * down) for up, down in zip(shifted, padded, strict=True)]
    return coefficients


def _power(values: Sequence[int], powers: Sequence[int]) -> int:
    product = 1
    for value, power in zip(values, powers, strict=True):
        product *= value**power
    return product
