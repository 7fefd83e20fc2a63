"""The expected cost of independent pools and its gradient in closed form, for logits on the CPU."""

from __future__ import annotations

from array import array
from math import exp
from operator import mul
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["FlatCost", "Formula", "Weighing"]

_TYPES = {nn.Parameter}
_CODES = {torch.float32: "f", torch.float64: "d"}


Weighing: TypeAlias = "tuple[float, bool]"
"""How the logits of a pool become weights: what they are multiplied by; whether the largest weight counts as 1, with
the gradient of the soft ones."""

Formula: TypeAlias = "Callable[[Sequence[Tensor], Sequence[Weighing]], Tensor]"
"""The cost of logits as a graph of torch's operations."""


class FlatCost:
    """``cost = trunk + sum_{p,i} theta[p,i] * amount[p,i]`` and its gradient to the logits.

    The gradient to ``alpha[p,j]`` is ``scale[p] * theta[p,j] * (amount[p,j] - sum_i theta[p,i] * amount[p,i])``.

    It exists for speed (``tools/bench_cost.py``): a graph of torch's operations on so few numbers is nearly all the
    overhead of single calls, as are arrays. What remains above plain floats is torch's own, for handing a gradient to
    each pool.

    Args:
        amounts: For each pool what each of its branches costs.
        trunk: What every selection pays.
    """

    def __init__(self, amounts: Iterable[Iterable[float]], trunk: float) -> None:
        self._amounts = [tuple(map(float, of_pool)) for of_pool in amounts]
        self._sizes = [len(of_pool) for of_pool in self._amounts]
        self._trunk = float(trunk)

    @staticmethod
    def fits(alphas: Sequence[Tensor | None]) -> bool:
        """Tell whether logits are plain parameters on the CPU, and nothing traces or transforms what uses them."""
        return (
            not torch.compiler.is_compiling()
            and set(map(type, alphas)) == _TYPES
            and (first := cast("Tensor", alphas[0])).is_cpu
            and first.dtype in _CODES
            and not torch._C._is_tracing()
            and not torch._C._are_functorch_transforms_active()
            and not torch._C._len_torch_dispatch_stack()
        )

    def __call__(self, alphas: Sequence[Tensor], weighings: Sequence[Weighing], formula: Formula) -> Tensor:
        """Return the cost, a float64 scalar.

        Args:
            alphas: The logits of each pool; they fit.
            weighings: How those of each pool become weights.
            formula: The same cost, for where its gradient is itself to be differentiated.
        """
        return cast("Tensor", _Evaluate.apply(self, weighings, formula, *alphas))  # type: ignore[no-untyped-call]  # torch's

    def evaluate(self, alphas: Sequence[Tensor], weighings: Sequence[Weighing]) -> tuple[float, list[_Part]]:
        """Return the cost, and for each pool what ``gradient`` needs."""
        cost = self._trunk
        parts = []
        for alpha, amounts, (scale, is_hard) in zip(alphas, self._amounts, weighings, strict=True):
            logits = alpha.tolist()
            top = max(logits)
            exponentials = [exp((logit - top) * scale) for logit in logits]
            total = sum(exponentials)
            mean = sum(map(mul, exponentials, amounts)) / total
            parts.append((exponentials, amounts, mean, scale / total))
            cost += amounts[logits.index(top)] if is_hard else mean
        return cost, parts

    def gradient(self, parts: Iterable[_Part], factor: float, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return the gradient of ``factor * cost`` to the logits of each pool."""
        gradient: list[float] = []
        for exponentials, amounts, mean, scale in parts:
            scale *= factor
            gradient += [scale * e * (amount - mean) for e, amount in zip(exponentials, amounts, strict=True)]
        flat = torch.frombuffer(array(_CODES[dtype], gradient), dtype=dtype)
        return flat.unsafe_split_with_sizes(self._sizes)


_Part: TypeAlias = "tuple[list[float], tuple[float, ...], float, float]"
"""``exp(scale * (alpha - max(alpha)))``, the amounts, their mean by these weights, ``scale / sum(exponentials)``."""


def _is_batched(grad: Tensor) -> bool:
    """Tell whether a gradient stands for several: under ``torch.vmap``, or with ``is_grads_batched=True``."""
    return torch._C._are_functorch_transforms_active() or torch._C._functorch.is_legacy_batchedtensor(grad)


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch's
        flat: FlatCost,
        weighings: Sequence[Weighing],
        formula: Formula,
        *alphas: Tensor,
    ) -> Tensor:
        cost, parts = flat.evaluate(alphas, weighings)
        ctx.kept = flat, weighings, formula, alphas, parts
        return torch.scalar_tensor(cost, dtype=torch.float64, device="cpu")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        flat, weighings, formula, alphas, parts = ctx.kept
        if not torch.is_grad_enabled() and not _is_batched(grad):
            return None, None, None, *flat.gradient(parts, grad.item(), alphas[0].dtype)
        if flat.evaluate(alphas, weighings)[1] != parts:
            raise RuntimeError(
                "the logits were changed since the cost was computed, and its gradient is to be differentiated itself; "
                "do so before the optimizer's step"
            )
        wanted = [alpha for alpha in alphas if alpha.requires_grad]
        with torch.enable_grad():
            found = iter(torch.autograd.grad(formula(alphas, weighings), wanted, create_graph=True))
        grads = [(next(found) * grad).to(alpha.dtype) if alpha.requires_grad else None for alpha in alphas]
        return None, None, None, *grads
