"""How a pool calls a branch that was chosen on the host, plainly or where ``torch.compile`` compiles the model.

torch.compile specialises its graphs for plain numbers, so a choice inside of a graph would be compiled anew as it
changes, up to ``torch._dynamo.config.recompile_limit`` times for each code object, and never after. So pool and choice
stay outside, and each branch is called by a function of its own, which is compiled once for each mode of the branch.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch._C._dynamo.eval_frame import set_eval_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CallBranch", "apart", "call"]


class CallBranch(Protocol):
    """A way to call a branch."""

    def __call__(self, branch: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        """Return what the branch gives."""


def call(branch: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    """Call a branch."""
    return branch(*args, **kwargs)


@torch.compiler.disable(recursive=False, reason="the host chooses branches")  # type: ignore[untyped-decorator]  # torch's
def apart(run: Callable[[CallBranch], object]) -> object:
    """Run a function uncompiled, and the branches that it calls compiled as what is around it is.

    Args:
        run: Takes the way to call a branch.
    """
    compiler = set_eval_frame(None)

    def call_compiled(branch: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        function = _FUNCTIONS.get(branch)
        if function is None:
            function = _FUNCTIONS[branch] = types.FunctionType(call.__code__.replace(co_name="branch"), globals())
        set_eval_frame(compiler)
        try:
            return function(branch, args, kwargs)
        finally:
            set_eval_frame(None)

    try:
        return run(call_compiled)
    finally:
        set_eval_frame(compiler)


_FUNCTIONS: WeakKeyDictionary[nn.Module, Callable[..., object]] = WeakKeyDictionary()
