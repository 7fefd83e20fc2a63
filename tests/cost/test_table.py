"""The numbers that follow from a cost table, on supergraphs small enough to add up by hand."""

from __future__ import annotations

import copy
import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from supernet_onnx.cost import CostTable, macs, measure, params
from supernet_onnx.selection import every, resolve
from tests.cost.naive import COUNTED, supergraphs
from tests.cost.supergraphs import graph, pool

if TYPE_CHECKING:
    from supernet_onnx.supergraph import SuperGraph

SIGNATURE = "g (float[1,4,1,1] x) => (float[1,4,1,1] y)"
SQUARE = {f"k{i}": (4, 4, 1, 1) for i in range(6)}

# trunk 16; p: conv 16; q: two 32
FLAT = (
    f"{SIGNATURE} {{ t = Conv (x, k0)  a = Conv (t, k1)  p = {pool('p', 'conv skip')} a, t)"
    f"  b = Conv (p, k2)  c = Conv (b, k3)  y = {pool('q', 'two skip')} c, p) }}"
)
# outer deep: 16 + inner (16 or 0); flat: 16; skip: 0
NESTED = (
    f"{SIGNATURE} {{ a = Conv (x, k0)  i = {pool('inner', 'conv skip')} a, x)  b = Conv (i, k1)"
    f"  c = Conv (x, k2)  y = {pool('outer', 'deep flat skip')} b, c, x) }}"
)


def table_of(text: str) -> tuple[SuperGraph, CostTable]:
    supernet = graph(text, SQUARE)
    return supernet, measure(supernet, [params])["params"]


def test_totals_of_flat_pools_are_trunk_and_branches() -> None:
    supernet, table = table_of(FLAT)
    assert [table.total(selection) for selection in every(supernet)] == [16 + 16 + 32, 16 + 16, 16 + 32, 16]
    assert table.trunk == 16
    parts = table.decompose()
    assert (parts.trunk, dict(parts.branches), dict(parts.joint)) == (16, {"p": (16, 0), "q": (32, 0)}, {})


def test_expected_cost_of_flat_pools_is_a_dot_product() -> None:
    _, table = table_of(FLAT)
    assert table.expected({"p": [0.25, 0.75], "q": [0.5, 0.5]}) == 16 + 0.25 * 16 + 0.5 * 32


def test_totals_of_nested_pools() -> None:
    supernet, table = table_of(NESTED)
    totals = {(s["inner"], s["outer"]): table.total(s) for s in every(supernet)}
    assert totals == {
        ("conv", "deep"): 32, ("conv", "flat"): 16, ("conv", "skip"): 0,
        ("skip", "deep"): 16, ("skip", "flat"): 16, ("skip", "skip"): 0,
    }  # fmt: skip
    parts = table.decompose()
    assert dict(parts.branches) == {"inner": (0, 0), "outer": (16, 16, 0)}
    assert list(parts.joint.values()) == [16]
    assert table.expected({"inner": [0.5, 0.5], "outer": [0.25, 0.25, 0.5]}) == 0.25 * 16 + 0.25 * 16 + 0.5 * 0.25 * 16


def test_branch_amounts_of_flat_pools_are_the_branches_own_whatever_is_selected() -> None:
    supernet, table = table_of(FLAT)
    for selection in every(supernet):
        assert table.branch_amounts(selection) == {"p": {"conv": 16, "skip": 0}, "q": {"two": 32, "skip": 0}}


def test_branch_amounts_of_a_pool_that_is_not_reached_are_those_of_where_it_is() -> None:
    supernet, table = table_of(NESTED)
    for selection in every(supernet):
        amounts = table.branch_amounts(selection)
        assert amounts["inner"] == {"conv": 16, "skip": 0}
        assert amounts["outer"] == {"deep": 32 if selection["inner"] == "conv" else 16, "flat": 16, "skip": 0}


def test_as_few_pools_as_possible_are_moved_to_reach_one() -> None:
    """The inner pool is used once in one branch and twice in another; the selected one of them stays."""
    supernet, table = table_of(
        f"{SIGNATURE} {{ a = Conv (x, k0)  i = {pool('inner', 'conv skip')} a, x)  b = Conv (i, k1)"
        f"  c = {pool('inner', 'conv skip', call=1)} b, i)  o = {pool('outer', 'twice once skip')} c, i, x)"
        f"  y = {pool('last', 'on off')} o, x) }}"
    )
    off = {"inner": "skip", "outer": "once", "last": "off"}
    assert table.branch_amounts(resolve(supernet, off)) == {
        "inner": {"conv": 16, "skip": 0},
        "outer": {"twice": 0, "once": 0, "skip": 0},
        "last": {"on": 0, "off": 0},
    }
    assert table.branch_amounts(resolve(supernet, {**off, "outer": "twice"}))["inner"] == {"conv": 32, "skip": 0}


def test_a_tied_pool_pays_its_weights_once_and_its_work_twice() -> None:
    supernet = graph(
        f"{SIGNATURE} {{ a = Conv (x, k0)  p = {pool('p', 'conv skip')} a, x)  b = Conv (p, k0)"
        f"  y = {pool('p', 'conv skip', call=1)} b, p) }}",
        SQUARE,
    )
    tables = measure(supernet, [params, macs])
    assert tables["params"].decompose().branches == {"p": (16, 0)}
    assert tables["macs"].decompose().branches == {"p": (32, 0)}


def test_parts_that_two_pools_share_are_paid_once() -> None:
    supernet, table = table_of(
        f"{SIGNATURE} {{ a = Conv (x, k0)  p = {pool('p', 'conv skip')} a, x)  q = {pool('q', 'conv skip')} a, x)"
        "  y = Add (p, q) }"
    )
    assert [table.total(selection) for selection in every(supernet)] == [16, 16, 16, 0]
    parts = table.decompose()
    assert (dict(parts.branches), list(parts.joint.values())) == ({"p": (0, 0), "q": (0, 0)}, [16])
    assert table.expected({"p": [0.5, 0.5], "q": [0.5, 0.5]}) == 0.75 * 16


def test_the_table_of_a_model_without_pools_is_its_trunk() -> None:
    supernet, table = table_of(f"{SIGNATURE} {{ y = Conv (x, k0) }}")
    (selection,) = every(supernet)
    assert table.trunk == table.total(selection) == table.minimum() == table.maximum() == table.expected({}) == 16
    assert table.branch_amounts(selection) == {}


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        ({"p": [0.5, 0.5]}, "theta has no probabilities for pool 'q'"),
        ({"p": [0.5, 0.5], "q": [1.0]}, "pool 'q' has 2 branches, theta has 1 values for it"),
    ],
)
def test_theta_must_fit_the_pools(theta: dict[str, list[float]], message: str) -> None:
    _, table = table_of(FLAT)
    with pytest.raises(ValueError, match=message):
        table.expected(theta)


def test_a_selection_of_other_pools_is_refused() -> None:
    _, table = table_of(FLAT)
    other, _ = table_of(NESTED)
    selection = next(every(other))
    for use in (table.total, table.branch_amounts):
        with pytest.raises(
            ValueError, match=r"the selection is one of the pools \('inner', 'outer'\), the table is about"
        ):
            use(selection)


def test_a_copy_of_a_table_is_the_table() -> None:
    supernet, table = table_of(NESTED)
    assert copy.deepcopy({"t": table})["t"] is table
    assert supernet is not None


@settings(max_examples=60, deadline=None)
@given(supergraphs())
def test_expected_cost_is_the_sum_over_all_selections_weighted_by_their_probability(supernet: SuperGraph) -> None:
    theta = {}
    for p, own in enumerate(supernet.pools):
        raw = [1.0 + ((7 * i + 3 * p) % 5) for i in range(len(own.branches))]
        theta[own.name] = [value / sum(raw) for value in raw]
    selections = list(every(supernet))
    chances = [math.prod(theta[pool][i] for pool, i in zip(s.pools, s.indices, strict=True)) for s in selections]
    for table in measure(supernet, COUNTED).values():
        exact = math.fsum(chance * table.total(s) for s, chance in zip(selections, chances, strict=True))
        assert table.expected(theta) == pytest.approx(exact, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(supergraphs())
def test_the_decomposition_adds_up_to_every_total(supernet: SuperGraph) -> None:
    for table in measure(supernet, COUNTED).values():
        parts = table.decompose()
        assert all(len(condition.support()) > 1 for condition in parts.joint)
        for selection in every(supernet):
            of_branches = sum(parts.branches[p][i] for p, i in zip(selection.pools, selection.indices, strict=True))
            joint = sum(amount for condition, amount in parts.joint.items() if condition.at(selection.indices))
            assert parts.trunk + of_branches + joint == table.total(selection)


@settings(max_examples=60, deadline=None)
@given(supergraphs())
def test_branch_amounts_differ_as_totals_do(supernet: SuperGraph) -> None:
    """Where a pool is reached, changing its branch changes the total by the difference of the amounts."""
    (table,) = measure(supernet, [macs]).values()
    for selection in every(supernet):
        amounts = table.branch_amounts(selection)
        for level, own in enumerate(supernet.pools):
            if not table.live[level].at(selection.indices):
                continue
            for a, b in itertools.pairwise(own.branches):
                totals = [table.total(resolve(supernet, {**selection.as_dict(), own.name: c.name})) for c in (a, b)]
                assert totals[1] - totals[0] == amounts[own.name][b.name] - amounts[own.name][a.name]
