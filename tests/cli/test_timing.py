from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.calling import call, error, record

if TYPE_CHECKING:
    from pathlib import Path


def test_bench_times_models_in_turn(flat: Path, plain: Path) -> None:
    found = record("bench", flat, plain, "--rounds", "3", "--batch", "2", "--threads", "1")
    assert set(found) == {"models", "rounds", "environment"}
    first, second = found["models"]
    assert list(first) == ["file", "median_ms", "p95_ms", "throughput", "ratio", "size_bytes", "params", "macs"]
    assert (first["file"], first["ratio"], first["params"]) == (str(flat), 1.0, 333)
    assert second["ratio"] == second["median_ms"] / first["median_ms"]
    assert first["throughput"] == pytest.approx(2000 / first["median_ms"])
    assert found["rounds"] == 3
    assert set(found["environment"]) == {"processor", "cores", "threads", "versions"}
    assert (
        "3 rounds, the models in turn; ratio of the medians to the first" in call("bench", flat, "--rounds", 3).stdout
    )


def test_rounds_and_seconds_exclude_each_other(flat: Path) -> None:
    assert "--rounds and --seconds exclude each other" in error("bench", flat, "--rounds", "1", "--seconds", "1")


def test_progress_is_told_on_stderr_once_it_takes_longer(flat: Path) -> None:
    result = call("bench", flat, "--seconds", "1.5")
    assert result.stderr == "measuring ...\n"
    assert call("bench", flat, "--rounds", "1").stderr == ""
