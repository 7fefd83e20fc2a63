"""Latency of models in onnxruntime, taken in turn so that the machine's moods strike all of them alike."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx

from supernet_onnx import cost, supergraph
from supernet_onnx.errors import CostError, ModelError, RunError
from supernet_onnx.graph import input_names
from supernet_onnx.runtime import load_inputs, open_session, random_inputs
from supernet_onnx.shapes import type_of
from supernet_onnx.storage import data_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from supernet_onnx.admission import Limits
    from supernet_onnx.diagram import Number
    from supernet_onnx.runtime import Array, Session
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["SECONDS", "Benchmark", "Environment", "Timing", "environment", "time_models"]

SECONDS: Final = 5.0

_WARM_UP_ROUNDS: Final = 3
_WARM_UP_SECONDS: Final = 1.0
_MIN_ROUNDS: Final = 5  # fewer have no 95th percentile to speak of


@dataclass(frozen=True, slots=True)
class Environment:
    """Where the times were taken.

    Attributes:
        processor: Its name.
        cores: Logical cores that this process may use.
        threads: What an operator may use; None leaves it to onnxruntime.
        versions: By package name; the interpreter is ``python``.
    """

    processor: str
    cores: int
    threads: int | None
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Timing:
    """What was measured for one model.

    Attributes:
        file: Its path, as it was given.
        median_ms: Median latency of a run, in milliseconds.
        p95_ms: The latency that 95 % of the runs do not exceed, in milliseconds.
        throughput: Samples a second at the median latency.
        ratio: Its median latency in units of the first model's.
        size_bytes: Of the file and its external data.
        params: Parameters that it holds, of all branches if it has pools; None where they cannot be counted.
        macs: Multiply-accumulates for one sample, likewise.
    """

    file: str
    median_ms: float
    p95_ms: float
    throughput: float
    ratio: float
    size_bytes: int
    params: Number | None
    macs: Number | None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The timings of some models, taken together.

    Attributes:
        timings: One for each model, in their order.
        rounds: How often each was run.
        environment: Where.
    """

    timings: tuple[Timing, ...]
    rounds: int
    environment: Environment


@dataclass(frozen=True, slots=True)
class _Entrant:
    path: Path
    supergraph: SuperGraph
    session: Session
    feeds: Mapping[str, Array]


def time_models(
    paths: Sequence[Path],
    *,
    batch: int | None = None,
    threads: int | None = None,
    rounds: int | None = None,
    seconds: float = SECONDS,
    dims: Mapping[str, int] | None = None,
    inputs: Path | None = None,
    limits: Limits | None = None,
    allow_links: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Benchmark:
    """Time models in onnxruntime: warm up, then rounds in which each runs once, each round starting with the next.

    Args:
        paths: The models. A model with pools runs all of its branches, as a mixture.
        batch: The size of a free first dim; 1 if it is None.
        threads: How many an operator may use; None leaves it to onnxruntime.
        rounds: How many rounds to take; None takes them until the time is over.
        seconds: That time, at least five rounds.
        dims: Sizes of the inputs' other symbolic dims, by name.
        inputs: An ``.npz`` file to feed, instead of random values.
        limits: What a file may not exceed, as in ``supergraph.read``.
        allow_links: Whether external data may be links to files elsewhere, as there.
        progress: Called with the part of the work that is done, 0 to 1.

    Raises:
        ModelError: A file is missing or no ONNX model.
        RunError: onnxruntime refuses a model or its inputs; a dim has no size; ``batch`` is given and no model's
            batch is free.
    """
    graphs = [supergraph.read(path, limits=limits, allow_links=allow_links) for path in paths]
    if batch is not None:
        _check_batch(paths, graphs)
    entrants = []
    for path, graph in zip(paths, graphs, strict=True):
        feeds = load_inputs(inputs, graph.graph) if inputs else random_inputs(graph.graph, batch=batch or 1, dims=dims)
        entrants.append(_Entrant(path, graph, open_session(path, threads=threads), feeds))
    _warm_up(entrants)
    taken = _take(entrants, rounds, seconds, progress or (lambda done: None))
    medians = [float(np.median(times)) for times in taken]
    timings = tuple(
        _timing(entrant, times, median / medians[0], dims)
        for entrant, times, median in zip(entrants, taken, medians, strict=True)
    )
    return Benchmark(timings, len(taken[0]), environment(threads))


def _check_batch(paths: Sequence[Path], graphs: Sequence[SuperGraph]) -> None:
    for path, graph in zip(paths, graphs, strict=True):
        required = set(input_names(graph.graph))
        shapes = [type_of(value.type).shape for value in graph.graph.input if value.name in required]
        if shapes and all(shape and isinstance(shape[0], int) for shape in shapes):
            raise RunError(f"'{path}': its batch is fixed, no input has a free first dim; leave out --batch")


def _warm_up(entrants: Sequence[_Entrant]) -> None:
    """Run each at least once: the first runs allocate memory and page in weights."""
    start = time.perf_counter()
    for _ in range(_WARM_UP_ROUNDS):
        for entrant in entrants:
            entrant.session.run(entrant.feeds)
        if time.perf_counter() - start > _WARM_UP_SECONDS:
            return


def _take(
    entrants: Sequence[_Entrant], rounds: int | None, seconds: float, progress: Callable[[float], None]
) -> list[list[float]]:
    """Return the latencies of each entrant in milliseconds, one a round."""
    taken: list[list[float]] = [[] for _ in entrants]
    start = time.perf_counter()
    done, part = 0, 0.0
    while part < 1.0:
        for i in range(len(entrants)):
            turn = (done + i) % len(entrants)
            entrant = entrants[turn]
            before = time.perf_counter_ns()
            entrant.session.run(entrant.feeds)
            taken[turn].append((time.perf_counter_ns() - before) / 1e6)
        done += 1
        spent = (time.perf_counter() - start) / seconds
        part = min(done / _MIN_ROUNDS, spent) if rounds is None else done / rounds
        progress(min(part, 1.0))
    return taken


def _timing(entrant: _Entrant, times: Sequence[float], ratio: float, dims: Mapping[str, int] | None) -> Timing:
    median = float(np.median(times))
    files = [entrant.path, *data_files(entrant.supergraph.model, entrant.path.parent)]
    executed = _as_executed(entrant.supergraph)
    shapes = [array.shape for array in entrant.feeds.values() if array.ndim]
    samples = shapes[0][0] if shapes else 1
    return Timing(
        file=str(entrant.path),
        median_ms=median,
        p95_ms=float(np.quantile(times, 0.95)),
        throughput=samples * 1e3 / median,
        ratio=ratio,
        size_bytes=sum(file.stat().st_size for file in files),
        params=_price(executed, "params", dims),
        macs=_price(executed, "macs", dims),
    )


def _price(graph: SuperGraph, name: str, dims: Mapping[str, int] | None) -> Number | None:
    try:
        return cost.measure(graph, [cost.METRICS[name]], dims=dims or {})[name].trunk
    except (CostError, ModelError):
        return None


def _as_executed(graph: SuperGraph) -> SuperGraph:
    """Return a supergraph in which all that onnxruntime runs is trunk: its pools are sums of their branches."""
    if not graph.pools:
        return graph
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for index in graph.marks:
        node = model.graph.node[index]
        branches = list(node.input[1:])
        node.Clear()
        node.CopyFrom(onnx.helper.make_node("Sum", branches, list(graph.graph.node[index].output)))
    return supergraph.read(model)


def environment(threads: int | None) -> Environment:
    """Return where this process measures."""
    packages = ("onnxruntime", "onnx", "numpy")
    versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
    return Environment(_processor(), _cores(), threads, versions)


def _processor() -> str:
    """Return the processor's name; the standard library does not know it on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
