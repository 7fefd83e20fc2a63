"""Is the choice from one supernet better than chance? ResNet8 on Fashion-MNIST under four parameter budgets.

ONE supernet is trained with uniform single paths and scored; it then chooses exactly for each budget. Each choice is
trained alone from the start, and so are, in the same way, ten selections drawn uniformly among all that meet the
budget. Beside it stands what DUCCIO finds in a search for each budget, over the mixture of all branches: the branches
of largest logit after annealing. Such a search takes about as long as the one supernet.

    python -m tools.experiment_budgets --out budgets.json

It can be stopped, and goes on where it was. The data come by ``bash tools/fetch_data fashion-mnist``.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from pathlib import Path
from typing import Final

import click

from models.training import Training, accuracy, fit, reset
from supernet_onnx.selection import every
from tools.searches import BATCH, CALIBRATION_BATCHES, TASKS, samples, search_once, search_weights, size, template
from tools.trials import Ledger, Result, environment, run

NAME: Final = "resnet8"
BUDGETS: Final = (0.10, 0.20, 0.35, 0.60)  # of the largest network's parameters
DRAWN: Final = 10  # random selections for each budget
GOAL: Final = 9  # of them that the choice must be above
ALONE: Final[Training] = {"epochs": 4, "lr": 5e-3, "batch_size": 16}  # steps count more than samples
TASK: Final = TASKS[NAME]

Branches = dict[str, str]


def train_alone(branches: Branches, seed: int, folder: Path | None) -> Result:
    """Train one network from the start."""
    data = samples(NAME, folder, TASK.alone_samples)
    network = template(NAME)[0].export(branches)
    reset(network, seed)
    fit(network, data, **ALONE, seed=seed)
    return {"accuracy": accuracy(network, data, data.test)}


def choose_all(seed: int, budgets: dict[str, int], keep: Path, folder: Path | None) -> Result:
    """Search once, and choose for every budget."""
    found = search_once(NAME, seed, keep, folder)
    started = time.process_time()
    choices = {share: found.net.choose(budgets={"params": most}) for share, most in budgets.items()}
    return {
        "choices": {share: choice.selection.as_dict() for share, choice in choices.items()},
        "train_cpu_s": found.train_cpu_s,
        "score_cpu_s": found.score_cpu_s,
        "choose_cpu_s": time.process_time() - started,
        "rank_correlation": found.rank_correlation,
    }


def choose_by_weights(budget: int, seed: int, keep: Path, folder: Path | None) -> Result:
    """Search for one budget over the mixture of all branches."""
    found = search_weights(NAME, budget, seed, keep, folder)
    expected = found.net.get_cost("params").item()
    return {"choice": found.net.selection(), "expected": expected, "train_cpu_s": found.train_cpu_s}


def draw(budget: int, seed: int) -> list[Branches]:
    """Draw different selections uniformly among all that meet a budget."""
    net, table = template(NAME)
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
    budgets = {f"{share:.0%}": int(share * template(NAME)[1].maximum()) for share in BUDGETS}
    settings = {"alone": (TASK.alone_samples, ALONE), "shared": (TASK.shared_samples, TASK.shared), "seed": seed}
    scores = (TASK.selections, TASK.score_samples, BATCH * CALIBRATION_BATCHES)
    ledger = Ledger(out, {**settings, "duccio": TASK.mixture, "scores": scores, "budgets": budgets})
    supernet = {"supernet": (seed, budgets, out.with_suffix(".pt"), folder)}
    run("one supernet", supernet, choose_all, ledger, jobs)
    chosen: dict[str, Branches] = ledger["supernet"]["choices"]
    drawn = {share: draw(budget, seed) for share, budget in budgets.items()}

    def alone(title: str, networks: list[Branches]) -> None:
        run(title, {name(own, seed): (own, seed, folder) for own in networks}, train_alone, ledger, jobs)

    alone("choices alone", list(chosen.values()))
    alone("random selections alone", [own for group in drawn.values() for own in group])
    searches = {
        f"duccio {share}": (budget, seed, out.with_suffix(f".duccio-{share}.pt"), folder)
        for share, budget in budgets.items()
    }
    run("DUCCIO", searches, choose_by_weights, ledger, jobs)
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
        good &= size(NAME, own) <= budget and above >= GOAL
        print(f"\n{share} of the largest: at most {budget:,} parameters")
        print(f"  chosen  {right:.4f}  {size(NAME, own):>7,}  {' '.join(own.values())}")
        print(f"  random  {statistics.mean(reached):.4f} in the mean; the choice is above {above} of {len(reached)}:")
        print(f"          {' '.join(f'{value:.4f}' for value in reached)}")
        show_duccio(ledger[f"duccio {share}"], budget, ledger, seed)
    spent = sum(ledger[key]["cpu_s"] for key in ledger)
    print(f"\n{'every choice meets its budget and the goal' if good else 'the goal is NOT met'}; {spent:.0f} s in all")
    return good


def show_duccio(found: Result, budget: int, ledger: Ledger, seed: int) -> None:
    """Print what a search over the mixture chose."""
    own, cost = found["choice"], size(NAME, found["choice"])
    met = "met" if cost <= budget else "OVER the budget"
    print(
        f"  DUCCIO  {ledger[name(own, seed)]['accuracy']:.4f}  {cost:>7,}  {' '.join(own.values())}; {met}, "
        f"expected cost {found['expected']:,.0f}, searched in {found['train_cpu_s']:.0f} s"
    )


if __name__ == "__main__":
    main()
