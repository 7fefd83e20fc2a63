from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests import marked
from tests.cli.calling import call, record

if TYPE_CHECKING:
    from pathlib import Path


def test_verify_compares_every_output(flat: Path, tmp_path: Path) -> None:
    record("prune", flat, "-o", tmp_path / "skip.onnx", "--select", "pool=skip")
    found = record("verify", flat, tmp_path / "skip.onnx", "--select", "pool=skip")
    assert set(found) == {"outputs", "passed", "inputs", "atol", "rtol", "selection"}
    assert (found["passed"], found["inputs"], found["selection"]) == (True, 3, {"pool": "skip"})
    assert set(found["outputs"]["y"]) == {"max_abs", "max_rel", "passed", "problem"}


def test_verify_over_tolerance_exits_with_1_and_still_reports(flat: Path, tmp_path: Path) -> None:
    record("prune", flat, "-o", tmp_path / "skip.onnx", "--select", "pool=skip")
    found = record("verify", flat, tmp_path / "skip.onnx", exit_code=1)
    assert (found["passed"], found["selection"]) == (False, {"pool": "separable"})
    assert found["outputs"]["y"]["max_abs"] > 0.01
    result = call("verify", flat, tmp_path / "skip.onnx")
    assert result.exit_code == 1
    assert "over tolerance" in result.stdout
    assert "skip.onnx' does not compute what '" in result.stderr
    assert result.stderr.count("\n") == 1
    assert record("verify", flat, tmp_path / "skip.onnx", "--atol", "1e9")["passed"] is True


def test_verify_tells_nan_from_numbers(tmp_path: Path) -> None:
    text = marked.PLAIN.replace("y = Relu (x)", "y = Sqrt (x)")
    roots = marked.write(marked.build(text), tmp_path / "roots.onnx")
    sizes = marked.write(marked.build(text.replace("Sqrt", "Abs")), tmp_path / "sizes.onnx")
    assert record("verify", roots, roots)["passed"] is True
    found = record("verify", roots, sizes, "--atol", "1e9", exit_code=1)
    assert found["outputs"]["y"]["max_abs"] is None
    assert found["outputs"]["y"]["problem"].startswith("NaN or infinity on one side only in ")


def test_verify_takes_inputs_and_seeds(flat: Path, tmp_path: Path) -> None:
    record("prune", flat, "-o", tmp_path / "skip.onnx", "--select", "pool=skip")
    np.savez(tmp_path / "inputs.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    found = record("verify", flat, tmp_path / "skip.onnx", "--select", "pool=skip", "--inputs", tmp_path / "inputs.npz")
    assert (found["inputs"], found["passed"]) == (1, True)
    one, two = (record("verify", flat, tmp_path / "skip.onnx", "--seed", seed, exit_code=1) for seed in (1, 2))
    assert one["outputs"]["y"]["max_abs"] != two["outputs"]["y"]["max_abs"]
