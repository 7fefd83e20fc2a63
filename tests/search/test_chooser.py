"""The exact choice against going through all selections."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from supernet_onnx import search
from supernet_onnx.cost import macs, params, peak_memory, size, traffic
from supernet_onnx.errors import InfeasibleError
from supernet_onnx.selection import every
from tests.cost.naive import supergraphs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.cost import CostTable
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

METRICS = (params, macs, size, peak_memory, traffic)


def reached(supernet: SuperGraph, selection: Selection) -> list[int]:
    """Return the pools that any live node belongs to."""
    return [
        level
        for level, pool in enumerate(supernet.pools)
        if any(supernet.node_conditions[node].at(selection.indices) for node in pool.nodes)
    ]


def brute_force(
    supernet: SuperGraph,
    tables: Mapping[str, CostTable],
    limits: Mapping[str, float],
    scores: Mapping[str, list[float]],
    pins: Mapping[str, int],
) -> tuple[float, float, list[int]] | None:
    """Return the best score, its share of the budgets, and its branches from the last pool on; None without any."""
    found = []
    for selection in every(supernet):
        spent = {name: tables[name].total(selection) for name in limits}
        if any(spent[name] > limits[name] for name in limits):
            continue
        if any(selection.indices[selection.pools.index(pool)] != index for pool, index in pins.items()):
            continue
        levels = reached(supernet, selection)
        score = sum(scores[supernet.pools[level].name][selection.indices[level]] for level in levels)
        share = sum(spent[name] / limits[name] for name in limits if limits[name])
        first = [(selection.indices[level] if level in levels else 0) for level in reversed(range(len(supernet.pools)))]
        found.append((-round(score, 6), round(share, 7), first))
    return min(found, default=None)


@settings(max_examples=120, deadline=None)
@given(supergraphs(), st.integers(0, 2**32))
def test_the_choice_is_that_of_going_through_all_selections(supernet: SuperGraph, seed: int) -> None:
    assume(supernet.pools)
    draw = random.Random(seed)
    chooser = search.Chooser(supernet, METRICS)
    for _ in range(3):
        metrics = draw.sample(METRICS, draw.randint(0, 3))
        limits = {}
        for metric in metrics:
            table = chooser.tables[metric.name]
            totals = sorted({table.total(selection) for selection in every(supernet)})
            limits[metric.name] = draw.choice(totals) + draw.choice([0, 0, 1, -1])
        limits = {name: max(limit, 0) for name, limit in limits.items()}
        scores = {pool.name: [draw.randint(-3, 3) / 4 for _ in pool.branches] for pool in supernet.pools}
        pins = {pool.name: draw.randrange(len(pool.branches)) for pool in supernet.pools if draw.random() < 0.2}
        expected = brute_force(supernet, chooser.tables, limits, scores, pins)
        if expected is None:
            with pytest.raises(InfeasibleError, match="no selection"):
                chooser.choose(budgets=limits, scores=scores, pins=pins)
            continue
        choice = chooser.choose(budgets=limits, scores=scores, pins=pins)
        levels = reached(supernet, choice.selection)
        share = sum(budget.cost / budget.limit for budget in choice.budgets if budget.limit)
        assert round(choice.objective, 6) == -expected[0]
        assert round(share, 7) == expected[1]
        assert [choice.selection.indices[i] if i in levels else 0 for i in range(len(supernet.pools))] == expected[2][
            ::-1
        ]
        assert (choice.gap, choice.status) == (0, "optimal")
        assert all(choice.selection.indices[choice.selection.pools.index(pool)] == i for pool, i in pins.items())
