"""MobileNetV1 0.25 as a supernet: visual wake words of MLPerf Tiny, 3x96x96 images with a person or without.

Source: the MobileNets of Howard et al. (arXiv 1704.04861) at a quarter of their width, the size of MLPerf Tiny (arXiv
2106.07597), with the pools of PLiNIO's test network (github.com/eml-eda/plinio). Convolutions have BatchNorm and ReLU
behind them, and no bias.

=========== =========== =======================================================
layer       output      what
=========== =========== =======================================================
stem        8x48x48     convolution 3x3 stride 2
pools.0     16x48x48
pools.1     32x24x24    stride 2
pools.2*    32x24x24
pools.3     64x12x12    stride 2
pools.4*    64x12x12
pools.5     128x6x6     stride 2
pools.6-10* 128x6x6
pools.11    256x3x3     stride 2
pools.12*   256x3x3
head        2           mean over 3x3, linear
=========== =========== =======================================================

Every pool chooses between a convolution 3x3, one 5x5, and a separable one 3x3 (what MobileNetV1 has there); those
marked ``*`` also offer nothing at all: 3^5 * 4^8 = 15,925,248 networks.

This file holds the architecture only; ``python -m models mobilenetv1`` trains it.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from models.layers import conv, pool

__all__ = ["MobileNetV1", "build", "example_input"]

STEM: Final = 8
LAYERS: Final = (  # (channels, stride) of each pool
    (16, 1),
    (32, 2),
    (32, 1),
    (64, 2),
    (64, 1),
    (128, 2),
    *[(128, 1)] * 5,
    (256, 2),
    (256, 1),
)


class MobileNetV1(nn.Module):
    """Images ``(N, 3, 96, 96)`` to the logits of two classes, ``(N, 2)``, through thirteen pools."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.stem = conv(3, STEM, 3, stride=2)
        pools, width = [], STEM
        for outputs, stride in LAYERS:
            pools.append(pool(width, outputs, stride=stride, skip=width == outputs and stride == 1))
            width = outputs
        self.pools = nn.Sequential(*pools)
        self.head = nn.Sequential(nn.AvgPool2d(3), nn.Flatten(), nn.Linear(width, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classify images."""
        logits: Tensor = self.head(self.pools(self.stem(images)))
        return logits


def build(num_classes: int = 2) -> nn.Module:
    """Return the untrained supernet; ``torch.manual_seed`` before decides its values.

    Args:
        num_classes: How many classes the data have.
    """
    return MobileNetV1(num_classes)


def example_input() -> Tensor:
    """Return a batch to trace with, ``(2, 3, 96, 96)``."""
    return torch.zeros(2, 3, 96, 96)
