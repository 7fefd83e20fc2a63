"""The history of a search: the log that ``supernet_onnx.train.TrainingLog`` writes, as a page shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supernet_onnx.errors import ReportError
from supernet_onnx.page.reading import field, parse
from supernet_onnx.report import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from supernet_onnx.report.form import Json
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["FORMAT", "History", "history_from_log"]

FORMAT: Final = 1
_MAX_STEPS: Final = 400
"""How many steps a page draws; a screen shows no more."""
_DIGITS: Final = 5

_Values = list[float | None]


@dataclass(frozen=True, slots=True)
class History:
    """A search, step by step.

    Attributes:
        pools: The pools and branches that the log is about, in the model's order.
        steps: One object a step, as in the log.
        total: How many steps there were before they were thinned out.
    """

    pools: Mapping[str, Sequence[str]]
    steps: tuple[Mapping[str, object], ...]
    total: int

    def record(self) -> Json:
        """Return the numbers of all steps: ``series`` of the whole net, ``costs``, and ``pools`` in order."""
        return {
            "steps": [step["step"] for step in self.steps],
            "total": self.total,
            "series": [{"name": clean(name), "values": values} for name, values in self._series().items()],
            "costs": self._costs(),
            "pools": [self._pool(name, branches) for name, branches in self.pools.items()],
        }

    def _series(self) -> dict[str, _Values]:
        names = dict.fromkeys(name for step in self.steps for name in _object(step, "values"))
        own = {name: [_number(_object(step, "values").get(name)) for step in self.steps] for name in names}
        return own | {"temperature": [_number(step.get("temperature")) for step in self.steps]}

    def _costs(self) -> list[Json]:
        names = dict.fromkeys(name for step in self.steps for name in _object(step, "costs"))
        return [
            {"name": clean(name)}
            | {
                kind: [_number(_object(step, "costs", name).get(kind)) for step in self.steps]
                for kind in ("expected", "selected")
            }
            for name in names
        ]

    def _pool(self, name: str, branches: Iterable[str]) -> Json:
        return {
            "entropy": [_number(_object(step, "pools", name).get("entropy")) for step in self.steps],
            "weights": [
                [_number(_object(step, "pools", name, "weights").get(branch)) for step in self.steps]
                for branch in branches
            ],
        }


def history_from_log(text: str, supergraph: SuperGraph) -> History:
    """Read the log of the search that a supergraph came from.

    Where two lines have one step, the search was resumed before it, and the later line and what follows count.

    Raises:
        ReportError: The text is no such log, has no step, or is one of another net.
    """
    first, *rest = text.split("\n")
    header = _line(first, 1)
    if header.get("format") != FORMAT or not isinstance(header.get("pools"), dict):
        raise ReportError(
            f"is no training log of format {FORMAT}; expected one that supernet_onnx.train.TrainingLog wrote"
        )
    pools = {pool.name: [branch.name for branch in pool.branches] for pool in supergraph.pools}
    if header["pools"] != pools:
        raise ReportError("is the log of a net that has other pools or branches than the model")
    steps: list[dict[str, object]] = []
    for index, line in enumerate(rest[:-1], start=2):  # without its line end, the last was cut off when the run ended
        record = _line(line, index)
        step = field(record, "step", int, where=f"line {index}: ")
        while steps and int(str(steps[-1]["step"])) >= step:
            steps.pop()
        steps.append(record)
    if not steps:
        raise ReportError("has no step yet, so there is nothing to show")
    return History(pools, tuple(_thin(steps)), len(steps))


def _line(text: str, index: int) -> dict[str, object]:
    try:
        return parse(text)
    except ReportError as error:
        raise ReportError(f"line {index}: {error}") from error


def _thin(steps: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return at most so many steps as a page draws, evenly spread, with the first and the last."""
    if len(steps) <= _MAX_STEPS:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (_MAX_STEPS - 1))] for i in range(_MAX_STEPS)]


def _object(record: Mapping[str, object], *names: str) -> Mapping[str, object]:
    """Return an object inside of an object; an empty one where it is missing."""
    for name in names:
        inner = record.get(name)
        record = inner if isinstance(inner, dict) else {}
    return record


def _number(value: object) -> float | None:
    """Return a number with the digits that can be seen; None for one that is not finite or not there."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")
