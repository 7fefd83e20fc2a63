"""Is the choice from one supernet better than chance? ResNet8 on Fashion-MNIST under four parameter budgets.

ONE supernet is trained with uniform single paths and scored; it then chooses exactly for each budget. Each choice is
trained alone from the start, and so are, in the same way, ten selections drawn uniformly among all that meet the
budget. Beside it stands what DUCCIO finds in a search for each budget, over the mixture of all branches: the branches
of largest logit after annealing. Such a search takes about as long as the one supernet.

    python -m tools.experiment_budgets --out budgets.json

It can be stopped, and goes on where it was. The data come by ``bash tools/fetch_data fashion-mnist``.
"""

from __future__ import annotations

import functools
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Final

import click
import torch

from models import resnet8
from models.data import Data, fashion_mnist
from models.data.images import framed
from models.training import Training, accuracy, channels_last, fit, reset, train_paths, train_weights
from supernet_onnx import SuperNet
from supernet_onnx.cost import CostTable, measure, params
from supernet_onnx.selection import every, resolve
from supernet_onnx.train import score
from tools.trials import Ledger, Result, environment, run

BUDGETS: Final = (0.10, 0.20, 0.35, 0.60)  # of the largest network's parameters
DRAWN: Final = 10  # random selections for each budget
GOAL: Final = 9  # of them that the choice must be above
ALONE_IMAGES: Final = 5_000
ALONE: Final[Training] = {"epochs": 3, "lr": 1e-2, "batch_size": 64}
SHARED_IMAGES: Final = 16_000
SHARED: Final[Training] = {"epochs": 8, "lr": 1e-2, "batch_size": 64}
SELECTIONS: Final = 64  # random ones that the scores are fitted to
SCORE_IMAGES: Final = 4_000
CALIBRATION_BATCHES: Final = 4  # of 500 images each, for the BatchNorm statistics of each of them
DUCCIO: Final[Training] = {"epochs": 6, "lr": 1e-2, "batch_size": 64}

Branches = dict[str, str]


@functools.cache
def images(folder: Path | None, number: int) -> Data:
    """Return the images, so many to train on, once a process."""
    return fashion_mnist(folder, framed).first(number, SCORE_IMAGES)


def supernet(seed: int) -> SuperNet:
    """Return the supernet, priced and fresh."""
    torch.manual_seed(seed)
    net = SuperNet(resnet8.build(), cost={"params": params}, input_shape=(3, 32, 32), full_cost=True, seed=seed)
    return channels_last(net)


@functools.cache
def template() -> tuple[SuperNet, CostTable]:
    """Return a supernet to cut fresh networks from, and what its selections cost, once a process."""
    net = supernet(0)
    return net, measure(net.supergraph, [params])["params"]


def size(branches: Branches) -> int:
    """Return the parameters of a network."""
    net, table = template()
    return int(table.total(resolve(net.supergraph, branches)))


def train_alone(branches: Branches, seed: int, folder: Path | None) -> Result:
    """Train one network from the start."""
    data = images(folder, ALONE_IMAGES)
    network = template()[0].export(branches)
    reset(network, seed)
    fit(network, data, **ALONE, seed=seed)
    return {"accuracy": accuracy(network, data, data.test)}


def search_once(seed: int, budgets: dict[str, int], state: Path, folder: Path | None) -> Result:
    """Train one supernet on uniform paths, score its branches, choose for every budget, and keep its state."""
    net, data = supernet(seed), images(folder, SHARED_IMAGES)
    started = time.process_time()
    train_paths(net, data, **SHARED, seed=seed)
    trained = time.process_time()
    found = score(
        net,
        data.batches(data.validation, 500),
        selections=SELECTIONS,
        calibration=data.batches(data.train, 500),
        batches=CALIBRATION_BATCHES,
        seed=seed,
    )
    scored = time.process_time()
    torch.save(net.state_dict(), state)
    choices = {share: net.choose(budgets={"params": most}).selection.as_dict() for share, most in budgets.items()}
    return {
        "choices": choices,
        "train_cpu_s": trained - started,
        "score_cpu_s": scored - trained,
        "choose_cpu_s": time.process_time() - scored,
        "rank_correlation": found.rank_correlation,
        "scores": found.scores,
        "standard_errors": found.standard_errors,
    }


def search_by_weights(budget: int, seed: int, folder: Path | None) -> Result:
    """Search for one budget with DUCCIO over the mixture of all branches."""
    net, data = supernet(seed), images(folder, ALONE_IMAGES)
    train_weights(net, data, **DUCCIO, budgets={"params": budget}, sampling="softmax", seed=seed)
    return {"choice": net.selection(), "expected": net.get_cost("params").item()}


def draw(budget: int, seed: int) -> list[Branches]:
    """Draw different selections uniformly among all that meet a budget."""
    net, table = template()
    fitting = [own for own in every(net.supergraph) if table.total(own) <= budget]
    return [own.as_dict() for own in random.Random(seed).sample(fitting, DRAWN)]


def name(branches: Branches, seed: int) -> str:
    """Return what a network trained alone is called in the ledger."""
    return f"{' '.join(branches.values())}, seed {seed}"


@click.command(context_settings={"show_default": True})
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Folder with Fashion-MNIST's files.")
@click.option("--out", default="budgets.json", type=click.Path(path_type=Path), help="Where the results are kept.")
@click.option("--jobs", default=1, type=click.IntRange(min=1), help="Worker processes, of one thread each.")
@click.option("--seed", default=0, help="Of supernet, networks and draws.")
def main(folder: Path | None, out: Path, jobs: int, seed: int) -> None:
    """Search, train all choices and random selections alone, and report how they compare."""
    print(environment(), flush=True)
    budgets = {f"{share:.0%}": int(share * template()[1].maximum()) for share in BUDGETS}
    settings = {"alone": (ALONE_IMAGES, ALONE), "shared": (SHARED_IMAGES, SHARED), "duccio": DUCCIO, "seed": seed}
    ledger = Ledger(out, {**settings, "scores": (SELECTIONS, SCORE_IMAGES, CALIBRATION_BATCHES), "budgets": budgets})
    run("one supernet", {"supernet": (seed, budgets, out.with_suffix(".pt"), folder)}, search_once, ledger, jobs)
    chosen: dict[str, Branches] = ledger["supernet"]["choices"]
    drawn = {share: draw(budget, seed) for share, budget in budgets.items()}

    def alone(title: str, networks: list[Branches]) -> None:
        run(title, {name(own, seed): (own, seed, folder) for own in networks}, train_alone, ledger, jobs)

    alone("choices alone", list(chosen.values()))
    alone("random selections alone", [own for group in drawn.values() for own in group])
    searches = {f"duccio {share}": (budget, seed, folder) for share, budget in budgets.items()}
    run("DUCCIO", searches, search_by_weights, ledger, jobs)
    alone("DUCCIO's choices alone", [ledger[key]["choice"] for key in searches])
    sys.exit(0 if report(ledger, budgets, drawn, seed) else 1)


def report(ledger: Ledger, budgets: dict[str, int], drawn: dict[str, list[Branches]], seed: int) -> bool:
    """Print what was found; return whether every choice meets its budget and is above enough random selections."""
    once = ledger["supernet"]
    print(
        f"one supernet: trained in {once['train_cpu_s']:.0f} s, scored in {once['score_cpu_s']:.0f} s, chosen from in "
        f"{once['choose_cpu_s']:.2f} s of processor time; rank correlation on selections held back "
        f"{once['rank_correlation']:.2f}"
    )
    good = True
    for share, budget in budgets.items():
        own = once["choices"][share]
        right = ledger[name(own, seed)]["accuracy"]
        reached = sorted((ledger[name(other, seed)]["accuracy"] for other in drawn[share]), reverse=True)
        above = sum(right > other for other in reached)
        good &= size(own) <= budget and above >= GOAL
        print(f"\n{share} of the largest: at most {budget:,} parameters")
        print(f"  chosen  {right:.4f}  {size(own):>7,}  {' '.join(own.values())}")
        print(f"  random  {statistics.mean(reached):.4f} in the mean; the choice is above {above} of {len(reached)}:")
        print(f"          {' '.join(f'{value:.4f}' for value in reached)}")
        show_duccio(ledger[f"duccio {share}"], budget, ledger, seed)
    spent = sum(ledger[key]["cpu_s"] for key in ledger)
    print(f"\n{'every choice meets its budget and the goal' if good else 'the goal is NOT met'}; {spent:.0f} s in all")
    return good


def show_duccio(found: Result, budget: int, ledger: Ledger, seed: int) -> None:
    """Print what a search over the mixture chose."""
    own, cost = found["choice"], size(found["choice"])
    met = "met" if cost <= budget else "OVER the budget"
    print(
        f"  DUCCIO  {ledger[name(own, seed)]['accuracy']:.4f}  {cost:>7,}  {' '.join(own.values())}; {met}, "
        f"expected cost {found['expected']:,.0f}, searched in {found['cpu_s']:.0f} s"
    )


if __name__ == "__main__":
    main()
