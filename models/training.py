"""Plain networks: how they are trained and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.data import Data, Part
    from supernet_onnx import SuperNet

__all__ = ["accuracy", "fit", "reset", "train_paths"]


def fit(
    model: nn.Module,
    data: Data,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int = 0,
    report: Callable[[str], None] = lambda status: None,
) -> None:
    """Train a network in place with AdamW, the learning rate going once up and down (Smith, arXiv 1708.07120).

    Args:
        model: A plain network, fresh or a chosen one to fine-tune.
        data: Trained on ``data.train``.
        epochs: Passes over it.
        lr: Largest learning rate.
        batch_size: Samples in a step.
        seed: Decides the order of the samples.
        report: Called after each epoch with what to show.
    """
    batches = data.batches(data.train, batch_size, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * len(batches))
    for _ in range(epochs):
        model.train()
        for inputs, labels in batches:
            loss = nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        report(f"loss {loss.item():.3f}")


def accuracy(model: nn.Module, data: Data, part: Part) -> float:
    """Return the share of a part's samples that a model classifies right; its mode stays as it was."""
    mode = model.training
    model.eval()
    right = 0
    with torch.no_grad():
        for inputs, labels in data.batches(part, 1000):
            right += int((model(inputs).argmax(1) == labels).sum())
    model.train(mode)
    return right / len(part[1])


def reset(model: nn.Module, seed: int) -> None:
    """Draw every parameter anew, as if the network had just been built; torch's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if callable(again := getattr(module, "reset_parameters", None)):
                again()


def train_paths(
    net: SuperNet,
    data: Data,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int = 0,
    report: Callable[[str], None] = lambda status: None,
) -> None:
    """Train the branches of a supernet fairly, in place: one uniformly drawn path a step; the logits wait.

    One-shot training with uniform single paths (Guo et al., arXiv 1904.00420). Arguments as for ``fit``.
    """
    net.sampling = "uniform"
    net.train_net_only()
    fit(net, data, epochs=epochs, lr=lr, batch_size=batch_size, seed=seed, report=report)
