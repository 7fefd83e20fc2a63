"""Effects fitted to losses that are known: recovered, with honest errors, and by the closed form of leaving one out."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from supernet_onnx.search import effects
from supernet_onnx.search.effects import balanced_selections, fit_effects
from supernet_onnx.selection import every
from tests.cost.supergraphs import graph, pool

SIGNATURE = "g (float[4] x) => (float[4] y)"
FLAT = (
    f"{SIGNATURE} {{ a = Relu (x)  b = Neg (x)  p = {pool('p', 'a b c')} a, b, x)"
    f"  c = Relu (p)  q = {pool('q', 'a b')} c, p)  d = Abs (q)  e = Neg (q)  y = {pool('r', 'a b c d')} d, e, q, d) }}"
)
NESTED = (
    f"{SIGNATURE} {{ a = Relu (x)  i = {pool('inner', 'good bad')} a, x)  b = Neg (i)"
    f"  y = {pool('outer', 'deep skip')} b, x) }}"
)
TRUE = {"p": (0.5, 0.0, -0.5), "q": (1.0, -1.0), "r": (0.1, 0.2, 0.3, -0.6)}  # of each branch on the loss


def loss_of(selection: object, truth: dict[str, tuple[float, ...]]) -> float:
    return 3 + sum(truth[pool][i] for pool, i in zip(selection.pools, selection.indices, strict=True))


def test_each_branch_is_drawn_equally_often_give_or_take_one() -> None:
    supernet = graph(FLAT)
    for number in (1, 7, 24, 48):
        drawn = balanced_selections(supernet, number, seed=2)
        assert len(drawn) == number
        for level, own in enumerate(supernet.pools):
            counts = Counter(selection.indices[level] for selection in drawn)
            assert all(
                counts[i] in (number // len(own.branches), -(-number // len(own.branches))) for i in range(3 - 1)
            )
    assert balanced_selections(supernet, 9, seed=2) == balanced_selections(supernet, 9, seed=2)
    assert balanced_selections(supernet, 9, seed=2) != balanced_selections(supernet, 9, seed=3)


def test_effects_that_add_up_are_found_from_as_many_selections_as_there_are_branches() -> None:
    supernet = graph(FLAT)
    drawn = balanced_selections(supernet, 12, seed=1)
    found = fit_effects(supernet, drawn, [loss_of(selection, TRUE) for selection in drawn])
    assert found.mean == pytest.approx(np.mean([loss_of(selection, TRUE) for selection in drawn]))
    for name, truth in TRUE.items():
        assert found.scores[name] == pytest.approx([-effect for effect in truth], abs=1e-4)
        assert max(found.standard_errors[name]) < 1e-3
    assert found.rank_correlation > 0.95


def test_errors_cover_the_truth_as_often_as_they_should() -> None:
    supernet = graph(FLAT)
    inside, total = 0, 0
    for seed in range(60):
        drawn = balanced_selections(supernet, 24, seed=seed)
        noise = np.random.default_rng(seed).normal(0, 0.3, len(drawn))
        found = fit_effects(supernet, drawn, [loss_of(s, TRUE) + e for s, e in zip(drawn, noise, strict=True)])
        for name, truth in TRUE.items():
            for score, error, effect in zip(found.scores[name], found.standard_errors[name], truth, strict=True):
                inside += abs(score + effect) <= 2 * error
                total += 1
    assert 0.9 < inside / total < 0.99  # 0.954 of a normal distribution


def test_an_inner_pool_tells_of_its_branches_and_the_outer_one_of_the_average() -> None:
    supernet = graph(NESTED)
    drawn = balanced_selections(supernet, 32, seed=0)
    losses = {("good", "deep"): 1.0, ("bad", "deep"): 2.0, ("good", "skip"): 1.8, ("bad", "skip"): 1.8}
    found = fit_effects(supernet, drawn, [losses[s["inner"], s["outer"]] for s in drawn])
    assert found.scores["inner"] == pytest.approx([0.5, -0.5], abs=1e-3)
    assert found.scores["outer"] == pytest.approx([0.15, -0.15], abs=1e-3)  # half of what 1.8 is above mean(1, 2)
    assert found.mean == pytest.approx((1.5 + 1.8) / 2, abs=1e-3)


def test_the_strength_is_the_one_that_leaving_one_out_finds_best() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(14, 6)), rng.normal(size=14)

    def left_out(strength: float) -> float:
        error = 0.0
        for i in range(len(y)):
            seen = np.arange(len(y)) != i
            center, mean = x[seen].mean(0), y[seen].mean()
            centred = x[seen] - center
            w = np.linalg.solve(centred.T @ centred + strength * np.eye(6), centred.T @ (y[seen] - mean))
            error += float((y[i] - mean - (x[i] - center) @ w) ** 2)
        return error

    fit = effects._ridge(x, y)
    singular = np.linalg.svd(x - x.mean(0), compute_uv=False)
    grid = effects._STRENGTHS * float((singular**2).mean())
    errors = [left_out(strength) for strength in grid]
    assert fit.strength == pytest.approx(grid[int(np.argmin(errors))])


def test_pairs_tell_what_two_branches_do_together() -> None:
    supernet = graph(FLAT)
    drawn = list(every(supernet))

    def loss(selection: object) -> float:
        return loss_of(selection, TRUE) + (1.0 if (selection["p"], selection["q"]) == ("a", "a") else 0.0)

    losses = [loss(selection) for selection in drawn]
    found = fit_effects(supernet, drawn, losses, pairwise=True)
    alone = fit_effects(supernet, drawn, losses)
    assert alone.pairs == {}
    assert alone.pairs_rank_correlation is None
    assert found.scores == alone.scores
    assert found.pairs_rank_correlation > 0.998
    assert alone.rank_correlation < 0.995
    assert set(found.pairs) == set(itertools.combinations(("p", "q", "r"), 2))
    table = found.pairs["p", "q"]
    interaction = table[0][0] - table[1][0] - table[0][1] + table[1][1]
    assert interaction == pytest.approx(-1, abs=1e-2)
    assert np.abs(found.pairs["q", "r"]).max() < 1e-2


def test_losses_that_are_all_equal_tell_nothing_and_branches_that_were_not_seen_get_nothing() -> None:
    supernet = graph(FLAT)
    drawn = balanced_selections(supernet, 12)
    found = fit_effects(supernet, drawn, [1.5] * 12)
    assert all(score == 0 for scores in found.scores.values() for score in scores)
    assert math.isnan(found.rank_correlation)
    seen = [selection for selection in every(supernet) if selection["p"] != "c"]
    one = fit_effects(supernet, seen, [loss_of(selection, TRUE) for selection in seen])
    assert one.scores["p"][2] == pytest.approx(0, abs=1e-6)
    assert sum(one.scores["p"]) == pytest.approx(0, abs=1e-6)


def test_errors_are_unknown_where_the_fit_takes_up_all_selections() -> None:
    supernet = graph(FLAT)  # 2 + 1 + 3 effects and a mean
    noise = np.random.default_rng(0).normal(0, 0.3, 12)
    known = {}
    for number in (4, 12):
        drawn = balanced_selections(supernet, number, seed=1)
        losses = [loss_of(selection, TRUE) + error for selection, error in zip(drawn, noise, strict=False)]
        errors = fit_effects(supernet, drawn, losses).standard_errors
        known[number] = [not math.isnan(error) for of_pool in errors.values() for error in of_pool]
    assert not any(known[4])
    assert all(known[12])


@pytest.mark.parametrize("losses", [[1.0, 2.0], [1.0, 2.0, math.nan], [1.0, 2.0, 3.0, 4.0]])
def test_losses_that_cannot_be_fitted_are_refused(losses: list[float]) -> None:
    supernet = graph(FLAT)
    with pytest.raises(ValueError, match="a fit needs a finite loss for each of at least three selections"):
        fit_effects(supernet, balanced_selections(supernet, 3), losses)
