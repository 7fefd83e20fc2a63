"""Training on ``Data``: plain networks, and supernets in the two ways that a search begins with."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar

import torch
from torch import Tensor, nn

from supernet_onnx.train import DUCCIO, Exponential, TemperatureSchedule, WarmUp, evaluation, optimizers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from models.data import Data, Part
    from supernet_onnx import SuperNet
    from supernet_onnx.train.schedule import Stepped

__all__ = ["Training", "accuracy", "channels_last", "export_plain", "fit", "reset", "train_paths", "train_weights"]

AnyModule = TypeVar("AnyModule", bound=nn.Module)

WEIGHT_DECAY: Final = 1e-2

_MEASURED_AT_ONCE: Final = 100  # samples; ten times as many take three times as long, as memory comes and goes
_WARM_UP: Final = 0.2  # of the epochs; the logits wait until the branches have learned something
_COLDEST: Final = 0.05  # the temperature at the end; it is 1 until the warm-up is over
_LOGITS_LR: Final = 5e-2
_TASK_LOSS: Final = 0.5  # what a trained network may be left with; from it follows how strongly budgets are enforced


class Training(TypedDict):
    """How long and how fast to train.

    Attributes:
        epochs: Passes over the data.
        lr: Largest learning rate.
        batch_size: Samples in a step.
    """

    epochs: int
    lr: float
    batch_size: int


def _silent(status: str) -> None:
    """Tell nobody."""


def fit(
    model: nn.Module,
    data: Data,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int = 0,
    report: Callable[[str], None] = _silent,
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
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=WEIGHT_DECAY)
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


def train_paths(
    net: SuperNet,
    data: Data,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int = 0,
    report: Callable[[str], None] = _silent,
) -> None:
    """Train the branches of a supernet fairly, in place: one uniformly drawn path a step; the logits wait.

    One-shot training with uniform single paths (Guo et al., arXiv 1904.00420). Arguments as for ``fit``.
    """
    net.sampling = "uniform"
    net.train_net_only()
    fit(net, data, epochs=epochs, lr=lr, batch_size=batch_size, seed=seed, report=report)


def train_weights(
    net: SuperNet,
    data: Data,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    budgets: Mapping[str, float],
    sampling: str = "softmax",
    seed: int = 0,
    report: Callable[[str], None] = _silent,
) -> None:
    """Train branches and the logits that weigh them, in place, on the same batches; DUCCIO pulls costs to budgets.

    The logits wait at first. Then the temperature falls, so that the mixture ends close to the network that the
    largest logits choose.

    Args:
        net: Its costs have the names that ``budgets`` uses, and count the trunk.
        data: Trained on ``data.train``.
        epochs: Passes over it.
        lr: Largest learning rate of the branches.
        batch_size: Samples in a step.
        budgets: The most that an expected cost should be; none to let the task alone decide.
        sampling: How a step samples, by name.
        seed: Decides the order of the samples.
        report: Called after each epoch with what to show.
    """
    net.sampling = sampling
    net.train_net_and_nas()
    batches = data.batches(data.train, batch_size, torch.Generator().manual_seed(seed))
    both = optimizers(net, net_lr=lr, nas_lr=_LOGITS_LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(both[0], lr, total_steps=epochs * len(batches))
    warm_up = round(_WARM_UP * epochs)
    curve = Exponential(1.0, _COLDEST, steps=max(epochs - warm_up - 1, 1))
    duccio = DUCCIO(budgets, task_loss=_TASK_LOSS, epochs=epochs) if budgets else None
    schedules: list[Stepped] = [WarmUp(net, warm_up), TemperatureSchedule(net, curve, delay=warm_up)]
    for _ in range(epochs):
        net.train()
        for inputs, labels in batches:
            task = nn.functional.cross_entropy(net(inputs), labels)
            loss = task + duccio(net) if duccio else task
            for optimizer in both:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in both:
                optimizer.step()
            schedule.step()
        for each in schedules:
            each.step()
        if duccio:
            duccio.step()
        costs = ", ".join(f"{name} {net.get_cost(name).item():,.0f}" for name in budgets)
        report(f"loss {task.item():.3f} {costs}")


def accuracy(model: nn.Module, data: Data, part: Part) -> float:
    """Return the share of a part's samples that a model classifies right; its mode stays as it was."""
    return evaluation.evaluate(model, data.batches(part, _MEASURED_AT_ONCE), loss=evaluation.accuracy)


def channels_last(model: AnyModule) -> AnyModule:
    """Lay a network for images out in memory as 2-D convolutions like it, in place; it computes the same."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # which torch's types leave out
    return model


def reset(model: nn.Module, seed: int) -> None:
    """Draw every parameter anew, as if the network had just been built; torch's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if callable(again := getattr(module, "reset_parameters", None)):
                again()


def export_plain(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write a plain network in ``eval`` mode as PyTorch itself does, with an open batch size."""
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it logs that torchvision is not installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of deprecations inside of torch
        torch.onnx.export(
            model.eval(),
            (example,),
            path,
            dynamo=True,
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
