"""The chosen network as a plain module: a copy of the model in which each pool is its chosen branch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from supernet_onnx.train.pool import CHOICES, SuperNetModule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["extract"]


def extract(model: nn.Module, choices: Mapping[SuperNetModule, int], *, thaw: Iterable[nn.Parameter] = ()) -> nn.Module:
    """Deep-copy a model with each pool replaced by one of its branches.

    Whatever refers to a pool refers to the branch in the copy, so the names in ``state_dict`` are those of a model
    written with the branch in the pool's place. Branches that are not chosen are not copied. Shared modules and
    parameters stay shared. A tensor that a module keeps from its last forward is copied without its history.

    Args:
        model: Not changed; may be a pool itself.
        choices: The index of the chosen branch for every pool in the model, those inside of branches included.
        thaw: Parameters of the model whose copies are to be trainable.
    """
    memo: dict[int, object] = {id(CHOICES): choices}
    for module in model.modules():
        for value in pytree.tree_leaves(vars(module)):
            if isinstance(value, Tensor) and not value.is_leaf:  # which torch refuses to copy
                memo[id(value)] = value.detach().clone()
    copied = copy.deepcopy(model, memo)
    for parameter in thaw:
        copy_of = memo.get(id(parameter))
        if isinstance(copy_of, nn.Parameter):
            copy_of.requires_grad_(True)
    return copied
