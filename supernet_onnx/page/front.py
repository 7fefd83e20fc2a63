"""A front: selections of which none beats another in every metric, as a page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supernet_onnx import selection
from supernet_onnx.errors import ReportError, SelectionError
from supernet_onnx.page.reading import check_header, field, number, parse
from supernet_onnx.report import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supernet_onnx.diagram import Number
    from supernet_onnx.report.form import Json
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["FORMAT", "VERSION", "Axis", "Front", "front_from_json"]

FORMAT: Final = "supernet-onnx front"
VERSION: Final = 1
_GOALS: Final = ("minimize", "maximize")


@dataclass(frozen=True, slots=True)
class Axis:
    """A metric of a front.

    Attributes:
        name: The metric's name.
        unit: Its unit; empty for a plain number.
        goal: ``"minimize"`` or ``"maximize"``.
    """

    name: str
    unit: str
    goal: str


@dataclass(frozen=True, slots=True)
class Front:
    """The points of a front.

    Attributes:
        axes: What they are compared by.
        selections: The selection of each point.
        values: For each point, its amount of each axis.
    """

    axes: tuple[Axis, ...]
    selections: tuple[Selection, ...]
    values: tuple[tuple[Number, ...], ...]

    def record(self) -> Json:
        """Return ``axes`` and ``values``, names made safe to be shown."""
        axes = [{"name": clean(axis.name), "unit": clean(axis.unit), "goal": axis.goal} for axis in self.axes]
        return {"axes": axes, "values": self.values}


def front_from_json(text: str, supergraph: SuperGraph) -> Front:
    """Read a front of a supergraph.

    Raises:
        ReportError: The text is no front, or one of another model.
    """
    record = parse(text)
    check_header(record, FORMAT, version=VERSION, made_by="supernet-onnx pareto or search")
    axes = tuple(_axis(metric, i) for i, metric in enumerate(field(record, "metrics", list)))
    if len(axes) < 2:
        raise ReportError(f"has {len(axes)} metrics; a front is over two or more")
    points = field(record, "points", list)
    if not points:
        raise ReportError("has no points, so there is nothing to show")
    found = [_point(point, f"point {i}: ", axes, supergraph) for i, point in enumerate(points)]
    return Front(axes, tuple(chosen for chosen, _ in found), tuple(values for _, values in found))


def _axis(metric: object, index: int) -> Axis:
    where = f"metric {index}: "
    if not isinstance(metric, dict):
        raise ReportError(f"{where}expected an object with 'name', 'unit' and 'goal'")
    goal = field(metric, "goal", str, where=where)
    if goal not in _GOALS:
        raise ReportError(f"{where}'goal' is '{goal}', expected {' or '.join(_GOALS)}")
    return Axis(field(metric, "name", str, where=where), field(metric, "unit", str, where=where), goal)


def _point(
    point: object, where: str, axes: Sequence[Axis], supergraph: SuperGraph
) -> tuple[Selection, tuple[Number, ...]]:
    if not isinstance(point, dict):
        raise ReportError(f"{where}expected an object with 'selection' and 'values'")
    values = field(point, "values", dict, where=where)
    chosen = _selection(field(point, "selection", dict, where=where), where, supergraph)
    return chosen, tuple(number(values.get(axis.name), f"{where}'{axis.name}'") for axis in axes)


def _selection(choices: Mapping[str, object], where: str, supergraph: SuperGraph) -> Selection:
    named = {pool: branch for pool, branch in choices.items() if isinstance(branch, str)}
    missing = [pool.name for pool in supergraph.pools if pool.name not in named]
    try:
        selection.find(supergraph, named)
    except SelectionError as error:
        raise ReportError(f"{where}{error}; the file is one of another model") from error
    if missing:
        raise ReportError(f"{where}no branch of pool '{missing[0]}' is named; the file is one of another model")
    return selection.resolve(supergraph, named)
