"""Predicted against measured latency: the subnets of a latency table, and how far its predictions are off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from supernet_onnx.cost.measured import FORMAT, VERSION
from supernet_onnx.errors import ReportError
from supernet_onnx.page.reading import check_header, field, number, parse
from supernet_onnx.report import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from supernet_onnx.report.form import Json

__all__ = ["Latency", "Subnet", "latency_from_json"]

_NEAR: Final = 0.1


@dataclass(frozen=True, slots=True)
class Subnet:
    """A whole network that was measured.

    Attributes:
        measured: What it takes.
        predicted: What the table says that it takes.
        fitted: Whether the table's correction was fitted to it; if so, it proves nothing.
    """

    measured: float
    predicted: float
    fitted: bool


@dataclass(frozen=True, slots=True)
class Latency:
    """What a table predicts, and what was measured.

    Attributes:
        unit: Of all amounts.
        subnets: Those that were measured.
        measured_on: Where, in words.
    """

    unit: str
    subnets: tuple[Subnet, ...]
    measured_on: tuple[tuple[str, str], ...]

    def record(self) -> Json:
        """Return the subnets, where they were measured, and the errors of those that were not fitted, if any."""
        unseen = [subnet for subnet in self.subnets if not subnet.fitted]
        return {
            "unit": clean(self.unit),
            "measured": [subnet.measured for subnet in self.subnets],
            "predicted": [subnet.predicted for subnet in self.subnets],
            "fitted": [subnet.fitted for subnet in self.subnets],
            "errors": _errors(unseen) if unseen else None,
            "measured_on": [[clean(name), clean(value)] for name, value in self.measured_on],
        }


def latency_from_json(text: str) -> Latency | None:
    """Read the measured subnets of a latency table; None if there are none.

    Raises:
        ReportError: The text is no such table.
    """
    record = parse(text)
    check_header(record, FORMAT, version=VERSION, made_by="supernet-onnx profile")
    subnets = [_subnet(subnet, f"subnet {i}: ") for i, subnet in enumerate(field(record, "subnets", list))]
    if not subnets:
        return None
    where = field(record, "measured_on", dict)
    return Latency(field(record, "unit", str), tuple(subnets), tuple(_facts(where)))


def _subnet(subnet: object, where: str) -> Subnet:
    if not isinstance(subnet, dict):
        raise ReportError(f"{where}expected an object with 'measured', 'predicted' and 'fitted'")
    measured = float(number(subnet.get("measured"), f"{where}'measured'"))
    if measured <= 0:
        raise ReportError(f"{where}'measured' is {measured}, expected more than 0")
    predicted = float(number(subnet.get("predicted"), f"{where}'predicted'"))
    return Subnet(measured, predicted, field(subnet, "fitted", bool, where=where))


def _facts(where: dict[str, object]) -> list[tuple[str, str]]:
    """Write the facts of a machine in words; what is nested, such as versions, in one line."""
    found = []
    for name, value in where.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        found.append((name.replace("_", " "), "not set" if value is None else str(value)))
    return found


def _errors(subnets: Sequence[Subnet]) -> Json:
    """Return the mean absolute error, the share within a tenth, and Spearman's correlation, if there is one."""
    measured = np.array([subnet.measured for subnet in subnets])
    predicted = np.array([subnet.predicted for subnet in subnets])
    off = np.abs(predicted - measured) / measured
    return {
        "subnets": len(subnets),
        "mean": float(off.mean()),
        "largest": float(off.max()),
        "near": float((off <= _NEAR * (1 + 1e-9)).mean()),
        "spearman": _correlation(_ranks(measured), _ranks(predicted)),
    }


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value, equal ones sharing the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((2 * ends - counts - 1) / 2)[places]


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Return Pearson's correlation; None where one of both is constant."""
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread else None
