"""Measuring a network on data: its loss, and what it loses when the mixture becomes the chosen network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn

from supernet_onnx.train.batchnorm import evaluating, recalibrate_batchnorm, run

if TYPE_CHECKING:
    from supernet_onnx.train.supernet import SuperNet

__all__ = ["Gap", "Loss", "accuracy", "discretization_gap", "evaluate"]

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From a batch's outputs and targets to a mean over its samples, a scalar."""


class Gap(NamedTuple):
    """A loss (or accuracy) on the way from the mixture to the network that is deployed.

    Attributes:
        mixture: What ``net.eval()`` computes: the mixture of all branches in the soft modes.
        chosen: The chosen network with the statistics and weights that it inherits.
        recalibrated: The same with its BatchNorm statistics estimated anew.
    """

    mixture: float
    chosen: float
    recalibrated: float


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of samples whose largest logit is the target's: ``(N, classes)`` against ``(N,)``."""
    return (outputs.argmax(1) == targets).double().mean()


def evaluate(
    module: nn.Module, loader: Iterable[Sequence[object]], *, loss: Loss = nn.functional.cross_entropy
) -> float:
    """Return the mean of a loss over all samples, in ``eval`` mode and without gradients. Modes are given back.

    Args:
        module: What to measure.
        loader: Batches ``(*inputs, targets)``; they are moved to the module's device. A mapping alone is of keyword
            inputs.
        loss: A mean over the samples of a batch.

    Raises:
        TypeError: A batch is nothing of that, or its targets are no tensor.
        ValueError: The loader gives no batch, or the loss is no scalar.
    """
    total, count = 0.0, 0
    with evaluating(module), torch.no_grad():
        for batch in loader:
            outputs, targets = run(module, batch)
            if not isinstance(targets, Tensor):
                raise TypeError(f"the targets of a batch must be a tensor, not a {type(targets).__name__}")
            value = loss(cast("Tensor", outputs), targets)
            if not isinstance(value, float | Tensor) or (isinstance(value, Tensor) and value.numel() != 1):
                shape = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
                raise ValueError(f"the loss must be a mean over the samples of a batch, one number, not {shape}")
            total += float(value) * len(targets)
            count += len(targets)
    if not count:
        raise ValueError("the loader gives no batch; a generator that was used up gives none the second time")
    return total / count


def discretization_gap(
    net: SuperNet,
    loader: Iterable[Sequence[object]],
    *,
    loss: Loss = nn.functional.cross_entropy,
    calibration: Iterable[Sequence[object]] | None = None,
    selection: Mapping[str, str | int] | None = None,
) -> Gap:
    """Measure what is lost from the mixture to the chosen network. The supernet is not changed.

    Args:
        net: The supernet.
        loader: Batches ``(*inputs, targets)`` to measure on; it is gone through three times.
        loss: What to measure; ``accuracy`` of this module, for one.
        calibration: Batches for the BatchNorm statistics, of which the targets are not used; ``loader`` if left out.
        selection: What is chosen; the branches of largest logit if left out.
    """
    mixture = evaluate(net, loader, loss=loss)
    network = net.export(selection)
    chosen = evaluate(network, loader, loss=loss)
    recalibrate_batchnorm(network, loader if calibration is None else calibration)
    return Gap(mixture, chosen, evaluate(network, loader, loss=loss))
