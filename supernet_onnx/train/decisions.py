"""What the pools of a supernet decide: their weights, and the branches that they select."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import nn

from supernet_onnx.errors import SelectionError
from supernet_onnx.selection import Selection

if TYPE_CHECKING:
    from torch import Tensor

    from supernet_onnx.train.pool import SuperNetModule

__all__ = ["Deciding", "PoolSummary"]


class PoolSummary(TypedDict):
    """A pool in ``SuperNet.summary()``.

    Attributes:
        weights: The weight of each branch, by name.
        selected: The branch of largest logit.
    """

    weights: dict[str, float]
    selected: str


class Deciding(nn.Module):
    """A model with pools, each of which weighs its branches."""

    _pools: dict[str, SuperNetModule]

    @property
    def pools(self) -> Mapping[str, SuperNetModule]:
        """The pools by their qualified names."""
        return self._pools

    def get_total_icv(self, eps: float = 1e-3) -> Tensor:
        """Return the total inverse coefficient of variation of the weights, differentiable in the logits.

        ``sum over pools of mean(theta)^2 / (var(theta) + eps)`` with the unbiased variance; the variance of a pool of
        one branch is 0. Small when every pool is decided.
        """
        terms = []
        for pool in self._pools.values():
            theta = pool.theta()
            variance = theta.var() if len(pool) > 1 else torch.zeros_like(theta[0])
            terms.append(theta.mean() ** 2 / (variance + eps))
        return torch.stack(terms).sum()

    def selection(self) -> dict[str, str]:
        """Return the branch of largest logit for each pool: ``{pool name: branch name}``."""
        return {name: pool.branch_names[pool.selected()] for name, pool in self._pools.items()}

    def summary(self) -> dict[str, PoolSummary]:
        """Return for each pool its weights by branch name, and the selected branch."""
        return {
            name: {
                "weights": dict(zip(pool.branch_names, pool.theta().detach().cpu().tolist(), strict=True)),
                "selected": pool.branch_names[pool.selected()],
            }
            for name, pool in self._pools.items()
        }

    def _choices(self, selection: Mapping[str, str | int] | Selection) -> dict[SuperNetModule, int]:
        """Return the branch of each pool: that of a selection, else the one of largest logit."""
        return {pool: pool.selected() for pool in self._pools.values()} | self._find(selection)

    def _find(self, selection: Mapping[str, str | int] | Selection) -> dict[SuperNetModule, int]:
        """Return the branches of the pools that a selection names; a pool need not be in the graph."""
        named = selection.as_dict() if isinstance(selection, Selection) else selection
        if not isinstance(named, Mapping):
            raise TypeError(f"a selection is a mapping of pools to branches, such as {self.selection()}, not {named!r}")
        for name in named:
            if name not in self._pools:
                raise SelectionError(f"pool '{name}' is not in the model; its pools are: {', '.join(self._pools)}")
        return {self._pools[name]: self._pools[name].find(branch) for name, branch in named.items()}
