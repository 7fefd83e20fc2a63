"""BatchNorm statistics for the network that was chosen: those of a mixture or of other paths do not fit it."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from supernet_onnx.train.curves import count
from supernet_onnx.train.supernet import SuperNet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["evaluating", "recalibrate_batchnorm", "run"]


def recalibrate_batchnorm(
    module: nn.Module, loader: Iterable[object], *, batches: int | None = None, has_targets: bool = True
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
        loader: Batches; the larger the better. They are moved to the module's device. A mapping alone is of keyword
            inputs, as in ``SuperNet(input_example=)``.
        batches: How many to take; all if left out.
        has_targets: Batches are ``(*inputs, targets)``; False for ``(*inputs,)``, a tensor, or a mapping.

    Raises:
        TypeError: A batch is nothing of that.
        ValueError: The loader gives no batch, or one so small that a layer has no variance. The statistics stay as
            they were, whatever fails.
    """
    if batches is not None:
        count(batches=batches)
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers:
        return
    before = [
        (layer, layer.momentum, {name: buffer.clone() for name, buffer in layer.named_buffers(recurse=False)})
        for layer in layers
    ]
    seen, is_done = 0, False
    try:
        with evaluating(module), torch.no_grad():
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None
                layer.training = True
            for batch in itertools.islice(loader, batches):
                run(module, batch, has_targets=has_targets)
                seen += 1
        is_done = True
    finally:
        for layer, momentum, buffers in before:
            layer.momentum = momentum
            if not is_done or not int(layer.num_batches_tracked or 0):
                for name, buffer in buffers.items():
                    getattr(layer, name).copy_(buffer)
    if not seen:
        raise ValueError("the loader gives no batch; a generator that was used up gives none the second time")


def run(module: nn.Module, batch: object, *, has_targets: bool = True) -> tuple[object, object]:
    """Run a module on the inputs of a batch, on the device of its first parameter.

    Args:
        module: What to run.
        batch: ``(*inputs, targets)``, the inputs being positional ones, or one mapping of keyword inputs.
        has_targets: False for ``(*inputs,)``, a tensor, or a mapping.

    Returns:
        What the module gives, and the targets, on that device; None without.

    Raises:
        TypeError: The batch is nothing of that.
    """
    parts = [batch] if not has_targets and isinstance(batch, Tensor | Mapping) else batch
    if not isinstance(parts, tuple | list) or len(parts) <= has_targets:
        raise TypeError(
            f"a batch must be a tuple or list of inputs and targets, not {_describe(batch)}"
            if has_targets
            else f"a batch must be a tensor, or a tuple, list or mapping of inputs, not {_describe(batch)}"
        )
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    moved = pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), list(parts))
    targets = moved.pop() if has_targets else None
    if len(moved) == 1 and isinstance(moved[0], Mapping) and _takes(module, moved[0]):
        return module(**moved[0]), targets
    return module(*moved), targets


def _takes(module: nn.Module, keywords: Mapping[str, object]) -> bool:
    """Whether a module's forward takes keyword inputs of these names; else it may take the mapping itself."""
    called = module.model if isinstance(module, SuperNet) else module
    try:
        inspect.signature(called.forward).bind(**keywords)
    except TypeError:
        return False
    return True


def _describe(batch: object) -> str:
    return f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")


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
