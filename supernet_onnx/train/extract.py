"""The chosen network as a plain module: a copy of the model in which each pool is its chosen branch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from supernet_onnx.train.pool import SuperNetModule

__all__ = ["extract"]


def extract(model: nn.Module, choices: Mapping[SuperNetModule, int], *, thaw: Iterable[nn.Parameter] = ()) -> nn.Module:
    """Deep-copy a model with each pool replaced by one of its branches.

    Whatever refers to a pool refers to the branch in the copy, so the names in ``state_dict`` are those of a model
    written with the branch in the pool's place. Branches that are not chosen are not copied. Shared modules and
    parameters stay shared.

    Args:
        model: Not changed; may be a pool itself.
        choices: The index of the chosen branch for every pool in the model, those inside of branches included.
        thaw: Parameters of the model whose copies are to be trainable.
    """
    memo: dict[int, object] = {}

    def resolve(pool: SuperNetModule) -> None:
        if id(pool) in memo:
            return
        branch = pool.branches[choices[pool]]
        for inner in branch.modules():
            if inner in choices:
                resolve(inner)  # type: ignore[arg-type]  # the keys of choices are pools
        memo[id(pool)] = memo[id(branch)] if id(branch) in memo else copy.deepcopy(branch, memo)

    for pool in choices:
        resolve(pool)
    copied: nn.Module = copy.deepcopy(model, memo)
    for parameter in thaw:
        copy_of = memo.get(id(parameter))
        if isinstance(copy_of, nn.Parameter):
            copy_of.requires_grad_(True)
    return copied
