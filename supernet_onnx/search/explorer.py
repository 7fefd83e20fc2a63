"""A search over whole selections, each measured on data: a front of measured values against costs.

Optuna proposes selections (NSGA-II: K. Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm", 2002) and
keeps what they gave, so many processes, and machines, can work on one study, and a study can go on. Costs are known
without measuring, so a selection over its budgets is told to Optuna as such and not measured; nor is one that was
measured before. Pools that a selection does not reach are proposed all the same, so that every proposal has the same
parameters, which crossing two needs; what they take does not count.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from supernet_onnx.cost import Metrics
from supernet_onnx.errors import BudgetError, InfeasibleError, SelectionError
from supernet_onnx.search import studies
from supernet_onnx.search.chooser import Chooser
from supernet_onnx.search.evaluator import Evaluator
from supernet_onnx.search.front import Front, FrontMetric, Point, nondominated
from supernet_onnx.search.scoring import with_scores
from supernet_onnx.search.sweep import sweep
from supernet_onnx.selection import find, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.synchronize import Semaphore
    from pathlib import Path

    import optuna
    from optuna.trial import FrozenTrial

    from supernet_onnx.diagram import Number
    from supernet_onnx.search.evaluator import Evaluation
    from supernet_onnx.search.scoring import Scores
    from supernet_onnx.selection import Selection

__all__ = ["Exploration", "Explored", "Explorer"]

_MEASURED: Final = "measured"  # user attributes of a trial: whether it measured,
_SELECTION: Final = "selection"  # and the selection, in short
_PATIENCE: Final = 100  # trials without a selection that is new and within the budgets, before a search gives up
_SEEDS: Final = 8  # points of the exact front of scores to begin with


@dataclass(frozen=True, slots=True)
class Exploration:
    """What is searched for; small enough to be sent to another process.

    Attributes:
        evaluation: What is measured, and on what. The measure is the last metric of the front.
        metrics: The names of the costs to be traded for it.
        budgets: What every point must meet, by the name of the metric.
        pins: Branches that must be taken, for some pools.
        modules: Python files that define metrics.
        tables: Cost tables that were measured, which are metrics too.
        dims: Sizes of symbolic dims, for pricing.
        scores: As for ``choose``; the search begins with selections of high score.
        storage: Where the study is kept, as for ``studies.kept``.
        study: The name of the study.
        sampler: What proposes selections.
        seed: Of the sampler.
    """

    evaluation: Evaluation
    metrics: tuple[str, ...] = ("params",)
    budgets: Mapping[str, float | str] = field(default_factory=dict)
    pins: Mapping[str, int | str] = field(default_factory=dict)
    modules: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()
    dims: Mapping[str, int] = field(default_factory=dict)
    scores: Scores | None = None
    storage: str | None = None
    study: str = "search"
    sampler: studies.Sampler = "nsga2"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Explored:
    """What a search found.

    Attributes:
        front: Of what was measured and meets the budgets.
        trials: How many proposals came to their end, in all runs of the study.
        measured: How many of them were measured; the others were known, or over a budget.
        lost: How many were lost with their process in this run, or before it.
    """

    front: Front
    trials: int
    measured: int
    lost: int


class Explorer:
    """One process's part in a search.

    Args:
        exploration: What is searched for.
        storage: Where the study is kept.
        process: Its number among the processes of this run.

    Raises:
        SuperNetError: As for ``explore``.
    """

    def __init__(self, exploration: Exploration, storage: optuna.storages.BaseStorage, *, process: int = 0) -> None:
        self.exploration = exploration
        self._evaluator = Evaluator(exploration.evaluation)
        graph, measure = self._evaluator.supergraph, self._evaluator.measure
        known = Metrics(exploration.modules, exploration.tables)
        wanted = {name: known.find(name) for name in (*exploration.metrics, *exploration.budgets)}
        for name, metric in wanted.items():
            if metric is None:
                raise BudgetError(f"'{name}' is no metric; the metrics are: {', '.join(known.names)}")
        found = [metric for metric in wanted.values() if metric is not None]
        self._chooser = Chooser(graph, found, dims=exploration.dims)
        self._limits = self._chooser.limits(exploration.budgets)
        self._pins = find(graph, exploration.pins)
        self._live = [graph.live(pool) for pool in graph.pools]
        self._values: dict[str, float] = {}  # what was measured, by selection, in this study
        self._read: set[int] = set()  # the trials from which that is known
        units = {name: self._chooser.tables[name].unit for name in exploration.metrics}
        self._by = [FrontMetric(name, unit, "minimize") for name, unit in units.items()]
        self._by.append(FrontMetric(measure.name, "", measure.goal))
        self._study = self._open(storage, process)

    def begin(self) -> int:
        """Let a study that is new begin with selections of high score, and drop lost trials; return how many."""
        if not self._study.get_trials(deepcopy=False):
            with contextlib.suppress(SelectionError):  # weights are computed in the graph, and there are no scores
                for point in self._best_scores().points:
                    self._study.enqueue_trial(dict(point.selection))
        return self.drop_lost()

    def _best_scores(self) -> Front:
        exploration = self.exploration
        return sweep(
            self._chooser,
            exploration.metrics[:3],
            points=_SEEDS,
            budgets=exploration.budgets,
            scores=exploration.scores,
            pins=exploration.pins,
        )

    def drop_lost(self) -> int:
        """Mark the trials of processes that died as failed; return how many."""
        return studies.fail_lost(self._study)

    def run(
        self,
        trials: int,
        *,
        turns: Semaphore | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Propose and measure until there are so many, as ``supernet_onnx.search.processes.explore`` says.

        Args:
            trials: How many, with those that the study has.
            turns: Of which each measured selection takes one, where several processes share what is to be measured;
                this process is done when none is left.
            progress: As for ``explore``.
        """

        def stop(study: optuna.Study, trial: FrozenTrial) -> None:
            if progress is not None:
                progress(self.measured(), trials)
            if self.is_done(trials) or (trial.user_attrs.get(_MEASURED) and not takes_turn()):
                study.stop()

        def takes_turn() -> bool:
            return turns is None or turns.acquire(block=False)

        if not self.is_done(trials) and takes_turn():
            self._study.optimize(self._try, callbacks=[stop])

    def measured(self) -> int:
        """Return how many selections the study has measured."""
        return sum(trial.user_attrs.get(_MEASURED, False) for trial in studies.complete(self._study))

    def is_done(self, trials: int) -> bool:
        """Tell whether so many were measured, or nothing new comes."""
        done = studies.complete(self._study)
        measured = [trial.number for trial in done if trial.user_attrs.get(_MEASURED)]
        last = max((trial.number for trial in done), default=-1)
        return len(measured) >= trials or last - max(measured, default=-1) >= _PATIENCE

    def result(self, lost: int) -> Explored:
        """Return what the study has found so far.

        Raises:
            InfeasibleError: Nothing that was proposed meets the budgets.
        """
        done = studies.complete(self._study)
        points, measured = [], 0
        for trial in done:
            if trial.user_attrs.get(_MEASURED):
                measured += 1
                selection = self._short(trial.params)
                values = dict(zip((by.name for by in self._by), trial.values, strict=True))
                whole = {by.name: self._chooser.tables[by.name].total(selection) for by in self._by[:-1]}
                points.append(Point(selection.as_dict(), {**values, **whole}))
        if not points:
            raise InfeasibleError(
                "none of the selections that were proposed meets the budgets; allow more, or search for longer"
            )
        name, data = self.exploration.evaluation.model.name, self.exploration.evaluation.data.name
        note = (
            f"{self._by[-1].name}: measured on {data}, {self._evaluator.num_samples:,} samples; {measured:,} selections"
        )
        return Explored(nondominated(name, self._by, points, note=note), len(done), measured, lost)

    def _open(self, storage: optuna.storages.BaseStorage, process: int) -> optuna.Study:
        exploration = self.exploration
        data, calibration = exploration.evaluation.data, exploration.evaluation.calibration
        owner = {
            "model": _digest(self._evaluator),
            "data": [data.name, data.stat().st_size],
            "calibration data": None if calibration is None else [calibration.name, calibration.stat().st_size],
            "objective": exploration.evaluation.measure,
            "metrics": list(exploration.metrics),
            "budgets": {name: float(limit) for name, limit in self._limits.items()},
            "selected branches": {str(level): index for level, index in self._pins.items()},
        }
        directions: list[Literal["minimize", "maximize"]] = [by.goal for by in self._by]
        return studies.open_study(
            storage,
            exploration.study,
            directions=directions,
            owner=owner,
            sampler=exploration.sampler,
            seed=(exploration.seed, process),
        )

    def _try(self, trial: optuna.Trial) -> tuple[float, ...]:
        """Propose a selection, and return its costs and what it measures."""
        studies.sign(trial)
        for level, pool in enumerate(self._evaluator.supergraph.pools):
            names = [branch.name for branch in pool.branches]
            trial.suggest_categorical(pool.name, [names[self._pins[level]]] if level in self._pins else names)
        selection = self._short(trial.params)
        tables = self._chooser.tables
        exceeds = False
        for name, limit in self._limits.items():
            excess = tables[name].total(selection) - limit
            trial.set_constraint(name, excess / (float(tables[name].maximum()) or 1.0))
            exceeds = exceeds or excess > 0
        costs: list[Number] = [tables[name].total(selection) for name in self.exploration.metrics]
        if exceeds:
            return (*map(float, costs), 0.0)  # of two that break budgets, only by how much they do counts
        key = _key(selection)
        self._refresh()
        if key not in self._values:
            self._values[key] = self._evaluator.value(selection)
            trial.set_user_attr(_MEASURED, value=True)
        trial.set_user_attr(_SELECTION, key)
        return (*map(float, costs), self._values[key])

    def _refresh(self) -> None:
        """Learn what other processes, and earlier runs, have measured."""
        for trial in studies.complete(self._study):
            if trial.number not in self._read:
                self._read.add(trial.number)
                if _SELECTION in trial.user_attrs:
                    self._values[trial.user_attrs[_SELECTION]] = trial.values[-1]

    def _short(self, choices: Mapping[str, str]) -> Selection:
        """Return the selection of choices, with the first branch, or the pinned one, in pools that are not reached."""
        graph = self._evaluator.supergraph
        proposed = resolve(graph, choices)
        indices = [
            index if live.at(proposed.indices) else self._pins.get(level, 0)
            for level, (index, live) in enumerate(zip(proposed.indices, self._live, strict=True))
        ]
        return resolve(graph, dict(zip(proposed.pools, indices, strict=True)))


def _key(selection: Selection) -> str:
    return ",".join(map(str, selection.indices))


def _digest(evaluator: Evaluator) -> str:
    """Return what tells models apart, whatever their scores."""
    graph = evaluator.supergraph
    model = with_scores(graph, {pool.name: [0.0] * len(pool.branches) for pool in graph.pools})
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
