"""What ``cost --symbolic`` reports: totals as formulas in open dims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.report.form import Table, clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.cost import Formula
    from supernet_onnx.report.form import Json, Part

__all__ = ["Formulas"]


@dataclass(frozen=True, slots=True)
class Formulas:
    """The totals of a selection.

    Attributes:
        units: The unit of each metric, by name.
        formulas: Its formula; None where it is no polynomial.
    """

    units: Mapping[str, str]
    formulas: Mapping[str, Formula | None]

    def record(self) -> Json:
        """Return ``formulas``: for each metric its ``unit``, ``formula`` and the ``multiple`` that dims must be of."""
        return {
            "formulas": {
                name: {
                    "unit": self.units[name],
                    "formula": None if formula is None else str(formula),
                    "multiple": None if formula is None else formula.multiple,
                }
                for name, formula in self.formulas.items()
            }
        }

    def parts(self) -> list[Part]:
        """Return a row for each metric."""
        table = Table(["metric", "unit", "formula", "holds"], [])
        for name, formula in self.formulas.items():
            if formula is None:
                cells = ("no polynomial of degree 2 in each dim", "bind the dims with --dim")
            else:
                always = formula.multiple == 1 or not formula.dims
                cells = (str(formula), "" if always else f"for multiples of {formula.multiple}")
            table.add_row(clean(name), clean(self.units[name]), *map(clean, cells))
        return [table]
