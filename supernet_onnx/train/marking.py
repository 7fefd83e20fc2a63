"""Where a pool learns that it is being exported, and writes its mark into the traced graph."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from supernet_onnx import marks
from supernet_onnx.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["BARE_OP", "Marking", "current", "marking"]

BARE_OP: Final = "Pool"
"""The operator that a pool leaves in the traced graph: a mark without weights and without n in its type."""


class Marking:
    """One export in progress: the names of the model's pools, and how often each was called so far.

    Pools are known by name, for torch.export calls some modules through a proxy that is another object.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._calls: dict[str, int] = dict.fromkeys(names, 0)

    def begin_call(self, name: str | None) -> int:
        """Count a call of a pool, and return its number.

        Raises:
            PoolError: The pool is none of the model's.
        """
        if name is None or name not in self._calls:
            raise PoolError(
                f"pool '{name or ''}' is called but is no registered submodule of the model; keep pools in attributes, "
                "nn.ModuleList or nn.ModuleDict, not in plain lists"
            )
        self._calls[name] += 1
        return self._calls[name] - 1

    @staticmethod
    def emit(name: str, call: int, branches: Sequence[str], outputs: Sequence[Tensor]) -> Tensor:
        """Write a mark where branch outputs meet, and return the pool's output, of their shape and dtype."""
        marked: Tensor = torch.onnx.ops.symbolic(
            f"{marks.DOMAIN}::{BARE_OP}",
            tuple(outputs),
            attrs={"pool": name, "branches": list(branches), "call": call},
            dtype=outputs[0].dtype,
            shape=outputs[0].shape,
            version=marks.OPSET,
        )
        return marked


_CURRENT: ContextVar[Marking | None] = ContextVar("marking", default=None)


def current() -> Marking | None:
    """Return the export in progress, or None; pools then compute as they do in training."""
    return _CURRENT.get() if torch.compiler.is_exporting() else None


@contextlib.contextmanager
def marking(names: Iterable[str]) -> Iterator[None]:
    """Let the pools of these names write marks while their model is traced in this block."""
    token = _CURRENT.set(Marking(names))
    try:
        yield
    finally:
        _CURRENT.reset(token)
