"""The cheapest and dearest selections, against all selections, and on chains that no one could go through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet_onnx.cost import measure, params
from supernet_onnx.cost.extremes import extreme
from supernet_onnx.diagram import Diagram, Diagrams
from supernet_onnx.selection import every
from tests.cost.naive import COUNTED, supergraphs
from tests.cost.supergraphs import graph, pool
from tests.work import lines

if TYPE_CHECKING:
    from supernet_onnx.cost import CostTable
    from supernet_onnx.supergraph import SuperGraph


@settings(max_examples=100, deadline=None)
@given(supergraphs())
def test_extremes_are_those_of_all_selections(supernet: SuperGraph) -> None:
    for table in measure(supernet, COUNTED).values():
        totals = [table.total(selection) for selection in every(supernet)]
        assert (table.minimum(), table.maximum()) == (min(totals), max(totals))
        assert table.total(table.argminimum()) == min(totals)
        assert table.total(table.argmaximum()) == max(totals)


@st.composite
def sums(draw: st.DrawFn) -> tuple[Diagrams, dict[Diagram, int]]:
    """Draw amounts, some negative, under arbitrary conditions on up to five pools: entangled as no network is."""
    diagrams = Diagrams(draw(st.lists(st.integers(1, 3), min_size=1, max_size=5)))
    amounts: dict[Diagram, int] = {}
    literals = [diagrams.literal(level, i) for level, size in enumerate(diagrams.sizes) for i in range(size)]
    for _ in range(draw(st.integers(1, 8))):
        condition = draw(st.sampled_from(literals))
        for _ in range(draw(st.integers(0, 5))):
            combine = draw(st.sampled_from([diagrams.both, diagrams.either]))
            condition = combine(condition, draw(st.sampled_from(literals)))
        amounts[condition] = draw(st.integers(-5, 9))
    return diagrams, amounts


def all_choices(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    choices: list[tuple[int, ...]] = [()]
    for size in sizes:
        choices = [(*before, i) for before in choices for i in range(size)]
    return choices


@settings(max_examples=300, deadline=None)
@given(sums())
def test_extremes_of_any_conditions(drawn: tuple[Diagrams, dict[Diagram, int]]) -> None:
    diagrams, amounts = drawn
    totals = {
        choices: sum(amount for condition, amount in amounts.items() if condition.at(choices))
        for choices in all_choices(diagrams.sizes)
    }
    assert totals[extreme(diagrams.sizes, amounts, min)] == min(totals.values())
    assert totals[extreme(diagrams.sizes, amounts, max)] == max(totals.values())


def test_extremes_are_exact_for_amounts_that_no_float_holds() -> None:
    diagrams = Diagrams([2, 2])
    amounts = {diagrams.literal(0, 0): 2**60 + 1, diagrams.literal(0, 1): 2**60, diagrams.literal(1, 1): 1}
    assert extreme(diagrams.sizes, amounts, min) == (1, 0)
    assert extreme(diagrams.sizes, amounts, max) == (0, 1)


def test_of_equal_branches_the_first_is_taken() -> None:
    supernet = graph(f"g (float[4] x) => (float[4] y) {{ a = Relu (x)  y = {pool('p', 'a b c')} a, x, a) }}")
    table = measure(supernet, [params])["params"]
    assert table.argminimum().indices == table.argmaximum().indices == (0,)


def chain(length: int, *, zero: bool) -> CostTable:
    """Pools in a row: three convolutions and, at the end of each, a constant that cuts off all before it, or a skip."""
    shapes = [(4, 4, 1, 1), (4, 4, 3, 3), (4, 4, 5, 5)]
    nodes, constants, last = [], {"nothing": ()}, "x"
    for p in range(length):
        for b, shape in enumerate(shapes):
            constants[f"w{p}_{b}"] = shape
            nodes.append(f'c{p}_{b} = Conv <auto_pad = "SAME_UPPER"> ({last}, w{p}_{b})')
        end = "z" if zero else last
        nodes.append(f"y{p} = {pool(f'p{p}', 'one three five end')} c{p}_0, c{p}_1, c{p}_2, {end})")
        last = f"y{p}"
    first = "n = ConstantOfShape (shape)  z = Mul (n, nothing)"
    text = (
        f"g (float[1,4,8,8] x) => (float[1,4,8,8] {last}) <int64[4] shape = {{1, 4, 8, 8}}> "
        f"{{ {first}  {'  '.join(nodes)} }}"
    )
    return measure(graph(text, constants), [params])["params"]


@pytest.mark.parametrize("zero", [True, False])
def test_the_extremes_of_a_chain_of_sixty_pools_are_exact(*, zero: bool) -> None:
    table = chain(60, zero=zero)
    assert (table.minimum(), table.maximum()) == (0, 60 * 16 * 25)
    assert table.argmaximum().branches == ("five",) * 60
    uniform = {p.name: [0.25] * 4 for p in table.pools}
    reached = [0.75**k if zero else 1.0 for k in range(60)]
    assert table.expected(uniform) == pytest.approx(sum(reached) * 0.25 * 16 * (1 + 9 + 25), rel=1e-12)


@pytest.mark.parametrize(("zero", "most"), [(False, 3.5), (True, 9)])
def test_the_work_to_find_extremes_grows_little_with_a_chain(*, zero: bool, most: float) -> None:
    """Linearly with three times the pools; as their square where the condition of each asks for all later ones."""

    def count(length: int) -> int:
        table = chain(length, zero=zero)
        return lines(lambda: (table.minimum(), table.maximum()))

    assert count(60) < most * count(20)  # there are 4^60 selections
