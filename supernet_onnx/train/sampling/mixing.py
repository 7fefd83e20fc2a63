"""How the logits of a pool become mixing weights, and how weights and branch outputs become the pool's output."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supernet_onnx.train.sampling.mode import Draw

__all__ = [
    "choose",
    "drop",
    "gumbel_noise",
    "mix",
    "noise_of",
    "one_hot",
    "pair",
    "softmax",
    "softmax_of",
    "straight_through",
]


def softmax(alpha: Tensor, temperature: float, noise: Tensor | None = None) -> Tensor:
    """Return the weights ``theta = softmax((alpha + noise) / temperature)``.

    Without noise these are the weights of DARTS (Liu et al., arXiv 1806.09055, eq. 2); with Gumbel noise they are a
    sample of the Concrete distribution (Jang et al., arXiv 1611.01144, eq. 2; Maddison et al., arXiv 1611.00712).

    Args:
        alpha: Logits, ``(n,)``.
        temperature: Larger is flatter; towards 0 the weights become one-hot.
        noise: ``(n,)``, or None for none.
    """
    logits = alpha if noise is None else alpha + noise
    return torch.softmax(logits if temperature == 1 else logits / temperature, dim=-1)


def softmax_of(logits: Sequence[float], temperature: float) -> list[float]:
    """Return ``softmax(logits / temperature)`` of plain numbers."""
    top = max(logits)
    exponentials = [math.exp((logit - top) / temperature) for logit in logits]
    total = sum(exponentials)
    return [exponential / total for exponential in exponentials]


def noise_of(draw: Draw | None, alpha: Tensor) -> Tensor | None:
    """Return the noise of a draw on the logits' device, in their dtype."""
    noise = None if draw is None else draw.noise
    return alpha.new_tensor(noise) if isinstance(noise, tuple) else noise


def gumbel_noise(alpha: Tensor) -> Tensor:
    """Draw standard Gumbel noise for logits, from torch's global generator as dropout does.

    The branch of largest ``alpha + noise`` is branch i with probability ``softmax(alpha)[i]`` (the Gumbel-max trick).
    """
    with torch.no_grad():
        return -torch.empty_like(alpha, memory_format=torch.contiguous_format).exponential_().log()


def pair(difference: Tensor) -> Tensor:
    """Return two weights, ``(2,)``, that carry the gradient of a difference: plus to the first, minus to the second."""
    return torch.stack((difference, -difference))


def one_hot(theta: Tensor) -> Tensor:
    """Return 1 at the largest weight or logit along the last dim, the first of equals, else 0; no gradient."""
    return torch.zeros_like(theta).scatter_(-1, theta.argmax(-1, keepdim=True), 1).detach()


def straight_through(theta: Tensor) -> Tensor:
    """Return ``one_hot(theta)`` with the gradient of ``theta``, so that every logit receives one.

    The straight-through estimator (Bengio et al., arXiv 1308.3432); it is biased.
    """
    return one_hot(theta) - theta.detach() + theta


def mix(theta: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """Return ``sum_i theta[i] * outputs[i]``; outputs of one shape and dtype, weights of shape ``(n,)``."""
    weights = theta.unbind()
    mixture = weights[0] * outputs[0]
    for weight, output in zip(weights[1:], outputs[1:], strict=True):
        mixture = mixture + weight * output
    return mixture


def drop(theta: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs with 0 in place of those of weight 0, which a mixture has nothing of: 0 * inf is nan."""
    return [torch.where(weight == 0, 0, output) for weight, output in zip(theta.unbind(), outputs, strict=True)]


def choose(theta: Tensor, index: int, outputs: Sequence[Tensor]) -> Tensor:
    """Return ``outputs[index]`` exactly, with the gradient that the mixture has at one-hot weights.

    The straight-through estimator again: logit i is told ``sum(gradient * outputs[i])`` through ``theta[i]``, the
    chosen branch receives the whole gradient and the others none. What the others computed does not touch the
    value, not even if it is infinite.
    """
    return cast("Tensor", _Choose.apply(theta, index, *outputs))  # type: ignore[no-untyped-call]  # torch's, untyped


class _Choose(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(theta: Tensor, index: int, *outputs: Tensor) -> Tensor:
        return outputs[index].clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401 - torch's signature
        theta, ctx.index, *outputs = inputs
        ctx.save_for_backward(theta, *outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's signature
        gradient = gradients[0]
        theta, *outputs = ctx.saved_tensors
        of_theta = None
        if ctx.needs_input_grad[0]:
            of_theta = torch.stack([(gradient * output).sum(dtype=theta.dtype) for output in outputs])
        of_outputs = [gradient if i == ctx.index else None for i in range(len(outputs))]
        return (of_theta, None, *of_outputs)
