"""What branches give: structures of tensors, checked against each other, taken apart and put together again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from supernet_onnx.errors import PoolError
from supernet_onnx.train import marking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Structure", "check", "flatten", "undisturbed", "versioned"]


_TRACK: Final = "track_running_stats"  # as torch's BatchNorm and InstanceNorm call it


@dataclass(frozen=True, slots=True)
class Structure:
    """How the tensors that a branch gives are structured.

    Attributes:
        spec: The structure of all leaves.
        is_none: Which leaves are None, such as the weights that attention does not give.
    """

    spec: pytree.TreeSpec
    is_none: tuple[bool, ...]

    def rebuild(self, tensors: Iterable[Tensor]) -> object:
        """Return tensors in this structure."""
        rest = iter(tensors)
        if self is _TENSOR:
            return next(rest)
        return pytree.tree_unflatten([None if none else next(rest) for none in self.is_none], self.spec)


_TENSOR: Final = Structure(pytree.tree_structure(torch.empty(0)), (False,))


def flatten(output: object) -> tuple[list[Tensor], Structure]:
    """Return what is to be mixed of a branch's output, and its structure."""
    if isinstance(output, Tensor):
        return [output], _TENSOR
    leaves, spec = pytree.tree_flatten(output)
    return [leaf for leaf in leaves if leaf is not None], Structure(spec, tuple(leaf is None for leaf in leaves))


def check(
    leaves: Sequence[object],
    first: Sequence[Tensor],
    *,
    same: bool,
    where: Callable[[], str],
    first_name: Callable[[], str],
) -> None:
    """Check what a branch gives against what the first one gave.

    Args:
        leaves: Of the branch.
        first: Of the first branch.
        same: Whether both have one structure.
        where: Names pool and branch for a message.
        first_name: Names the first branch.

    Raises:
        PoolError: They cannot be mixed.
    """
    if not same:
        raise PoolError(
            f"{where()}: its output is structured differently ({len(leaves)} tensors) from that of "
            f"branch '{first_name()}' ({len(first)}); all branches must return the same structure"
        )
    if not leaves:
        raise PoolError(f"{where()}: its output holds no tensor; return what the pool is to mix")
    for leaf, expected in zip(leaves, first, strict=True):
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            got = _describe(leaf) if isinstance(leaf, Tensor) else type(leaf).__name__
            raise PoolError(f"{where()}: output is {got}; only floating-point tensors can be mixed")
        if leaf.shape != expected.shape or (leaf.dtype != expected.dtype and not _is_autocast(leaf)):
            raise PoolError(
                f"{where()}: output is {_describe(leaf)}, the pool expects {_describe(expected)} as "
                f"branch '{first_name()}' gives; make stride, padding and width of the branches agree"
            )


def versioned(arguments: object) -> list[Tensor]:
    """Return the tensors whose in-place changes torch counts: none of inference mode, none under torch.compile."""
    if torch.compiler.is_dynamo_compiling():
        return []
    return [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor) and not leaf.is_inference()]


@contextlib.contextmanager
def undisturbed(branch: nn.Module) -> Iterator[None]:
    """Let normalisations in training use the statistics of the batch, and leave their running ones as they are."""
    keeping = [module for module in branch.modules() if module.training and getattr(module, _TRACK, False)]
    for module in keeping:
        setattr(module, _TRACK, False)
    try:
        yield
    finally:
        for module in keeping:
            setattr(module, _TRACK, True)


def _describe(tensor: Tensor) -> str:
    """Write a tensor's dtype and shape as messages do: ``float32[2,8,4,4]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')}[{','.join(str(size) for size in tensor.shape)}]"


def _is_autocast(leaf: Tensor) -> bool:
    """Whether autocast gives each layer its dtype here, so that those of branches may differ; not so in a file."""
    device = leaf.device.type
    return marking.current() is None and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
