"""The space of a supergraph as a page shows it: its pools, what they cost, and some selections to look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from supernet_onnx.page.quoting import quote, select
from supernet_onnx.report import clean
from supernet_onnx.report.conditions import in_words, ways
from supernet_onnx.report.inspection import own_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from supernet_onnx.cost import CostTable, OperatorCost
    from supernet_onnx.report import Inspection
    from supernet_onnx.report.form import Json
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Space", "View"]

_EXACT: Final = 10**9  # larger numbers of selections are written as powers of ten
_SUPERSCRIPTS: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class View:
    """A selection to look at.

    Attributes:
        title: What it is called.
        selection: One branch for each pool.
        operators: What each operator costs under it.
    """

    title: str
    selection: Selection
    operators: Sequence[OperatorCost]


@dataclass(frozen=True, slots=True)
class Space:
    """A supergraph, priced, with selections to look at.

    Attributes:
        inspection: Its pools and their branches.
        tables: The metrics by name.
        views: The selections, the one that is shown first in front.
    """

    inspection: Inspection
    tables: Mapping[str, CostTable]
    views: Sequence[View]

    def record(self) -> Json:
        """Return everything as JSON, names made safe to be shown.

        ``amounts`` are those of the branches beside the first view's selection, by metric and pool; a view has those
        of pools where its selection makes other ones.
        """
        graph, file = self.inspection.supergraph, self.inspection.file
        base = self._amounts(self.views[0].selection)
        operators = list(dict.fromkeys(cost.operator for view in self.views for cost in view.operators))
        return {
            "file": clean(file.name),
            "command": f"supernet-onnx prune {_path(file)}",
            "format": None if self.inspection.version is None else clean(self.inspection.version),
            "selections": count_in_words(self.inspection.selections),
            "nodes": len(graph.graph.node),
            "metrics": [
                {
                    "name": clean(table.metric),
                    "unit": clean(table.unit),
                    "trunk": table.trunk,
                    "minimum": table.minimum(),
                    "maximum": table.maximum(),
                    "unknown": [clean(operator) for operator in table.unknown],
                }
                for table in self.tables.values()
            ],
            "pools": self._pools(graph),
            "operators": [clean(operator) for operator in operators],
            "amounts": base,
            "views": [self._view(view, base, operators) for view in self.views],
        }

    def _pools(self, graph: SuperGraph) -> list[Json]:
        nodes = own_nodes(graph)
        return [
            {
                "name": clean(pool.name),
                "key": pool.name,
                "calls": pool.calls,
                "when": clean(in_words(ways(graph.live(pool), graph.pools))),
                "branches": [
                    {
                        "name": clean(branch.name),
                        "key": branch.name,
                        "weight": _finite(branch.weight),
                        "score": _finite(branch.score),
                        "nodes": nodes[level][i],
                        "option": select(graph, pool, i),
                    }
                    for i, branch in enumerate(pool.branches)
                ],
            }
            for level, pool in enumerate(graph.pools)
        ]

    def _amounts(self, chosen: Selection) -> list[list[list[float]]]:
        amounts = [table.branch_amounts(chosen) for table in self.tables.values()]
        return [[list(of_pool.values()) for of_pool in of_metric.values()] for of_metric in amounts]

    def _view(self, view: View, base: list[list[list[float]]], operators: list[str]) -> Json:
        graph, choices = self.inspection.supergraph, view.selection.indices
        other = [
            [metric, level, amounts]
            for metric, of_metric in enumerate(self._amounts(view.selection))
            for level, amounts in enumerate(of_metric)
            if amounts != base[metric][level]
        ]
        return {
            "title": view.title,
            "choices": choices,
            "unreached": [level for level, pool in enumerate(graph.pools) if not graph.live(pool).at(choices)],
            "totals": [table.total(view.selection) for table in self.tables.values()],
            "amounts": other,
            "operators": [
                [operators.index(cost.operator), cost.nodes, [cost.amounts[name] for name in self.tables]]
                for cost in view.operators
            ],
        }


def count_in_words(number: int) -> str:
    """Write a number of selections, a large one as a power of ten.

    >>> count_in_words(5184), count_in_words(6**6 * 7**15)
    ('5,184', '2.2·10¹⁷')
    """
    if number < _EXACT:
        return f"{number:,}"
    digits, exponent = f"{Decimal(number):.1e}".split("e+")
    return f"{digits}·10{exponent.translate(_SUPERSCRIPTS)}"


def _path(file: Path) -> str:
    """Return a file as a word of a command; one that begins like an option is told from one."""
    return quote(f"./{file}" if str(file).startswith("-") else str(file))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
