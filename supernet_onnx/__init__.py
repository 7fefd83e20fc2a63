"""supernet-onnx: train a SuperNet in PyTorch, export it as one marked ONNX file, price it, cut it to any selection.

Every name is loaded on first use, so ``import supernet_onnx`` costs nothing, and the graph half works without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from supernet_onnx.errors import SuperNetError
    from supernet_onnx.pruning import prune
    from supernet_onnx.runtime import verify
    from supernet_onnx.selection import Selection, argmax, resolve
    from supernet_onnx.storage import save
    from supernet_onnx.supergraph import SuperGraph, read
    from supernet_onnx.train.pool import SuperNetModule
    from supernet_onnx.train.supernet import SuperNet

__all__ = [
    "Selection",
    "SuperGraph",
    "SuperNet",
    "SuperNetError",
    "SuperNetModule",
    "argmax",
    "prune",
    "read",
    "resolve",
    "save",
    "verify",
]

__version__ = "0.1.0"

_HOMES: Final = {
    "Selection": "selection",
    "SuperGraph": "supergraph",
    "SuperNet": "train.supernet",
    "SuperNetError": "errors",
    "SuperNetModule": "train.pool",
    "argmax": "selection",
    "prune": "pruning",
    "read": "supergraph",
    "resolve": "selection",
    "save": "storage",
    "verify": "runtime",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from supernet_onnx.errors import MissingPackageError

        raise MissingPackageError(
            f"supernet_onnx.{name} needs torch, which is not installed; pip install 'supernet-onnx[train]'"
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
