"""A search in one process or in several, all of which work on one study."""

from __future__ import annotations

import multiprocessing
import tempfile
from dataclasses import replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from supernet_onnx.errors import RunError, SuperNetError
from supernet_onnx.search import studies
from supernet_onnx.search.evaluator import begin_child, sharing_cores, undisturbed
from supernet_onnx.search.explorer import Explorer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.synchronize import Semaphore

    from supernet_onnx.search.explorer import Exploration, Explored

__all__ = ["explore"]

_POLL_S: Final = 0.25

_Process: TypeAlias = tuple[BaseProcess, "connection.Connection"]
"""A process, and where it says what went wrong."""


def explore(
    exploration: Exploration,
    *,
    trials: int,
    jobs: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> Explored:
    """Search for selections that trade costs for a measure.

    It goes on until so many selections were measured in all runs of the study, or the last 100 proposals gave nothing
    new. A process that dies loses the selection that it was measuring, and nothing else.

    Args:
        exploration: What is searched for.
        trials: How many selections are to be measured, with those that the study has already.
        jobs: How many processes measure. More than one are started afresh, so a script that asks for them needs
            ``if __name__ == "__main__":``. Other runs, on other machines too, may work on the same study meanwhile.
        progress: Called now and then with how many selections were measured, and ``trials``.

    Raises:
        InfeasibleError: No selection meets the budgets and pins, or none that does was proposed.
        RunError: The study is about something else, onnxruntime refuses a subnet, or every process died.
        SuperNetError: As for ``Evaluator`` and ``Chooser``.
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, not {trials}")
    with tempfile.TemporaryDirectory() as folder:
        if exploration.storage is None and jobs > 1:
            exploration = replace(exploration, storage=str(Path(folder) / "study.log"))
        with studies.kept(exploration.storage) as storage:
            explorer = Explorer(exploration, storage)
            lost = explorer.begin()
            if jobs == 1:
                explorer.run(trials, progress=progress)
            else:
                lost += _run_in_processes(explorer, trials, jobs, progress)
            return explorer.result(lost)


def _run_in_processes(explorer: Explorer, trials: int, jobs: int, progress: Callable[[int, int], object] | None) -> int:
    """Let processes work on the study until it is done, and return how many trials were lost with one of them.

    What one was to measure when it died, others do.
    """
    lost = 0
    while not explorer.is_done(trials):
        before = explorer.measured()
        lost += _run_once(explorer, trials, min(jobs, trials - before), progress)
        if not explorer.is_done(trials) and explorer.measured() == before:
            raise RunError(
                f"all processes died, {before} of {trials} selections are measured; out of memory? use fewer "
                "--jobs; with --storage the same command goes on from there"
            )
    return lost


def _run_once(explorer: Explorer, trials: int, jobs: int, progress: Callable[[int, int], object] | None) -> int:
    """Start processes that share what is to be measured, wait for their end, and return how many trials were lost."""
    exploration = explorer.exploration
    exploration = replace(exploration, evaluation=sharing_cores(exploration.evaluation, jobs))
    context = multiprocessing.get_context("spawn")  # onnxruntime's threads do not survive a fork
    turns = context.Semaphore(trials - explorer.measured())
    processes: list[_Process] = []
    lost = 0
    try:
        for number in range(1, jobs + 1):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(exploration, number, trials, turns, theirs), daemon=True)
            try:
                with undisturbed():
                    process.start()
            except OSError as error:
                raise RunError(f"process {number} of {jobs} cannot be started: {error}; use fewer --jobs") from error
            theirs.close()
            processes.append((process, ours))
        while alive := [process for process, _ in processes if process.is_alive()]:
            connection.wait([process.sentinel for process in alive], timeout=_POLL_S)
            _raise_first(processes)
            lost += explorer.drop_lost()
            if progress is not None:
                progress(explorer.measured(), trials)
        _raise_first(processes)
    finally:
        for worker, ours in processes:
            worker.terminate()
            worker.join()
            ours.close()
    return lost + explorer.drop_lost()


def _work(exploration: Exploration, number: int, trials: int, turns: Semaphore, tell: connection.Connection) -> None:
    """Be one of the processes of a search."""
    begin_child()
    try:
        with studies.kept(exploration.storage) as storage:
            Explorer(exploration, storage, process=number).run(trials, turns=turns)
    except SuperNetError as error:
        tell.send(error)


def _raise_first(processes: Sequence[_Process]) -> None:
    """Raise what one of the processes raised."""
    for _, ours in processes:
        try:
            if ours.poll():
                raise ours.recv()
        except EOFError:  # it ended without a word
            continue
