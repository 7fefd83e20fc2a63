"""What training in several processes needs of a supernet: logits that every forward uses, and that are whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.distributed.tensor import DTensor

__all__ = ["anchor", "is_distributed", "whole"]


def is_distributed() -> bool:
    """Whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def whole(parameter: Tensor) -> Tensor:
    """Return a parameter as a plain tensor, differentiable in it; all processes must ask if it is sharded.

    Outside of the forward of the module that ``torch.distributed.fsdp.fully_shard`` wrapped, a parameter is a
    ``DTensor``, of which each process has a part.
    """
    return cast("DTensor", parameter).full_tensor() if _is_sharded(parameter) else parameter


def anchor(output: object, logits: Sequence[Tensor]) -> object:
    """Make a model's output depend on logits, with a gradient of zero.

    DistributedDataParallel takes a parameter that a forward does not use for finished before the backward begins, and
    fails when ``net.cost`` then gives it a gradient after all. Logits of pools that did not run are such parameters.

    Args:
        output: A structure of tensors; one that requires a gradient is replaced. If there is none, nothing is done.
        logits: The parameters.
    """
    leaves, structure = pytree.tree_flatten(output)
    wanted = [alpha for alpha in logits if alpha.requires_grad and not _is_sharded(alpha)]
    for i, leaf in enumerate(leaves):
        if wanted and isinstance(leaf, Tensor) and leaf.requires_grad:
            leaves[i] = leaf + cast("Tensor", _Zero.apply(leaf.dtype, *wanted))  # type: ignore[no-untyped-call]
            return pytree.tree_unflatten(leaves, structure)
    return output


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")  # a DTensor, whose import takes long


class _Zero(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *logits: Tensor) -> Tensor:  # noqa: ANN401 - torch's signature
        ctx.like = [(alpha.shape, alpha.dtype, alpha.device) for alpha in logits]
        return torch.zeros((), dtype=dtype, device=logits[0].device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's signature
        return (None, *(torch.zeros(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.like))
