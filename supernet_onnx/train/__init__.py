"""The torch half: train a supernet and write it as a marked ONNX file. ``import torch`` appears only here."""

from supernet_onnx.train.batchnorm import recalibrate_batchnorm
from supernet_onnx.train.distillation import distillation_loss
from supernet_onnx.train.evaluation import discretization_gap
from supernet_onnx.train.pool import SuperNetModule
from supernet_onnx.train.scores import score
from supernet_onnx.train.supernet import PoolSummary, SuperNet

__all__ = [
    "PoolSummary",
    "SuperNet",
    "SuperNetModule",
    "discretization_gap",
    "distillation_loss",
    "recalibrate_batchnorm",
    "score",
]
