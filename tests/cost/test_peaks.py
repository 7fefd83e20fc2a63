"""Tables of which the largest part counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings

from supernet_onnx.cost import CostSpec, PeakTable, measure, peak_memory
from supernet_onnx.selection import every, resolve
from tests.cost.naive import supergraphs
from tests.cost.supergraphs import graph, pool

if TYPE_CHECKING:
    from supernet_onnx.supergraph import SuperGraph


def table_of(supernet: SuperGraph) -> PeakTable:
    table = measure(supernet, [peak_memory])["peak_memory"]
    assert isinstance(table, PeakTable)
    return table


def two_pools() -> SuperGraph:
    """Channels of 16 bytes: p holds 1 + 4 or 1 + 2 of them, or 1; q 1 + 3 or 1; the trunk 2 between them."""
    widen = {f"w{n}": (n, 1, 1) for n in (2, 3, 4)} | {f"v{n}": (1, n, 1) for n in (2, 3, 4)}
    return graph(
        "g (float[N,1,4] x) => (float[N,1,4] y) { a = Conv (x, w4)  b = Conv (a, v4)"
        "  c = Conv (x, w2)  d = Conv (c, v2)"
        f"  p = {pool('p', 'four two skip')} b, d, x)  t = Exp (p)"
        f"  e = Conv (t, w3)  f = Conv (e, v3)  y = {pool('q', 'three skip')} f, t) }}",
        widen,
    )


def test_the_total_is_the_largest_of_trunk_and_selected_branches() -> None:
    supernet = two_pools()
    table = table_of(supernet)
    for selection in every(supernet):
        assert table.branch_amounts(selection) == {
            "p": {"four": 80, "two": 48, "skip": 16},
            "q": {"three": 64, "skip": 16},
        }
    assert table.trunk == 32
    totals = {selection.branches: table.total(selection) for selection in every(supernet)}
    assert totals == {
        ("four", "three"): 80, ("four", "skip"): 80, ("two", "three"): 64,
        ("two", "skip"): 48, ("skip", "three"): 64, ("skip", "skip"): 32,
    }  # fmt: skip
    assert (table.minimum(), table.maximum()) == (32, 80)
    assert table.argminimum().branches == ("skip", "skip")
    assert table.argmaximum().branches == ("four", "three")


def test_the_expectation_is_the_largest_of_the_parts() -> None:
    table = table_of(two_pools())
    assert table.expected({"p": [0.5, 0.25, 0.25], "q": [0.5, 0.5]}) == 0.5 * 80 + 0.25 * 48 + 0.25 * 16
    assert table.expected({"p": [0, 0.5, 0.5], "q": [0.75, 0.25]}) == 0.75 * 64 + 0.25 * 16
    assert table.expected({"p": [0, 0, 1], "q": [0, 1]}) == 32
    with pytest.raises(ValueError, match="theta has no probabilities for pool 'q'"):
        table.expected({"p": [0, 0, 1]})


def test_the_parts_are_one_for_the_trunk_and_one_for_each_pool() -> None:
    table = table_of(two_pools())
    assert [sorted(part.levels) for part in table.parts] == [[], [0], [1]]
    whole, without = table.addends(), table.addends(trunk=False)
    assert [part.trunk for part in whole] == [32, 0, 0]
    assert [dict(part.branches) for part in without] == [
        {"p": (80, 48, 16), "q": (0, 0)},
        {"p": (0, 0, 0), "q": (64, 16)},
    ]


def test_pools_inside_of_pools_make_parts_of_both() -> None:
    supernet = graph(
        "g (float[N,1,4] x) => (float[N,1,4] y) { a = Conv (x, w)  b = Conv (a, v)"
        f"  i = {pool('inner', 'wide skip')} b, x)  c = Exp (i)  y = {pool('outer', 'deep skip')} c, x) }}",
        {"w": (4, 1, 1), "v": (1, 4, 1)},
    )
    table = table_of(supernet)
    totals = {(s["inner"], s["outer"]): table.total(s) for s in every(supernet)}
    assert totals == {("wide", "deep"): 80, ("wide", "skip"): 16, ("skip", "deep"): 32, ("skip", "skip"): 16}
    selection = resolve(supernet, {"inner": "wide", "outer": "skip"})
    assert table.branch_amounts(selection) == {"inner": {"wide": 80, "skip": 16}, "outer": {"deep": 80, "skip": 16}}
    assert table.expected({"inner": [0.5, 0.5], "outer": [0.5, 0.5]}) <= sum(totals.values()) / 4


@settings(max_examples=100, deadline=None)
@given(supergraphs())
def test_every_number_follows_from_the_totals(supernet: SuperGraph) -> None:
    table = table_of(supernet)
    selections = list(every(supernet))
    totals = [table.total(selection) for selection in selections]
    for selection, total in zip(selections, totals, strict=True):
        amounts = table.branch_amounts(selection)
        live = [table.live[level].at(selection.indices) for level in range(len(table.pools))]
        chosen = [
            amounts[p][b] for p, b, is_live in zip(selection.pools, selection.branches, live, strict=True) if is_live
        ]
        assert max([table.trunk, *chosen]) == total
    for extreme, found in ((min(totals), table.argminimum()), (max(totals), table.argmaximum())):
        best = [selection for selection, total in zip(selections, totals, strict=True) if total == extreme]
        assert found == min(best, key=lambda selection: selection.indices[::-1])
    uniform = {own.name: [1 / len(own.branches)] * len(own.branches) for own in supernet.pools}
    assert table.trunk <= table.expected(uniform) <= math.fsum(totals) / len(totals) * (1 + 1e-12)


def test_a_metric_of_ones_own_may_count_the_largest_node() -> None:
    largest = CostSpec("largest", "elements", default="zero", combine="max")
    largest.counts("Exp")(lambda call: call.output().numel)
    supernet = graph(
        "g (float[4] x) => (float[4] y) { a = Concat <axis = 0> (x, x)  b = Exp (a)  c = Slice (b, zero, four)"
        f"  p = {pool('p', 'wide skip')} c, x)  y = Exp (p) }}",
        {"zero": np.zeros(1, np.int64), "four": np.full(1, 4)},
    )
    table = measure(supernet, [largest])["largest"]
    assert [table.total(selection) for selection in every(supernet)] == [8, 4]
    assert (table.trunk, table.minimum(), table.maximum()) == (4, 4, 8)
    assert table.unit == "elements"
    plain = graph("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    nothing = measure(plain, [largest])["largest"]
    assert (nothing.trunk, nothing.total(next(every(plain)))) == (0, 0)


@pytest.mark.parametrize(("end", "pools"), [("skip", 100), ("nothing", 50)])
def test_long_chains_of_pools_take_moments(end: str, pools: int) -> None:
    """Each of two widths, and of Identity or a constant that cuts off all before it; 3^100 would take for ever."""
    lines, last = [], "x"
    for p in range(pools):
        third = last if end == "skip" else "nothing"
        lines.append(
            f"a{p} = Conv ({last}, w)  b{p} = Relu (a{p})  c{p} = Conv (b{p}, v)"
            f"  d{p} = Conv ({last}, w2)  e{p} = Relu (d{p})  f{p} = Conv (e{p}, v2)"
            f"  p{p} = {pool(f'p{p}', 'wide narrow end')} c{p}, f{p}, {third})  t{p} = Exp (p{p})"
        )
        last = f"t{p}" if p % 2 else f"p{p}"
    supernet = graph(
        f"g (float[N,1,4] x) => (float[N,1,4] {last}) {{ {'  '.join(lines)} }}",
        {"w": (4, 1, 1), "v": (1, 4, 1), "w2": (2, 1, 1), "v2": (1, 2, 1), "nothing": (1, 1, 4)},
    )
    table = table_of(supernet)
    assert (table.maximum(), table.argmaximum().branches[-1]) == (80, "wide")
    assert table.minimum() == (32 if end == "skip" else 0)  # the last constant leaves nothing to run
