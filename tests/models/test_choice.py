"""The exact choice in the reference supernets: against all selections where they are few, and counted on the subnet."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

import supernet_onnx
from supernet_onnx.cost import METRICS, measure
from supernet_onnx.errors import InfeasibleError
from supernet_onnx.search import Chooser
from supernet_onnx.selection import count, every

if TYPE_CHECKING:
    from tests.models.reference import Reference

NAMES = ("params", "macs", "size", "peak_memory")
METRICS_COUNTED = [METRICS[name] for name in NAMES]


def test_choices_are_those_of_all_selections_and_the_subnets_cost_what_they_say(reference: Reference) -> None:
    graph = supernet_onnx.read(reference.path)
    chooser = Chooser(graph, METRICS_COUNTED)
    selections = list(every(graph)) if count(graph) <= 6000 else []
    totals = {name: np.array([chooser.tables[name].total(s) for s in selections]) for name in NAMES}
    indices = np.array([selection.indices for selection in selections])
    generator = random.Random(1)
    for draw in range(20):
        scores = {pool.name: [generator.gauss(0, 1) for _ in pool.branches] for pool in graph.pools}
        names = generator.sample(NAMES, generator.randint(1, 3))
        low = {name: chooser.tables[name].minimum() for name in names}
        limits = {name: generator.uniform(low[name], chooser.tables[name].maximum()) for name in names}
        try:
            choice = chooser.choose(budgets=limits, scores=scores)
            found = choice.objective
            assert choice.gap == 0
        except InfeasibleError:
            choice, found = None, -math.inf
        if selections:
            sums = np.sum([np.array(of)[indices[:, level]] for level, of in enumerate(scores.values())], axis=0)
            meets = np.all([totals[name] <= limits[name] for name in names], axis=0)
            assert found == pytest.approx(sums[meets].max() if meets.any() else -math.inf, abs=1e-9)
        if choice is not None and draw < 3:
            counted = measure(supernet_onnx.read(supernet_onnx.prune(graph, choice.selection)), METRICS_COUNTED)
            assert {budget.metric: budget.cost for budget in choice.budgets} == {n: counted[n].trunk for n in names}
