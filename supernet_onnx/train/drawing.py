"""What the pools of a supernet draw for one forward, all of them at once, on the host.

Activation checkpointing runs parts of a forward again in its backward, and other forwards may have drawn since. Each
draw is kept with the number that autograd gives to the next node of its graph; the node whose backward asks for
activations has a number of the forward that it belongs to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from supernet_onnx.train.sampling import Chance, Draw, noise_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from supernet_onnx.train.pool import SuperNetModule
    from supernet_onnx.train.sampling import Draws

__all__ = ["KEPT", "draw", "draw_alone", "is_in_backward", "recall", "weigh"]

KEPT: Final = 256
"""How many forwards may draw before the backward of the first one."""


@torch.compiler.disable(reason="drawn on the host")  # type: ignore[untyped-decorator]  # torch's
def draw(draws: Draws, pools: Iterable[SuperNetModule]) -> None:
    """Draw for the pools that sample, each once for the coming forward, and count it.

    Args:
        draws: The supernet's; ``under_way`` from here on.
        pools: All of them, in their order: the number of a pool decides what it draws.
    """
    random = draws.begin()
    node = torch._C._autograd._get_sequence_nr()
    drawing = [(i, pool, pool.logits.detach()) for i, pool in enumerate(pools) if pool.training and pool.sampling.draws]
    numbers = _on_host([logits for *_, logits in drawing])
    for (i, pool, logits), values in zip(drawing, numbers, strict=True):
        drawn = pool.sampling.draw(values, pool.temperature, Chance(random, draws.seed, draws.step, i))
        _check(drawn, pool)
        # as a tensor, for torch.compile takes numbers for code
        pool._draw = replace(drawn, noise=noise_of(drawn, logits))
        pool._drawn.append((node, pool._draw))
    draws.step += 1
    draws.under_way = True


def draw_alone(pool: SuperNetModule) -> Draw:
    """Draw for a pool that is called outside of its supernet."""
    drawn = pool.sampling.draw_alone(pool.alpha, pool.temperature)
    _check(drawn, pool)
    return drawn


def _check(drawn: object, pool: SuperNetModule) -> None:
    """Check what a way to sample drew, which may be of the user's own."""
    if not isinstance(drawn, Draw):
        raise TypeError(f"{pool.sampling}: draw returned {drawn!r}, expected a Draw")
    if drawn.branches[-1] >= len(pool):
        raise ValueError(
            f"{pool.sampling}: draw took the branches {drawn.branches} of pool '{pool.name}', which has {len(pool)}; "
            f"indices are from 0 to {len(pool) - 1}"
        )


def weigh(pool: SuperNetModule, drawn: Draw | None) -> Tensor | None:
    """Return the weights of the branches that run, all without a draw; None where one runs and no logit is told.

    Raises:
        ValueError: The way to sample gives weights of another number, or none for branches that are to be mixed.
    """
    theta = pool.sampling.weights(pool.alpha, pool.temperature, drawn)
    count = len(pool) if drawn is None else len(drawn.branches)
    if theta is None:
        if count > 1 and (drawn is None or drawn.taken is None):
            raise ValueError(
                f"{pool.sampling}: weights returned None for {count} branches of pool '{pool.name}' that are to be "
                "mixed; return one weight for each, or draw one branch"
            )
    elif theta.shape != (count,):
        raise ValueError(
            f"{pool.sampling}: weights returned a tensor of shape {tuple(theta.shape)} for {count} branches of pool "
            f"'{pool.name}' that run; return one weight for each, ({count},)"
        )
    return theta


def is_in_backward(*, of_whole: bool = False) -> bool:
    """Whether autograd is running this: activation checkpointing recomputes a forward.

    Args:
        of_whole: Whether it is the forward of the whole supernet.

    Raises:
        RuntimeError: It is, and ``torch.utils.checkpoint`` is used in the way that leaves no trace of which it was.
    """
    if torch.compiler.is_dynamo_compiling() or torch._C._current_graph_task_id() == -1:
        return False
    node = torch._C._current_autograd_node()
    if of_whole and node is not None and node.name() == "CheckpointFunctionBackward":
        raise RuntimeError(
            "checkpoint(net, ..., use_reentrant=True) recomputes the supernet, and nothing tells what it drew; "
            "pass use_reentrant=False, or checkpoint parts of the model"
        )
    return True


def recall(drawn: Sequence[tuple[int, Draw]]) -> Draw:
    """Return the draw of the forward that is recomputed now, of those that a pool made.

    Raises:
        RuntimeError: It is too long ago.
    """
    node = torch._C._current_autograd_node()
    number = drawn[-1][0] if node is None else node._sequence_nr()
    for first, draw in reversed(drawn):
        if first <= number:
            return draw
    raise RuntimeError(
        f"activations of a forward are recomputed after {KEPT} others drew branches; call backward after fewer forwards"
    )


def _on_host(logits: Sequence[Tensor]) -> list[list[float]]:
    """Return logits as plain numbers; those of an accelerator in one transfer."""
    if all(alpha.is_cpu for alpha in logits):
        return [alpha.tolist() for alpha in logits]
    return [part.tolist() for part in torch.cat(list(logits)).cpu().split([len(alpha) for alpha in logits])]
