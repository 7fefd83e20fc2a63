"""The torch half: train a supernet and write it as a marked ONNX file. ``import torch`` appears only here."""

from supernet_onnx.train.batchnorm import recalibrate_batchnorm
from supernet_onnx.train.bilevel import Endless, LogitStep, optimizers
from supernet_onnx.train.curves import Constant, Cosine, Exponential, Linear
from supernet_onnx.train.decisions import PoolSummary
from supernet_onnx.train.distillation import distillation_loss
from supernet_onnx.train.evaluation import discretization_gap
from supernet_onnx.train.guards import AuxiliarySkip, EntropyGuard, ZeroOneGuard, entropy
from supernet_onnx.train.pool import SuperNetModule
from supernet_onnx.train.regularizers import DUCCIO, Strength
from supernet_onnx.train.schedule import StableSelection, TemperatureSchedule, WarmUp
from supernet_onnx.train.scores import score
from supernet_onnx.train.supernet import SuperNet
from supernet_onnx.train.watching import TrainingLog, log

__all__ = [
    "DUCCIO",
    "AuxiliarySkip",
    "Constant",
    "Cosine",
    "Endless",
    "EntropyGuard",
    "Exponential",
    "Linear",
    "LogitStep",
    "PoolSummary",
    "StableSelection",
    "Strength",
    "SuperNet",
    "SuperNetModule",
    "TemperatureSchedule",
    "TrainingLog",
    "WarmUp",
    "ZeroOneGuard",
    "discretization_gap",
    "distillation_loss",
    "entropy",
    "log",
    "optimizers",
    "recalibrate_batchnorm",
    "score",
]
