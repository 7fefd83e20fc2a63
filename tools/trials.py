"""Trials: many small trainings, each once, by worker processes of one thread, their results kept in a JSON file.

A program that is stopped and started again with the same file goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import supernet_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["Ledger", "environment", "run"]

Result = dict[str, Any]  # of JSON values
_COLUMNS: Final = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())


class Ledger:
    """Results by name, in a JSON file that is written whole after each one.

    Args:
        path: The file; it need not be there yet.
        settings: What the results depend on.

    Raises:
        ValueError: The file was written with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self._path = path
        self._content: dict[str, Any] = {"settings": dict(settings), "results": {}}
        if path.exists():
            self._content = json.loads(path.read_text(encoding="utf-8"))
            if self._content["settings"] != self._plain(settings):
                raise ValueError(f"{path} was written with other settings; give another file, or remove it")

    def __contains__(self, name: str) -> bool:
        """Whether there is a result of that name."""
        return name in self._content["results"]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._content["results"])

    def __getitem__(self, name: str) -> Result:
        """Return the result of that name."""
        result: Result = self._content["results"][name]
        return result

    def __setitem__(self, name: str, result: Result) -> None:
        """Keep a result, in the file as well."""
        self._content["results"][name] = self._plain(result)
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")
        beside.replace(self._path)

    @staticmethod
    def _plain(value: object) -> Result:
        plain: Result = json.loads(json.dumps(value))
        return plain


def run(
    title: str, trials: Mapping[str, tuple[object, ...]], work: Callable[..., Result], ledger: Ledger, jobs: int
) -> None:
    """Do the trials whose results are not in the ledger yet.

    Args:
        title: What to write beside the progress bar.
        trials: For each name the arguments of ``work``; both are pickled.
        work: A function of a module, which makes a result of them. Its processor time is added, ``cpu_s``.
        ledger: Where the results go.
        jobs: Number of processes.
    """
    missing = {name: arguments for name, arguments in trials.items() if name not in ledger}
    if not missing:
        return
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(1,)) as workers,
        Progress(*_COLUMNS, console=Console(stderr=True)) as bar,
    ):
        row = bar.add_task(title, total=len(missing))
        names = {workers.submit(_timed, work, arguments): name for name, arguments in missing.items()}
        for done in as_completed(names):
            ledger[names[done]] = done.result()
            bar.advance(row)


def _timed(work: Callable[..., Result], arguments: tuple[object, ...]) -> Result:
    started = time.process_time()
    result = work(*arguments)
    return {**result, "cpu_s": round(time.process_time() - started, 2)}


def environment() -> str:
    """Return the versions and the machine, to be printed beside every number."""
    versions = (
        f"supernet-onnx {supernet_onnx.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    )
    return f"{versions}; 1 thread a job of {os.cpu_count()} cores, {platform.machine()}"
