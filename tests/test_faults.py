"""Saves that end early, or meet one another: the old output is intact, or the new one complete."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from supernet_onnx import storage
from supernet_onnx.errors import OutputError
from tests.files import names
from tests.interruption import SIZE, forked, found, killed, version

if TYPE_CHECKING:
    from pathlib import Path

warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_any_moment_the_output_is_the_old_or_the_new_one(tmp_path: Path, by: signal.Signals) -> None:
    source, folder = tmp_path / "source", tmp_path / "target"
    folder.mkdir()
    path = folder / "out.onnx"
    models = {number: version(source, number) for number in (1, 2)}
    start = time.perf_counter()
    storage.save(models[1], path, directory=source)
    taken = time.perf_counter() - start
    draw = random.Random(5)
    outcomes = set()
    for _ in range(200 if by == signal.SIGKILL else 20):
        old = found(path)
        new = models[3 - old]
        killed(lambda new=new: storage.save(new, path, directory=source), draw.uniform(0, 1.5 * taken), by)
        outcomes.add(found(path) == old)
    if by == signal.SIGKILL:
        assert outcomes == {False, True}  # some came in time, some too late
    last = 3 - found(path)
    storage.save(models[last], path, directory=source)
    assert found(path) == last
    assert not [name for name in names(folder) if name.endswith(".tmp")]


@pytest.mark.parametrize("step", ["data", "model"])
def test_killed_between_the_renames_nothing_is_mixed(tmp_path: Path, step: str) -> None:
    source, folder = tmp_path / "source", tmp_path / "target"
    folder.mkdir()
    path = folder / "out.onnx"
    storage.save(version(source, 1), path, directory=source)
    model = version(source, 2)
    replace = os.replace

    def die(draft: Path, target: Path) -> None:
        replace(draft, target)
        if (target == path) == (step == "model"):
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        os.replace = die
        storage.save(model, path, directory=source)

    _, status = os.waitpid(forked(work), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert found(path) == (1 if step == "data" else 2)
    storage.save(version(source, 3), path, directory=source)
    assert found(path) == 3


def test_of_writers_to_one_output_one_wins_whole(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "target"
    folder.mkdir()
    path = folder / "out.onnx"
    models = [version(source, number) for number in (1, 2, 3)]
    for _ in range(15):
        children = [forked(lambda model=model: storage.save(model, path, directory=source)) for model in models]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert found(path) in (1, 2, 3)
        assert len(names(folder)) == 2


def test_a_full_disk_leaves_the_old_output_and_nothing_else(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "target"
    folder.mkdir()
    path = folder / "out.onnx"
    storage.save(version(source, 1), path, directory=source)
    before = names(folder)
    model = version(source, 2)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, SIZE // 2))
        with pytest.raises(OutputError, match=r"out.onnx' cannot be written: File too large"):
            storage.save(model, path, directory=source)
        with pytest.raises(OutputError, match=r"out.onnx' cannot be written: File too large"):
            storage.write(path, bytes(SIZE))

    assert os.waitpid(forked(work), 0)[1] == 0
    assert found(path) == 1
    assert names(folder) == before


def test_a_folder_that_may_not_be_written_leaves_the_old_output(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    storage.write(path, b"old")

    def work() -> None:
        os.chdir(tmp_path)  # the folders above are closed to others
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        with pytest.raises(OutputError, match=r"out.onnx' cannot be written: Permission denied"):
            storage.write("out.onnx", b"new")

    tmp_path.chmod(0o555)
    try:
        assert os.waitpid(forked(work), 0)[1] == 0
    finally:
        tmp_path.chmod(0o755)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.onnx"]
