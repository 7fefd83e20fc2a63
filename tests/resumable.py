"""Searches as a user writes them, which may be killed at any time and go on: ``python -m tests.resumable FOLDER``.

The folder holds the untrained supernet, which is faster to read than to trace again.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from supernet_onnx import SuperNet
from supernet_onnx.cost import params
from supernet_onnx.train import (
    DUCCIO,
    Endless,
    Exponential,
    LogitStep,
    StableSelection,
    TemperatureSchedule,
    WarmUp,
    optimizers,
)
from supernet_onnx.train.sampling import Sampling, Softmax
from tests.modes import MODES, Convs

WAYS: Final[dict[str, Sampling]] = {**MODES, "dropping": Softmax(drop_below=0.3, probe_every=3)}
STEPS: Final = 16
SUPERNET: Final = "supernet.pt"
CHECKPOINT: Final = "checkpoint.pt"

Batch = list[Tensor]


def build() -> SuperNet:
    """Return the untrained supernet that every search begins with."""
    torch.manual_seed(4)
    return SuperNet(Convs(), {"params": params}, input_shape=(2, 8, 8), seed=9)


def loader(seed: int) -> DataLoader[tuple[Tensor, ...]]:
    """Return random images and labels, in an order that its own generator shuffles anew in each pass."""
    generator = torch.Generator().manual_seed(seed)
    data = TensorDataset(torch.randn(20, 2, 8, 8, generator=generator), torch.arange(20) % 3)
    return DataLoader(data, batch_size=4, shuffle=True, generator=generator)


class Search:
    """All that a bilevel search has, each part with a ``state_dict`` that belongs into its checkpoint."""

    def __init__(self, pristine: SuperNet, way: Sampling) -> None:
        self.net = copy.deepcopy(pristine)
        self.net.sampling = way
        layers, logits = optimizers(self.net, net_lr=1e-2, nas_lr=5e-2, weight_decay=1e-2)
        self.layers = layers
        self.logits = LogitStep(self.net, logits, loader(1))
        self.batches = Endless(loader(2))
        low, high = self.net.cost_range("params")
        self.duccio = DUCCIO({"params": low + 0.3 * (high - low)}, task_loss=1.0, epochs=STEPS)
        self.steps = {
            "learning rate": torch.optim.lr_scheduler.CosineAnnealingLR(layers, STEPS),
            "temperature": TemperatureSchedule(self.net, Exponential(1.0, 0.1, steps=STEPS)),
            "warm-up": WarmUp(self.net, 2),
            "constraint": self.duccio,
            "stable selection": StableSelection(self.net, epochs=3),
        }
        self.parts = {
            "net": self.net,
            "optimizer of the layers": layers,
            "optimizer of the logits": logits,
            "batches": self.batches,
            "held-out batches": self.logits.batches,
            **self.steps,
        }

    def step(self) -> None:
        """Do one step, which is an epoch of the schedules too."""
        self.logits.step(lambda batch: self.loss(batch) + self.duccio(self.net))
        self.layers.zero_grad()
        self.loss(next(self.batches)).backward()
        self.layers.step()
        for each in self.steps.values():
            each.step()

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def state(self) -> dict[str, object]:
        """Return the states of all parts."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def restore(self, state: dict[str, object]) -> None:
        """Take the states of all parts that are there."""
        for name, part_state in state.items():
            self.parts[name].load_state_dict(part_state)


def search(folder: Path) -> None:
    """Search in every way, or go on where the checkpoint in the folder was written; print each step."""
    torch.manual_seed(5)
    pristine = torch.load(folder / SUPERNET, weights_only=False)
    searches = {name: Search(pristine, way) for name, way in WAYS.items()}
    checkpoint, half_written = folder / CHECKPOINT, folder / "half-written"
    begin = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, each in searches.items():
            each.restore(saved["searches"][name])
        torch.set_rng_state(saved["dropout"])
        begin = saved["steps"]
    for step in range(begin, STEPS):
        for each in searches.values():
            each.step()
        states = {name: each.state() for name, each in searches.items()}
        torch.save({"searches": states, "dropout": torch.get_rng_state(), "steps": step + 1}, half_written)
        half_written.replace(checkpoint)
        print(step, flush=True)  # noqa: T201 - the process that kills this one reads it


if __name__ == "__main__":
    search(Path(sys.argv[1]))
