"""Signals that end a command: one line, the usual exit code, and nothing left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import sys
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from supernet_onnx import storage
from supernet_onnx.cli import ending, main
from supernet_onnx.cli.options import read
from tests import mutations
from tests.files import names
from tests.interruption import forked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return mutations.write(mutations.outside().SerializeToString(), tmp_path / "model")


def program(path: Path, log: Path, prepare: Callable[[], None]) -> int:
    """Start a prune in a process of its own; return its number."""

    def work() -> None:
        with log.open("w") as file:
            os.dup2(file.fileno(), 2)
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  pytest's own is no descriptor
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
            prepare()
            code = 1
            with contextlib.suppress(SystemExit):
                try:
                    main(["prune", str(path), "-o", str(path.with_name("out.onnx"))])
                except SystemExit as error:
                    code = error.code
                    raise
            sys.stderr.flush()
            os._exit(code)

    return forked(work)


def code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("by", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("step", ["fsync", "copy_file_range", "chmod"])
def test_a_signal_while_a_file_is_written_leaves_nothing(
    step: str, by: signal.Signals, expected: int, path: Path, tmp_path: Path
) -> None:
    before = names(path.parent)
    call = getattr(os, step)

    def prepare() -> None:
        def interrupted(*arguments: object, **named: object) -> object:
            os.kill(os.getpid(), by)
            return call(*arguments, **named)

        setattr(os, step, interrupted)

    assert code(program(path, tmp_path / "log", prepare)) == expected
    word = "terminated" if by == signal.SIGTERM else "interrupted"
    assert (tmp_path / "log").read_text() == f"error: {word}; no file was left half written\n"
    assert names(path.parent) == before


def test_terminated_at_any_moment_a_prune_leaves_no_temporary_file(path: Path, tmp_path: Path) -> None:
    before = names(path.parent)
    draw, codes = random.Random(3), set()
    for _ in range(20):
        child = program(path, tmp_path / "log", lambda: None)
        time.sleep(draw.uniform(0, 0.12))
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        codes.add(code(child))
        assert set(names(path.parent)) - set(before) <= {"out.onnx", "out.onnx.data"}
        assert not (path.parent / "out.onnx").exists() or storage.load(path.parent / "out.onnx")
    assert codes <= {0, 143, -signal.SIGTERM}  # the last where the program had hardly begun


def test_a_library_that_never_returns_does_not_keep_a_terminated_program(path: Path, tmp_path: Path) -> None:
    def prepare() -> None:
        ending._GRACE = 0.1
        read.__globals__["read"] = lambda _: hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)  # for minutes

    child = program(path, tmp_path / "log", prepare)
    time.sleep(0.3)
    os.kill(child, signal.SIGTERM)
    started = time.monotonic()
    assert code(child) in (143, -signal.SIGTERM)
    assert time.monotonic() - started < 60
