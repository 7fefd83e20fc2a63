"""ResNet8 as a supernet: image classification of MLPerf Tiny, 3x32x32 images (CIFAR-10) in ten classes.

Source: the residual networks of He et al. (arXiv 1512.03385) in the size of MLPerf Tiny (arXiv 2106.07597), with the
pools of PLiNIO's test network (github.com/eml-eda/plinio). Convolutions have a bias, and BatchNorm behind them.

======== =============== ==================== ====================================================
stage    output          pools                around them
======== =============== ==================== ====================================================
stem     16x32x32        ``stem``             ReLU
stack 1  16x32x32        ``first, second*``   + input, ReLU
stack 2  32x16x16        ``first, second*``   stride 2; + 1x1 convolution of the input, ReLU
stack 3  64x8x8          ``first, second*``   stride 2; + 1x1 convolution of the input, ReLU
head     10                                   mean over 8x8, linear
======== =============== ==================== ====================================================

Every pool chooses between a convolution 3x3, one 5x5, and a separable one 3x3; those marked ``*`` also offer nothing
at all: 3^4 * 4^3 = 5,184 networks. The branches of ``second`` end with BatchNorm, for ReLU follows the addition.

This file holds the architecture only; ``python -m models resnet8`` trains it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers import conv, pool

__all__ = ["ResNet8", "build", "example_input"]


class Stack(nn.Module):
    """Two pools and a shortcut around them: ``(N, inputs, H, W)`` to ``(N, outputs, H / stride, W / stride)``."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = pool(inputs, outputs, stride=stride, bias=True)
        self.second = pool(outputs, outputs, bias=True, activation=None, skip=True)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, stride=stride, bias=True, activation=None)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Add what the pools make of the features to the features."""
        added: Tensor = self.relu(self.shortcut(features) + self.second(self.first(features)))
        return added


class ResNet8(nn.Module):
    """Images ``(N, 3, 32, 32)`` to the logits of ten classes, ``(N, 10)``, through seven pools."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = pool(3, 16, bias=True)
        self.stack1 = Stack(16, 16)
        self.stack2 = Stack(16, 32, stride=2)
        self.stack3 = Stack(32, 64, stride=2)
        self.head = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classify images."""
        logits: Tensor = self.head(self.stack3(self.stack2(self.stack1(self.stem(images)))))
        return logits


def build(num_classes: int = 10) -> nn.Module:
    """Return the untrained supernet; ``torch.manual_seed`` before decides its values.

    Args:
        num_classes: How many classes the data have.
    """
    return ResNet8(num_classes)


def example_input() -> Tensor:
    """Return a batch to trace with, ``(2, 3, 32, 32)``."""
    return torch.zeros(2, 3, 32, 32)
