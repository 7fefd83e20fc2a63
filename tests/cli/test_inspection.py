from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.calling import call, record

if TYPE_CHECKING:
    from pathlib import Path


def test_inspect_tells_pools_branches_and_the_default_choice(flat: Path) -> None:
    found = record("inspect", flat)
    assert set(found) == {"format", "pools", "selections", "nodes", "notes"}
    assert (found["format"], found["selections"], found["nodes"]) == (None, 3, 9)
    (pool,) = found["pools"]
    assert (pool["name"], pool["calls"], pool["selected"]) == ("pool", 1, "separable")
    assert [(branch["name"], branch["nodes"]) for branch in pool["branches"]] == [
        ("conv3", 1),
        ("separable", 3),
        ("skip", 0),
    ]
    assert pool["branches"][1] == {"name": "separable", "weight": 0.5, "score": None, "nodes": 3}


def test_inspect_prints_plain_columns_where_there_is_no_terminal(flat: Path) -> None:
    lines = call("inspect", flat).stdout.splitlines()
    assert lines[0] == f"{flat}: 1 pool, 3 selections, 9 nodes, mark format not stated"
    assert lines[1].split() == ["pool", "branch", "calls", "weight", "score", "nodes", "selected"]
    assert lines[3].split() == ["pool", "separable", "1", "0.5000", "-", "3", "*"]
    assert len(lines) == 5


def test_inspect_of_a_model_without_pools_says_so(plain: Path) -> None:
    assert call("inspect", plain).stdout == f"{plain}: no pools, 1 node\n"
    assert record("inspect", plain) == {"format": None, "pools": [], "selections": 1, "nodes": 1, "notes": []}
