"""What ``pareto`` and ``search`` report: a front, as a table and as a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.errors import MissingPackageError
from supernet_onnx.report.form import Table, clean, format_amount, format_fraction, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from supernet_onnx.report.form import Json, Part
    from supernet_onnx.search import Front, Point

__all__ = ["Tradeoffs", "draw_front"]


@dataclass(frozen=True, slots=True)
class Tradeoffs:
    """A front, and what was written of it.

    Attributes:
        front: The front.
        outputs: The files that it was written to.
        subnets: The files of those subnets that were written, the best first.
        facts: What else is to be told, ``{key: number or text}``.
    """

    front: Front
    outputs: Sequence[Path] = ()
    subnets: Sequence[Path] = ()
    facts: Mapping[str, float | str | None] | None = None

    def record(self) -> Json:
        """Return the front as its file has it, ``outputs``, ``subnets``, and the facts."""
        written = {"outputs": [str(path) for path in self.outputs], "subnets": [str(path) for path in self.subnets]}
        return {**self.front.record(), **written, **(self.facts or {})}

    def parts(self) -> list[Part]:
        """Return a row for each point, and what is known of the front."""
        headers = [f"{by.name} [{by.unit}]" if by.unit else by.name for by in self.front.metrics]
        files = dict(zip(map(id, self.front.best(len(self.subnets))), self.subnets, strict=False))
        table = Table([], headers, ["subnet"] if files else [])
        for point in self.front.points:
            file = [clean(str(files.get(id(point), "")))] if files else []
            table.add_row(*(_value(point, by.name, by.goal) for by in self.front.metrics), *file)
        told = "no selection is missing" if self.front.complete else "others may lie between them"
        lines = [f"{plural(len(self.front.points), 'point')}, none beaten by another; {told}", clean(self.front.note)]
        lines += [f"{key.replace('_', ' ')}: {value}" for key, value in (self.facts or {}).items() if value is not None]
        return [table, *filter(None, lines), *(f"wrote {clean(str(path))}" for path in [*self.outputs, *self.subnets])]


def draw_front(front: Front) -> bytes:
    """Draw a front as a PNG: the last metric over the first, a third one as colour.

    Raises:
        MissingPackageError: matplotlib is not installed.
        ValueError: The front has fewer than two metrics, or more than three.
    """
    if not 2 <= len(front.metrics) <= 3:
        raise ValueError(f"a picture shows two or three metrics, the front has {len(front.metrics)}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "a picture needs matplotlib, which is not installed; pip install 'supernet-onnx[plot]', or write .csv"
        ) from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    first, *middle, last = front.metrics
    values = {by.name: [point.values[by.name] for point in front.points] for by in front.metrics}
    if middle:
        dots = axes.scatter(values[first.name], values[last.name], c=values[middle[0].name], cmap="viridis")
        figure.colorbar(dots, label=_label(middle[0].name, middle[0].unit))
    else:  # what a budget between two points gives is the point to its left
        axes.plot(values[first.name], values[last.name], "o-", drawstyle="steps-post")
    axes.set_xlabel(_label(first.name, first.unit))
    axes.set_ylabel(_label(last.name, last.unit))
    axes.set_title(_plain(f"{front.model}: {plural(len(front.points), 'point')}"))
    axes.grid(visible=True, alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    return picture.getvalue()


def _value(point: Point, name: str, goal: str) -> str:
    value = point.values[name]
    return format_fraction(value) if goal == "maximize" and isinstance(value, float) else format_amount(value)


def _label(name: str, unit: str) -> str:
    return _plain(f"{name} [{unit}]" if unit else name)


def _plain(text: str) -> str:
    """Keep a picture's writer from reading a file's names as mathematics."""
    return clean(text).replace("$", r"\$")
