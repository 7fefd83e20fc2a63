"""A supernet for handwritten digits: from pools to an ONNX file, in one file to copy from.

The data are the 1,797 images of 8x8 pixels, digits 0 to 9, that scikit-learn ships.

    python -m models.digits --strength 0.2 --output digits.onnx

1. ``build`` writes a network in which some layers are pools of alternatives.
2. ``train`` is a plain training loop; its loss has one more term, ``net.cost``.
3. ``main`` exports the supernet to ONNX and the chosen network to a plain module, which ``fine_tune`` finishes.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import params

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supernet_onnx.train import PoolSummary

__all__ = ["Data", "Epoch", "accuracy", "build", "example_input", "fine_tune", "load_data", "main", "progress", "train"]

EPOCHS: Final = 50
FINE_TUNING_EPOCHS: Final = 20
STRENGTH: Final = 0.2

_BATCH: Final = 64
_WARM_UP: Final = 0.2  # of the epochs; the logits wait until the branches have learned something
_COLDEST: Final = 0.05  # the temperature at the end; it is 1 until the warm-up is over


def conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution, BatchNorm and ReLU: ``(N, inputs, H, W)`` to ``(N, outputs, H / stride, W / stride)``."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def separable(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    """Return a depthwise 3x3 and a pointwise 1x1 convolution (MobileNets, arXiv 1704.04861), shaped as ``conv``."""
    return nn.Sequential(conv(inputs, inputs, 3, stride=stride, groups=inputs), conv(inputs, outputs, 1))


def pool(inputs: int, outputs: int, *, stride: int = 1) -> SuperNetModule:
    """Return a pool: ways to get from one shape to the next. Doing nothing is one where the shapes are the same.

    Its weights are sampled while training, or the branches would grow into a team from which no one can be spared.
    """
    branches: dict[str, nn.Module] = {
        "conv3": conv(inputs, outputs, 3, stride=stride),
        "conv5": conv(inputs, outputs, 5, stride=stride),
        "separable": separable(inputs, outputs, stride=stride),
    }
    if inputs == outputs and stride == 1:
        branches["identity"] = nn.Identity()
    return SuperNetModule(branches, gumbel_softmax=True)


class Digits(nn.Module):
    """Images ``(N, 1, 8, 8)`` to the logits of ten digits, ``(N, 10)``, through four pools: 144 networks in one."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = conv(1, 16, 3)
        self.block1 = pool(16, 16)
        self.block2 = pool(16, 32, stride=2)
        self.block3 = pool(32, 32)
        self.block4 = pool(32, 64, stride=2)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classify images."""
        features = self.block2(self.block1(self.stem(images)))
        features = self.block4(self.block3(features))
        logits: Tensor = self.head(features)
        return logits


def build(num_classes: int = 10) -> nn.Module:
    """Return the untrained supernet; ``torch.manual_seed`` before decides its values.

    Args:
        num_classes: How many classes the data have.
    """
    return Digits(num_classes)


def example_input() -> Tensor:
    """Return a batch to trace with, ``(2, 1, 8, 8)``."""
    return torch.zeros(2, 1, 8, 8)


@dataclass(frozen=True, slots=True)
class Data:
    """Images ``(N, 1, 8, 8)`` from 0 to 1 and labels ``(N,)``, in three parts of like class frequencies.

    Attributes:
        train: Three fifths, for weights and logits.
        validation: One fifth, to watch the training by.
        test: One fifth, to be looked at once, at the end.
    """

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def load_data(seed: int = 0) -> Data:
    """Load the digits; a seed always gives the same split."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    targets = torch.tensor(labels)
    rest, test = train_test_split(range(len(labels)), test_size=1 / 5, stratify=labels, random_state=seed)
    train, validation = train_test_split(rest, test_size=1 / 4, stratify=labels[rest], random_state=seed)
    return Data(*((images[part], targets[part]) for part in (train, validation, test)))


@dataclass(frozen=True, slots=True)
class Epoch:
    """The supernet after an epoch of training.

    Attributes:
        loss: Mean task loss over the epoch's batches.
        accuracy: Of the mixture on the validation images, 0 to 1.
        cost: ``net.cost``, the expected cost.
        pools: ``net.summary()``: the weights of each pool's branches, and the selected branch.
    """

    loss: float
    accuracy: float
    cost: float
    pools: dict[str, PoolSummary]


def train(net: SuperNet, data: Data, *, epochs: int = EPOCHS, strength: float = STRENGTH, seed: int = 0) -> list[Epoch]:
    """Train the branches and the logits that weigh them, together and on the same batches.

    One backward pass serves both: half the work of DARTS, which steps the logits on batches of their own (arXiv
    1806.09055). The logits wait at first. Then the temperature falls, so that the mixture ends close to the network
    that will be chosen.

    Args:
        net: Changed in place.
        data: Trained on ``data.train``.
        epochs: Passes over it.
        strength: What the cost weighs in the loss: at the start the cost term is exactly this large, whatever the
            metric and its unit.
        seed: Decides the order of the images.

    Returns:
        What happened, epoch by epoch.
    """
    optimizer = torch.optim.AdamW(
        [
            {"params": list(net.net_parameters()), "lr": 3e-3, "weight_decay": 1e-2},
            {"params": list(net.nas_parameters()), "lr": 5e-2, "weight_decay": 0.0},  # decay would even them out
        ]
    )
    generator = torch.Generator().manual_seed(seed)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    cost_scale = strength / net.cost.item()
    warm_up = round(_WARM_UP * epochs)
    history = []
    with progress("training", epochs) as report:
        for epoch in range(epochs):
            net.train()
            net.train_selection = epoch >= warm_up
            annealed = max(epoch - warm_up, 0) / max(epochs - warm_up - 1, 1)
            net.update_softmax_options(temperature=_COLDEST**annealed)
            losses = []
            for images, labels in _batches(data.train, generator):
                task_loss = nn.functional.cross_entropy(net(images), labels)
                loss = task_loss + cost_scale * net.cost
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(task_loss.item())
            schedule.step()
            record = Epoch(sum(losses) / len(losses), accuracy(net, data.validation), net.cost.item(), net.summary())
            history.append(record)
            report(f"loss {record.loss:.3f}  accuracy {record.accuracy:.1%}  cost {record.cost:,.0f}")
    return history


def fine_tune(model: nn.Module, data: Data, *, epochs: int = FINE_TUNING_EPOCHS, seed: int = 0) -> None:
    """Train a chosen network on, in place, with a learning rate that falls to 0."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch.Generator().manual_seed(seed)
    with progress("fine-tuning", epochs) as report:
        for _ in range(epochs):
            model.train()
            for images, labels in _batches(data.train, generator):
                loss = nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
            report(f"loss {loss.item():.3f}  accuracy {accuracy(model, data.validation):.1%}")


def accuracy(model: nn.Module, part: tuple[Tensor, Tensor]) -> float:
    """Return the share of images that a model classifies right; it is left in eval mode."""
    images, labels = part
    model.eval()
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def _batches(part: tuple[Tensor, Tensor], generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = part
    for index in torch.randperm(len(labels), generator=generator).split(_BATCH):
        yield images[index], labels[index]


@contextlib.contextmanager
def progress(task: str, epochs: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on stderr; yields a function to call after each epoch with what to write beside it."""
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[status]}"), console=Console(stderr=True)) as bar:
        row = bar.add_task(task, total=epochs, status="")
        yield lambda status: bar.update(row, advance=1, status=status)


@click.command(context_settings={"show_default": True})
@click.option("--epochs", default=EPOCHS, type=click.IntRange(min=1), help="Passes over the training images.")
@click.option("--strength", default=STRENGTH, help="What the cost weighs in the loss at the start.")
@click.option(
    "--output", default="digits.onnx", type=click.Path(path_type=Path, dir_okay=False), help="Where the supernet goes."
)
@click.option(
    "--seed",
    default=0,
    type=click.IntRange(min=0),
    help="Decides the split, the first values and the order of the images.",
)
def main(epochs: int, strength: float, output: Path, seed: int) -> None:
    """Train a supernet for handwritten digits, export it, and fine-tune the network that it chose."""
    output.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # tensors this small gain nothing from more, and lose much on a busy machine
    data = load_data(seed)
    net = SuperNet(build(), cost=params, input_example=example_input())
    train(net, data, epochs=epochs, strength=strength, seed=seed)
    net.export_onnx(output)
    print(f"supernet: {accuracy(net, data.test):.1%} of the test images right, written to {output}")
    chosen = net.export()
    print("chosen: " + ", ".join(f"{name}={branch}" for name, branch in net.selection().items()))
    before = accuracy(chosen, data.test)
    fine_tune(chosen, data, seed=seed)
    print(f"chosen network: {before:.1%}, after fine-tuning {accuracy(chosen, data.test):.1%}")


if __name__ == "__main__":
    main()
