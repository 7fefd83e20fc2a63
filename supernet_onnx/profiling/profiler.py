"""The profile of a supernet: its pieces and some whole subnets, timed in turn, and what follows for every branch."""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import parser

from supernet_onnx.bench import environment
from supernet_onnx.cost import measure, size
from supernet_onnx.cost.calls import resolve_calls
from supernet_onnx.cost.structure import structure_of
from supernet_onnx.errors import RunError
from supernet_onnx.graph import input_names
from supernet_onnx.profiling.cutting import cut
from supernet_onnx.profiling.fitting import fit
from supernet_onnx.profiling.measuring import Bench, Task, latency_of, pinned, take
from supernet_onnx.profiling.progress import Unfinished
from supernet_onnx.profiling.tables import MeasuredOn, PieceTime, Profile, SubnetTime
from supernet_onnx.pruning import prune
from supernet_onnx.runtime import CPU, check_providers
from supernet_onnx.search.effects import balanced_selections
from supernet_onnx.selection import count, every, sample
from supernet_onnx.shapes import Bindings, type_of
from supernet_onnx.supergraph import check_pools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from onnx import ModelProto

    from supernet_onnx.cost.structure import Structure
    from supernet_onnx.profiling.cutting import Cut
    from supernet_onnx.profiling.measuring import Run, Samples
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["ROUNDS", "SUBNETS", "Settings", "profile"]

ROUNDS: Final = 60
SUBNETS: Final = 64
_SEEN_FOR_UNSEEN: Final = 4  # one subnet is measured that the fit does not see for so many that it does
_EMPTY_KEY: Final = "nothing"
_WARM: Final = " warm"
_EMPTY: Final = """
<ir_version: 8, opset_import: ["" : 17]>
nothing (float[1] "supernet_onnx.nothing") => (float[1] y) { y = Relu ("supernet_onnx.nothing") }
"""  # an input of the supernet's has another name, and so another shape


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    Attributes:
        threads: How many an operator may use.
        providers: The execution providers, ``("cpu",)`` or by their full names.
        batch: The size of a free first dim.
        dims: Sizes of other symbolic dims, by name.
        shapes: Shapes of inputs, by name.
        rounds: How often each model runs.
        subnets: How many whole subnets the correction is fitted to.
        unseen: How many more are measured to tell the error; None for a quarter as many.
        seed: Decides which subnets are drawn.
    """

    threads: int = 1
    providers: tuple[str, ...] = (CPU,)
    batch: int = 1
    dims: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    rounds: int = ROUNDS
    subnets: int = SUBNETS
    unseen: int | None = None
    seed: int = 0


def profile(
    supergraph: SuperGraph,
    settings: Settings | None = None,
    *,
    name: str = "the model",
    unfinished: Path | None = None,
    open_run: Callable[[ModelProto], Run] | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Profile:
    """Measure the latency of every branch and of the trunk in onnxruntime, on this machine.

    Pieces of the model (``supernet_onnx.profiling.cutting``) and whole subnets run in turn
    (``supernet_onnx.profiling.measuring``); the subnets correct what the pieces add up to
    (``supernet_onnx.profiling.fitting``). A piece that onnxruntime cannot run alone counts as nothing at first.

    Args:
        supergraph: What to measure; not changed. Its weights are needed, their values do not matter.
        settings: How.
        name: What the profile calls the model.
        unfinished: A file that keeps what is measured so far; what fits in it is not measured again. It is removed
            in the end.
        open_run: Loads a model, returns what runs it once and tells its milliseconds; onnxruntime if left out.
        progress: Called with the part of the work that is done, 0 to 1.

    Raises:
        MarkError: There is no pool, or a tool has hidden one.
        RunError: A dim has no size, or onnxruntime lacks a provider or refuses a model.
        OutputError: ``unfinished`` cannot be written.
    """
    settings = settings or Settings()
    check_pools(supergraph)
    structure = structure_of(resolve_calls(supergraph, Bindings(settings.dims, settings.shapes)))
    types = resolve_calls(supergraph, _bindings(supergraph, settings)).types
    bench = Bench(supergraph.directory, settings.threads, check_providers(settings.providers), types)
    on = MeasuredOn(environment(settings.threads), bench.providers, bench.clock, settings.rounds)
    kept = Unfinished(unfinished, _made_with(structure, settings, on))
    pieces = cut(supergraph, types)
    fitted, unseen = _draw(supergraph, settings)
    tasks = [*_piece_tasks(pieces), *_subnet_tasks(supergraph, [*fitted, *unseen])]
    samples = kept.load()
    with pinned(settings.threads):
        take(tasks, samples, rounds=settings.rounds, open_run=open_run or bench.open, save=kept.save, progress=progress)
    found = _Findings(supergraph, pieces, samples, fitted)
    sizes = (settings.batch, _named_dims(supergraph, settings), settings.shapes)
    subnets = (*((selection, True) for selection in fitted), *((selection, False) for selection in unseen))
    made = Profile(
        name,
        supergraph,
        structure,
        *sizes,
        on,
        found.amounts(),
        found.correction,
        found.piece_times(),
        tuple(found.subnet_time(selection, is_fitted) for selection, is_fitted in subnets),
    )
    kept.remove()
    return made


def _subnet_tasks(supergraph: SuperGraph, selections: Sequence[Selection]) -> list[Task]:
    """Return the tasks of timing subnets, known by the indices of their branches."""
    sizes = measure(supergraph, [size], unknown="free")["size"]
    return [
        Task(_key_of(selection), int(sizes.total(selection)), functools.partial(prune, supergraph, selection))
        for selection in selections
    ]


class _Findings:
    """What the samples say.

    Args:
        supergraph: What was measured.
        pieces: Its pieces.
        samples: The times of all runs.
        fitted: The subnets to fit to.
    """

    def __init__(self, supergraph: SuperGraph, pieces: Cut, samples: Samples, fitted: Sequence[Selection]) -> None:
        self._supergraph = supergraph
        self._times = {key: latency_of(taken) for key, taken in samples.items() if any(taken)}
        self._pieces = pieces.pieces
        self._kinds = list(dict.fromkeys((piece.key, piece.without) for piece in self._pieces))
        counts = np.array([self._counts(selection) for selection in fitted]).reshape(len(fitted), len(self._kinds))
        isolated = {
            source: [max(self._alone(kind, suffix) or 0.0, 0.0) for kind in self._kinds]
            for source, suffix in (("cold", ""), ("warm", _WARM))
        }
        latencies = [self._times[_key_of(selection)] for selection in fitted]
        self.correction = fit(counts, isolated, latencies, overhead=self._times[_EMPTY_KEY])
        self._corrected = self.correction.amounts_ms

    def amounts(self) -> dict[Condition, float]:
        """Return what is due under each condition, in milliseconds."""
        amounts = {self._supergraph.diagrams.true: self.correction.intercept_ms}
        kinds = {kind: i for i, kind in enumerate(self._kinds)}
        for piece in self._pieces:
            amount = self._corrected[kinds[piece.key, piece.without]]
            amounts[piece.condition] = amounts.get(piece.condition, 0.0) + amount
        return amounts

    def piece_times(self) -> tuple[PieceTime, ...]:
        """Return the times of the pieces, equal ones once."""
        first = {(piece.key, piece.without): piece for piece in reversed(self._pieces)}
        places = Counter((piece.key, piece.without) for piece in self._pieces)
        suffix = _WARM if self.correction.source == "warm" else ""
        return tuple(
            PieceTime(first[kind].operators, places[kind], self._alone(kind, suffix), corrected)
            for kind, corrected in zip(self._kinds, self._corrected, strict=True)
        )

    def subnet_time(self, selection: Selection, is_fitted: bool) -> SubnetTime:
        """Return the times of a subnet."""
        predicted = self.correction.intercept_ms + float(np.dot(self._counts(selection), self._corrected))
        return SubnetTime(selection, self._times[_key_of(selection)], predicted, is_fitted)

    def _counts(self, selection: Selection) -> list[float]:
        """Return how often a subnet has each kind of piece."""
        live = Counter((p.key, p.without) for p in self._pieces if p.condition.at(selection.indices))
        return [float(live[kind]) for kind in self._kinds]

    def _alone(self, kind: tuple[str, tuple[str, ...]], suffix: str) -> float | None:
        """Return what a piece takes without its neighbours and what every run takes; None if it cannot run alone."""
        keys = [key + suffix for key in (kind[0], *kind[1])]
        if not all(key in self._times for key in keys):
            return None
        whole, *without = (self._times[key] - self._times[_EMPTY_KEY + suffix] for key in keys)
        return whole - sum(without)


def _piece_tasks(pieces: Cut) -> Iterator[Task]:
    models = {_EMPTY_KEY: parser.parse_model(_EMPTY), **pieces.models}
    for key, model in models.items():
        size_bytes = sum(4 * math.prod(tensor.dims) for tensor in model.graph.initializer)
        yield Task(key, size_bytes, functools.partial(lambda model: model, model), key + _WARM, key != _EMPTY_KEY)


def _key_of(selection: Selection) -> str:
    return "-".join(map(str, selection.indices))


def _draw(supergraph: SuperGraph, settings: Settings) -> tuple[list[Selection], list[Selection]]:
    """Draw subnets to fit to, of which each branch has its share, and others at random; if there are few, all fit."""
    number = settings.subnets
    if number == 0:
        return [], []
    if count(supergraph) <= number:
        return list(every(supergraph)), []
    fitted = dict.fromkeys(balanced_selections(supergraph, number))
    drawn = sample(supergraph, seed=settings.seed)
    while len(fitted) < number:
        fitted[next(drawn)] = None
    unseen_number = number // _SEEN_FOR_UNSEEN if settings.unseen is None else settings.unseen
    wanted = min(unseen_number, count(supergraph) - number)
    unseen: dict[Selection, None] = {}
    while len(unseen) < wanted:
        selection = next(drawn)
        if selection not in fitted:
            unseen[selection] = None
    return list(fitted), list(unseen)


def _bindings(supergraph: SuperGraph, settings: Settings) -> Bindings:
    """Bind the free first dims of inputs to the batch.

    Raises:
        RunError: There is none, though a batch is asked for.
    """
    fed = set(input_names(supergraph.graph))
    dims, shapes = dict(settings.dims), dict(settings.shapes)
    is_free = False
    for value in supergraph.graph.input:
        shape = type_of(value.type).shape if value.name in fed and value.type.HasField("tensor_type") else None
        if not shape or isinstance(shape[0], int) or value.name in settings.shapes:
            continue
        is_free = True
        if isinstance(shape[0], str):
            dims.setdefault(shape[0], settings.batch)
        elif all(isinstance(dim, int) for dim in shape[1:]):
            shapes[value.name] = [settings.batch, *(dim for dim in shape[1:] if isinstance(dim, int))]
    if settings.batch != 1 and not is_free:
        raise RunError("the model's batch is fixed, no input has a free first dim; leave out --batch")
    return Bindings(dims, shapes)


def _named_dims(supergraph: SuperGraph, settings: Settings) -> dict[str, int]:
    """Return the dims that are bound by name or by an input's shape; a batch of 1 that nobody binds is not."""
    unbound = Bindings().sizes(supergraph.graph)
    bound = Bindings(settings.dims, settings.shapes).sizes(supergraph.graph)
    return {name: size for name, size in bound.items() if name in settings.dims or size != unbound.get(name)}


def _made_with(structure: Structure, settings: Settings, on: MeasuredOn) -> dict[str, object]:
    """Return all that a sample depends on; how many there are to be does not matter."""
    where = on.environment
    return {
        "fingerprint": structure.fingerprint,
        "batch": settings.batch,
        "dims": dict(settings.dims),
        "shapes": {name: list(shape) for name, shape in settings.shapes.items()},
        "processor": where.processor,
        "threads": where.threads,
        "providers": list(on.providers),
        "clock": on.clock,
        "versions": dict(where.versions),
    }
