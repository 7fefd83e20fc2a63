"""Timing many models in turn: rounds, what is kept of them, and going on after an interruption.

A model is loaded several times, for where its weights come to lie makes a session faster or slower for good: by 1.5 %
(standard deviation, 16 subnets of ``vit``), 0.8 % (``resnet8``). Its latency is the mean over its sessions of the
**lower quartile** of the runs. On one thread of the CPU a run is timed by the processor time of the thread that runs
it, which leaves out the time in which other programs have the core; else by the wall clock. Both were chosen by how
far the even and the odd rounds of 120 subnets differ, on two cores that other programs kept busy: by 0.1 %
(``resnet8``), 0.2 % (``vit``) and 0.4 % (``mobilenetv1``, ``proxyless``); their medians by up to 0.6 %, those of the
wall clock by up to 7 %.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from onnx import GraphProto, helper

from supernet_onnx.errors import RunError
from supernet_onnx.graph import input_names
from supernet_onnx.runtime import CPU, open_session, random_inputs
from supernet_onnx.shapes import type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from onnx import ModelProto

    from supernet_onnx.shapes import TensorType

__all__ = ["Bench", "Run", "Samples", "Task", "latency_of", "take"]

Run: TypeAlias = "Callable[[], float]"
"""Runs a model once and returns how long it took, in milliseconds."""

Samples: TypeAlias = "dict[str, list[list[float]]]"
"""The latencies of each task's runs so far, in milliseconds: a list for each session."""

QUANTILE: Final = 0.25
_WARM_UPS: Final = 2
_GROUP_BYTES: Final = 1 << 30  # of weights that are loaded at once; onnxruntime holds most of them twice
_SESSIONS: Final = 6  # in which each model runs, one after the other
_SAVING_PERIOD: Final = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Task:
    """A model to time.

    Attributes:
        key: What its samples are known by.
        size_bytes: Of its weights.
        build: Makes the model.
        warm_key: What the samples of a second run right behind each are known by; None for no such runs.
        may_fail: Whether it is left without samples if onnxruntime refuses it.
    """

    key: str
    size_bytes: int
    build: Callable[[], ModelProto] = field(repr=False)
    warm_key: str | None = None
    may_fail: bool = False


@dataclass(frozen=True, slots=True)
class Bench:
    """Where models run.

    Attributes:
        directory: The folder that external data are relative to.
        threads: How many an operator may use.
        providers: The execution providers, by their full names.
        types: The types of all tensors that may be inputs.
    """

    directory: Path | None
    threads: int
    providers: tuple[str, ...]
    types: Mapping[str, TensorType] = field(repr=False)

    @property
    def clock(self) -> str:
        """What times a run, in words."""
        return "processor time" if self._is_alone else "wall clock"

    @property
    def _is_alone(self) -> bool:
        return self.threads == 1 and self.providers == (CPU,)

    def open(self, model: ModelProto) -> Run:
        """Load a model.

        Raises:
            RunError: onnxruntime refuses the model or its inputs.
        """
        session = open_session(model, directory=self.directory, threads=self.threads, providers=self.providers)
        run = session.bind(random_inputs(self._fed(model.graph)))
        now = time.thread_time_ns if self._is_alone else time.perf_counter_ns

        def timed() -> float:
            before = now()
            run()
            return (now() - before) / 1e6

        return timed

    def _fed(self, graph: GraphProto) -> GraphProto:
        """Return a graph of nothing but the inputs that a run must feed, with sizes for those that are open."""
        fed, names = GraphProto(), set(input_names(graph))
        for value in graph.input:
            if value.name in names:
                kind = self.types.get(value.name)
                is_open = type_of(value.type).numel is None and kind is not None and kind.shape is not None
                fed.input.add().CopyFrom(
                    helper.make_tensor_value_info(value.name, kind.dtype, kind.shape) if kind and is_open else value
                )
        return fed


def take(
    tasks: Sequence[Task],
    samples: Samples,
    *,
    rounds: int,
    open_run: Callable[[ModelProto], Run],
    save: Callable[[Samples], None] = lambda samples: None,
    progress: Callable[[float], None] = lambda done: None,
) -> None:
    """Time models in turn until each has so many samples; what has them already is left alone.

    The runs are spread over six sessions of each model, one after the other. In each round every model has a turn, in
    an order drawn anew. Where the weights are too many to be loaded at once, groups of models take the rounds of a
    session one after the other, drawn anew each time, so that a slow spell of the machine strikes no model alone.

    Args:
        tasks: The models.
        samples: Of earlier calls; samples are added here.
        rounds: How many samples each model shall have.
        open_run: Loads a model.
        save: Called now and then with the samples.
        progress: Called with the part of the samples that is taken, 0 to 1.

    Raises:
        RunError: onnxruntime refuses a model.
    """
    for key in _keys(tasks):
        samples.setdefault(key, [])
    generator = np.random.default_rng(0)
    saved = time.monotonic()
    for target in dict.fromkeys(-(-rounds * n // _SESSIONS) for n in range(1, _SESSIONS + 1)):
        left = [task for task in tasks if _lacks(task, samples, target)]
        for group in _groups([left[i] for i in generator.permutation(len(left))]):
            runs = [(task, run) for task in group if (run := _open(task, open_run)) is not None]
            for key in _keys(task for task, _ in runs):
                samples[key].append([])
            while due := [(task, run) for task, run in runs if _lacks(task, samples, target)]:
                for i in generator.permutation(len(due)):
                    task, run = due[i]
                    for key in _keys([task]):
                        samples[key][-1].append(round(run(), 6))
                progress(_done(tasks, samples, rounds))
                if time.monotonic() - saved > _SAVING_PERIOD:
                    save(samples)
                    saved = time.monotonic()
            save(samples)


def latency_of(samples: Sequence[Sequence[float]]) -> float:
    """Return the latency that the samples of a model's sessions tell, in milliseconds; longer sessions count more."""
    sessions = [session for session in samples if session]
    quartiles = [np.quantile(session, QUANTILE) for session in sessions]
    return float(np.average(quartiles, weights=[len(session) for session in sessions]))


def _groups(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    group: list[Task] = []
    size_bytes = 0
    for task in tasks:
        if group and size_bytes + task.size_bytes > _GROUP_BYTES:
            yield group
            group, size_bytes = [], 0
        group.append(task)
        size_bytes += task.size_bytes
    if group:
        yield group


def _keys(tasks: Iterable[Task]) -> Iterator[str]:
    for task in tasks:
        yield task.key
        if task.warm_key is not None:
            yield task.warm_key


def _open(task: Task, open_run: Callable[[ModelProto], Run]) -> Run | None:
    """Load a model and run it a little; None for one that may fail, and does."""
    try:
        run = open_run(task.build())
        return _warmed_up(run)
    except RunError:
        if task.may_fail:
            return None
        raise


def _warmed_up(run: Run) -> Run:
    for _ in range(_WARM_UPS):  # the first runs allocate memory and page in weights
        run()
    return run


def _lacks(task: Task, samples: Samples, number: int) -> bool:
    return any(_number(samples[key]) < number for key in _keys([task]))


def _number(sessions: Sequence[Sequence[float]]) -> int:
    return sum(map(len, sessions))


def _done(tasks: Sequence[Task], samples: Samples, rounds: int) -> float:
    return sum(min(_number(samples[task.key]), rounds) for task in tasks) / (rounds * len(tasks))
