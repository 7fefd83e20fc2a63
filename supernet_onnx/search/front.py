"""A Pareto front: selections of which none is at least as good as another by every metric and better by one.

Files of it are what ``pareto`` and ``search`` write, and ``report`` reads.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import numpy as np

from supernet_onnx.errors import ModelError, SelectionError
from supernet_onnx.selection import resolve

if TYPE_CHECKING:
    from supernet_onnx.diagram import Number
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Front", "FrontMetric", "Goal", "Point", "front_from_json", "nondominated", "selection_of"]

Goal: TypeAlias = Literal["minimize", "maximize"]

_FORMAT: Final = "supernet-onnx front"
_VERSION: Final = 1
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a formula begins with


@dataclass(frozen=True, slots=True)
class FrontMetric:
    """One of the metrics of a front.

    Attributes:
        name: The metric's.
        unit: Of its values; empty where there is none.
        goal: Which values are better.
    """

    name: str
    unit: str
    goal: Goal


@dataclass(frozen=True, slots=True)
class Point:
    """A selection, and its value by each metric.

    Attributes:
        selection: ``{pool: branch}``, for every pool.
        values: ``{metric: value}``.
    """

    selection: Mapping[str, str]
    values: Mapping[str, Number]


@dataclass(frozen=True, slots=True)
class Front:
    """Points of which none is beaten by another, by two metrics or more.

    Attributes:
        model: The name of the supernet's file.
        metrics: What the points are compared by.
        points: In the order of the first metric's values, from small to large.
        complete: Whether these are all points that no selection beats; False if some may be missing.
        note: What the values are, in words.
    """

    model: str
    metrics: tuple[FrontMetric, ...]
    points: tuple[Point, ...]
    complete: bool = False
    note: str = ""

    def best(self, count: int) -> tuple[Point, ...]:
        """Return the points that are best by the last metric, the best first; all if there are not as many."""
        last = self.metrics[-1]
        sign = 1 if last.goal == "minimize" else -1
        return tuple(sorted(self.points, key=lambda point: sign * point.values[last.name])[:count])

    def record(self) -> dict[str, object]:
        """Return the front as a JSON object, as files have it."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "model": self.model,
            "metrics": [{"name": by.name, "unit": by.unit, "goal": by.goal} for by in self.metrics],
            "points": [{"selection": dict(p.selection), "values": dict(p.values)} for p in self.points],
            "complete": self.complete,
            "note": self.note,
        }

    def to_json(self) -> str:
        """Return the front as JSON, which ``front_from_json`` reads."""
        return json.dumps(self.record(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """Return a line for each point, as RFC 4180 has them: its values, and the branch of each pool.

        A name that a spreadsheet would take for a formula gets an apostrophe in front, which makes it text.
        """
        names = [by.name for by in self.metrics]
        pools = list(self.points[0].selection) if self.points else []
        text = io.StringIO()
        lines = csv.writer(text)
        lines.writerow(map(_text, [*names, *pools]))
        for point in self.points:
            branches = [_text(point.selection[pool]) for pool in pools]
            lines.writerow([*(point.values[name] for name in names), *branches])
        return text.getvalue()


def nondominated(
    model: str, metrics: Sequence[FrontMetric], points: Sequence[Point], *, complete: bool = False, note: str = ""
) -> Front:
    """Make a front of the points that no other one beats; of those that have the same values, the first.

    Args:
        model: The name of the supernet's file.
        metrics: What the points are compared by.
        points: Any.
        complete: As for ``Front``.
        note: As for ``Front``.
    """
    signs = [1 if by.goal == "minimize" else -1 for by in metrics]
    rows = np.array([[s * p.values[by.name] for s, by in zip(signs, metrics, strict=True)] for p in points], np.float64)
    kept: list[int] = []
    for i in map(int, np.lexsort(rows.T[::-1]) if len(rows) else ()):  # whoever beats a point stands before it
        if not kept or not (rows[kept] <= rows[i]).all(1).any():
            kept.append(i)
    kept.sort(key=lambda i: points[i].values[metrics[0].name])
    return Front(model, tuple(metrics), tuple(points[i] for i in kept), complete, note)


def selection_of(supergraph: SuperGraph, point: Point) -> Selection:
    """Return the selection of a point.

    Raises:
        SelectionError: It names what is not in the supergraph, or leaves out a pool: it is one of another model.
    """
    missing = [pool.name for pool in supergraph.pools if pool.name not in point.selection]
    if missing:
        raise SelectionError(f"the selection leaves out the pool '{missing[0]}'; the front is that of another model")
    return resolve(supergraph, point.selection)


def front_from_json(text: str) -> Front:
    """Read a front as ``Front.to_json`` writes it.

    The points are taken as they are: that none is beaten by another is not checked, nor that a model has their pools.

    Raises:
        ModelError: The text is no front, or one of a version that this release does not read.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"a front must be JSON, this is not: {error}") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ModelError(f'this is no front; expected the "format" "{_FORMAT}", as pareto and search write it')
    if record.get("version") != _VERSION:
        raise ModelError(f"a front of version {record.get('version')!r}; this release reads version {_VERSION}")
    model, note = record.get("model"), record.get("note", "")
    metrics, points = record.get("metrics"), record.get("points")
    if not (isinstance(model, str) and isinstance(metrics, list) and isinstance(points, list) and metrics):
        raise ModelError('a front has "model", "metrics" (one or more) and "points"; write it anew')
    by = tuple(map(_metric, metrics))
    if len({metric.name for metric in by}) < len(by):
        raise ModelError("a metric of the front is named twice; write it anew")
    made = tuple(_point(point, i, by) for i, point in enumerate(points))
    return Front(model, by, made, record.get("complete") is True, note if isinstance(note, str) else "")


def _text(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA) else name


def _metric(record: object) -> FrontMetric:
    if isinstance(record, Mapping):
        name, unit, goal = record.get("name"), record.get("unit", ""), record.get("goal")
        if isinstance(name, str) and isinstance(unit, str) and goal in get_args(Goal):
            return FrontMetric(name, unit, "minimize" if goal == "minimize" else "maximize")
    raise ModelError(
        f'{json.dumps(record)[:200]} is no metric of a front; expected {{"name": ..., "unit": ..., '
        '"goal": "minimize" or "maximize"}'
    )


def _point(record: object, index: int, metrics: Sequence[FrontMetric]) -> Point:
    where = f"point {index} of the front"
    selection = record.get("selection") if isinstance(record, Mapping) else None
    values = record.get("values") if isinstance(record, Mapping) else None
    if not isinstance(selection, dict) or not all(isinstance(branch, str) for branch in selection.values()):
        raise ModelError(f'{where} has no selection; expected {{"POOL": "BRANCH", ...}}')
    if not isinstance(values, dict) or not all(_is_number(values.get(by.name)) for by in metrics):
        raise ModelError(f"{where} lacks a number for one of the metrics {', '.join(by.name for by in metrics)}")
    return Point(selection, {by.name: values[by.name] for by in metrics})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
