"""BatchNorm statistics for the network that was chosen: those of a mixture or of other paths do not fit it."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["evaluating", "move", "recalibrate_batchnorm"]


def recalibrate_batchnorm(
    module: nn.Module, loader: Iterable[Sequence[object]], *, batches: int | None = None, has_targets: bool = True
) -> None:
    """Estimate the running statistics of every BatchNorm anew, in place: averages over batches, each counting alike.

    As with ``momentum=None`` in torch, a running mean becomes the average of the batches' means, and a running variance
    that of their unbiased variances, each layer seeing what the layers before it give when they normalise by the
    batch. A network cut out of a supernet needs that (J. Yu and T. Huang, "Universally Slimmable Networks",
    arXiv 1903.05134, section 3.3). Everything but BatchNorm runs as in ``eval``, Dropout included. A layer that no
    batch reaches keeps its statistics; modes and momentum are given back; parameters and the random state are not
    touched.

    Args:
        module: A network, or a ``SuperNet``, which runs as in ``eval``.
        loader: Batches; the larger the better. They are moved to the module's device.
        batches: How many to take; all if left out.
        has_targets: Batches are ``(*inputs, targets)``; False for ``(*inputs,)``, or a tensor.

    Raises:
        ValueError: The loader gives no batch, or one so small that a layer has no variance.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers:
        return
    before = [
        (layer, layer.momentum, {name: buffer.clone() for name, buffer in layer.named_buffers(recurse=False)})
        for layer in layers
    ]
    seen = 0
    try:
        with evaluating(module), torch.no_grad():
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None
                layer.training = True
            for batch in itertools.islice(loader, batches):
                inputs = [batch] if isinstance(batch, Tensor) else list(batch)
                module(*move(inputs[:-1] if has_targets else inputs, module))
                seen += 1
    finally:
        for layer, momentum, buffers in before:
            layer.momentum = momentum
            if not int(layer.num_batches_tracked or 0):
                for name, buffer in buffers.items():
                    getattr(layer, name).copy_(buffer)
    if not seen:
        raise ValueError("the loader gives no batch; a generator that was used up gives none the second time")


def move(batch: Sequence[object], module: nn.Module) -> list[object]:
    """Return a batch with its tensors on the device of a module's first parameter."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    moved: list[object] = pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), list(batch))
    return moved


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in ``eval`` mode for the block; give back each module's own mode."""
    modes = [(inner, inner.training) for inner in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for inner, mode in modes:
            inner.training = mode
