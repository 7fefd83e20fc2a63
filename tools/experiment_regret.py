"""How good is the choice from one supernet? A space so small that the truth is known: every network trained alone.

Four pools on Fashion-MNIST at 14x14, 144 networks, each trained alone with two seeds. One supernet, trained with
uniform single paths and scored, then chooses under six budgets. The regret of a choice is the accuracy of the best
network that meets the budget less that of the one chosen, both as trained alone (mean of the seeds, test images).

    python -m tools.experiment_regret --jobs 2 --out regret.json

It can be stopped, and goes on where it was. The data come by ``bash tools/fetch_data fashion-mnist``.
"""

from __future__ import annotations

import functools
import statistics
import sys
import time
from pathlib import Path
from typing import Final

import click
import torch
from torch import Tensor, nn

from models.data import Data, fashion_mnist
from models.data.images import resized
from models.layers import conv, pool
from models.training import Training, accuracy, channels_last, fit, reset, train_paths
from supernet_onnx import SuperNet
from supernet_onnx.cost import CostTable, measure, params
from supernet_onnx.selection import Selection, every, resolve
from supernet_onnx.train import score
from tools.trials import Ledger, Result, environment, run

SIZE: Final = 14  # of the images
WIDTH: Final = 8  # of the first pool
IMAGES: Final = 10_000  # to train on
SEEDS: Final = (0, 1)
ALONE: Final[Training] = {"epochs": 4, "lr": 1e-2, "batch_size": 64}
SHARED: Final[Training] = {"epochs": 24, "lr": 1e-2, "batch_size": 64}
SELECTIONS: Final = 48  # random ones that the scores are fitted to
BUDGETS: Final = (0.10, 0.15, 0.25, 0.40, 0.55, 0.75)  # of the largest network's parameters
GOAL: Final = 0.005  # mean regret


class Small(nn.Module):
    """Images ``(N, 1, 14, 14)`` to ten logits through four pools: 4 * 3 * 4 * 3 networks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(1, WIDTH, 3)
        self.pools = nn.Sequential(
            pool(WIDTH, WIDTH, skip=True),
            pool(WIDTH, 2 * WIDTH, stride=2),
            pool(2 * WIDTH, 2 * WIDTH, skip=True),
            pool(2 * WIDTH, 4 * WIDTH, stride=2),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * WIDTH, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Classify images."""
        logits: Tensor = self.head(self.pools(self.stem(images)))
        return logits


@functools.cache
def task(folder: Path | None) -> tuple[SuperNet, Data]:
    """Return the supernet and the images, once a process."""
    data = fashion_mnist(folder, resized(SIZE, 1)).first(IMAGES)
    return SuperNet(Small(), cost=params, input_shape=(1, SIZE, SIZE), full_cost=True), data


def train_alone(branches: dict[str, str], seed: int, folder: Path | None) -> Result:
    """Train one network from the start."""
    net, data = task(folder)
    network = channels_last(net.export(branches))
    reset(network, seed)
    fit(network, data, **ALONE, seed=seed)
    return {"accuracy": accuracy(network, data, data.test)}


def choose_all(seed: int, folder: Path | None) -> Result:
    """Train one supernet, score its branches, and choose for every budget."""
    net, data = task(folder)
    channels_last(net)
    reset(net, seed)
    torch.manual_seed(seed)
    started = time.process_time()
    train_paths(net, data, **SHARED, seed=seed)
    trained = time.process_time()
    report = score(net, data.batches(data.validation, 500), selections=SELECTIONS)
    scored = time.process_time()
    largest = measure(net.supergraph, [params])["params"].maximum()
    chosen = {str(share): net.choose(budgets={"params": int(share * largest)}) for share in BUDGETS}
    return {
        "choices": {share: choice.selection.as_dict() for share, choice in chosen.items()},
        "train_cpu_s": trained - started,
        "score_cpu_s": scored - trained,
        "rank_correlation": report.rank_correlation,
    }


@click.command(context_settings={"show_default": True})
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Folder with Fashion-MNIST's files.")
@click.option("--out", default="regret.json", type=click.Path(path_type=Path), help="Where the results are kept.")
@click.option("--jobs", default=2, type=click.IntRange(min=1), help="Worker processes, of one thread each.")
@click.option("--supernets", default=3, type=click.IntRange(min=1), help="Supernets, each with a seed of its own.")
def main(folder: Path | None, out: Path, jobs: int, supernets: int) -> None:
    """Train every network alone and some supernets, and report the regret of what they choose."""
    print(environment())
    net, _ = task(folder)
    settings = {"alone": ALONE, "shared": SHARED, "images": IMAGES, "selections": SELECTIONS, "budgets": BUDGETS}
    ledger = Ledger(out, settings)
    networks = list(every(net.supergraph))
    run(
        "networks alone",
        {name(own, seed): (own.as_dict(), seed, folder) for own in networks for seed in SEEDS},
        train_alone,
        ledger,
        jobs,
    )
    run("supernets", {f"supernet {seed}": (seed, folder) for seed in range(supernets)}, choose_all, ledger, jobs)
    sys.exit(0 if report(ledger, net, networks, supernets) else 1)


def name(selection: Selection, seed: int) -> str:
    """Return what a network trained alone is called in the ledger."""
    return f"{' '.join(selection.branches)}, seed {seed}"


def report(ledger: Ledger, net: SuperNet, networks: list[Selection], supernets: int) -> bool:
    """Print what was found; return whether every budget and the goal are met."""
    table = measure(net.supergraph, [params])["params"]
    truth = {own: statistics.mean(ledger[name(own, seed)]["accuracy"] for seed in SEEDS) for own in networks}
    noise = statistics.mean(
        abs(ledger[name(own, SEEDS[0])]["accuracy"] - ledger[name(own, SEEDS[1])]["accuracy"]) for own in networks
    )
    spent = sum(ledger[name(own, seed)]["cpu_s"] for own in networks for seed in SEEDS)
    print(f"{len(networks)} networks alone: {min(truth.values()):.4f} to {max(truth.values()):.4f}, {spent:.0f} s")
    print(f"two seeds of a network differ by {noise:.4f} in the mean")
    good = True
    for seed in range(supernets):
        found = ledger[f"supernet {seed}"]
        print(
            f"\nsupernet {seed}: trained in {found['train_cpu_s']:.0f} s, scored in {found['score_cpu_s']:.0f} s; "
            f"rank correlation on selections held back {found['rank_correlation']:.2f}"
        )
        good &= compare(found["choices"], truth, table, net)
    return good


def compare(choices: dict[str, dict[str, str]], truth: dict[Selection, float], table: CostTable, net: SuperNet) -> bool:
    """Print the regret under each budget; return whether every budget is met, and the goal in the mean."""
    print(f"{'budget':>8}{'meet it':>9}{'chosen':>9}{'accuracy':>10}{'best':>8}{'random':>8}{'regret':>8}  choice")
    regrets, met = [], True
    for share, branches in choices.items():
        chosen = resolve(net.supergraph, branches)
        budget = int(float(share) * table.maximum())
        there = [truth[own] for own in truth if table.total(own) <= budget]
        regrets.append(max(there) - truth[chosen])
        met &= table.total(chosen) <= budget
        print(
            f"{budget:>8,}{len(there):>9}{table.total(chosen):>9,}{truth[chosen]:>10.4f}{max(there):>8.4f}"
            f"{statistics.mean(there):>8.4f}{regrets[-1]:>8.4f}  {' '.join(chosen.branches)}"
        )
    mean = statistics.mean(regrets)
    print(f"mean regret {mean:.4f}, the goal is {GOAL}; budgets {'met' if met else 'NOT met'}")
    return met and mean <= GOAL


if __name__ == "__main__":
    main()
