"""The ImageNet space of ProxylessNAS: 3x224x224 images in 1,000 classes, 21 places, 141 branches.

Source: Cai et al., arXiv 1812.00332, with the widths and strides of the authors' search (github.com/mit-han-lab/
proxylessnas, search/imagenet_arch_search.py). Convolutions have BatchNorm behind them, and no bias; ReLU6.

======== ============ ======= ========= ==================================================
stage    output       places  stride    what
======== ============ ======= ========= ==================================================
stem     32x112x112           2         convolution 3x3
         16x112x112           1         MBConv 3x3 without expansion
0        24x56x56     4       2         pools
1        40x28x28     4       2         pools
2        80x14x14     4       2         pools
3        96x14x14     4       1         pools
4        192x7x7      4       2         pools
5        320x7x7      1       1         pools
head     1000                           convolution 1x1 to 1,280, mean over 7x7, linear
======== ============ ======= ========= ==================================================

The stride is that of a stage's first place. Every place is a pool of MBConvs (the inverted residuals with linear
bottleneck of MobileNetV2, arXiv 1801.04381): kernel 3, 5 or 7, expansion 3 or 6. All but a stage's first place also
offer ``skip``, so that depth is searched as well: 6^6 * 7^15 = 2.2e17 networks.

Where a place keeps the shape, the input is added to what the MBConv makes of it. The addition belongs to the branch,
so that ``skip`` is nothing at all.

This file holds the architecture only; ``python -m models proxyless`` trains it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from models.layers import conv
from supernet_onnx import SuperNetModule

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ProxylessNAS", "build", "example_input"]

STAGES: Final = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))  # (width, places, stride)
STEM, FIRST, HEAD = 32, 16, 1280
KERNELS: Final = (3, 5, 7)
EXPANSIONS: Final = (3, 6)
EPSILON: Final = 1e-3  # of BatchNorm, as the authors have it


class MBConv(nn.Module):
    """An inverted residual: widen by a pointwise convolution, filter depthwise, narrow by a linear pointwise one.

    ``(N, inputs, H, W)`` to ``(N, outputs, H / stride, W / stride)``; the input is added if the shape is the same.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        width = inputs * expansion
        self.widen = conv(inputs, width, 1, activation=nn.ReLU6) if expansion > 1 else nn.Identity()
        self.filter = conv(width, width, kernel, stride=stride, groups=width, activation=nn.ReLU6)
        self.narrow = conv(width, outputs, 1, activation=None)
        self.residual = inputs == outputs and stride == 1

    def forward(self, features: Tensor) -> Tensor:
        """Filter the features."""
        made: Tensor = self.narrow(self.filter(self.widen(features)))
        return features + made if self.residual else made


def place(inputs: int, outputs: int, *, stride: int = 1) -> SuperNetModule:
    """Return a pool of MBConvs, with ``skip`` where the shape stays the same."""
    branches: dict[str, nn.Module] = {
        f"mb{expansion}_{kernel}x{kernel}": MBConv(inputs, outputs, kernel=kernel, expansion=expansion, stride=stride)
        for kernel in KERNELS
        for expansion in EXPANSIONS
    }
    if inputs == outputs and stride == 1:
        branches["skip"] = nn.Identity()
    return SuperNetModule(branches)


class ProxylessNAS(nn.Module):
    """Images ``(N, 3, 224, 224)`` to the logits of 1,000 classes, ``(N, 1000)``, through 21 pools.

    Other image sizes do as well; ``stages.I.J`` is place J of stage I.

    Args:
        stages: Width, number of places, and stride of the first place, of each stage.
        num_classes: How many logits there are.
    """

    def __init__(self, stages: Sequence[tuple[int, int, int]] = STAGES, *, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv(3, STEM, 3, stride=2, activation=nn.ReLU6),
            MBConv(STEM, FIRST, kernel=3, expansion=1),
        )
        self.stages = nn.Sequential()
        inputs = FIRST
        for width, places, stride in stages:
            rest = (place(width, width) for _ in range(places - 1))
            self.stages.append(nn.Sequential(place(inputs, width, stride=stride), *rest))
            inputs = width
        self.head = nn.Sequential(
            conv(inputs, HEAD, 1, activation=nn.ReLU6),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(HEAD, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = EPSILON

    def forward(self, images: Tensor) -> Tensor:
        """Classify images."""
        logits: Tensor = self.head(self.stages(self.stem(images)))
        return logits


def build(num_classes: int = 1000) -> nn.Module:
    """Return the untrained supernet; ``torch.manual_seed`` before decides its values.

    Args:
        num_classes: How many classes the data have.
    """
    return ProxylessNAS(num_classes=num_classes)


def example_input() -> Tensor:
    """Return a batch to trace with, ``(2, 3, 224, 224)``."""
    return torch.zeros(2, 3, 224, 224)
