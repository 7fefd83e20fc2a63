from __future__ import annotations

import copy
import itertools
import operator
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet_onnx.diagram import Diagram, Diagrams, values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Table = dict[tuple[int, ...], int]

DEEP = 3 * sys.getrecursionlimit()


def choices(diagrams: Diagrams) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(size) for size in diagrams.sizes)))


def table(diagrams: Diagrams, diagram: Diagram) -> dict[tuple[int, ...], float]:
    return {choice: diagram.at(choice) for choice in choices(diagrams)}


def from_table(diagrams: Diagrams, truth: Table, prefix: tuple[int, ...] = ()) -> Diagram:
    """Build the diagram of a truth table by asking every variable in turn."""
    level = len(prefix)
    if level == len(diagrams.sizes):
        return diagrams.constant(truth[prefix])
    return diagrams.ask(level, [from_table(diagrams, truth, (*prefix, i)) for i in range(diagrams.sizes[level])])


@st.composite
def makers_and_tables(
    draw: st.DrawFn, *, tables: int = 2, leaves: Sequence[int] = (0, 1)
) -> tuple[Diagrams, list[Table]]:
    diagrams = Diagrams(draw(st.lists(st.integers(1, 3), max_size=4)))
    one = st.fixed_dictionaries({choice: st.sampled_from(leaves) for choice in choices(diagrams)})
    return diagrams, [draw(one) for _ in range(tables)]


@settings(deadline=None, derandomize=True)
@given(makers_and_tables())
def test_both_and_either_are_and_and_or_of_truth_tables(drawn: tuple[Diagrams, list[Table]]) -> None:
    diagrams, (first, second) = drawn
    a, b = (from_table(diagrams, truth) for truth in (first, second))
    assert table(diagrams, diagrams.both(a, b)) == {key: first[key] and second[key] for key in first}
    assert table(diagrams, diagrams.either(a, b)) == {key: first[key] or second[key] for key in first}


@settings(deadline=None, derandomize=True)
@given(makers_and_tables(tables=3))
def test_equal_functions_are_one_object_however_they_are_made(drawn: tuple[Diagrams, list[Table]]) -> None:
    diagrams, (first, second, third) = drawn
    a, b, c = (from_table(diagrams, truth) for truth in (first, second, third))
    assert diagrams.both(a, b) is diagrams.both(b, a)
    assert diagrams.either(a, diagrams.either(b, c)) is diagrams.either(diagrams.either(c, a), b)
    assert diagrams.both(a, diagrams.either(b, c)) is diagrams.either(diagrams.both(a, b), diagrams.both(a, c))
    assert diagrams.both(a, b) is from_table(diagrams, {key: first[key] and second[key] for key in first})
    assert diagrams.any_of([a, b, c]) is diagrams.either(a, diagrams.either(b, c))
    assert diagrams.any_of([]) is diagrams.false


@settings(deadline=None, derandomize=True)
@given(makers_and_tables(leaves=(-2, 0, 1, 5)), st.sampled_from([operator.add, operator.mul, max, min]))
def test_pointwise_applies_any_function_to_the_values(
    drawn: tuple[Diagrams, list[Table]], function: Callable[[float, float], float]
) -> None:
    diagrams, (first, second) = drawn
    a, b = (from_table(diagrams, truth) for truth in (first, second))
    combined = diagrams.pointwise(function, a, b)
    assert table(diagrams, combined) == {key: function(first[key], second[key]) for key in first}
    assert combined is from_table(diagrams, {key: int(function(first[key], second[key])) for key in first})


@settings(deadline=None, derandomize=True)
@given(makers_and_tables(tables=4, leaves=(0, 1, 2)))
def test_the_values_of_many_diagrams_are_those_of_each(drawn: tuple[Diagrams, list[Table]]) -> None:
    diagrams, tables = drawn
    many = [from_table(diagrams, truth) for truth in tables]
    many += [child for diagram in many for child in diagram.children]
    for choice in choices(diagrams):
        assert list(values(many, choice)) == [diagram.at(choice) for diagram in many]


@settings(deadline=None, derandomize=True)
@given(makers_and_tables(tables=1))
def test_the_support_is_what_the_value_depends_on(drawn: tuple[Diagrams, list[Table]]) -> None:
    diagrams, (truth,) = drawn
    depends = {
        level
        for level, size in enumerate(diagrams.sizes)
        for choice in truth
        for i in range(size)
        if truth[choice] != truth[(*choice[:level], i, *choice[level + 1 :])]
    }
    assert from_table(diagrams, truth).support() == depends


def test_a_literal_asks_for_one_choice_of_one_variable() -> None:
    diagrams = Diagrams([2, 3, 1])
    assert [diagrams.literal(1, 2).at((0, i, 0)) for i in range(3)] == [0, 0, 1]
    assert diagrams.literal(2, 0) is diagrams.true  # a pool of one branch always takes it


def test_nodes_come_once_and_children_before_their_parents() -> None:
    diagrams = Diagrams([2, 2, 2])
    shared = diagrams.literal(2, 1)
    diagram = diagrams.ask(0, [diagrams.ask(1, [shared, diagrams.false]), diagrams.ask(1, [diagrams.true, shared])])
    nodes = list(diagram.nodes())
    assert len(nodes) == len({node.uid for node in nodes}) == 6
    places = {node.uid: place for place, node in enumerate(nodes)}
    assert all(places[child.uid] < places[node.uid] for node in nodes for child in node.children)
    assert nodes[-1] is diagram
    assert [node.uid for node in sorted(nodes, key=lambda node: node.uid)][-1] == diagram.uid


def test_a_diagram_says_what_it_is() -> None:
    diagrams = Diagrams([3])
    assert repr(diagrams.true) == "Diagram(1)"
    assert repr(diagrams.literal(0, 1)) == "Diagram(level=0, 3 children)"


def test_a_copy_is_the_same_object_for_identity_is_equality() -> None:
    diagrams = Diagrams([2])
    assert copy.deepcopy(diagrams) is diagrams
    assert copy.deepcopy(diagrams.literal(0, 1)) is diagrams.literal(0, 1)


def test_diagrams_deeper_than_the_recursion_limit_combine() -> None:
    diagrams = Diagrams([2] * DEEP)
    none, some = diagrams.true, diagrams.false
    for level in reversed(range(DEEP)):
        none = diagrams.ask(level, [none, diagrams.false])
        some = diagrams.ask(level, [some, diagrams.true])
    assert diagrams.either(none, some) is diagrams.true
    assert diagrams.both(none, some) is diagrams.false
    count = diagrams.pointwise(operator.add, diagrams.pointwise(operator.add, none, none), some)
    assert count.at([0] * DEEP) == 2
    assert count.at([0] * (DEEP - 1) + [1]) == 1


@pytest.mark.parametrize("ascending", [True, False])
def test_the_disjunction_of_many_conditions_makes_few_diagrams_in_any_order(*, ascending: bool) -> None:
    diagrams = Diagrams([2] * DEEP)
    levels = range(DEEP) if ascending else reversed(range(DEEP))
    either = diagrams.any_of([diagrams.literal(level, 1) for level in levels])
    assert either.at([0] * DEEP) == 0
    assert either.at([0] * (DEEP - 1) + [1]) == 1
    assert diagrams.constant(2).uid < 4 * DEEP  # two for each level, and nothing for the order
