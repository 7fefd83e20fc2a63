"""The sweep against going through all selections."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from supernet_onnx import search
from supernet_onnx.cost import CostSpec, macs, params, peak_memory, size, traffic
from supernet_onnx.errors import InfeasibleError
from supernet_onnx.search import Chooser, sweep
from supernet_onnx.selection import every, find
from tests.cost.naive import supergraphs
from tests.cost.supergraphs import graph, pool
from tests.search.test_chooser import reached
from tests.search.test_large_spaces import NESTED, SQUARES, chain, constants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supernet_onnx.search import Front
    from supernet_onnx.supergraph import SuperGraph

METRICS = (params, macs, size, peak_memory, traffic)
sevenths = CostSpec("sevenths", unit="", default="zero")
sevenths.counts("Conv")(lambda call: call.input(1).numel / 7)


def brute_force(
    supernet: SuperGraph,
    chooser: Chooser,
    metrics: Sequence[str],
    limits: Mapping[str, float],
    scores: Mapping[str, list[float]],
    pins: Mapping[str, int],
) -> set[tuple[float, ...]]:
    """Return the costs and scores of all selections that no other one beats."""
    found = set()
    for selection in every(supernet):
        levels = reached(supernet, selection)
        score = sum(scores[supernet.pools[level].name][selection.indices[level]] for level in levels)
        if any(chooser.tables[name].total(selection) > limit for name, limit in limits.items()):
            continue
        if any(selection.indices[level] != index for level, index in find(supernet, pins).items()):
            continue
        found.add((*(chooser.tables[name].total(selection) for name in metrics), -score))
    return {p for p in found if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in found)}


def values(front: Front) -> list[tuple[float, ...]]:
    *costs, score = (metric.name for metric in front.metrics)
    return [(*(point.values[name] for name in costs), -point.values[score]) for point in front.points]


@settings(max_examples=50, deadline=None)
@given(supergraphs(), st.integers(0, 2**32))
def test_the_front_is_that_of_going_through_all_selections(supernet: SuperGraph, seed: int) -> None:
    assume(supernet.pools)
    draw = random.Random(seed)
    metrics = draw.sample(METRICS, draw.choice([1, 1, 2, 2, 3]))
    names = [metric.name for metric in metrics]
    other = draw.choice(METRICS)
    chooser = Chooser(supernet, {metric.name: metric for metric in [*metrics, other]}.values())
    limits = {}
    if draw.random() < 0.5:
        limits = {other.name: draw.choice([chooser.tables[other.name].total(s) for s in every(supernet)])}
    pins = {pool.name: draw.randrange(len(pool.branches)) for pool in supernet.pools if draw.random() < 0.1}
    scores = {pool.name: [draw.randint(-4, 4) / 4 for _ in pool.branches] for pool in supernet.pools}
    expected = brute_force(supernet, chooser, names, limits, scores, pins)
    given = {"budgets": limits, "scores": scores, "pins": pins}
    if not expected:
        with pytest.raises(InfeasibleError, match="no selection"):
            sweep(chooser, names, **given)
        return
    front = sweep(chooser, names, **given)
    assert front.complete
    assert set(values(front)) == expected
    assert len(front.points) == len(expected)
    for point in front.points:
        selection = search.selection_of(supernet, point)
        assert [chooser.tables[name].total(selection) for name in names] == [point.values[name] for name in names]
    some = sweep(chooser, names, points=draw.randint(1, 6), **given)
    assert set(values(some)) <= expected
    assert not some.complete or set(values(some)) == expected


def test_a_limited_sweep_reaches_from_the_cheapest_to_the_best_and_leaves_no_large_gap() -> None:
    supernet = graph(chain(40), constants(40))
    chooser = Chooser(supernet, [params])
    scores = {f"p{p}": [0.3, 0.7 + p / 400, 1.0, 0.0] for p in range(40)}
    front = sweep(chooser, ["params"], points=9, scores=scores)
    costs = [point.values["params"] for point in front.points]
    assert len(front.points) == 9
    assert not front.complete
    assert costs == sorted(costs)
    assert (costs[0], costs[-1]) == (0, 40 * 400)
    assert max(b - a for a, b in itertools.pairwise(costs)) <= 0.3 * 40 * 400
    best = [point.values["score"] for point in front.points]
    assert best == sorted(best)
    assert all(
        chooser.choose(budgets={"params": cost}, scores=scores).objective == pytest.approx(score)
        for cost, score in zip(costs, best, strict=True)
    )


def test_amounts_that_are_no_integers_are_swept_too() -> None:
    supernet = graph(chain(3), constants(3))
    chooser = Chooser(supernet, [sevenths])
    scores = {f"p{p}": [1.0, 2.0, 3.5, 0.0] for p in range(3)}
    front = sweep(chooser, ["sevenths"], scores=scores)
    all_sums = {
        (sum(cost for cost, _ in three), sum(score for _, score in three))
        for three in itertools.product([(16, 1.0), (144, 2.0), (400, 3.5), (0, 0.0)], repeat=3)
    }
    expected = [p for p in all_sums if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in all_sums)]
    assert front.complete
    assert [(p.values["sevenths"] * 7, p.values["score"]) for p in front.points] == [
        (pytest.approx(cost), score) for cost, score in sorted(expected)
    ]


def test_ties_of_score_are_broken_by_what_the_front_is_about_not_by_other_budgets() -> None:
    text = (
        f"g (float[1,4,8,8] x) => (float[1,4,8,8] y) {{ a = Conv (x, k)  b = Relu (x)  c = Relu (b)"
        f"  d = Concat <axis = 1> (c, c, c, c)  e, f, g, h = Split <axis = 1, num_outputs = 4> (d)"
        f"  y = {pool('p', 'weights memory')} a, e) }}"
    )
    chooser = Chooser(graph(text, SQUARES), [params, traffic])
    equal = {"p": [1.0, 1.0]}
    front = sweep(chooser, ["params"], budgets={"traffic": "100%"}, scores=equal)
    assert [(point.selection["p"], point.values["params"]) for point in front.points] == [("memory", 0)]
    front = sweep(chooser, ["params", "traffic"], scores=equal)
    assert [point.selection["p"] for point in front.points] == ["memory", "weights"]


def test_pins_and_budgets_hold_at_every_point_and_wrong_use_is_an_error() -> None:
    chooser = Chooser(graph(NESTED, SQUARES), [params])
    scores = {"inner": [5.0, 1.0], "outer": [6.0, 4.0]}
    free = sweep(chooser, ["params"], scores=scores)
    assert [(p.values["params"], p.values["score"]) for p in free.points] == [(0, 4), (16, 7), (32, 11)]
    within = sweep(chooser, ["params"], scores=scores, budgets={"params": 31}, pins={"outer": "deep"})
    assert [(p.values["params"], p.values["score"]) for p in within.points] == [(16, 7)]
    with pytest.raises(InfeasibleError, match="with outer=deep meets params <= 15 elements"):
        sweep(chooser, ["params"], scores=scores, budgets={"params": 15}, pins={"outer": "deep"})
    with pytest.raises(ValueError, match="one to three different metrics"):
        sweep(chooser, [])
    with pytest.raises(ValueError, match="points must be at least 1"):
        sweep(chooser, ["params"], points=0)
