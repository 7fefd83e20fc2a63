"""Choices in spaces that nobody can go through, and in odd ones."""

from __future__ import annotations

import random
import time

import pytest
from scipy import optimize

from supernet_onnx import search
from supernet_onnx.cost import macs, params, peak_memory
from supernet_onnx.errors import BudgetError, CheckFailedError, InfeasibleError, MarkError
from supernet_onnx.search import parse_limit
from tests.cost.supergraphs import graph, pool

KERNELS = [(4, 4, 1, 1), (4, 4, 3, 3), (4, 4, 5, 5)]
COSTS = [16, 16 * 9, 16 * 25, 0]
IMAGE = "g (float[1,4,8,8] x) => (float[1,4,8,8] y{})"


def chain(length: int, *, zero: bool = False) -> str:
    """Write pools of three convolutions and a skip in a row; or with a zero at the end, that cuts off all before."""
    lines, last = [], "x"
    for p in range(length):
        lines += [f'c{p}_{b} = Conv <auto_pad = "SAME_UPPER"> ({last}, w{p}_{b})' for b in range(3)]
        end = "z" if zero else last
        lines.append(f"y{p} = {pool(f'p{p}', 'one three five end')} c{p}_0, c{p}_1, c{p}_2, {end})")
        last = f"y{p}"
    first = "n = ConstantOfShape (shape)  z = Mul (n, nothing)"
    return f"{IMAGE.format(length - 1)} <int64[4] shape = {{1, 4, 8, 8}}> {{ {first}  {'  '.join(lines)} }}"


def constants(length: int) -> dict[str, tuple[int, ...]]:
    return {"nothing": (), **{f"w{p}_{b}": shape for p in range(length) for b, shape in enumerate(KERNELS)}}


def knapsack(values: list[list[int]], limit: int) -> float:
    """Return the largest sum of one value from each row whose costs are within a limit, by dynamic programming."""
    best = {0: 0.0}
    for row in values:
        after: dict[int, float] = {}
        for spent, value in best.items():
            for gain, cost in zip(row, COSTS, strict=True):
                if spent + cost <= limit:
                    after[spent + cost] = max(after.get(spent + cost, -1e9), value + gain)
        best = after
    return max(best.values())


def test_sixty_pools_are_chosen_as_dynamic_programming_does() -> None:
    supernet = graph(chain(60), constants(60))
    chooser = search.Chooser(supernet, [params, macs, peak_memory])
    draw = random.Random(0)
    spent = 0.0
    for _ in range(8):
        scores = {f"p{p}": [draw.randint(0, 99) for _ in COSTS] for p in range(60)}
        limit = draw.randrange(1000, 60 * 400)
        start = time.process_time()
        choice = chooser.choose(budgets={"params": limit, "macs": 64 * limit, "peak_memory": "100%"}, scores=scores)
        spent += time.process_time() - start
        assert choice.objective == knapsack(list(scores.values()), limit)
        assert (choice.gap, choice.status) == (0, "optimal")
    assert spent < 8  # about 1 s; there are 10^36 selections


def test_pools_of_which_each_can_cut_off_all_before() -> None:
    length = 30
    supernet = graph(chain(length, zero=True), constants(length))
    chooser = search.Chooser(supernet, [params])
    scores = {f"p{p}": [1, 2, 3, -5] for p in range(length)}
    free = chooser.choose(budgets={}, scores=scores)
    assert (free.objective, set(free.selection.branches)) == (3 * length, {"five"})
    rows = [[1, 2, 3, -1000]] * length
    for limit in (0, 80 * length, 16 * length - 1):
        choice = chooser.choose(budgets={"params": limit}, scores=scores)
        whole = [knapsack(rows, limit)] if 16 * length <= limit else []
        cut = [-5 + knapsack(rows[:k], limit) for k in range(length) if 16 * k <= limit]  # k pools behind the cut
        assert choice.objective == max(whole + cut)


NESTED = (
    f"g (float[1,4,8,8] x) => (float[1,4,8,8] y) {{ a = Conv (x, k)  i = {pool('inner', 'conv skip')} a, x)"
    f"  b = Conv (i, l)  y = {pool('outer', 'deep skip')} b, x) }}"
)
SQUARES = {"k": (4, 4, 1, 1), "l": (4, 4, 1, 1)}


def test_a_pool_that_is_not_reached_counts_neither_for_nor_against() -> None:
    supernet = graph(NESTED, SQUARES)
    scores = {"inner": [5.0, 1.0], "outer": [0.0, 4.0]}
    choice = search.choose(supernet, budgets={"params": 31}, scores=scores)
    assert choice.selection.as_dict() == {"inner": "conv", "outer": "skip"}  # deep would need both: 32
    assert (choice.objective, choice.budgets[0].cost) == (4, 0)
    choice = search.choose(supernet, budgets={"params": 32}, scores=scores)
    assert (choice.selection["outer"], choice.objective, choice.budgets[0].slack) == ("deep", 5, 0)
    # with the logs of equal weights nothing speaks against the branch that has a pool inside
    equal = search.choose(supernet, budgets={})
    assert (equal.objective, equal.selection.branches) == (0, ("conv", "deep"))


def test_a_pin_on_a_pool_that_is_not_reached_is_kept_and_costs_nothing() -> None:
    supernet = graph(NESTED, SQUARES)
    choice = search.choose(supernet, budgets={"params": 0}, pins={"inner": "conv"})
    assert choice.selection.as_dict() == {"inner": "conv", "outer": "skip"}
    with pytest.raises(InfeasibleError, match="with inner=conv, outer=deep meets params <= 31 elements"):
        search.choose(supernet, budgets={"params": 31}, pins={"inner": 0, "outer": 0})


def test_of_equal_scores_the_cheapest_selection_is_taken_and_then_the_first() -> None:
    supernet = graph(chain(12), constants(12))
    flat = {f"p{p}": [0.0] * 4 for p in range(12)}
    assert set(search.choose(supernet, budgets={"params": "50%"}, scores=flat).selection.branches) == {"end"}
    assert set(search.choose(supernet, budgets={}, scores=flat).selection.branches) == {"one"}
    two = {f"p{p}": [0.0, 1.0, 1.0, 0.0] for p in range(12)}
    assert set(search.choose(supernet, budgets={"params": "100%"}, scores=two).selection.branches) == {"three"}


def test_scores_that_differ_in_the_eighth_digit_are_told_apart() -> None:
    supernet = graph(chain(3), constants(3))
    scores = {f"p{p}": [1.0, 1.0 + 1e-8, 1.0, 0.0] for p in range(3)}
    assert set(search.choose(supernet, budgets={"params": "100%"}, scores=scores).selection.branches) == {"three"}


def test_a_pool_of_one_branch_needs_no_score() -> None:
    supernet = graph(f"{IMAGE.format('')} {{ a = Conv (x, k)  y = {pool('p', 'only')} a) }}", SQUARES)
    choice = search.choose(supernet, budgets={"params": 16}, scores={})
    assert (choice.selection.branches, choice.objective) == (("only",), 0)
    with pytest.raises(InfeasibleError, match="reachable is 16 elements of params; raise the budget"):
        search.choose(supernet, budgets={"params": 15})


def test_what_is_reachable_is_said_of_each_metric_alone_and_of_all_together() -> None:
    text = (
        f"g (float[1,4,8,8] x) => (float[1,4,8,8] y) {{ a = Conv (x, k)  b = Relu (x)  c = Conv (b, l)"
        f"  d = Conv (c, l)  y = {pool('p', 'wide twice')} a, d) }}"
    )
    supernet = graph(text, SQUARES)
    with pytest.raises(InfeasibleError) as caught:
        search.choose(supernet, budgets={"params": 8, "macs": 1024})
    assert str(caught.value) == (
        "no selection meets params <= 8 elements and macs <= 1,024 multiply-accumulates; the least that is reachable "
        "is 16 elements of params, 1,024 multiply-accumulates of macs, each alone; together, 16 elements of params "
        "and 1,024 multiply-accumulates of macs come closest; raise a budget"
    )
    assert caught.value.exit_code == 1


def test_models_without_pools_and_metrics_that_are_not_there_are_errors() -> None:
    with pytest.raises(MarkError, match="the model has no pool, so there is nothing to select"):
        search.choose(graph("g (float[4] x) => (float[4] y) { y = Relu (x) }"), budgets={})
    supernet = graph(NESTED, SQUARES)
    with pytest.raises(BudgetError, match="'parms' is no metric; the metrics are: params, "):
        search.choose(supernet, budgets={"parms": 1})
    with pytest.raises(BudgetError, match="'macs' was not priced; the metrics are: params"):
        search.Chooser(supernet, [params]).choose(budgets={"macs": 1})
    for wrong in (-1, float("nan"), float("inf"), True, None):
        with pytest.raises(BudgetError, match=r"budget of 'params': .* is no amount; expected a number of at least 0"):
            search.choose(supernet, budgets={"params": wrong})


def test_shares_are_exact() -> None:
    supernet = graph(chain(1), constants(1))
    assert search.choose(supernet, budgets={"params": "36%"}).budgets[0].limit == 144  # of 400
    assert parse_limit("29%")[0] * 100 == 29
    assert parse_limit("1.1k")[0] == 1100


def test_a_solver_that_is_stopped_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = graph(chain(3), constants(3))
    solve = optimize.milp

    def stopped(*args: object, **kwargs: object) -> optimize.OptimizeResult:
        found = solve(*args, **kwargs)
        assert kwargs["options"]["time_limit"] == 9
        found.status, found.mip_dual_bound = 1, found.mip_dual_bound - 2**14
        return found

    monkeypatch.setattr(optimize, "milp", stopped)
    scores = {f"p{p}": [0.5, 0.25, 0.0, 0.0] for p in range(3)}
    choice = search.choose(supernet, budgets={"params": "50%"}, scores=scores, time_limit_s=9)
    assert (choice.status, choice.gap) == ("time limit", 1.0)  # 0.5 is scaled to 2^13
    assert (choice.objective, choice.selection.branches) == (1.5, ("one",) * 3)
    nothing = optimize.OptimizeResult(status=1, x=None, message="Time limit reached.")
    monkeypatch.setattr(optimize, "milp", lambda *args, **kwargs: nothing)
    with pytest.raises(CheckFailedError, match=r"the choice was not found: Time limit reached\.; allow more time"):
        search.choose(supernet, budgets={"params": "50%"}, scores=scores, time_limit_s=9)
