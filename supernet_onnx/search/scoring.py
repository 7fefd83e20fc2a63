"""What a choice maximizes: a score for each branch, given, read from the file, or the log of its weight."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from onnx import ModelProto

from supernet_onnx import marks
from supernet_onnx.errors import BudgetError, SelectionError
from supernet_onnx.recovery import record

if TYPE_CHECKING:
    from supernet_onnx.supergraph import Pool, SuperGraph

__all__ = ["Scores", "Scoring", "score_pools", "scores_from_json", "scores_to_json", "with_scores"]

Scores: TypeAlias = "Mapping[str, Mapping[str, float] | Sequence[float]]"
"""For each pool, the score of each branch, by name or in order; higher is better."""

_TINY: Final = 2.0**-149  # the smallest weight that float32 holds; what a weight of 0 is taken for


@dataclass(frozen=True, slots=True)
class Scoring:
    """A score for each branch of each pool.

    Attributes:
        source: Where the scores come from, in words.
        of: In the order of the pools, those of the branches; zeros for a pool of one branch.
    """

    source: str
    of: tuple[tuple[float, ...], ...]

    def best(self, level: int) -> int:
        """Return the branch of the highest score of a pool, the first of equals."""
        return self.of[level].index(max(self.of[level]))


def score_pools(pools: Sequence[Pool], scores: Scores | None, *, pinned: frozenset[str]) -> Scoring:
    """Decide by what branches are compared.

    Given scores come first, then those in the file, both as they are. Without, it is ``log(weight / largest weight of
    the pool)``: a pool then costs nothing by being reached, and without budgets the choice is that of the largest
    weights. A weight of 0 counts as the smallest that float32 holds.

    Args:
        pools: All pools, in order.
        scores: Given ones, for every pool that has a choice.
        pinned: The pools that have none, because their branch is given; those may lack scores and weights.

    Raises:
        BudgetError: Scores are not finite, or those of other pools or branches, or some pools have none.
        SelectionError: A pool has neither scores nor stored weights.
    """
    if scores is not None:
        return Scoring("the given scores", tuple(_given(pools, scores, pinned)))
    stored = {pool.name: _stored(pool) for pool in pools}
    if any(stored.values()):
        missing = [pool.name for pool in pools if stored[pool.name] is None and _is_open(pool, pinned)]
        if missing:
            raise BudgetError(
                f"pool '{missing[0]}' has no scores in the file, other pools have; score the supernet anew, or give "
                "scores for all pools with --scores FILE.json"
            )
        return Scoring("the scores in the file", tuple(stored[pool.name] or _zeros(pool) for pool in pools))
    return Scoring("the logs of the weights", tuple(_logs(pool, pinned) for pool in pools))


def scores_from_json(text: str) -> Scores:
    """Read scores as JSON: ``{"POOL": {"BRANCH": score, ...}, ...}``, or a list of scores for a pool.

    Raises:
        BudgetError: The text is no such object.
    """
    try:
        scores = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BudgetError(f"scores must be JSON, this is not: {error}") from error
    if not isinstance(scores, dict) or not all(isinstance(of_pool, dict | list) for of_pool in scores.values()):
        raise BudgetError('scores must be a JSON object {"POOL": {"BRANCH": score, ...}, ...}')
    return scores


def scores_to_json(supergraph: SuperGraph, scores: Mapping[str, Sequence[float]]) -> str:
    """Return scores as JSON, with the names of the branches; ``scores_from_json`` reads it."""
    names = {pool.name: [branch.name for branch in pool.branches] for pool in supergraph.pools}
    record = {pool: dict(zip(names[pool], of_pool, strict=True)) for pool, of_pool in scores.items()}
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def with_scores(supergraph: SuperGraph, scores: Mapping[str, Sequence[float]]) -> ModelProto:
    """Return a copy of a model whose pools have scores, in place of those that they have.

    Args:
        supergraph: Not changed.
        scores: For every pool, that of each branch, in order.
    """
    model = ModelProto()
    model.CopyFrom(supergraph.model)
    for pool in supergraph.pools:
        assert len(scores[pool.name]) == len(pool.branches)
        for index in pool.nodes:
            marks.set_scores(model.graph.node[index], scores[pool.name])
    if record.kept(model):
        record.keep(model)  # it has the scores, too
    return model


def _given(pools: Sequence[Pool], scores: Scores, pinned: frozenset[str]) -> list[tuple[float, ...]]:
    known = {pool.name for pool in pools}
    for name in scores:
        if name not in known:
            raise BudgetError(f"scores name pool '{name}', which is not in the model; its pools are: {_list(known)}")
    for pool in pools:
        if pool.name not in scores and _is_open(pool, pinned):
            raise BudgetError(f"scores lack the pool '{pool.name}'; give its branches scores, or pin it")
    return [_of_pool(pool, scores[pool.name]) if pool.name in scores else _zeros(pool) for pool in pools]


def _of_pool(pool: Pool, given: Mapping[str, float] | Sequence[float]) -> tuple[float, ...]:
    names = [branch.name for branch in pool.branches]
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise BudgetError(f"scores of pool '{pool.name}' are of {_list(given)}; its branches are {_list(names)}")
        given = [given[name] for name in names]
    if isinstance(given, str) or len(given) != len(names):
        raise BudgetError(f"pool '{pool.name}' has {len(names)} branches, its scores are {len(given)}")
    return tuple(_finite(pool, name, score) for name, score in zip(names, given, strict=True))


def _stored(pool: Pool) -> tuple[float, ...] | None:
    scores = [branch.score for branch in pool.branches]
    if any(score is None for score in scores):
        return None
    return tuple(_finite(pool, branch.name, branch.score) for branch in pool.branches)


def _finite(pool: Pool, branch: str, score: object) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise BudgetError(f"pool '{pool.name}', branch '{branch}': its score is {score!r}, expected a finite number")
    return float(score)


def _logs(pool: Pool, pinned: frozenset[str]) -> tuple[float, ...]:
    weights = [branch.weight for branch in pool.branches if branch.weight is not None]
    if len(weights) < len(pool.branches):
        if _is_open(pool, pinned):
            raise SelectionError(
                f"pool '{pool.name}': its weights are computed in the graph, not stored, so nothing says which branch "
                f"is best; give scores, or choose a branch: --select {pool.name}={pool.branches[0].name}"
            )
        return _zeros(pool)
    logs = [math.log(max(weight, _TINY)) for weight in weights]
    return tuple(log - max(logs) for log in logs)


def _is_open(pool: Pool, pinned: frozenset[str]) -> bool:
    return len(pool.branches) > 1 and pool.name not in pinned


def _zeros(pool: Pool) -> tuple[float, ...]:
    return (0.0,) * len(pool.branches)


def _list(names: Mapping[str, float] | set[str] | Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
