"""Example inputs: what the user gives to describe a model's inputs, brought into the form that tracing needs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["Example", "make_example"]


@dataclass(frozen=True, slots=True)
class Example:
    """Arguments for one forward of a model.

    Attributes:
        args: Positional ones.
        kwargs: Keyword ones.
        device: That of the model when the example was given.
        dtype: Likewise.
    """

    args: tuple[object, ...]
    kwargs: dict[str, object]
    device: torch.device
    dtype: torch.dtype

    @property
    def batch(self) -> int | None:
        """The batch size: the first dim of the first tensor that has one; None if there is none."""
        sizes = [leaf.shape[0] for leaf in self._tensors() if leaf.dim()]
        return sizes[0] if sizes else None

    def is_batched(self, leaf: object) -> bool:
        """Whether an argument has the batch as its first dim."""
        return isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == self.batch

    def on(self, model: nn.Module) -> Example:
        """Return the example for the model as it is now: tensors of its former device or dtype follow it."""
        device, dtype = _home(model)

        def follow(leaf: object) -> object:
            if isinstance(leaf, Tensor) and leaf.dtype == self.dtype:
                leaf = leaf.to(dtype)
            return leaf.to(device) if isinstance(leaf, Tensor) and leaf.device == self.device else leaf

        args, kwargs = pytree.tree_map(follow, (self.args, self.kwargs))
        return Example(args, kwargs, device, dtype)

    def widened(self) -> Example:
        """Return an example of batch 2 if the batch is 1, for torch.export takes a size of 1 for a constant."""
        if self.batch != 1:
            return self

        def twice(leaf: object) -> object:
            return torch.cat([leaf, leaf]) if isinstance(leaf, Tensor) and self.is_batched(leaf) else leaf

        args, kwargs = pytree.tree_map(twice, (self.args, self.kwargs))
        return Example(args, kwargs, self.device, self.dtype)

    def dynamic_shapes(self, model: nn.Module, dim: torch.export.Dim) -> dict[str, object]:
        """Return the ``dynamic_shapes`` for ``torch.export`` that make the first dim of batched tensors ``dim``."""
        bound = inspect.signature(model.forward).bind(*self.args, **self.kwargs)
        spec: dict[str, object] = pytree.tree_map(
            lambda leaf: {0: dim} if self.is_batched(leaf) else None, dict(bound.arguments)
        )
        return spec

    def _tensors(self) -> list[Tensor]:
        return [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]


def make_example(model: nn.Module, input_shape: Sequence[int] | None, input_example: object) -> Example:
    """Build the example from what ``SuperNet`` was given.

    Args:
        model: Its first floating-point parameter gives device and dtype for ``input_shape``.
        input_shape: The shape of a single input, without the batch.
        input_example: A tensor, a tuple or list of positional inputs, or a dict of keyword inputs.

    Raises:
        TypeError: Both or none are given, or a shape that is no sequence of positive sizes.
    """
    home = _home(model)
    if (input_shape is None) == (input_example is None):
        raise TypeError("give either input_shape (without the batch) or input_example (a tensor, tuple or dict)")
    if input_shape is not None:
        shape = tuple(input_shape) if isinstance(input_shape, Sequence) else (input_shape,)
        if not all(isinstance(size, int) and size > 0 for size in shape):
            raise TypeError(f"input_shape must be sizes without the batch, such as (3, 32, 32), not {input_shape!r}")
        device, dtype = home
        return Example((torch.zeros((2, *shape), device=device, dtype=dtype),), {}, *home)
    args: tuple[object, ...] = ()
    kwargs: dict[str, object] = {}
    if isinstance(input_example, Mapping):
        kwargs = {str(key): value for key, value in input_example.items()}
    else:
        args = tuple(input_example) if isinstance(input_example, tuple | list) else (input_example,)
    args, kwargs = pytree.tree_map_only(Tensor, Tensor.detach, (args, kwargs))  # no history to keep, copy or save
    return Example(args, kwargs, *home)


def _home(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return device and dtype of a model's first floating-point parameter."""
    like = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), torch.zeros(()))
    return like.device, like.dtype
