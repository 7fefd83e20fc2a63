from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from supernet_onnx import bench
from supernet_onnx.errors import ModelError, RunError
from tests import marked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass
class Clock:
    """A clock that only sessions move."""

    now: int = 0
    runs: list[str] = field(default_factory=list)

    def perf_counter_ns(self) -> int:
        return self.now

    def perf_counter(self) -> float:
        return self.now / 1e9


@dataclass
class FakeSession:
    """A session that takes given milliseconds, run by run."""

    name: str
    clock: Clock
    latencies: itertools.cycle[int]

    def run(self, feeds: Mapping[str, np.ndarray]) -> None:
        self.clock.runs.append(self.name)
        self.clock.now += next(self.latencies) * 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time models by their file name: ``3-5.onnx`` takes 3 ms, then 5, then 3, ..."""
    clock = Clock()

    def open_session(path: Path, *, threads: int | None) -> FakeSession:
        return FakeSession(path.stem, clock, itertools.cycle(int(part) for part in path.stem.split("-")))

    monkeypatch.setattr(bench, "open_session", open_session)
    monkeypatch.setattr(bench, "time", clock)
    return clock


def plain(folder: Path, name: str) -> Path:
    return marked.write(marked.build(marked.PLAIN), folder / f"{name}.onnx")


def test_models_run_in_turn_and_each_round_starts_with_the_next(clock: Clock, tmp_path: Path) -> None:
    bench.time_models([plain(tmp_path, name) for name in ("1", "2", "3")], rounds=4)
    warm_up, measured = clock.runs[:9], clock.runs[9:]
    assert warm_up == ["1", "2", "3"] * 3
    assert measured == ["1", "2", "3", "2", "3", "1", "3", "1", "2", "1", "2", "3"]


def test_latencies_become_median_p95_throughput_and_ratio(clock: Clock, tmp_path: Path) -> None:
    paths = [plain(tmp_path, "10"), plain(tmp_path, "2-4-6-8-10")]
    found = bench.time_models(paths, rounds=5, batch=3)
    first, second = found.timings
    assert (first.median_ms, first.p95_ms, first.ratio) == (10.0, 10.0, 1.0)
    assert (second.median_ms, second.ratio) == (6.0, 0.6)
    assert second.p95_ms == pytest.approx(8 + 0.8 * 2)  # between the 4th and the 5th of five, at 0.95 * 4 = 3.8
    assert first.throughput == pytest.approx(3 / 0.010)
    assert found.rounds == 5


def test_a_time_gives_as_many_rounds_as_fit_and_no_fewer_than_five(clock: Clock, tmp_path: Path) -> None:
    path = plain(tmp_path, "125")
    assert bench.time_models([path], seconds=2.0).rounds == 16
    assert bench.time_models([path], seconds=0.01).rounds == 5


def test_a_slow_model_is_warmed_up_once(clock: Clock, tmp_path: Path) -> None:
    bench.time_models([plain(tmp_path, "2000")], rounds=1)
    assert len(clock.runs) == 2


def test_progress_goes_up_to_one(clock: Clock, tmp_path: Path) -> None:
    seen: list[float] = []
    bench.time_models([plain(tmp_path, "1")], rounds=4, progress=seen.append)
    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_a_supernet_is_priced_with_all_of_its_branches(tmp_path: Path) -> None:
    path = marked.write(marked.flat(), tmp_path / "flat.onnx")
    (timing,) = bench.time_models([path], rounds=1).timings
    assert timing.params == 133 + 148 + 52
    assert timing.macs == 64 * (108 + 144 + 36 + 16) + 20
    assert timing.size_bytes == path.stat().st_size
    assert timing.median_ms > 0


def test_the_size_is_that_of_all_files(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(marked.flat(), path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    (timing,) = bench.time_models([path], rounds=1).timings
    assert timing.size_bytes == path.stat().st_size + (tmp_path / "weights.bin").stat().st_size


def test_what_cannot_be_priced_is_timed_all_the_same(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
        g (float[batch, 4] x) => (uint32[batch, 4] y) { y = com.microsoft.MurmurHash3 (x) }"""
    (timing,) = bench.time_models([marked.write(marked.build(text), tmp_path / "gelu.onnx")], rounds=1).timings
    assert (timing.params, timing.macs) == (0, None)


def test_the_environment_names_processor_threads_and_versions(tmp_path: Path) -> None:
    found = bench.time_models([plain(tmp_path, "plain")], rounds=1, threads=1).environment
    assert found.processor
    assert found.cores >= 1
    assert found.threads == 1
    assert found.versions["numpy"] == np.__version__
    assert found.versions["onnx"] == onnx.__version__
    assert list(found.versions) == ["python", "onnxruntime", "onnx", "numpy"]


def test_inputs_of_a_file_are_what_is_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", x=np.zeros((7, 4), np.float32))
    found = bench.time_models([plain(tmp_path, "plain")], rounds=1, inputs=tmp_path / "inputs.npz")
    assert found.timings[0].throughput * found.timings[0].median_ms == pytest.approx(7 * 1000)


def test_a_batch_for_a_model_whose_batch_is_fixed_is_an_error(tmp_path: Path) -> None:
    model = marked.build(marked.PLAIN.replace("batch", "1"))
    path = marked.write(model, tmp_path / "fixed.onnx")
    with pytest.raises(
        RunError, match=r"fixed\.onnx': its batch is fixed, no input has a free first dim; leave out --batch"
    ):
        bench.time_models([path], rounds=1, batch=8)
    assert bench.time_models([path], rounds=1).rounds == 1


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx' does not exist"):
        bench.time_models([tmp_path / "none.onnx"], rounds=1)
