"""Interrupts while several processes measure: one line, soon, and from one process only."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from tests.cli.calling import error

SLOW = """
import time
def slow(outputs, targets):
    with open(__file__ + ".calls", "a") as file:
        file.write("1")
    time.sleep(60)
    return 0.0
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "val.npz", x=np.zeros((4, 3, 8, 8), np.float32), labels=np.zeros(4, np.int64))
    return tmp_path / "val.npz"


def start(verb: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a verb as a terminal does: an interrupt goes to all of its processes."""
    heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests in the background ignore it
    command = [sys.executable, "-m", "supernet_onnx", verb, *map(str, arguments), "--jobs", "2"]
    return subprocess.Popen(command, stderr=PIPE, text=True, start_new_session=True, preexec_fn=heeds)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def begins(pid: str) -> bool:
    """Tell whether a process is Python that has not come to our code yet: it handles SIGINT as Python does."""
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (signal.SIGINT - 1) & 1)


def end(program: subprocess.Popen[str]) -> None:
    os.killpg(program.pid, signal.SIGINT)
    _, told = program.communicate(timeout=60)
    assert told.removeprefix("measuring selections ...\n") == "error: interrupted; no file was left half written\n"
    assert program.returncode == 130


@pytest.mark.parametrize(("verb", "flag"), [("score", "--loss"), ("search", "--objective")])
def test_an_interrupt_ends_processes_in_the_middle_of_a_selection(
    verb: str, flag: str, flat: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "loss.py").write_text(SLOW)
    calls = tmp_path / "loss.py.calls"
    with start(verb, flat, "--data", data, flag, f"{tmp_path / 'loss.py'}:slow") as program:
        while not calls.exists() or len(calls.read_text()) < 2:
            assert program.poll() is None
            time.sleep(0.05)
        end(program)


@pytest.mark.parametrize("verb", ["score", "search"])
def test_more_processes_than_a_machine_can_use_are_refused(verb: str, flat: Path, data: Path) -> None:
    most = 8 * (os.cpu_count() or 1)
    assert f"give at most {most}" in error(verb, flat, "--data", data, "--jobs", most + 1)
    assert "is not in the range" in error(verb, flat, "--data", data, "--jobs", 0)


@pytest.mark.parametrize("verb", ["score", "search"])
def test_an_interrupt_ends_processes_that_have_just_been_started(verb: str, flat: Path, data: Path) -> None:
    with start(verb, flat, "--data", data) as program:
        while sum(map(begins, children(program.pid))) < 2:
            assert program.poll() is None
            time.sleep(0.01)
        end(program)
