"""What the pools of a supernet draw for one forward, all of them at once, on the host."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from supernet_onnx.train.sampling import Chance, noise_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from supernet_onnx.train.pool import SuperNetModule
    from supernet_onnx.train.sampling import Draws

__all__ = ["draw"]


@torch.compiler.disable(reason="drawn on the host")  # type: ignore[untyped-decorator]  # torch's
def draw(draws: Draws, pools: Iterable[SuperNetModule]) -> None:
    """Draw for the pools that sample, each once for the coming forward, and count it.

    Args:
        draws: The supernet's; ``under_way`` from here on.
        pools: All of them, in their order: the number of a pool decides what it draws.
    """
    random = draws.begin()
    drawing = [(i, pool, pool.logits.detach()) for i, pool in enumerate(pools) if pool.training and pool.sampling.draws]
    numbers = _on_host([logits for *_, logits in drawing])
    for (i, pool, logits), values in zip(drawing, numbers, strict=True):
        drawn = pool.sampling.draw(values, pool.temperature, Chance(random, draws.seed, draws.step, i))
        # as a tensor, for torch.compile takes numbers for code
        pool._draw = replace(drawn, noise=noise_of(drawn, logits))
    draws.step += 1
    draws.under_way = True


def _on_host(logits: Sequence[Tensor]) -> list[list[float]]:
    """Return logits as plain numbers; those of an accelerator in one transfer."""
    if all(alpha.is_cpu for alpha in logits):
        return [alpha.tolist() for alpha in logits]
    return [part.tolist() for part in torch.cat(list(logits)).cpu().split([len(alpha) for alpha in logits])]
