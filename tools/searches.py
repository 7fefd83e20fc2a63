"""Searches on real data that several experiments share: one supernet for all budgets, or a mixture for each.

What a search ends with is kept in a file, so that it is done once.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from models import resnet8, tcresnet
from models.data import Data, load
from models.training import Training, channels_last, train_paths, train_weights
from supernet_onnx import SuperNet
from supernet_onnx.cost import CostTable, measure, params
from supernet_onnx.selection import resolve
from supernet_onnx.train import score

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "BATCH",
    "CALIBRATION_BATCHES",
    "TASKS",
    "Search",
    "Task",
    "samples",
    "search_once",
    "search_weights",
    "size",
    "template",
]

Branches = dict[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """A reference supernet, its data, and how it is trained on them.

    Attributes:
        build: Makes the model.
        data: The name of the data.
        shape: Of an input, without the batch.
        shared_samples: Training samples for the one supernet.
        shared: How it is trained.
        selections: Random ones that the scores are fitted to.
        score_samples: Validation samples that each of them is measured on.
        alone_samples: Training samples for networks alone and for mixtures.
        mixture: How a mixture is trained.
    """

    build: Callable[[], nn.Module]
    data: str
    shape: tuple[int, ...]
    shared_samples: int
    shared: Training
    selections: int
    score_samples: int
    alone_samples: int
    mixture: Training


TASKS: Final = {
    "resnet8": Task(
        resnet8.build,
        "fashion-mnist",
        (3, 32, 32),
        shared_samples=16_000,
        shared={"epochs": 24, "lr": 1e-2, "batch_size": 64},  # after 8 its subnets are at 80 %, alone they reach 87 %
        selections=96,
        score_samples=4_000,
        alone_samples=8_000,
        mixture={"epochs": 4, "lr": 1e-2, "batch_size": 64},
    ),
    "tcresnet": Task(
        tcresnet.build,
        "motions",
        (6, 100),
        shared_samples=10_000,  # all
        shared={"epochs": 40, "lr": 1e-2, "batch_size": 64},
        selections=64,
        score_samples=10_000,
        alone_samples=10_000,
        mixture={"epochs": 12, "lr": 1e-2, "batch_size": 64},
    ),
}
BATCH: Final = 200  # to measure and to calibrate with
CALIBRATION_BATCHES: Final = 10


@dataclass(frozen=True, slots=True)
class Search:
    """What a search ended with.

    Attributes:
        net: The trained supernet; of the one supernet with its scores.
        train_cpu_s: Processor time that the training took.
        score_cpu_s: Processor time that the scores took.
        rank_correlation: Of the scores, on selections held back; nan for a mixture.
    """

    net: SuperNet
    train_cpu_s: float
    score_cpu_s: float = 0.0
    rank_correlation: float = float("nan")


@functools.cache
def samples(name: str, folder: Path | None, number: int) -> Data:
    """Return the data of a task, so many samples to train on, once a process."""
    task = TASKS[name]
    return load(task.data, task.shape, folder=folder).first(number, task.score_samples)


def supernet(name: str, seed: int) -> SuperNet:
    """Return the supernet of a task, priced and fresh."""
    task = TASKS[name]
    torch.manual_seed(seed)
    net = SuperNet(task.build(), cost={"params": params}, input_shape=task.shape, full_cost=True, seed=seed)
    return channels_last(net) if len(task.shape) == 3 else net


@functools.cache
def template(name: str) -> tuple[SuperNet, CostTable]:
    """Return a supernet to cut fresh networks from, and what its selections cost, once a process."""
    net = supernet(name, 0)
    return net, measure(net.supergraph, [params])["params"]


def size(name: str, branches: Branches) -> int:
    """Return the parameters of a network."""
    net, table = template(name)
    return int(table.total(resolve(net.supergraph, branches)))


@functools.cache
def search_once(name: str, seed: int, keep: Path, folder: Path | None) -> Search:
    """Train one supernet on uniform paths and score its branches; or read what was kept of it, once a process."""
    task, net = TASKS[name], supernet(name, seed)
    if keep.exists():
        return _read(net, keep)
    data = samples(name, folder, task.shared_samples)
    started = time.process_time()
    train_paths(net, data, **task.shared, seed=seed)
    trained = time.process_time()
    found = score(
        net,
        data.batches(data.validation, BATCH),
        selections=task.selections,
        calibration=data.batches(data.train, BATCH),
        batches=CALIBRATION_BATCHES,
        seed=seed,
    )
    return _kept(Search(net, trained - started, time.process_time() - trained, found.rank_correlation), keep)


def search_weights(name: str, budget: int, seed: int, keep: Path, folder: Path | None) -> Search:
    """Search for one budget with DUCCIO over the mixture of all branches; or read what was kept of it."""
    task, net = TASKS[name], supernet(name, seed)
    if keep.exists():
        return _read(net, keep)
    data = samples(name, folder, task.alone_samples)
    started = time.process_time()
    train_weights(net, data, **task.mixture, budgets={"params": budget}, sampling="softmax", seed=seed)
    return _kept(Search(net, time.process_time() - started), keep)


def _kept(search: Search, path: Path) -> Search:
    torch.save(
        {
            "state": search.net.state_dict(),
            "train_cpu_s": search.train_cpu_s,
            "score_cpu_s": search.score_cpu_s,
            "rank_correlation": search.rank_correlation,
        },
        path,
    )
    return search


def _read(net: SuperNet, path: Path) -> Search:
    kept = torch.load(path)
    net.load_state_dict(kept["state"])
    return Search(net, kept["train_cpu_s"], kept["score_cpu_s"], kept["rank_correlation"])
