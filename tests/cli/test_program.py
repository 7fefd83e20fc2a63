"""The command line in a process of its own."""

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

from tests import marked

PROGRAM = [sys.executable, "-m", "supernet_onnx"]
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_a_closed_pipe_ends_the_program_quietly(tmp_path: Path) -> None:
    pools = "".join(
        f'y{i + 1} = supernet_onnx.Pool2 <pool = "pool{i}", branches = ["a", "b"]> ("w{i}", y{i}, y{i})'
        for i in range(3000)
    )
    weights = ", ".join(f"float[2] w{i} = {{0.5, 0.5}}" for i in range(3000))
    header = '<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>'
    text = f"{header} g (float[1] y0) => (float[1] y3000) <{weights}> {{ {pools} }}"
    path = marked.write(marked.build(text), tmp_path / "long.onnx")
    with subprocess.Popen([*PROGRAM, "inspect", path], stdout=PIPE, stderr=PIPE, env=BUFFERED) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        assert all(line.endswith(b" ...\n") for line in program.stderr)  # progress, where the machine is slow
        assert program.wait() == 141


def test_a_terminal_gets_tables_that_fold_long_names_to_its_width(tmp_path: Path) -> None:
    name = "encoder.layers." + "0123456789" * 6
    model = marked.build(marked.FLAT.replace('pool = "pool"', f'pool = "{name}"'), marked.FLAT_WEIGHTS)
    path = marked.write(model, tmp_path / "x.onnx")
    reader, terminal = os.openpty()
    environment = {**os.environ, "COLUMNS": "70", "TERM": "xterm"}
    subprocess.run([*PROGRAM, "inspect", path], stdout=terminal, check=True, env=environment)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", os.read(reader, 65536).decode()).splitlines()
    for end in (reader, terminal):
        os.close(end)
    assert max(map(len, lines)) <= 70
    assert name in "".join(line.split()[0] for line in lines if line.strip())


def test_an_interrupt_signal_ends_the_program_with_one_line(flat: Path) -> None:
    command = [*PROGRAM, "bench", flat, "--seconds", "60"]
    heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests in the background ignore it
    with subprocess.Popen(command, stderr=PIPE, text=True, preexec_fn=heeds) as program:
        assert program.stderr is not None
        assert program.stderr.readline() == "measuring ...\n"
        program.send_signal(signal.SIGINT)
        assert program.stderr.read() == "error: interrupted; no file was left half written\n"
        assert program.wait() == 130


def test_a_full_disk_is_one_line_and_no_bug(flat: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, "inspect", flat], stdout=full, stderr=PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: the system refuses: [Errno 28] No space left on device\n")


def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    path = marked.write(
        marked.build(marked.FLAT.replace('"skip"', '"\u4e2d"'), marked.FLAT_WEIGHTS), tmp_path / "x.onnx"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([*PROGRAM, "inspect", path], capture_output=True, check=True, env=environment)
    assert rb"\u4e2d" in done.stdout


def test_the_installed_program_knows_its_version() -> None:
    program = Path(sys.executable).with_name("supernet-onnx")
    done = subprocess.run([program, "--version"], capture_output=True, check=True, text=True)
    assert done.stdout == "supernet-onnx, version 0.1.0\n"


def test_help_answers_within_twice_the_time_of_importing_click_and_a_tenth_of_a_second() -> None:
    def seconds(*arguments: object) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, check=True)
        return time.perf_counter() - start

    pairs = [(seconds("-c", "import click"), seconds("-m", "supernet_onnx", "--help")) for _ in range(5)]
    assert min(helped for _, helped in pairs) <= 2 * min(clicked for clicked, _ in pairs) + 0.1
