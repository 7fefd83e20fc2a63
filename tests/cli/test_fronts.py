"""``pareto``: conv3 costs 148 parameters, separable 52, skip 0, the trunk 133; weights 0.2, 0.5, 0.3."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from supernet_onnx import supergraph
from supernet_onnx.cost import METRICS, measure
from supernet_onnx.search import front_from_json
from tests import marked
from tests.cli.calling import call, error, record

if TYPE_CHECKING:
    from pathlib import Path

SCORES = {"pool": {"conv3": 3.0, "separable": 2.0, "skip": 1.0}}


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(SCORES))
    return path


def test_the_front_is_told_written_and_read_again(flat: Path, scores: Path, tmp_path: Path) -> None:
    output, table = tmp_path / "front.json", tmp_path / "front.csv"
    found = record("pareto", flat, "--scores", scores, "-o", output, "-o", table)
    assert found["metrics"] == [
        {"name": "params", "unit": "elements", "goal": "minimize"},
        {"name": "score", "unit": "", "goal": "maximize"},
    ]
    assert [(p["selection"]["pool"], p["values"]) for p in found["points"]] == [
        ("skip", {"params": 133, "score": 1.0}),
        ("separable", {"params": 185, "score": 2.0}),
        ("conv3", {"params": 281, "score": 3.0}),
    ]
    assert (found["model"], found["complete"], found["note"]) == (
        "flat.onnx",
        True,
        "score: the sum of the given scores",
    )
    assert (found["outputs"], found["subnets"]) == ([str(output), str(table)], [])
    front = front_from_json(output.read_text())
    assert {**front.record(), "outputs": found["outputs"], "subnets": []} == found
    assert table.read_text() == "params,score,pool\n133,1.0,skip\n185,2.0,separable\n281,3.0,conv3\n"
    lines = call("pareto", flat, "--from", output).stdout.splitlines()
    assert lines[0].split() == ["params", "[elements]", "score"]
    assert lines[3].split() == ["281", "3.0000"]
    assert lines[4] == "3 points, none beaten by another; no selection is missing"
    logs = record("pareto", flat)
    assert [p["values"]["score"] for p in logs["points"]] == [pytest.approx(math.log(0.3 / 0.5)), 0.0]


def test_budgets_and_selected_branches_hold_at_every_point(flat: Path, scores: Path) -> None:
    found = record("pareto", flat, "--scores", scores, "--budget", "params=200", "--metric", "macs", "--points", "all")
    assert [p["selection"]["pool"] for p in found["points"]] == ["skip", "separable"]
    one = record("pareto", flat, "--scores", scores, "--select", "pool=separable")
    assert [p["values"]["params"] for p in one["points"]] == [185]
    assert record("pareto", flat, "--scores", scores, "--points", "1")["complete"] is False
    assert "no selection meets params <= 100 elements" in error("pareto", flat, "--budget", "params=100", exit_code=1)


def test_the_best_subnets_are_written_all_or_none_and_cost_what_the_front_says(
    flat: Path, scores: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "best"
    arguments = ["pareto", flat, "--scores", scores, "--metric", "params", "--metric", "macs"]
    found = record(*arguments, "--top", 2, "--folder", folder)
    assert found["subnets"] == [str(folder / "flat.1.onnx"), str(folder / "flat.2.onnx")]
    assert sorted(path.name for path in folder.iterdir()) == ["flat.1.onnx", "flat.2.onnx"]
    for path, point in zip(found["subnets"], found["points"][:0:-1], strict=True):
        counted = measure(supergraph.read(path), [METRICS["params"], METRICS["macs"]])
        assert {name: table.trunk for name, table in counted.items()} == {
            name: point["values"][name] for name in ("params", "macs")
        }
    assert "exists and is no empty folder" in error(*arguments, "--top", 2, "--folder", folder)
    lines = call(*arguments, "--top", 9).stdout.splitlines()
    assert lines[0].split()[-1] == "subnet"
    assert lines[1].split()[-1] == str(tmp_path / "flat.top" / "flat.3.onnx")


def test_a_subnet_that_cannot_be_written_leaves_no_folder(flat: Path, tmp_path: Path) -> None:
    arguments = ["pareto", flat, "--top", 1, "--folder", tmp_path / "new", "--recalibrate", tmp_path / "none.npz"]
    before = sorted(tmp_path.iterdir())
    assert "cannot be read as .npz" in error(*arguments)
    assert sorted(tmp_path.iterdir()) == before
    assert "the folder around it does not exist" in error("pareto", flat, "--top", 1, "--folder", tmp_path / "a" / "b")


def test_a_picture_is_drawn_of_two_or_three_metrics(flat: Path, scores: Path, tmp_path: Path) -> None:
    for metrics in (["params"], ["params", "macs"]):
        flags = [flag for name in metrics for flag in ("--metric", name)]
        record("pareto", flat, "--scores", scores, *flags, "-o", tmp_path / "front.png")
        assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG\r\n")
    flags = [flag for name in ("params", "macs", "size") for flag in ("--metric", name)]
    message = error("pareto", flat, *flags, "-o", tmp_path / "front.png")
    assert "a picture shows two or three metrics, not 4; write .csv or .json" in message


def test_without_matplotlib_a_picture_is_a_clear_error_and_nothing_is_written(flat: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from supernet_onnx.cli import main; main(sys.argv[1:])"
    outputs = ["-o", tmp_path / "front.json", "-o", tmp_path / "front.png", "--top", "1", "--folder", tmp_path / "top"]
    command = [sys.executable, "-c", code, "pareto", flat, *outputs]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a picture needs matplotlib, which is not installed; pip install 'supernet-onnx[plot]'" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["flat.onnx"]


def test_what_excludes_each_other_is_said(flat: Path, plain: Path, tmp_path: Path) -> None:
    source = tmp_path / "front.json"
    assert "'front.txt' ends in none of .json, .csv, .png" in error("pareto", flat, "-o", "front.txt")
    record("pareto", flat, "-o", source)
    for flags in (
        ["--metric", "macs"],
        ["--points", 3],
        ["--select", "pool=skip"],
        ["--budget", "params=1k"],
        ["--cost-module", "c.py"],
        ["--dim", "batch=2"],
    ):
        assert "--from takes a front as it is" in error("pareto", flat, "--from", source, *flags)
    assert "give both" in error("pareto", flat, "--folder", tmp_path)
    assert "give it, too" in error("pareto", flat, "--fold")
    told = error("pareto", flat, "--top", 1, "--batch-size", 8)
    assert "--batch-size is that of the data of --recalibrate; give both" in told
    assert "'0' is neither a number of at least 1 nor 'all'" in error("pareto", flat, "--points", 0)
    assert "'weight' is no metric" in error("pareto", flat, "--metric", "weight")
    four = [flag for name in ("params", "macs", "size", "ops") for flag in ("--metric", name)]
    assert "4 metrics; a front has at most three, and the score" in error("pareto", flat, *four)
    assert "cannot be read" in error("pareto", flat, "--from", tmp_path / "none.json")
    other = marked.write(marked.build(marked.FLAT.replace('"pool"', '"q"'), marked.FLAT_WEIGHTS), tmp_path / "q.onnx")
    assert "leaves out the pool 'q'; the front is that of another model" in error("pareto", other, "--from", source)
    assert "is also an input" in error("pareto", flat, "--from", source, "-o", source)
