"""Scores: how much each branch helps, learnt from a few random selections of a trained supernet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from supernet_onnx.search.effects import Effects, balanced_selections, fit_effects
from supernet_onnx.train.batchnorm import recalibrate_batchnorm
from supernet_onnx.train.evaluation import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from supernet_onnx.train.evaluation import Loss
    from supernet_onnx.train.supernet import SuperNet

__all__ = ["score"]


def score(
    net: SuperNet,
    loader: Iterable[Sequence[object]],
    selections: int = 48,
    *,
    loss: Loss = nn.functional.cross_entropy,
    calibration: Iterable[Sequence[object]] | None = None,
    batches: int | None = None,
    pairwise: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Effects:
    """Score the branches of a trained supernet, and store the scores in its pools.

    Random selections, of which each pool takes each branch equally often, are cut out, get BatchNorm statistics of
    their own, and are measured with the weights that they inherit. The scores are minus the additive effects of
    branches on the loss, by ridge regression (``supernet_onnx.search.effects``, with the sources). ``net.choose`` and
    ``prune --budget`` maximize them. Without the statistics the scores get worse the longer the supernet was trained.

    Apart from the scores that its pools hold, the supernet and the random state are not changed.

    Args:
        net: The supernet; trained so that every branch counts, as with uniform single paths.
        loader: Batches ``(*inputs, targets)`` that were not trained on, a mapping alone being of keyword inputs; it is
            gone through once for each selection.
        selections: How many; 24 to 48 do for a few pools, and no fewer than branches in all should be taken.
        loss: A mean over the samples of a batch; lower is better.
        calibration: Batches for the BatchNorm statistics, of which the targets are not used; ``loader`` if left out.
        batches: How many of them; all if left out.
        pairwise: Report what two branches do together, too; the stored scores are additive all the same.
        seed: Of the selections, and of the parts for the rank correlation.
        progress: Called after each selection with how many are done, and how many there are.

    Returns:
        The scores with their standard errors, the rank correlation on selections held back, and all losses.

    Raises:
        ValueError: A loss is not finite, there are fewer than three selections, or a loader gives no batch.
    """
    if selections < 3:
        raise ValueError(f"selections must be at least 3, not {selections}")
    chosen = balanced_selections(net.supergraph, selections, seed=seed)
    losses = []
    for done, selection in enumerate(chosen, start=1):
        network = net.export(selection)
        recalibrate_batchnorm(network, loader if calibration is None else calibration, batches=batches)
        losses.append(evaluate(network, loader, loss=loss))
        if not math.isfinite(losses[-1]):
            raise ValueError(
                f"the loss is {losses[-1]} with the selection {selection.as_dict()}, so branches cannot be compared; "
                "look for such values in the held-out data, or train the supernet with a smaller learning rate"
            )
        if progress is not None:
            progress(done, selections)
    effects = fit_effects(net.supergraph, chosen, losses, pairwise=pairwise, seed=seed)
    with torch.no_grad():
        for name, pool in net.pools.items():
            pool.scores.copy_(torch.tensor(effects.scores[name], dtype=torch.float64))
    return effects
