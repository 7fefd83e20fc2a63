"""The files of reference supernets that checks are made on."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import torch

from supernet_onnx import SuperNet

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["export"]


def export(name: str, folder: Path) -> Path:
    """Return the file of a reference supernet, untrained; one that is in the folder already is taken."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        module = importlib.import_module(f"models.{name}")
        torch.manual_seed(0)
        SuperNet(module.build(), input_example=module.example_input()).export_onnx(path)
    return path
