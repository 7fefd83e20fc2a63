"""TC-ResNet as a 1-D supernet: which exercise someone does, from 100 steps of six motion sensors, in seven classes.

Source: the temporal convolutions of Choi et al. (TC-ResNet8, arXiv 1904.03814), with 6 sensors in the place of 40
MFCCs. Time is the one dim of all convolutions, sensors are channels. Convolutions have BatchNorm behind them, and no
bias; the kernel is 9 in the paper, here pools choose it.

======== ========= ==================== ====================================================
stage    output    pools                around them
======== ========= ==================== ====================================================
stem     16x100                         convolution 3, BatchNorm, ReLU
block 1  24x50     ``first, second*``   stride 2; + 1x1 convolution of the input, ReLU
block 2  32x25     ``first, second*``   stride 2; + 1x1 convolution of the input, ReLU
block 3  48x13     ``first, second*``   stride 2; + 1x1 convolution of the input, ReLU
head     7                              mean over time, dropout 0.5, linear
======== ========= ==================== ====================================================

Every pool chooses between convolutions of kernel 3, 9 and 15 and a separable one of kernel 9; those marked ``*`` also
offer nothing at all: 4^3 * 5^3 = 8,000 networks. The branches of ``second`` end with BatchNorm, for ReLU follows the
addition.

This file holds the architecture only; ``python -m models tcresnet`` trains it.
"""

from __future__ import annotations

import itertools
from typing import Final

import torch
from torch import Tensor, nn

from models.layers import conv, separable
from supernet_onnx import SuperNetModule

__all__ = ["TCResNet", "build", "example_input"]

KERNELS: Final = (3, 9, 15)
SEPARABLE_KERNEL: Final = 9
WIDTHS: Final = (16, 24, 32, 48)  # of the stem and the blocks


def temporal_pool(
    inputs: int, outputs: int, *, stride: int = 1, activation: type[nn.Module] | None = nn.ReLU
) -> SuperNetModule:
    """Return a pool of temporal convolutions: ``(N, inputs, T)`` to ``(N, outputs, T / stride)``, rounded up."""
    branches: dict[str, nn.Module] = {
        f"conv{kernel}": conv(inputs, outputs, kernel, stride=stride, activation=activation, dims=1)
        for kernel in KERNELS
    }
    branches["separable"] = separable(inputs, outputs, SEPARABLE_KERNEL, stride=stride, activation=activation, dims=1)
    if inputs == outputs and stride == 1:
        branches["identity"] = nn.Identity()
    return SuperNetModule(branches)


class Block(nn.Module):
    """Two pools and a shortcut around them: ``(N, inputs, T)`` to ``(N, outputs, T / 2)``, rounded up."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = temporal_pool(inputs, outputs, stride=2)
        self.second = temporal_pool(outputs, outputs, activation=None)
        self.shortcut = conv(inputs, outputs, 1, stride=2, dims=1)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Add what the pools make of the features to the features."""
        added: Tensor = self.relu(self.shortcut(features) + self.second(self.first(features)))
        return added


class TCResNet(nn.Module):
    """Windows ``(N, 6, 100)`` to the logits of seven exercises, ``(N, 7)``, through six pools."""

    def __init__(self, num_classes: int = 7) -> None:
        super().__init__()
        self.stem = conv(6, WIDTHS[0], 3, dims=1)
        self.blocks = nn.Sequential(*(Block(*widths) for widths in itertools.pairwise(WIDTHS)))
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(WIDTHS[-1], num_classes)
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Classify windows."""
        logits: Tensor = self.head(self.blocks(self.stem(windows)))
        return logits


def build(num_classes: int = 7) -> nn.Module:
    """Return the untrained supernet; ``torch.manual_seed`` before decides its values.

    Args:
        num_classes: How many classes the data have.
    """
    return TCResNet(num_classes)


def example_input() -> Tensor:
    """Return a batch to trace with, ``(2, 6, 100)``."""
    return torch.zeros(2, 6, 100)
