"""What the verbs print: results on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from supernet_onnx.report import Part, Report

__all__ = ["muted", "progress", "show"]

_PATIENCE: Final = 1.0  # seconds before a wait is explained
_REFRESHES: Final = 4  # a second; few, for what is measured must not be disturbed


def show(report: Report, *, as_json: bool) -> None:
    """Print a report: one object, or tables and lines.

    On a terminal these are drawn and folded to its width; elsewhere they are plain columns, a line a row.
    """
    if as_json:
        click.echo(json.dumps(report.record(), indent=2, allow_nan=False))
    elif sys.stdout.isatty():
        _draw(report.parts())
    else:
        click.echo("\n".join(line for part in report.parts() for line in _plain(part)))


def _draw(parts: Sequence[Part]) -> None:
    """Print to the terminal through rich, which does not take names for markup here."""
    from rich import box, table
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    for part in parts:
        if isinstance(part, str):
            console.print(part)
            continue
        drawn = table.Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for i, header in enumerate(part.headers):
            is_number = 0 <= i - len(part.names) < len(part.numbers)
            drawn.add_column(header, justify="right" if is_number else "left", overflow="fold")
        for section in part.sections:
            for row in section:
                drawn.add_row(*row)
            drawn.add_section()
        console.print(drawn)


def _plain(part: Part) -> list[str]:
    """Write a table as aligned columns, two blanks apart. Rich does so too, but takes a minute for 100,000 rows."""
    if isinstance(part, str):
        return [part]
    rows = [part.headers, *(row for section in part.sections for row in section)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first = len(part.names)
    numbers = range(first, first + len(part.numbers))
    return [
        "  ".join(
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Keep off stdout what compiled libraries print in this block, for that is where results go; HiGHS does at times.

    They write to the descriptor, past Python, and from a buffer of their own.
    """
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def progress(task: str, *, in_bytes: bool = False) -> Iterator[Callable[..., None]]:
    """Say on stderr what is going on once it takes longer than a second: a bar on a terminal, else one line.

    Args:
        task: What is going on.
        in_bytes: Whether what is done is counted in bytes; the bar shows them.

    Yields:
        A function to call with what is done and the whole, 1 if it is left out; until then the bar only shows that
        something moves.
    """
    done = [0.0, 1.0]

    def tell(part: float, total: float = 1.0) -> None:
        done[:] = part, total

    finished = threading.Event()
    watcher = threading.Thread(target=_watch, args=(task, done, finished, in_bytes), daemon=True)
    watcher.start()
    try:
        yield tell
    finally:
        finished.set()
        watcher.join()


def _watch(task: str, done: Sequence[float], finished: threading.Event, in_bytes: bool) -> None:
    if finished.wait(_PATIENCE):
        return
    if not sys.stderr.isatty():
        with contextlib.suppress(OSError):  # nobody reads it
            click.echo(f"{task} ...", err=True)
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    columns = [*Progress.get_default_columns(), *([DownloadColumn(), TransferSpeedColumn()] if in_bytes else [])]

    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=_REFRESHES) as bar:
        row = bar.add_task(task, total=None)
        while not finished.wait(1 / _REFRESHES):
            if done[0] > 0:
                bar.update(row, total=done[1], completed=done[0])
