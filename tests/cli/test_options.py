"""What verbs share: what they check before any work."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import onnx
import pytest

from supernet_onnx.recovery import record as pool_record
from tests import marked
from tests.cli.calling import error, record

if TYPE_CHECKING:
    from pathlib import Path

TWO = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
two (float[batch, 4] x) => (float[batch, 4] y)
<float[2] "p.weights" = {0.75, 0.25}, float[2] "q.weights" = {0.75, 0.25}> {
    a = Relu (x)
    p = supernet_onnx.Pool2 <pool = "p", branches = ["relu", "skip"]> ("p.weights", a, x)
    b = Neg (p)
    y = supernet_onnx.Pool2 <pool = "q", branches = ["minus", "skip"]> ("q.weights", b, p)
}
"""


@pytest.mark.parametrize("verb", ["prune", "pareto", "profile", "report", "score", "search"])
def test_an_output_whose_folder_may_not_be_written_to_is_refused_before_any_work(
    verb: str, flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--data", tmp_path / "none.npz"] if verb in ("score", "search") else []  # work would find none
    (folder := tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)  # a superuser may write anywhere
    output = folder / {"prune": "o.onnx", "report": "o.html"}.get(verb, "o.json")
    told = error(verb, flat, *arguments, "-o", output)
    assert f"output '{output}': its folder may not be written to; choose another one" in told
    if verb == "score":  # into the file itself
        monkeypatch.setattr(os, "access", lambda path, mode: path != flat.parent)
        assert f"output '{flat}': its folder may not be written to" in error(verb, flat, *arguments)


@pytest.mark.parametrize("verb", ["prune", "pareto", "profile", "report", "score", "search"])
def test_a_model_without_pools_and_one_whose_pool_a_tool_has_hidden_are_errors_of_every_verb(
    verb: str, plain: Path, tmp_path: Path
) -> None:
    arguments = ["--data", tmp_path / "val.npz"] if verb in ("score", "search") else []
    assert "plain.onnx': the model has no pool, so there is nothing to select" in error(verb, plain, *arguments)
    assert record(verb, plain, *arguments, exit_code=2)["error"]["code"] == "mark"
    model = marked.build(TWO)
    pool_record.keep(model)
    (hidden,) = (node for node in model.graph.node if list(node.output) == ["p"])
    hidden.CopyFrom(onnx.helper.make_node("Add", ["a", "x"], ["p"]))  # what a tool made of it that knows no pools
    path = marked.write(model, tmp_path / "hidden.onnx")
    assert "hidden.onnx': the model is a supernet in which the mark of pool 'p' is gone" in error(
        verb, path, *arguments
    )
    assert [file.name for file in tmp_path.iterdir()] == ["plain.onnx", "hidden.onnx"]
