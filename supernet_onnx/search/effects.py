"""Additive effects: what each branch adds to the loss, fitted to the losses of a few selections.

The loss of a selection is taken for ``mean + sum of the effects of its branches``, over the pools that are reached.
A selection is a row of indicators, centred in each pool that it reaches: ``1[branch] - 1/n``. So the effects of a
pool add up to 0, and what an outer branch does is told with the inner pools at their average. They are fitted by ridge
regression with a free mean (A. E. Hoerl and R. W. Kennard, "Ridge Regression", 1970), whose strength is the one of the
smallest leave-one-out error, known in closed form (D. M. Allen, "The Relationship between Variable Selection and Data
Augmentation and a Method for Prediction", 1974: PRESS, the sum of ``(residual_i / (1 - hat_ii))^2``).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from supernet_onnx.search.scoring import scores_to_json
from supernet_onnx.selection import Selection, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Effects", "balanced_selections", "fit_effects"]

Floats: TypeAlias = NDArray[np.float64]

_STRENGTHS: Final = np.logspace(-6, 4, 101)  # of the ridge, in units of the mean square of the singular values
_HELD_DOWN: Final = (0.01, 0.03, 0.1, 0.3, 1.0)  # factors on the columns of pairs, against those of branches


@dataclass(frozen=True, slots=True)
class Effects:
    """How much each branch helps, fitted to the losses of some selections.

    Attributes:
        scores: For each pool, minus the effect of each branch on the loss: higher is better, adding up to 0.
        standard_errors: Of each score. They are those of the posterior whose mean is the ridge estimate, with the
            variance of the residuals for the noise: what a sum of effects cannot say of a loss counts as noise. All
            are nan where the fit takes up all selections, so that nothing is left to tell the noise from.
        mean: The loss where every branch is as likely as the others of its pool.
        strength: The ridge's, added to the diagonal of ``X^T X``.
        rank_correlation: Spearman's, of losses and predictions by fits that did not see them (k-fold); nan if either
            are all equal.
        pairs: For each two pools, minus what each two branches do to the loss together beyond the scores,
            ``(branches of one, branches of the other)``; empty unless asked for.
        pairs_rank_correlation: As ``rank_correlation``, with pairs; None without.
        selections: What was measured.
        losses: Of each.
    """

    scores: Mapping[str, tuple[float, ...]]
    standard_errors: Mapping[str, tuple[float, ...]]
    mean: float
    strength: float
    rank_correlation: float
    pairs: Mapping[tuple[str, str], tuple[tuple[float, ...], ...]]
    pairs_rank_correlation: float | None
    selections: tuple[Selection, ...]
    losses: tuple[float, ...]

    def to_json(self, supergraph: SuperGraph) -> str:
        """Return the scores as ``{"POOL": {"BRANCH": score}}``, as ``prune --scores`` reads them."""
        return scores_to_json(supergraph, self.scores)


def balanced_selections(supergraph: SuperGraph, number: int, *, seed: int = 0) -> list[Selection]:
    """Draw selections at random of which each pool takes each of its branches equally often, give or take one.

    Args:
        supergraph: Whose pools are meant.
        number: How many selections.
        seed: Equal seeds give equal selections.
    """
    generator = np.random.default_rng(seed)
    columns = []
    for pool in supergraph.pools:
        size = len(pool.branches)
        rounds = [generator.permutation(size) for _ in range(-(-number // size))]
        columns.append(generator.permutation(np.concatenate(rounds)[:number]))
    names = [pool.name for pool in supergraph.pools]
    return [resolve(supergraph, dict(zip(names, map(int, row), strict=True))) for row in zip(*columns, strict=True)]


def fit_effects(
    supergraph: SuperGraph,
    selections: Sequence[Selection],
    losses: Sequence[float],
    *,
    pairwise: bool = False,
    folds: int = 8,
    seed: int = 0,
) -> Effects:
    """Fit the effects of branches to the losses of selections.

    Args:
        supergraph: Whose pools the selections are about.
        selections: At least three.
        losses: Of each; finite.
        pairwise: Fit what two branches do together, too.
        folds: In how many parts the selections are held back in turn, for the rank correlation.
        seed: Of the parts.

    Raises:
        ValueError: There are too few selections, or a loss is not finite.
    """
    y = np.asarray(losses, np.float64)
    if len(y) < 3 or len(y) != len(selections) or not np.isfinite(y).all():
        raise ValueError(f"a fit needs a finite loss for each of at least three selections, not {list(losses)}")
    blocks = _blocks(supergraph, selections)
    x = np.concatenate(blocks, axis=1)
    pairs = list(itertools.combinations(range(len(blocks)), 2)) if pairwise else []
    products = [_product(blocks[p], blocks[q]) for p, q in pairs]
    z = np.concatenate(products, axis=1) if products else None
    fit = _ridge(x, y)
    names = [pool.name for pool in supergraph.pools]
    sizes = [block.shape[1] for block in blocks]
    together: dict[tuple[str, str], tuple[tuple[float, ...], ...]] = {}
    if z is not None:
        joint = _ridge_of_both(x, z, y).effects[x.shape[1] :]
        effects = _split(joint, [product.shape[1] for product in products])
        for (p, q), effect in zip(pairs, effects, strict=True):
            together[names[p], names[q]] = tuple(map(tuple, (0.0 - effect).reshape(sizes[p], sizes[q]).tolist()))
    return Effects(
        _named(names, 0.0 - fit.effects, sizes),
        _named(names, _standard_errors(fit, x, y, sizes), sizes),
        fit.mean,
        fit.strength,
        _rank_correlation(x, None, y, folds, seed),
        together,
        None if z is None else _rank_correlation(x, z, y, folds, seed),
        tuple(selections),
        tuple(y.tolist()),
    )


def _blocks(supergraph: SuperGraph, selections: Sequence[Selection]) -> list[Floats]:
    """Return the centred indicators of each pool, ``(selections, branches)``; 0 where the pool is not reached."""
    blocks = []
    for level, pool in enumerate(supergraph.pools):
        live, size = supergraph.live(pool), len(pool.branches)
        chosen = np.array([selection.indices[level] for selection in selections])
        reached = np.array([live.at(selection.indices) for selection in selections], np.float64)
        blocks.append((np.eye(size)[chosen] - 1 / size) * reached[:, None])
    return blocks


def _product(a: Floats, b: Floats) -> Floats:
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)


class _Fit(NamedTuple):
    """A ridge regression with a free mean.

    Attributes:
        mean: The mean of what was fitted.
        center: The means of the columns.
        effects: The factor of each column.
        strength: The ridge's.
        error: The sum of the squares of the errors of leaving one out.
    """

    mean: float
    center: Floats
    effects: Floats
    strength: float
    error: float

    def predict(self, x: Floats) -> Floats:
        predicted: Floats = self.mean + (x - self.center) @ self.effects
        return predicted


def _ridge(x: Floats, y: Floats) -> _Fit:
    """Fit with the strength of the smallest leave-one-out error; of equal ones the largest."""
    center, mean = x.mean(0), float(y.mean())
    u, s, vt = np.linalg.svd(x - center, full_matrices=False)
    kept = s > 1e-9 * max(float(s.max(initial=0.0)), 1.0)
    u, s, vt = u[:, kept], s[kept], vt[kept]
    if not len(s):
        return _Fit(mean, center, np.zeros(x.shape[1]), 0.0, float(((y - mean) ** 2).sum()))
    strengths = _STRENGTHS * float((s**2).mean())
    along = u.T @ (y - mean)
    best, strength = np.inf, 0.0
    for candidate in strengths[::-1]:
        shrunk = s**2 / (s**2 + candidate)
        hat = 1 / len(y) + (u**2) @ shrunk
        error = float((((y - mean - u @ (shrunk * along)) / np.maximum(1 - hat, 1e-9)) ** 2).sum())
        if error < best:
            best, strength = error, float(candidate)
    effects = vt.T @ (s / (s**2 + strength) * along)
    return _Fit(mean, center, effects, strength, best)


def _ridge_of_both(x: Floats, z: Floats, y: Floats) -> _Fit:
    """Fit effects and pairs at once, pairs held down more strongly, by the factor of the smallest leave-one-out error.

    A ridge on ``z * f`` is one of ``1 / f^2`` times the strength on z.
    """
    fits = []
    for factor in _HELD_DOWN:
        fit = _ridge(np.concatenate([x, z * factor], axis=1), y)
        scale = np.concatenate([np.ones(x.shape[1]), np.full(z.shape[1], factor)])
        fits.append(fit._replace(center=fit.center / scale, effects=fit.effects * scale))
    return min(fits, key=lambda fit: fit.error)


def _standard_errors(fit: _Fit, x: Floats, y: Floats, sizes: Sequence[int]) -> Floats:
    """Return the root of the diagonal of ``C sigma^2 (X^T X + strength)^-1 C``, C centring the effects of each pool."""
    centred = x - x.mean(0)
    inner = centred.T @ centred
    if not fit.strength:
        return np.zeros(len(inner))
    inverse = np.linalg.inv(inner + fit.strength * np.eye(len(inner)))
    freedom = len(y) - 1 - float(np.trace(inner @ inverse))
    if freedom < 1:
        return np.full(len(inner), np.nan)
    noise = float(((y - fit.predict(x)) ** 2).sum()) / freedom
    centring = np.zeros_like(inverse)
    start = 0
    for size in sizes:
        centring[start : start + size, start : start + size] = np.eye(size) - 1 / size
        start += size
    errors: Floats = np.sqrt(np.maximum(noise * np.diag(centring @ inverse @ centring), 0.0))
    return errors


def _rank_correlation(x: Floats, z: Floats | None, y: Floats, folds: int, seed: int) -> float:
    """Return Spearman's correlation of losses with predictions by fits to the other parts."""
    from scipy import stats

    part = np.random.default_rng(seed).permutation(len(y)) % max(2, min(folds, len(y)))
    predicted = np.empty(len(y))
    for held in range(int(part.max()) + 1):
        seen, unseen = part != held, part == held
        if z is None:
            predicted[unseen] = _ridge(x[seen], y[seen]).predict(x[unseen])
        else:
            fit = _ridge_of_both(x[seen], z[seen], y[seen])
            predicted[unseen] = fit.predict(np.concatenate([x, z], axis=1)[unseen])
    if np.ptp(predicted) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.spearmanr(predicted, y).statistic)


def _split(values: Floats, sizes: Sequence[int]) -> list[Floats]:
    return np.split(values, np.cumsum(sizes)[:-1])


def _named(names: Sequence[str], values: Floats, sizes: Sequence[int]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(of.tolist()) for name, of in zip(names, _split(values, sizes), strict=True)}
