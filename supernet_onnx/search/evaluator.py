"""Selections measured on data: cut out, given BatchNorm statistics of their own, run in onnxruntime, in processes.

Imported only by what measures; the exact choice does without onnxruntime.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import connection
from typing import TYPE_CHECKING

from supernet_onnx import folding, pruning, runtime, supergraph
from supernet_onnx.errors import RunError
from supernet_onnx.selection import Selection, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from supernet_onnx.admission import Limits

__all__ = ["Evaluation", "Evaluator", "begin_child", "evaluate_all", "sharing_cores", "undisturbed"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is measured, and on what; small enough to be sent to another process.

    Attributes:
        model: The supernet's file.
        data: An ``.npz`` file with the model's inputs and the targets.
        measure: The name of a measure, or ``FILE.py:FUNCTION``.
        target: Which array holds the targets; None for the one that is no input.
        calibration: An ``.npz`` file with the model's inputs, for the BatchNorm statistics; None for ``data``.
        batch_size: The samples of a batch.
        threads: Of onnxruntime, in each process; None for its own choice.
        limits: As for ``supergraph.read``.
        allow_links: As for ``supergraph.read``.
    """

    model: Path
    data: Path
    measure: str = "cross_entropy"
    target: str | None = None
    calibration: Path | None = None
    batch_size: int = 64
    threads: int | None = None
    limits: Limits | None = None
    allow_links: bool = False


class Evaluator:
    """Measures one selection after the other.

    Args:
        evaluation: What is measured.

    Attributes:
        evaluation: What is measured.
        supergraph: The supernet.
        measure: The function that is meant.
        num_samples: On how many samples.
        recalibrates: Whether there are BatchNormalizations, whose statistics are estimated anew for each selection.

    Raises:
        ModelError: The model does not pass the gate.
        MarkError: It has no pool, or a tool has hidden one.
        RunError: The data do not fit the model, or the measure is none.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.supergraph = supergraph.read(
            evaluation.model, limits=evaluation.limits, allow_links=evaluation.allow_links
        )
        supergraph.check_pools(self.supergraph)
        graph, size = self.supergraph.graph, evaluation.batch_size
        self.measure = runtime.find_measure(evaluation.measure)
        self._target = evaluation.target or runtime.find_target(evaluation.data, graph)
        self._batches = runtime.Batches(evaluation.data, graph, size=size, target=self._target)
        self._calibration = runtime.Batches(evaluation.calibration or evaluation.data, graph, size=size)
        self.num_samples = self._batches.num_samples
        self.recalibrates = bool(folding.layers(self.supergraph.model))

    def value(self, selection: Selection) -> float:
        """Return the measure of a selection, with the weights that it inherits.

        Raises:
            RunError: onnxruntime refuses the subnet or a batch, or the measure fails.
        """
        threads, directory = self.evaluation.threads, self.supergraph.directory
        subnet = pruning.prune(self.supergraph, selection)
        if folding.layers(subnet):
            subnet = runtime.recalibrate(subnet, self._calibration, directory=directory, threads=threads)
        return runtime.evaluate(
            subnet, self._batches, self.measure, target=self._target, directory=directory, threads=threads
        )


def evaluate_all(
    evaluator: Evaluator,
    selections: Sequence[Selection],
    *,
    jobs: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> list[float]:
    """Measure selections, some at once; equal ones once.

    Args:
        evaluator: Measures them, or says to other processes how to.
        selections: Of the model's pools.
        jobs: How many processes. They share the cores, unless ``evaluation`` gives each its threads. One is this
            process; more are started afresh, so a script that asks for them needs ``if __name__ == "__main__":``.
        progress: Called after each selection with how many are done, and how many there are.

    Returns:
        A value for each selection.

    Raises:
        RunError: onnxruntime refuses a subnet or a batch, the measure fails, or a process died.
    """
    different = list(dict.fromkeys(selections))
    values: dict[Selection, float] = {}
    for selection, value in _evaluated(evaluator, different, jobs):
        values[selection] = value
        if progress is not None:
            progress(len(values), len(different))
    return [values[selection] for selection in selections]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Start processes in this block that no interrupt reaches while they begin: it is for the one that starts them.

    That one heeds it behind the block, for it must tell a process what to do once that is there.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if came:
        signal.raise_signal(signal.SIGINT)


def begin_child() -> None:
    """Leave an interrupt to the process that started this one, and end when that one ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def sharing_cores(evaluation: Evaluation, jobs: int) -> Evaluation:
    """Return an evaluation that so many processes can do at once, each with its share of the cores."""
    if jobs == 1 or evaluation.threads is not None:
        return evaluation
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return replace(evaluation, threads=max(1, cores // jobs))


def _evaluated(evaluator: Evaluator, selections: Sequence[Selection], jobs: int) -> Iterator[tuple[Selection, float]]:
    jobs = min(jobs, len(selections))
    if jobs <= 1:
        yield from ((selection, evaluator.value(selection)) for selection in selections)
        return
    context = multiprocessing.get_context("spawn")  # onnxruntime's threads do not survive a fork
    evaluation = sharing_cores(evaluator.evaluation, jobs)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(evaluation,))
    started: set[BaseProcess] = set()
    try:
        with undisturbed():
            running = {pool.submit(_value, selection.as_dict()): selection for selection in selections}
            started = set(multiprocessing.active_children()) - others
        for done in as_completed(running):
            yield running[done], done.result()
    except BrokenProcessPool as error:
        raise RunError("a process that measures selections died; out of memory? use fewer --jobs") from error
    finally:
        for process in started:  # nobody waits for what is still being measured
            process.terminate()
        pool.shutdown(cancel_futures=True)


_EVALUATORS: list[Evaluator] = []  # of a process that was started to measure: its one


def _begin(evaluation: Evaluation) -> None:
    begin_child()
    _EVALUATORS.append(Evaluator(evaluation))


def _value(choices: dict[str, str]) -> float:
    (evaluator,) = _EVALUATORS
    return evaluator.value(resolve(evaluator.supergraph, choices))
