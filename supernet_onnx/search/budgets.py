"""Budgets: how much of a metric a selection may cost, as a number or as a share of the largest subnet."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from supernet_onnx.errors import BudgetError

if TYPE_CHECKING:
    from supernet_onnx.cost import CostTable
    from supernet_onnx.diagram import Number

__all__ = ["Budget", "limit_of", "parse_limit"]

_NUMBER: Final = re.compile(r"((?:[0-9]{1,99}\.?[0-9]{0,99}|\.[0-9]{1,99})(?:e[+-]?[0-9]{1,2})?) *([A-Za-z%]*)")
_PREFIXES: Final = {
    prefix: Fraction(factor)
    for prefix, factor in {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}.items()
}
_TIMES: Final = {"ns": Fraction(1, 10**6), "us": Fraction(1, 10**3), "ms": Fraction(1), "s": Fraction(10**3)}
_MILLISECONDS: Final = "milliseconds"


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget, and what a selection costs of it.

    Attributes:
        metric: The name of the metric.
        unit: The unit of all amounts.
        limit: The most that may be spent.
        cost: What the selection costs.
    """

    metric: str
    unit: str
    limit: Number
    cost: Number

    @property
    def slack(self) -> Number:
        """What is left of the budget; negative for a budget that is not met."""
        return self.limit - self.cost


def parse_limit(text: str, *, unit: str = "") -> tuple[Fraction, bool]:
    """Read the amount of a budget.

    Args:
        text: A number, alone or with ``k``, ``M``, ``G`` (powers of 1000), ``Ki``, ``Mi``, ``Gi`` (powers of 1024)
            or ``%``; of a metric in milliseconds also with ``ns``, ``us``, ``ms`` or ``s``.
        unit: The unit of the metric.

    Returns:
        The amount in the metric's unit, and False; or a share of the largest subnet, 0 to 1, and True.

    Raises:
        BudgetError: The text is none of these.

    >>> parse_limit("50k"), parse_limit("60%"), parse_limit("250us", unit="milliseconds")
    ((Fraction(50000, 1), False), (Fraction(3, 5), True), (Fraction(1, 4), False))
    """
    matched = _NUMBER.fullmatch(text.strip())
    suffixes = {**_PREFIXES, **(_TIMES if unit == _MILLISECONDS else {})}
    if matched is None or (matched[2] != "%" and matched[2] not in suffixes):
        known = ", ".join([*filter(None, suffixes), "%"])
        raise BudgetError(f"'{text}' is no amount; expected a number of at least 0, alone or with one of {known}")
    number = Fraction(matched[1])  # exact: 29% of 100 is 29, and not a little less
    if matched[2] == "%":
        if number > 100:
            raise BudgetError(f"'{text}' is more than the largest subnet costs; expected at most 100%")
        return number / 100, True
    return number * suffixes[matched[2]], False


def limit_of(table: CostTable, budget: float | str) -> Number:
    """Return the amount that a budget allows of a metric, a share being that of the largest of all subnets.

    Args:
        table: The metric's.
        budget: A number in the metric's unit, or a text for ``parse_limit``.

    Raises:
        BudgetError: It is no amount.
    """
    try:
        if isinstance(budget, str):
            amount, is_share = parse_limit(budget, unit=table.unit)
            return _number(amount * Fraction(table.maximum()) if is_share else amount)
    except BudgetError as error:
        raise BudgetError(f"budget of '{table.metric}': {error}") from error
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 <= budget < math.inf:
        raise BudgetError(f"budget of '{table.metric}': {budget!r} is no amount; expected a number of at least 0")
    return budget


def _number(amount: Fraction) -> Number:
    return int(amount) if amount.denominator == 1 else float(amount)
