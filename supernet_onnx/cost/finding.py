"""Metrics by name: those of the package, of installed packages, and of a file of one's own.

An installed package offers metrics through the entry point group ``supernet_onnx.costs``; in its ``pyproject.toml``::

    [project.entry-points."supernet_onnx.costs"]
    dsp_cycles = "my_package.costs:dsp_cycles"

A file offers every ``CostSpec`` that stands in it at module level; a measured cost table its own metric.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from supernet_onnx.cost.measured import latency
from supernet_onnx.cost.pricing import METRICS
from supernet_onnx.cost.spec import CostSpec
from supernet_onnx.errors import FAILURES, CostError, in_one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from supernet_onnx.cost.spec import Metric

__all__ = ["GROUP", "Metrics"]

GROUP: Final = "supernet_onnx.costs"
"""The entry point group."""


class Metrics:
    """All metrics that have a name here.

    Args:
        files: Python files that define metrics. They are run.
        tables: Cost tables that were measured.

    Raises:
        CostError: A file cannot be read or run, defines no metric, or one under a name that is taken; two installed
            packages, or one and this package, offer the same name.
    """

    def __init__(self, files: Iterable[Path] = (), tables: Iterable[Path] = ()) -> None:
        self._known: dict[str, Metric | EntryPoint] = dict(METRICS)
        origins = dict.fromkeys(METRICS, "supernet_onnx itself")

        def add(name: str, metric: Metric | EntryPoint, origin: str) -> None:
            if name in origins:
                raise CostError(f"metric '{name}' is defined by {origins[name]} and by {origin}; rename one")
            origins[name] = origin
            self._known[name] = metric

        for point in entry_points(group=GROUP):
            add(point.name, point, f"the package '{point.dist.name if point.dist else point.value}'")
        for path in files:
            for name, metric in _defined(path).items():
                add(name, metric, f"'{path}'")
        for path in tables:
            measured = latency(path)
            add(measured.name, measured, f"'{path}'")

    @property
    def names(self) -> tuple[str, ...]:
        """The names: those of the package first."""
        return tuple(self._known)

    def find(self, name: str) -> Metric | None:
        """Return the metric of that name, or None. One of an installed package is imported only now.

        Raises:
            CostError: It cannot be imported, or is no metric of that name.
        """
        found = self._known.get(name)
        return _imported(found) if isinstance(found, EntryPoint) else found


def _defined(path: Path) -> Mapping[str, CostSpec]:
    """Run a file and return the metrics that it defines; those that it imports from this package are none of them."""
    if not path.is_file():
        raise CostError(f"cost module '{path}' is not there; give the path of a Python file")
    spec = importlib.util.spec_from_file_location(f"supernet_onnx_cost_module_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CostError(f"cost module '{path}' is no Python file; expected a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FAILURES as error:
        raise CostError(f"cost module '{path}' cannot be run: {in_one_line(error)}; mend it") from error
    found: dict[str, CostSpec] = {}
    for value in vars(module).values():
        if not isinstance(value, CostSpec) or METRICS.get(value.name) is value:
            continue
        if found.setdefault(value.name, value) is not value:
            raise CostError(f"cost module '{path}' defines two metrics named '{value.name}'; rename one")
    if not found:
        raise CostError(f"cost module '{path}' defines no metric; assign a CostSpec to a name in it")
    return found


def _imported(point: EntryPoint) -> Metric:
    where = f"metric '{point.name}', entry point '{point.value}'"
    try:
        metric = point.load()
    except FAILURES as error:
        raise CostError(f"{where}: cannot be imported: {in_one_line(error)}; mend or remove its package") from error
    if getattr(metric, "name", None) != point.name or not hasattr(metric, "bill"):
        raise CostError(f"{where}: is {metric!r}, expected a metric of that name, such as a CostSpec")
    found: Metric = metric
    return found
