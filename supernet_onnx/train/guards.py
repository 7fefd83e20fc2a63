"""Guards against what goes wrong in a differentiable search: weights that stay even, and skips that win too early.

None is on unless it is asked for. The first two are terms of the loss, called on the net as the regularizers are; the
third changes what the pools give while it lasts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from supernet_onnx.errors import ExportError, PoolError
from supernet_onnx.train import marking
from supernet_onnx.train.curves import finite
from supernet_onnx.train.regularizers import Regularizer
from supernet_onnx.train.schedule import Stepped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from supernet_onnx.train.curves import Curve
    from supernet_onnx.train.pool import SuperNetModule
    from supernet_onnx.train.supernet import SuperNet

__all__ = ["AuxiliarySkip", "EntropyGuard", "ZeroOneGuard", "entropy", "pool_entropy"]


def pool_entropy(pool: SuperNetModule) -> Tensor:
    """Return how undecided a pool is: ``-sum_i theta_i log(theta_i) / log(n)``, a scalar from 0 to 1; differentiable.

    A pool of one branch is decided.
    """
    theta = pool.theta()
    logs = theta.clamp_min(torch.finfo(theta.dtype).tiny).log()  # 0 log 0 is 0, and has a gradient
    return -(theta * logs).sum() / math.log(max(len(pool), 2))


def entropy(net: SuperNet) -> Tensor:
    """Return the mean of ``pool_entropy`` over all pools: 0 when each is one-hot, 1 when all weights are equal."""
    return torch.stack([pool_entropy(pool) for pool in net.pools.values()]).mean()


class EntropyGuard(Regularizer):
    """``strength * entropy(net)``: pushes every pool to a decision, so that little changes when the choice is made.

    An entropy term is how discretization-aware search closes the gap between the mixture and the chosen network (Tian
    et al., arXiv 2007.03154); there its strength rises with the epochs. From the first epoch on it would
    decide by what the logits happen to be.

    Args:
        strength: What complete indecision costs in units of the loss; at least 0.
    """

    def _amount(self, net: SuperNet) -> Tensor:
        return entropy(net)


class ZeroOneGuard(Regularizer):
    """``strength * -mean((theta - 1/2)^2)``: pushes every weight to 0 or 1.

    The zero-one loss of FairDARTS (Chu et al., arXiv 1911.12126) in its squared form, there on sigmoids, here on the
    softmax that pools have. The mean is over the weights of all pools; it is -1/4 when every pool is one-hot. Its
    slope is 0 where all weights are equal, so unlike the entropy it waits until the task has taken a side.

    Args:
        strength: At least 0; four times what the change from 1/2 to a decision saves.
    """

    def _amount(self, net: SuperNet) -> Tensor:
        theta = torch.cat([pool.theta() for pool in net.pools.values()])
        return -((theta - 0.5) ** 2).mean()


class AuxiliarySkip(Stepped):
    """Adds ``beta * input`` to what pools give, with a beta that falls to 0 (DARTS-, Chu et al., arXiv 2009.01027).

    A skip among the branches does two things: it is an alternative, and it lets gradients through to the layers
    below. For the second it would win early, whatever it is worth as the first (identity collapse). The auxiliary
    skip, outside the softmax, takes this part over, until the branches can do without.

    It changes what the net computes, in training and in ``eval``, and so:

    - ``export_onnx`` while beta is not 0 is an ``ExportError``, for the file would compute something else;
    - at beta 0 nothing of it is left, in the computation and in the file;
    - the chosen network of ``net.export()`` never has it, and its costs are never counted.

    Copies of the net (an average of its weights, for instance) follow the same beta.

        skip = AuxiliarySkip(net, Linear(1.0, 0.0, steps=epochs))
        for epoch in range(epochs):
            ...
            skip.step()

    Args:
        net: Its pools get a forward hook, until ``remove()``.
        curve: Beta at each step; it must reach 0.
        pools: The names of pools that get it; by default all whose output has the shape of their first input.

    Raises:
        ValueError: A name is no pool's, or the curve gives a negative or infinite number.
        PoolError: In forward: a pool that was named gives no tensor of the shape of its first input.
    """

    def __init__(self, net: SuperNet, curve: Curve, *, pools: Iterable[str] | None = None) -> None:
        chosen = list(net.pools) if pools is None else list(pools)
        missing = [name for name in chosen if name not in net.pools]
        if missing:
            raise ValueError(f"no pool is named {missing[0]!r}; the pools are: {', '.join(net.pools)}")
        super().__init__()
        self._curve = curve
        self._is_strict = pools is not None
        self._factor = torch.zeros(())  # a tensor, so that compiled code need not be compiled anew at each step
        self._set()
        self._handles = [net.pools[name].register_forward_hook(_Hook(self)) for name in chosen]

    @property
    def beta(self) -> float:
        """What the input is multiplied by now."""
        return self._beta

    def remove(self) -> None:
        """Take the skips away for good."""
        for handle in self._handles:
            handle.remove()

    def add(self, pool: nn.Module, args: tuple[object, ...], output: object) -> object:
        """Return what a pool gives, with its first input times beta added where the shapes allow it."""
        if not self._is_on:
            return output
        first = args[0] if args else None
        if not (isinstance(first, Tensor) and isinstance(output, Tensor) and first.shape == output.shape):
            if self._is_strict:
                raise PoolError(
                    f"pool '{getattr(pool, 'name', None)}': its output has not the shape of its first input, so no "
                    "auxiliary skip fits; leave the pool out of AuxiliarySkip(pools=...)"
                )
            return output
        if marking.current() is not None:
            raise ExportError(
                f"pool '{getattr(pool, 'name', None)}': its auxiliary skip has a beta of {self._beta:g}, and a file "
                "without it would compute something else; step it to 0, or remove() it, and export then"
            )
        return output + self._factor.to(output.dtype) * first

    def _set(self) -> None:
        beta = self._curve(self._steps)
        finite(beta=beta)
        if beta < 0:
            raise ValueError(f"beta would be {beta} after {self._steps} steps; let the curve fall from 1 to 0")
        self._beta = float(beta)
        self._is_on = self._beta != 0  # read where the number itself would be compiled in
        self._factor.fill_(self._beta)


class _Hook:
    """A forward hook on a pool; its copies stay with the same skip."""

    def __init__(self, skip: AuxiliarySkip) -> None:
        self._skip = skip

    def __call__(self, pool: nn.Module, args: tuple[object, ...], output: object) -> object:
        return self._skip.add(pool, args, output)

    def __deepcopy__(self, memo: dict[int, object]) -> _Hook:
        return self
