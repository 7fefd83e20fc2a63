"""What a supernet costs: expected, at the extremes and as selected; and the best choice under budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from supernet_onnx.cost import METRICS, measure
from supernet_onnx.search import choose
from supernet_onnx.selection import resolve
from supernet_onnx.train.decisions import Deciding
from supernet_onnx.train.pricing import ExpectedCost
from supernet_onnx.train.ranking import log_weights, stored_scores

if TYPE_CHECKING:
    from supernet_onnx.cost import CostTable, Metric
    from supernet_onnx.search import Choice, Scores
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Priced"]


class Priced(Deciding):
    """A model with pools that is priced on its supergraph."""

    _supergraph: SuperGraph
    _full_cost: bool
    _cost_specification: Metric | Mapping[str, Metric]
    _tables: dict[str | None, CostTable]
    _costs: dict[str | None, ExpectedCost]
    _ranges: dict[str | None, tuple[float, float]]

    @property
    def cost_specification(self) -> Metric | Mapping[str, Metric]:
        """What is counted: a metric, or several by name. Setting it prices the supernet anew."""
        return self._cost_specification

    @cost_specification.setter
    def cost_specification(self, specification: Metric | Mapping[str, Metric]) -> None:
        named: dict[str | None, Metric] = {None: specification} if not isinstance(specification, Mapping) else {}
        if isinstance(specification, Mapping):
            named.update(specification.items())
        if not named or not all(hasattr(metric, "bill") for metric in named.values()):
            raise TypeError(
                "cost must be a metric, such as supernet_onnx.cost.params, or a mapping of names to metrics, "
                f"not {specification!r}"
            )
        measured = measure(self._supergraph, {id(metric): metric for metric in named.values()}.values())
        self._cost_specification = specification
        self._tables = {name: measured[metric.name] for name, metric in named.items()}
        self._build_costs()

    @property
    def full_cost(self) -> bool:
        """Whether the costs count what no selection can remove; it can be set at any time."""
        return self._full_cost

    @full_cost.setter
    def full_cost(self, value: bool) -> None:
        self._full_cost = value
        self._build_costs()

    def _build_costs(self) -> None:
        self._ranges = {}
        with torch.inference_mode(False):  # what is kept must serve in training too
            self._costs = {
                name: ExpectedCost(table, self._pools, trunk=self._full_cost) for name, table in self._tables.items()
            }

    @property
    def cost(self) -> Tensor:
        """The expected cost of one sample now, a scalar that is differentiable in the logits.

        Raises:
            ValueError: There are several costs; ``get_cost(name)`` returns one of them.
        """
        return self.get_cost()

    def get_cost(self, name: str | None = None) -> Tensor:
        """Return the expected cost of that name, a scalar that is differentiable in the logits.

        Raises:
            ValueError: There is no such cost, or several and no name.
        """
        self._check_cost(name)
        return self._costs[name]()

    def _check_cost(self, name: str | None) -> None:
        if name not in self._costs:
            known = ", ".join(repr(key) for key in self._costs if key is not None)
            own = f"the costs are {known}" if known else f"the only one is net.cost; name it, cost={{{name!r}: ...}}"
            raise ValueError(
                f"there are several costs, get one by its name: net.get_cost(name), name one of {known}"
                if name is None
                else f"there is no cost {name!r}; {own}"
            )

    def cost_range(self, name: str | None = None) -> tuple[float, float]:
        """Return the smallest and the largest cost of any selection, exactly; the trunk counts if ``full_cost``.

        Raises:
            ValueError: There is no such cost, or several and no name.
        """
        if name not in self._ranges:
            table = self._counted(name)
            self._ranges[name] = float(table.minimum()), float(table.maximum())
        return self._ranges[name]

    def selected_cost(self, name: str | None = None) -> float:
        """Return what the branches of largest logit cost; the trunk counts if ``full_cost``.

        Raises:
            ValueError: There is no such cost, or several and no name.
        """
        return float(self._counted(name).total(resolve(self._supergraph, self.selection())))

    @property
    def cost_names(self) -> tuple[str | None, ...]:
        """The names of the costs; None is that of a single one."""
        return tuple(self._tables)

    def choose(
        self,
        budgets: Mapping[str, float | str],
        scores: Scores | None = None,
        pins: Mapping[str, str | int] | None = None,
    ) -> Choice:
        """Choose the branches of the best scores among all selections that meet the budgets, exactly.

        ``net.export(choice.selection)`` is the network. The supernet is not changed.

        Args:
            budgets: For each metric, by its own name (``"params"``), the most that one sample may cost with all that
                no selection can remove: a number, or a text such as ``"50k"`` or ``"60%"`` of the largest subnet. The
                metric need not be one of the net's costs.
            scores: For each pool the score of each branch, higher is better. If left out, those that ``train.score``
                stored in the pools; if there are none, the logs of the weights.
            pins: Branches that must be taken, by name or index, for some pools.

        Returns:
            The selection, its objective, what it costs of each budget, and the proof (``supernet_onnx.search``).

        Raises:
            InfeasibleError: No selection meets the budgets and pins; the message says what is reachable.
            BudgetError: A budget is no amount or of no metric, or scores are not finite or of other pools.
            SelectionError: A pin names a pool or branch that is not there.
            CostError: A metric cannot price the supernet.
        """
        own = self.cost_specification
        metrics = [
            metric
            for metric in (own.values() if isinstance(own, Mapping) else [own])
            if METRICS.get(metric.name) != metric
        ]
        stored = stored_scores(self._pools)
        found = choose(
            self._supergraph,
            budgets=budgets,
            scores=scores or stored or log_weights(self._pools),
            pins=pins,
            metrics=metrics,
        )
        source = found.source if scores else "the stored scores" if stored else "the logs of the weights"
        return replace(found, source=source)

    def _counted(self, name: str | None) -> CostTable:
        """Return the table behind ``get_cost(name)``."""
        self._check_cost(name)
        return self._tables[name] if self._full_cost else self._tables[name].without_trunk()
