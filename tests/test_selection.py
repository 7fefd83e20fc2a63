from __future__ import annotations

import itertools
import re

import pytest

from supernet_onnx import selection
from supernet_onnx.errors import SelectionError
from supernet_onnx.selection import Selection
from supernet_onnx.supergraph import SuperGraph, read
from tests import graphs
from tests.graphs import pool


def two_pools(
    first: str = "A B", second: str = "1 0 skip", *, names: tuple[str, str] = ("conv", "block.2=x")
) -> SuperGraph:
    """Pools ``conv`` (heaviest: B) and ``block.2=x`` (heaviest: its first branch, called 1)."""
    branches = ["a"] * len(second.split())
    model = graphs.marked(
        f"a = Neg (x)  b = {pool(names[0], first, 'a', 'x')}  y = {pool(names[1], second, *branches)}",
        initializers=f'float[2] "{names[0]}.weights" = {{0.25, 0.75}}',
    )
    return read(model)


def parse(supergraph: SuperGraph, pairs: list[str], *, base: dict[str, int | str] | None = None) -> Selection:
    return selection.resolve(supergraph, {**(base or {}), **selection.choices(supergraph, pairs)})


def test_the_heaviest_branch_is_the_default_and_the_first_of_equals() -> None:
    assert selection.argmax(two_pools()) == Selection(("conv", "block.2=x"), (1, 0), ("B", "1"))
    model = graphs.marked(
        f"a = Neg (x)  y = {pool('p', 'A B C', 'a', 'x', 'a')}", initializers='float[3] "p.weights" = {0.2, 0.4, 0.4}'
    )
    assert selection.argmax(read(model)).branches == ("B",)


def test_a_selection_says_what_it_holds() -> None:
    chosen = selection.resolve(two_pools(), {"conv": "A"})
    assert chosen["conv"] == "A"
    assert chosen.as_dict() == {"conv": "A", "block.2=x": "1"}
    assert chosen.to_json() == '{\n  "conv": "A",\n  "block.2=x": "1"\n}\n'


@pytest.mark.parametrize(
    ("branch", "index"),
    [("skip", 2), (0, 0), (2, 2), ("1", 0), ("0", 1), ("2", 2)],  # a name that is a number comes before an index
)
def test_a_branch_is_found_by_name_then_by_index(branch: str | int, index: int) -> None:
    assert selection.resolve(two_pools(), {"block.2=x": branch}).indices == (1, index)


@pytest.mark.parametrize("branch", ["C", "", 2, -1, 0.5, "-1", "7", "\N{FULLWIDTH DIGIT ONE}", "9" * 5000])
def test_a_branch_that_is_not_there_is_refused(branch: str | float) -> None:
    message = f"pool 'conv' has no branch '{branch}'; its branches are: 0 'A', 1 'B'"
    with pytest.raises(SelectionError, match=re.escape(message)):
        selection.resolve(two_pools(), {"conv": branch})


def test_a_pool_that_is_not_there_is_refused() -> None:
    message = "pool 'cnov' is not in the model; its pools are: 'conv', 'block.2=x'"
    with pytest.raises(SelectionError, match=re.escape(message)):
        selection.resolve(two_pools(), {"cnov": 0})
    with pytest.raises(SelectionError, match="pool 'p' is not in the model; its pools are: none"):
        selection.resolve(read(graphs.marked("y = Neg (x)")), {"p": 0})


def test_computed_weights_have_no_default() -> None:
    supergraph = read(graphs.marked(f"w = Softmax (x)  y = {pool('p', 'A B', 'x', 'w', weights='w')}"))
    message = (
        "pool 'p': its weights are computed in the graph, not stored, so there is no default; choose a branch: "
        "--select p=A"
    )
    with pytest.raises(SelectionError, match=re.escape(message)):
        selection.argmax(supergraph)
    assert selection.resolve(supergraph, {"p": "B"}).indices == (1,)


@pytest.mark.parametrize(
    ("pairs", "branches"),
    [
        ([], ("B", "1")),
        (["conv=A"], ("A", "1")),
        (["conv=0", "block.2=x=skip"], ("A", "skip")),
        (["block.2=x=1", "block.2=x=1"], ("B", "1")),
    ],
)
def test_texts_are_parsed(pairs: list[str], branches: tuple[str, str]) -> None:
    assert parse(two_pools(), pairs).branches == branches


def test_pools_and_branches_may_have_an_equals_sign_in_their_names() -> None:
    supergraph = two_pools("k=3 k=5", "k=1 k=2", names=("conv", "conv=k"))
    assert parse(supergraph, ["conv=k=5"]).branches == ("k=5", "k=1")
    assert parse(supergraph, ["conv=k=k=2"]).branches == ("k=5", "k=2")
    assert parse(supergraph, ["conv=k=1"]).branches == ("k=5", "k=2")  # no branch of conv: index of conv=k


def test_texts_override_a_base() -> None:
    base = {"conv": "A", "block.2=x": 2}
    assert parse(two_pools(), ["block.2=x=0"], base=base).branches == ("A", "0")
    assert parse(two_pools(), [], base=base).branches == ("A", "skip")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["conv"], "'conv' is no selection; expected POOL=BRANCH, for example conv1=Identity"),
        (["=A"], "'=A' is no selection; expected POOL=BRANCH"),
        (["conv=A", "conv=B"], "pool 'conv' is selected twice: 'A' and 'B'"),
        (["other=A"], "pool 'other' is not in the model; its pools are: 'conv', 'block.2=x'"),
        (["conv=C"], "pool 'conv' has no branch 'C'; its branches are: 0 'A', 1 'B'"),
        (["conv="], "pool 'conv' has no branch ''; its branches are: 0 'A', 1 'B'"),
        (["conv=A=B"], "pool 'conv' has no branch 'A=B'; its branches are: 0 'A', 1 'B'"),
    ],
)
def test_texts_that_are_no_selection_are_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(SelectionError, match=re.escape(message)):
        parse(two_pools(), pairs)


def test_json_is_read_as_it_was_written() -> None:
    supergraph = two_pools("ä B")
    for chosen in selection.every(supergraph):
        assert selection.resolve(supergraph, selection.from_json(chosen.to_json())) == chosen
    assert selection.from_json('{"conv": 1}') == {"conv": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a selection must be JSON, this is not: Expecting property name"),
        ("", "a selection must be JSON, this is not: Expecting value"),
        ("[" * 100_000, "a selection must be JSON, this is not: "),
        ('{"conv": ' + "9" * 5000 + "}", "a selection must be JSON, this is not: "),
        ("[1]", 'a selection must be a JSON object {"POOL": "BRANCH", ...}'),
        ('{"conv": true}', "pool 'conv': true is no branch; expected a name or an index"),
        ('{"conv": null}', "pool 'conv': null is no branch"),
        ('{"conv": 1.0}', "pool 'conv': 1.0 is no branch"),
        ('{"conv": ["A"]}', """pool 'conv': ["A"] is no branch"""),
        ('{"conv": "A", "conv": "B"}', "pool 'conv' is selected twice: 'A' and 'B'"),
    ],
)
def test_json_that_is_no_selection_is_refused(text: str, message: str) -> None:
    with pytest.raises(SelectionError, match=re.escape(message)):
        selection.from_json(text)


def test_every_selection_comes_once_the_last_pool_fastest() -> None:
    supergraph = two_pools()
    selections = list(selection.every(supergraph))
    assert [chosen.indices for chosen in selections] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert selections[2].branches == ("A", "skip")
    assert selection.count(supergraph) == 6
    without = read(graphs.marked("y = Neg (x)"))
    assert selection.count(without) == 1
    assert list(selection.every(without)) == [Selection((), (), ())]


def test_samples_are_uniform_and_repeat_with_their_seed() -> None:
    supergraph = two_pools()
    drawn = list(itertools.islice(selection.sample(supergraph, seed=3), 6000))
    assert drawn == list(itertools.islice(selection.sample(supergraph, seed=3), 6000))
    assert drawn != list(itertools.islice(selection.sample(supergraph, seed=4), 6000))
    counts = [drawn.count(chosen) for chosen in selection.every(supergraph)]
    assert all(abs(count - 1000) < 150 for count in counts)  # five standard deviations


def test_a_selection_is_checked_against_its_supergraph() -> None:
    supergraph = two_pools()
    for chosen in selection.every(supergraph):
        selection.check(supergraph, chosen)
        with pytest.raises(ValueError, match="was made for another supergraph; make it with resolve"):
            selection.check(two_pools("A C", "1 0 skip", names=("other", "block.2=x")), chosen)
