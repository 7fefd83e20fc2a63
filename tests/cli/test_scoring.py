"""``score``: the flat model's branches measured on data, and the scores written where they belong."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from supernet_onnx import supergraph
from tests import marked
from tests.cli.calling import call, error, record
from tests.sparse import write_zeros

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    images = generator.standard_normal((20, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "val.npz", x=images, labels=generator.integers(0, 5, 20))
    return tmp_path / "val.npz"


def test_scores_are_written_into_the_file_and_nothing_else_of_it_changes(flat: Path, data: Path) -> None:
    before = onnx.load(flat)
    found = record("score", flat, "--data", data, "--selections", 6)
    assert set(found["scores"]) == {"pool"}
    assert sum(found["scores"]["pool"].values()) == pytest.approx(0)
    assert (found["samples"], found["recalibrated"], found["output"]) == (20, False, str(flat))
    assert [set(entry) for entry in found["measured"]] == [{"selection", "loss"}] * 6
    branches = supergraph.read(flat).pools[0].branches
    assert {b.name: b.score for b in branches} == pytest.approx(found["scores"]["pool"], rel=1e-6)
    after = onnx.load(flat)
    for model in (before, after):
        for node in model.graph.node:
            for attribute in [attribute for attribute in node.attribute if attribute.name == "scores"]:
                node.attribute.remove(attribute)
    assert after.SerializeToString(deterministic=True) == before.SerializeToString(deterministic=True)
    choice = record("prune", flat, "--budget", "params=100%", "--dry-run")["choice"]
    assert choice["scores"] == "the scores in the file"
    assert choice["objective"] == pytest.approx(max(found["scores"]["pool"].values()), rel=1e-6)
    assert record("score", flat, "--data", data, "--selections", 6)["scores"] == found["scores"]


def test_scores_are_written_as_json_and_into_another_file(flat: Path, data: Path, tmp_path: Path) -> None:
    before = flat.read_bytes()
    output = tmp_path / "scores.json"
    found = record("score", flat, "--data", data, "--selections", 6, "-o", output)
    assert json.loads(output.read_text()) == found["scores"]
    assert flat.read_bytes() == before
    record("score", flat, "--data", data, "--selections", 6, "-o", tmp_path / "scored.onnx")
    assert supergraph.read(tmp_path / "scored.onnx").pools[0].branches[0].score is not None
    assert flat.read_bytes() == before
    lines = call("score", flat, "--data", data, "--loss", "accuracy", "--method", "replace-one").stdout.splitlines()
    assert lines[0].split() == ["pool", "branch", "score"]
    assert lines[4] == "3 selections measured on 20 samples, without BatchNorm"
    lines = call("score", flat, "--data", data, "--selections", 6).stdout.splitlines()
    assert lines[0].split() == ["pool", "branch", "score", "error"]
    assert lines[-2].startswith("rank correlation on selections held back: ")


def test_a_correlation_of_losses_that_are_all_equal_is_shown_as_unknown(flat: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text("def even(outputs, targets):\n    return 1.0\n")
    arguments = ["score", flat, "--data", data, "--selections", 6, "--loss", f"{tmp_path / 'loss.py'}:even"]
    assert "rank correlation on selections held back: -" in call(*arguments).stdout.splitlines()
    assert record(*arguments)["rank_correlation"] is None


def test_errors_that_nothing_tells_are_shown_as_unknown(flat: Path, data: Path) -> None:
    arguments = ["score", flat, "--data", data, "--selections", 3]
    assert set(record(*arguments)["standard_errors"]["pool"].values()) == {None}
    lines = call(*arguments).stdout.splitlines()
    assert [line.split()[-1] for line in lines[:4]] == ["error", "-", "-", "-"]
    assert "errors are unknown: 3 selections leave nothing to tell them from; measure more with --selections" in lines
    assert None not in record(*arguments[:4], "--selections", 6)["standard_errors"]["pool"].values()


def test_bad_usage_of_score_is_said(flat: Path, data: Path, tmp_path: Path) -> None:
    assert "Missing option '--data'" in error("score", flat)
    assert "'val' is no measure" in error("score", flat, "--data", data, "--loss", "val")
    assert "lacks the target 'y'" in error("score", flat, "--data", data, "--target", "y")
    assert "ends neither in .json nor in .onnx" in error("score", flat, "--data", data, "-o", tmp_path / "s.txt")
    assert "is also an input" in error("score", flat, "--data", data, "-o", flat)
    assert "--method replace-one replaces; give it" in error("score", flat, "--data", data, "--select", "pool=skip")
    for flag in ("--selections", "--seed"):
        told = error("score", flat, "--data", data, "--method", "replace-one", flag, 4)
        assert "--selections and --seed are about random selections; --method replace-one has none" in told
    assert "cannot be read as .npz" in error("score", flat, "--data", tmp_path / "none.npz")


PEAK = """
import resource, sys
from supernet_onnx.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""

WIDE = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
wide (uint8[batch, 16777216] x) => (float[batch, 2] y)
<float[2] "pool.weights" = {0.5, 0.5}, int64[1] axis = {1},
 int64[1] first = {0}, int64[1] two = {2}, int64[1] four = {4}> {
    b = Slice (x, first, two, axis)
    a = Cast <to = 1> (b)
    d = Slice (x, two, four, axis)
    c = Cast <to = 1> (d)
    y = supernet_onnx.Pool2 <pool = "pool", branches = ["a", "c"]> ("pool.weights", a, c)
}
"""


def test_data_far_larger_than_the_memory_that_is_used_are_measured(tmp_path: Path) -> None:
    model = marked.write(marked.build(WIDE), tmp_path / "wide.onnx")
    peaks = []
    for samples in (4, 64):  # 64 MiB and 1 GiB
        labels = {"labels": np.zeros(samples, np.int64)}
        data = write_zeros(tmp_path / f"{samples}.npz", {"x": (samples, 1 << 24)}, labels)
        arguments = [model, "--data", data, "--batch-size", "2", "--selections", "3", "-o", tmp_path / "s.json"]
        command = [sys.executable, "-c", PEAK, "score", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] - peaks[0] < 100 << 10  # KiB
