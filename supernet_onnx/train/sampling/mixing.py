"""How the logits of a pool become mixing weights, and how weights and branch outputs become the pool's output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supernet_onnx.train.sampling.mode import Draw

__all__ = [
    "Watch",
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
    """Return the noise of a draw as a tensor like the logits."""
    noise = None if draw is None else draw.noise
    return torch.tensor(noise, dtype=alpha.dtype, device=alpha.device) if isinstance(noise, tuple) else noise


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
    """Return ``sum_i theta[i] * outputs[i]``; outputs of one shape and dtype, weights of shape ``(n,)``.

    Its backward keeps the outputs, for the gradient of the weights, and no copy of them.
    """
    if _is_plain(outputs):
        return cast("Tensor", _Mix.apply(theta, *outputs))  # type: ignore[no-untyped-call]  # torch's, untyped
    weights = theta.unbind()
    mixture = weights[0] * outputs[0]
    for weight, output in zip(weights[1:], outputs[1:], strict=True):
        mixture = mixture + weight * output
    return mixture


def drop(theta: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs with 0 in place of those of weight 0, which a mixture has nothing of: 0 * inf is nan."""
    return [torch.where(weight == 0, 0, output) for weight, output in zip(theta.unbind(), outputs, strict=True)]


@dataclass(slots=True)
class Watch:
    """Whether what follows a pool changes the pool's output in place, as ``nn.ReLU(inplace=True)`` does.

    Attributes:
        in_place: None until a backward has seen it.
    """

    in_place: bool | None = None


def choose(theta: Tensor, index: int, outputs: Sequence[Tensor], watch: Watch | None = None) -> Tensor:
    """Return ``outputs[index]`` exactly, with the gradient that the mixture has at one-hot weights.

    The straight-through estimator again: logit i is told ``sum(gradient * outputs[i])`` through ``theta[i]``, the
    chosen branch receives the whole gradient and the others none. What the others computed does not touch the
    value, not even if it is infinite.

    Args:
        theta: ``(n,)``.
        index: Of the output taken.
        outputs: n of one shape.
        watch: Of the pool. The result is a copy, so that it may be changed in place while backward needs the output;
            once the watch has seen a backward before which this did not happen, it is the output itself.
    """
    return cast("Tensor", _Choose.apply(theta, index, watch, *outputs))  # type: ignore[no-untyped-call]  # torch's


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, *outputs: Tensor) -> Tensor:  # noqa: ANN401 - torch's signature
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(theta, *outputs)
        else:
            ctx.save_for_backward(theta)
        weights = theta.tolist() if theta.is_cpu else []
        mixture = outputs[0] * theta[0]
        if weights:
            for weight, output in zip(weights[1:], outputs[1:], strict=True):
                mixture.add_(output, alpha=weight)
            return mixture
        for i, output in enumerate(outputs[1:], start=1):
            mixture.addcmul_(output, theta[i])
        return mixture

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's signature
        (gradient,) = gradients
        theta, *outputs = ctx.saved_tensors
        of_theta = _products(gradient, outputs, theta) if outputs else None
        weights = theta.tolist() if theta.is_cpu and not torch.is_grad_enabled() else theta.unbind()
        needed = ctx.needs_input_grad[1:]
        return (of_theta, *(gradient * w if need else None for w, need in zip(weights, needed, strict=True)))


class _Choose(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(theta: Tensor, index: int, watch: Watch | None, *outputs: Tensor) -> Tensor:
        output = outputs[index]
        return output.view_as(output) if watch is not None and watch.in_place is False else output.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401 - torch's signature
        theta, ctx.index, ctx.watch, *outputs = inputs
        ctx.save_for_backward(theta, *outputs)
        ctx.copy = None
        if ctx.watch is not None and ctx.watch.in_place is None:
            ctx.copy = output.detach()  # counts changes in place together with the output
            ctx.version = ctx.copy._version

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's signature
        gradient = gradients[0]
        theta, *outputs = ctx.saved_tensors
        if ctx.copy is not None:
            ctx.watch.in_place = ctx.copy._version != ctx.version
        of_theta = _products(gradient, outputs, theta) if ctx.needs_input_grad[0] else None
        of_outputs = [gradient if i == ctx.index else None for i in range(len(outputs))]
        return (of_theta, None, None, *of_outputs)


def _is_plain(outputs: Sequence[Tensor]) -> bool:
    """Whether nothing but autograd follows what is done to the outputs, and they have one dtype."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return all(output.dtype == outputs[0].dtype for output in outputs)


def _products(gradient: Tensor, outputs: Sequence[Tensor], theta: Tensor) -> Tensor:
    """Return ``sum(gradient * output)`` for each output, in the dtype of the weights."""
    flat = None
    if (
        not torch.is_grad_enabled()
        and not torch._C._are_functorch_transforms_active()
        and gradient.dtype == theta.dtype
    ):
        flat = _flat(gradient)
    if flat is None:
        return torch.stack([(gradient * output).sum(dtype=theta.dtype) for output in outputs])
    products = []
    for output in outputs:
        of_output = _flat(output) if output.stride() == gradient.stride() and output.dtype == gradient.dtype else None
        product = (gradient * output).sum(dtype=theta.dtype) if of_output is None else torch.dot(flat, of_output)
        products.append(product)
    return torch.stack(products)


def _flat(tensor: Tensor) -> Tensor | None:
    """Return a dense tensor's elements in the order that they are stored in, without a copy; None if it has gaps."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).view(-1)
    return None
