"""A small vision transformer as a supernet: 3x32x32 images in ten classes, its layers chosen block by block.

Source: the vision transformer of Dosovitskiy et al. (arXiv 2010.11929), pre-norm and without class token: the head
reads the mean of the tokens.

============ ========== ================== ======================================================
stage        output     pools              what
============ ========== ================== ======================================================
patches      64x64                         convolution 4x4 stride 4 to 8x8 tokens; + position codes
blocks.0-3   64x64      ``mixer, mlp``     one after the other
head         10                            LayerNorm, mean over tokens, linear
============ ========== ================== ======================================================

A pool ``mixer`` chooses how tokens learn of each other: self-attention with 1, 2 or 4 heads of 16 channels, a
depthwise convolution 3x3 over the grid of tokens, the mean of each token's 3x3 neighbours (PoolFormer, arXiv
2111.11418), or not at all. A pool ``mlp`` chooses the hidden width: 64, 128, 256, or no MLP. 4 blocks of 6 times 4:
24^4 = 331,776 networks.

Each branch but ``skip`` is ``x + layer(norm(x))`` with a LayerNorm of its own, so that ``skip`` is nothing at all.

This file holds the architecture only; ``python -m models vit`` trains it.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from supernet_onnx import SuperNetModule

__all__ = ["VisionTransformer", "build", "example_input"]

WIDTH: Final = 64
BLOCKS: Final = 4
PATCH: Final = 4
GRID: Final = 32 // PATCH
HEADS: Final = (1, 2, 4)
HEAD_SIZE: Final = 16
MLP_WIDTHS: Final = (64, 128, 256)


class Residual(nn.Module):
    """``x + layer(norm(x))``, the pre-norm residual; tokens ``(N, T, WIDTH)`` to the same."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.layer = layer

    def forward(self, tokens: Tensor) -> Tensor:
        """Add what the layer makes of the tokens to the tokens."""
        added: Tensor = tokens + self.layer(self.norm(tokens))
        return added


class Attention(nn.Module):
    """Self-attention of some heads (arXiv 1706.03762, section 3.2); tokens ``(N, T, WIDTH)`` to the same."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project_in = nn.Linear(WIDTH, 3 * heads * HEAD_SIZE)  # queries, keys and values of all heads
        self.project_out = nn.Linear(heads * HEAD_SIZE, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Let every token attend to all."""
        projected = self.project_in(tokens).unflatten(2, (3, self.heads, HEAD_SIZE))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4).unbind(0)  # each (N, heads, T, HEAD_SIZE)
        attended = nn.functional.scaled_dot_product_attention(queries, keys, values)
        mixed: Tensor = self.project_out(attended.transpose(1, 2).flatten(2))
        return mixed


class OnGrid(nn.Module):
    """A 2-D layer over the grid of tokens: ``(N, GRID * GRID, WIDTH)``, seen as ``(N, WIDTH, GRID, GRID)``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply the layer to the tokens where they lie in the image."""
        grid = self.layer(tokens.transpose(1, 2).unflatten(2, (GRID, GRID)))
        mixed: Tensor = grid.flatten(2).transpose(1, 2)
        return mixed


def mixer() -> SuperNetModule:
    """Return a pool of ways in which tokens learn of each other."""
    branches: dict[str, nn.Module] = {f"heads{heads}": Residual(Attention(heads)) for heads in HEADS}
    branches["depthwise"] = Residual(OnGrid(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)))
    branches["average"] = Residual(OnGrid(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)))
    branches["skip"] = nn.Identity()
    return SuperNetModule(branches)


def mlp() -> SuperNetModule:
    """Return a pool of MLPs over the channels of each token."""
    branches: dict[str, nn.Module] = {
        f"mlp{hidden}": Residual(nn.Sequential(nn.Linear(WIDTH, hidden), nn.GELU(), nn.Linear(hidden, WIDTH)))
        for hidden in MLP_WIDTHS
    }
    branches["skip"] = nn.Identity()
    return SuperNetModule(branches)


class Block(nn.Module):
    """Mix tokens, then channels; tokens ``(N, T, WIDTH)`` to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer = mixer()
        self.mlp = mlp()

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the two pools."""
        mixed: Tensor = self.mlp(self.mixer(tokens))
        return mixed


class VisionTransformer(nn.Module):
    """Images ``(N, 3, 32, 32)`` to the logits of ten classes, ``(N, 10)``, through eight pools."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.position = nn.Parameter(0.02 * torch.randn(1, GRID * GRID, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits


def build(num_classes: int = 10) -> nn.Module:
    """Return the untrained supernet; ``torch.manual_seed`` before decides its values.

    Args:
        num_classes: How many classes the data have.
    """
    return VisionTransformer(num_classes)


def example_input() -> Tensor:
    """Return a batch to trace with, ``(2, 3, 32, 32)``."""
    return torch.zeros(2, 3, 32, 32)
