"""What ``cost`` reports: the amounts of some metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.report.conditions import in_words, ways
from supernet_onnx.report.form import Table, clean, format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supernet_onnx.cost import CostTable, NodeCost, OperatorCost
    from supernet_onnx.diagram import Number
    from supernet_onnx.report.form import Json, Part
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import Pool

__all__ = ["Pricing"]


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a supergraph costs.

    Attributes:
        pools: Its pools.
        tables: The metrics by name.
        selection: What is priced as the total. The amount of a branch is that beside this selection's others.
        is_chosen: Whether every pool had a default or was given a branch; if not, there is no total.
        nodes: The amounts of each node, if they were asked for.
        operators: The amounts of each operator under the selection, if they were asked for.
    """

    pools: Sequence[Pool]
    tables: Mapping[str, CostTable]
    selection: Selection
    is_chosen: bool
    nodes: Sequence[NodeCost] | None = None
    operators: Sequence[OperatorCost] | None = None

    def record(self) -> Json:
        """Return ``metrics``, ``selection``, ``unknown`` and, if they were asked for, ``operators`` and ``nodes``.

        A node's ``when`` lists the ways in which it is due, each ``{pool: [branch, ...]}``; an empty one is always,
        and null stands for more ways than one can read.
        """
        record: Json = {
            "metrics": {
                name: {
                    "unit": table.unit,
                    "total": table.total(self.selection) if self.is_chosen else None,
                    "trunk": table.trunk,
                    "minimum": table.minimum(),
                    "maximum": table.maximum(),
                    "pools": table.branch_amounts(self.selection),
                }
                for name, table in self.tables.items()
            },
            "selection": self.selection.as_dict() if self.is_chosen else None,
            "unknown": self._unknown(),
        }
        if self.operators is not None:
            record["operators"] = [
                {
                    "operator": operator.operator,
                    "nodes": operator.nodes,
                    "amounts": operator.amounts,
                    "shares": {name: self._share(name, amount) for name, amount in operator.amounts.items()},
                }
                for operator in self.operators
            ]
        if self.nodes is not None:
            record["nodes"] = [
                {
                    "node": node.node,
                    "op_type": node.op_type,
                    "when": ways(node.condition, self.pools),
                    "amounts": node.amounts,
                }
                for node in self.nodes
            ]
        return record

    def parts(self) -> list[Part]:
        """Return a row for the trunk, each branch, the selection, the minimum and the maximum."""
        tables = self.tables.values()
        table = Table(["pool", "branch"], [f"{metric.metric} [{metric.unit}]" for metric in tables], ["selected"])
        table.add_row("trunk", "", *(format_amount(metric.trunk) for metric in tables), "")
        table.add_section()
        columns = [metric.branch_amounts(self.selection) for metric in tables]
        for pool, chosen in zip(self.pools, self.selection.branches, strict=True):
            for branch in (branch.name for branch in pool.branches):
                amounts = (format_amount(column[pool.name][branch]) for column in columns)
                table.add_row(
                    clean(pool.name), clean(branch), *amounts, "*" if self.is_chosen and branch == chosen else ""
                )
            table.add_section()
        if self.is_chosen:
            table.add_row("total", "", *(format_amount(metric.total(self.selection)) for metric in tables), "")
        if self.pools:
            table.add_row("minimum", "", *(format_amount(metric.minimum()) for metric in tables), "")
            table.add_row("maximum", "", *(format_amount(metric.maximum()) for metric in tables), "")
        return [table, *self._notes(), *self._operator_table(), *self._node_table()]

    def _notes(self) -> list[Part]:
        notes: list[Part] = []
        if not self.is_chosen:
            notes.append("no total: some pools have computed weights; choose a branch of each with --select")
        if self._unknown():
            notes.append(f"left out, for the metrics cannot count them: {clean(', '.join(self._unknown()))}")
        return notes

    def _unknown(self) -> list[str]:
        return sorted({operator for table in self.tables.values() for operator in table.unknown})

    def _operator_table(self) -> list[Part]:
        if self.operators is None:
            return []
        headers = [header for name in self.tables for header in (name, "share")]
        table = Table(["operator"], ["nodes", *headers])
        for operator in self.operators:
            cells = [f"{operator.nodes:,}"]
            for name, amount in operator.amounts.items():
                share = self._share(name, amount)
                cells += [format_amount(amount), "-" if share is None else f"{share:.1%}"]
            table.add_row(clean(operator.operator), *cells)
        return ["", table]

    def _share(self, metric: str, amount: Number) -> float | None:
        """Return an amount as a part of the selection's total; None where that is nothing."""
        total = self.tables[metric].total(self.selection)
        return amount / total if total else None

    def _node_table(self) -> list[Part]:
        if self.nodes is None:
            return []
        table = Table(["node", "when"], list(self.tables))
        for node in self.nodes:
            amounts = (format_amount(node.amounts[name]) for name in self.tables)
            table.add_row(clean(node.node), clean(in_words(ways(node.condition, self.pools))), *amounts)
        return ["", table]
