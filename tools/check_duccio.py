"""Check that DUCCIO meets two targets at once, parameters and multiply-accumulates, on two reference supernets.

``python -m tools.check_duccio [--epochs N] [--seeds N] [--first N] [--share S] [--threads N]``. Each supernet is
trained from each seed to tell random templates apart: an input is the template of its class under noise, so there is
something to learn and nothing to download. The target for the parameters is that share of the way from the smallest to
the largest subnet, the one for the macs a fifth less, so that both bind. Exit code 1 if a selection, by largest logits,
is over a target.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import supernet_onnx
from models import dscnn, resnet8
from supernet_onnx import SuperNet
from supernet_onnx.cost import macs, params
from supernet_onnx.train import DUCCIO, Exponential, TemperatureSchedule, WarmUp, optimizers

if TYPE_CHECKING:
    from types import ModuleType

MODELS: dict[str, tuple[ModuleType, int]] = {"resnet8": (resnet8, 10), "dscnn": (dscnn, 12)}
BATCH = 8
STEPS = 10  # an epoch
WARM_UP = 0.2  # of the epochs
COLDEST = 0.05
NOISE = 1.0


def batches(example: Tensor, classes: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Return the batches of an epoch: templates of the example's shape under noise, and their classes."""
    templates = torch.randn((classes, *example.shape[1:]), generator=torch.Generator().manual_seed(0))
    made = []
    for _ in range(STEPS):
        labels = torch.randint(classes, (BATCH,), generator=generator)
        noise = torch.randn((BATCH, *example.shape[1:]), generator=generator)
        made.append((templates[labels] + NOISE * noise, labels))
    return made


def search(net: SuperNet, example: Tensor, classes: int, targets: dict[str, float], *, epochs: int, seed: int) -> float:
    """Train a supernet under the targets; return the last epoch's mean task loss."""
    warm = round(WARM_UP * epochs)
    warm_up = WarmUp(net, warm)
    ramp = epochs // 2
    # a cold mixture hardly moves, so it cools when the constraints have their whole strength
    temperature = TemperatureSchedule(net, Exponential(1.0, COLDEST, steps=epochs - ramp), delay=ramp)
    duccio = DUCCIO(targets, task_loss=1.0, epochs=epochs)
    layers, logits = optimizers(net, net_lr=3e-3, nas_lr=5e-2)
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    for _ in range(epochs):
        net.train()
        losses = []
        for inputs, labels in batches(example, classes, generator):
            task_loss = nn.functional.cross_entropy(net(inputs), labels)
            loss = task_loss + duccio(net)
            layers.zero_grad()
            logits.zero_grad()
            loss.backward()
            layers.step()
            logits.step()
            losses.append(task_loss.item())
        for part in (warm_up, temperature, duccio):
            part.step()
    return sum(losses) / len(losses)


def check(name: str, *, epochs: int, seed: int, share: float) -> bool:
    """Search once, print what came of it, and return whether both targets are met."""
    start = time.perf_counter()
    module, classes = MODELS[name]
    torch.manual_seed(seed)
    net = SuperNet(module.build(), {"params": params, "macs": macs}, input_example=module.example_input())
    targets = {}
    for cost, factor in (("params", 1.0), ("macs", 0.8)):
        low, high = net.cost_range(cost)
        targets[cost] = low + factor * share * (high - low)
    loss = search(net, module.example_input(), classes, targets, epochs=epochs, seed=seed)
    met = all(net.selected_cost(cost) <= target for cost, target in targets.items())
    found = "  ".join(
        f"{cost} {net.selected_cost(cost):,.0f} (expected {net.get_cost(cost).item():,.0f}, target {target:,.0f})"
        for cost, target in targets.items()
    )
    seconds = time.perf_counter() - start
    print(f"{name} seed {seed}: {'met' if met else 'OVER'}  {found}  task loss {loss:.2f}  {seconds:.0f} s", flush=True)
    return met


def main() -> int:
    """Run every model from every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"supernet-onnx {supernet_onnx.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads of {os.cpu_count()} cores; {arguments.epochs} epochs"
    )
    results = [
        check(name, epochs=arguments.epochs, seed=seed, share=arguments.share)
        for name in MODELS
        for seed in range(arguments.first, arguments.first + arguments.seeds)
    ]
    print(f"{sum(results)} of {len(results)} searches met both targets")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
