"""``search``: the front of what was measured, and what it says of wrong use."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from supernet_onnx.search import front_from_json
from tests.cli.calling import call, error, record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    images = generator.standard_normal((20, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "val.npz", x=images, labels=generator.integers(0, 5, 20))
    return tmp_path / "val.npz"


def test_the_front_of_what_was_measured_is_told_and_written(flat: Path, data: Path, tmp_path: Path) -> None:
    place, output = tmp_path / "study.log", tmp_path / "front.json"
    arguments = ["search", flat, "--data", data, "--trials", 2, "--storage", place, "-o", output]
    found = record(*arguments)
    assert [by["name"] for by in found["metrics"]] == ["params", "accuracy"]
    assert (found["measured"], found["lost"], found["complete"]) == (2, 0, False)
    front = front_from_json(output.read_text()).record()
    assert front == {key: found[key] for key in front}
    lines = call(*arguments[:5], 3, *arguments[6:], "-o", tmp_path / "front.csv").stdout.splitlines()
    assert lines[0].split() == ["params", "[elements]", "accuracy"]
    assert "measured: 3" in lines
    folder = tmp_path / "best"
    subnets = record("pareto", flat, "--from", output, "--top", 1, "--folder", folder)["subnets"]
    assert subnets == [str(folder / "flat.1.onnx")]


def test_bad_usage_of_search_is_said(flat: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["search", flat, "--data", data, "--trials", 2]
    assert "'f1' is no measure" in error(*arguments, "--objective", "f1")
    assert "'weight' is no metric" in error(*arguments, "--metric", "weight")
    settings = "mpic_latency:weight_bits=8,act_bits=8"
    assert "has settings, which a search does not take" in error(*arguments, "--metric", settings)
    assert "no selection meets params <= 9 elements" in error(*arguments, "--budget", "params=9", exit_code=1)
    assert "--study is a name in what --storage keeps; give both" in error(*arguments, "--study", "one")
    assert "'front.txt' ends in none of" in error(*arguments, "-o", "front.txt")
    assert "cannot be opened" in error(*arguments, "--storage", "nonesuch://place")
    place = ["--storage", tmp_path / "study.log"]
    record(*arguments, *place)
    message = error(*arguments, *place, "--metric", "macs")
    assert "study 'flat' is about something else: it differs in metrics; give another name with --study" in message


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_front_never_replaces_the_study_that_it_comes_from(
    force: list[str], flat: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ["search", flat, "--data", data, "--trials", 2, *force]
    place = tmp_path / "study.json"
    named = f"output '{place}' is where --storage keeps the study; choose another name"
    assert named in error(*arguments, "--storage", place, "-o", place)
    assert not place.exists()
    record(*arguments, "--storage", place)
    kept = place.read_bytes()
    assert named in error(*arguments, "--storage", tmp_path / "." / "none" / ".." / "study.json", "-o", place)
    (link := tmp_path / "link.json").symlink_to(place)
    assert "link.json' is where --storage keeps" in error(*arguments, "--storage", place, "-o", link)
    assert place.read_bytes() == kept
    assert named in error(*arguments, "--storage", f"sqlite:///{place}", "-o", place)


def test_without_optuna_a_search_says_what_to_install(flat: Path, data: Path) -> None:
    code = "import sys; sys.modules['optuna'] = None; from supernet_onnx.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "search", flat, "--data", data]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "error: a search needs Optuna, which is not installed; pip install 'supernet-onnx[search]'\n"
    )
