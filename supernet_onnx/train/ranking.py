"""How good a supernet takes its branches to be: the scores that its pools hold, or its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.train.pool import SuperNetModule

__all__ = ["log_weights", "stored_scores", "written_scores"]


def stored_scores(pools: Mapping[str, SuperNetModule]) -> dict[str, tuple[float, ...]] | None:
    """Return the scores that the pools hold; None unless every pool has one for each branch."""
    if not all(bool(torch.isfinite(pool.scores).all()) for pool in pools.values()):
        return None
    return {name: tuple(pool.scores.tolist()) for name, pool in pools.items()}


def log_weights(pools: Mapping[str, SuperNetModule]) -> dict[str, tuple[float, ...]]:
    """Return ``log(weight / largest weight)`` of each branch; of ``softmax(alpha)`` where a pool is discrete."""
    logs = {}
    for name, pool in pools.items():
        alpha = pool.logits.detach().double()
        scale = 1.0 if pool.sampling.is_discrete else pool.temperature
        logs[name] = tuple(((alpha - alpha.max()) / scale).tolist())
    return logs


def written_scores(pools: Mapping[str, SuperNetModule]) -> dict[str, tuple[float, ...]] | None:
    """Return the scores that a file needs: those of the pools, or the log weights where one-hot weights hide them."""
    stored = stored_scores(pools)
    if stored is None and any(pool.sampling.is_discrete for pool in pools.values()):
        return log_weights(pools)
    return stored
