"""DS-CNN as a supernet: keyword spotting of MLPerf Tiny, 1x49x10 spectrograms (time x MFCC) in twelve classes.

Source: the depthwise-separable network of Zhang et al. (Hello Edge, arXiv 1711.07128) in the size of MLPerf Tiny
(arXiv 2106.07597), with the pools of PLiNIO's test network (github.com/eml-eda/plinio). Convolutions have a bias, and
BatchNorm behind them.

============ ========== ========== ==============================================================
stage        output     pools      around them
============ ========== ========== ==============================================================
stem         64x25x5               convolution 10x4 stride 2, BatchNorm, ReLU, dropout 0.2
blocks.0-3   64x25x5    ``pool``   behind each: convolution 1x1, BatchNorm, ReLU
head         12                    dropout 0.4, mean over 25x5, linear
============ ========== ========== ==============================================================

Every pool chooses between a convolution 3x3, one 5x5, a separable one 3x3, and nothing: 4^4 = 256 networks.

This file holds the architecture only; ``python -m models dscnn`` trains it.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from models.layers import conv, pool

__all__ = ["DSCNN", "build", "example_input"]

WIDTH: Final = 64
BLOCKS: Final = 4
MOMENTUM: Final = 0.99  # of BatchNorm, as PLiNIO has it: the running statistics are nearly those of the last batch


class Block(nn.Module):
    """A pool and a pointwise convolution, ``(N, width, H, W)`` to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = pool(width, width, bias=True, skip=True)
        self.pointwise = conv(width, width, 1, bias=True)

    def forward(self, features: Tensor) -> Tensor:
        """Mix space, then channels."""
        mixed: Tensor = self.pointwise(self.pool(features))
        return mixed


class DSCNN(nn.Module):
    """Spectrograms ``(N, 1, 49, 10)`` to the logits of twelve keywords, ``(N, 12)``, through four pools."""

    def __init__(self, num_classes: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, WIDTH, (10, 4), stride=2, padding=(5, 1)),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        self.blocks = nn.Sequential(*(Block(WIDTH) for _ in range(BLOCKS)))
        self.head = nn.Sequential(nn.Dropout(0.4), nn.AvgPool2d((25, 5)), nn.Flatten(), nn.Linear(WIDTH, num_classes))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Classify spectrograms."""
        logits: Tensor = self.head(self.blocks(self.stem(spectrograms)))
        return logits


def build(num_classes: int = 12) -> nn.Module:
    """Return the untrained supernet; ``torch.manual_seed`` before decides its values.

    Args:
        num_classes: How many classes the data have.
    """
    return DSCNN(num_classes)


def example_input() -> Tensor:
    """Return a batch to trace with, ``(2, 1, 49, 10)``."""
    return torch.zeros(2, 1, 49, 10)
