"""The torch half: train a supernet and write it as a marked ONNX file. ``import torch`` appears only here."""

from supernet_onnx.train.pool import SuperNetModule
from supernet_onnx.train.supernet import PoolSummary, SuperNet

__all__ = ["PoolSummary", "SuperNet", "SuperNetModule"]
