"""Every limit refuses what is over it, and its flag raises it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from onnx import ModelProto, helper

from supernet_onnx import read
from supernet_onnx.admission import Limits, load
from supernet_onnx.errors import ModelError
from tests import graphs, marked
from tests.cli.calling import call, error
from tests.cli.conftest import flat

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["flat"]


@pytest.mark.parametrize(
    ("limit", "found"),
    [
        ("nodes", 9 + 3 + 5 * 3 + 1),  # a pool function of n branches has 3 + 5 n + 1
        ("inputs", 4),
        ("rank", 4),
        ("elements", 1 * 3 * 8 * 8),
        ("names", len("GlobalAveragePool")),
        ("pools", 1),
        ("branches", 3),
    ],
)
def test_a_limit_is_met_exactly_and_the_flag_raises_it(limit: str, found: int, flat: Path) -> None:
    assert call("inspect", flat, "--limit", f"{limit}={found}").exit_code == 0
    line = error("inspect", flat, "--limit", f"{limit}={found - 1}") if found > 1 else ""
    assert found == 1 or f"pass --limit {limit}={found} if you trust the model" in line


def test_the_size_of_the_file_is_a_limit(flat: Path) -> None:
    size = flat.stat().st_size
    assert call("inspect", flat, "--limit", f"bytes={size}").exit_code == 0
    assert f"'{flat}': {size} bytes, the limit is {size - 1}" in error("inspect", flat, "--limit", f"bytes={size - 1}")


def test_a_limit_that_is_none_is_bad_usage(flat: Path) -> None:
    line = error("inspect", flat, "--limit", "knots=3")
    assert "there is no limit 'knots'; the limits are: bytes, nodes, depth" in line
    assert "is not NAME=VALUE with a value of at least 1" in error("inspect", flat, "--limit", "nodes=none")


@pytest.mark.parametrize("verb", ["inspect", "cost", "prune", "verify", "bench"])
def test_every_verb_heeds_the_limits(verb: str, flat: Path) -> None:
    files = [flat, flat] if verb == "verify" else [flat]
    assert "the limit is 5" in error(verb, *files, "--limit", "nodes=5")


def doubling(depth: int) -> ModelProto:
    """Return a model of local functions, each of which calls the next twice: 2 ** depth nodes when expanded."""
    model = graphs.marked(f"s = deep.F0 (x)  y = {graphs.pool('p', 'A B', 's', 'x')}")
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("deep", 1)]
    for level in range(depth):
        callee = f"F{level + 1}"
        body = [
            helper.make_node(callee, ["a"], ["b"], domain="deep"),
            helper.make_node(callee, ["b"], ["c"], domain="deep"),
        ]
        model.functions.append(helper.make_function("deep", f"F{level}", ["a"], ["c"], body, opsets))
    last = [helper.make_node("Neg", ["a"], ["c"])]
    model.functions.append(helper.make_function("deep", f"F{depth}", ["a"], ["c"], last, opsets[:1]))
    model.opset_import.append(opsets[1])
    return model


def test_functions_that_double_at_every_call_are_counted_not_expanded(tmp_path: Path) -> None:
    path = marked.write(doubling(40), tmp_path / "doubling.onnx")
    with pytest.raises(ModelError, match=r"with its local functions expanded: \d+ nodes, the limit is 2000000"):
        read(path)
    assert read(marked.write(doubling(5), path)).pools


def test_a_long_chain_of_functions_is_too_deep(tmp_path: Path) -> None:
    path = marked.write(doubling(70), tmp_path / "chain.onnx")
    with pytest.raises(ModelError, match=r"with its local functions expanded: 65 depth, the limit is 64"):
        load(path, Limits(nodes=2**80))


def test_a_pipe_or_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert f"'{path}' is no regular file; expected an .onnx file" in error("inspect", path)
