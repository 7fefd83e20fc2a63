"""How reports write numbers, names and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supernet_onnx.diagram import Number

__all__ = ["Json", "Part", "Report", "Table", "clean", "format_amount", "format_fraction", "plural"]

Json: TypeAlias = dict[str, object]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headers; how they are drawn is not said here.

    Attributes:
        names: Headers of the columns of text.
        numbers: Headers of the columns of numbers, behind those.
        ends: Headers of the columns of text behind the numbers.
        sections: Groups of rows, each row with one cell a column.
    """

    names: Sequence[str]
    numbers: Sequence[str]
    ends: Sequence[str] = ()
    sections: list[list[tuple[str, ...]]] = field(default_factory=lambda: [[]])

    @property
    def headers(self) -> list[str]:
        """All headers, in order."""
        return [*self.names, *self.numbers, *self.ends]

    def add_row(self, *cells: str) -> None:
        """Add a row to the last section."""
        assert len(cells) == len(self.headers)
        self.sections[-1].append(cells)

    def add_section(self) -> None:
        """Begin a new section."""
        self.sections.append([])


Part: TypeAlias = Table | str
"""A table, or a line of text."""


class Report(Protocol):
    """What a verb found out."""

    def record(self) -> Json:
        """Return it as a JSON object."""

    def parts(self) -> list[Part]:
        """Return it as tables and lines of text."""


def clean(text: str) -> str:
    r"""Escape what a terminal would obey instead of show: control characters, line breaks, text direction marks.

    >>> clean("conv\x1b[2J")
    'conv\\x1b[2J'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def plural(count: int, noun: str) -> str:
    """Write a number of things: ``1 pool``, ``2,000 pools``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_amount(value: Number | None) -> str:
    """Write an amount with thousands separators, a fraction to two digits, or four below 1; a dash for none."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if abs(value) >= 1 or value == 0 else f"{value:.4f}"


def format_fraction(value: float | None) -> str:
    """Write a weight or score to four digits; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"
