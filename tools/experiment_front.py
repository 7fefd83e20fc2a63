"""A front for eight budgets out of one file: cut without PyTorch, beside searches trained for a budget each.

ONE supernet is trained with uniform single paths, scored, and exported with its BatchNorm nodes. Each budget is then
one ``supernet-onnx prune --budget --recalibrate --fold`` on that file, in a process in which PyTorch cannot be
imported. The accuracy on the test samples is that of onnxruntime right after the cut; then each network is fine-tuned
in PyTorch, all for the same epochs. Beside it stand DUCCIO searches over the mixture of all branches, their networks
recalibrated and fine-tuned alike.

    python -m tools.experiment_front tcresnet --out front-tcresnet

It can be stopped, and goes on where it was. The data come by ``bash tools/fetch_data``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np
import onnxruntime

from models.training import Training, accuracy, fit
from supernet_onnx.train import recalibrate_batchnorm
from tools.searches import BATCH, CALIBRATION_BATCHES, TASKS, samples, search_once, search_weights, size, template
from tools.trials import Ledger, Result, environment, run

if TYPE_CHECKING:
    from torch import nn

BUDGETS: Final = {  # of the largest network's parameters
    "resnet8": (0.05, 0.10, 0.14, 0.20, 0.27, 0.35, 0.60, 0.85),
    "tcresnet": (0.07, 0.08, 0.09, 0.10, 0.11, 0.12, 0.24, 0.60),  # from 0.12 on the scores ask for no more
}
SEARCHED: Final = {  # those with a search of their own
    "resnet8": (0.10, 0.20, 0.35, 0.60),
    "tcresnet": (0.08, 0.10, 0.12, 0.24),
}
FINE_TUNING: Final[dict[str, Training]] = {
    "resnet8": {"epochs": 2, "lr": 3e-3, "batch_size": 64},
    "tcresnet": {"epochs": 6, "lr": 3e-3, "batch_size": 64},
}
_WITHOUT_TORCH: Final = "import sys; sys.modules['torch'] = None; from supernet_onnx.cli import main; main()"

Branches = dict[str, str]


def make_supernet(name: str, seed: int, folder: Path, source: Path | None) -> Result:
    """Train, score and export the one supernet, and write samples to recalibrate with."""
    found = search_once(name, seed, folder / "supernet.pt", source)
    started = time.process_time()
    found.net.export_onnx(folder / f"{name}.onnx", fold_batchnorm=False)
    data = samples(name, source, TASKS[name].shared_samples)
    inputs = data.prepare(data.train[0][: BATCH * CALIBRATION_BATCHES]).contiguous()
    np.savez(folder / "calibration.npz", allow_pickle=False, **{_input_of(folder / f"{name}.onnx"): inputs.numpy()})
    return {
        "train_cpu_s": found.train_cpu_s,
        "score_cpu_s": found.score_cpu_s,
        "export_cpu_s": time.process_time() - started,
        "rank_correlation": found.rank_correlation,
    }


def cut(name: str, budget: int, folder: Path, source: Path | None) -> Result:
    """Cut the file for one budget in a process of its own, and measure what comes out in onnxruntime."""
    output = folder / f"{name}.{budget}.onnx"
    words = ["prune", folder / f"{name}.onnx", "-o", output, "--budget", f"params={budget}", "--batch-size", BATCH]
    line = [*map(str, words), "--recalibrate", str(folder / "calibration.npz"), "--fold", "--json"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _WITHOUT_TORCH, *line], capture_output=True, text=True, check=True)
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    said = json.loads(done.stdout)
    return {
        "selection": said["selection"],
        "params": said["metrics"]["params"]["total"],
        "cut_wall_s": wall_s,
        "cut_cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "accuracy": onnx_accuracy(name, output, source),
    }


def onnx_accuracy(name: str, path: Path, source: Path | None) -> float:
    """Return the share of test samples that a file classifies right in onnxruntime."""
    data = samples(name, source, TASKS[name].shared_samples)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    right = 0
    for inputs, labels in data.batches(data.test, BATCH):
        (logits,) = session.run(None, {session.get_inputs()[0].name: inputs.contiguous().numpy()})
        right += int((logits.argmax(1) == labels.numpy()).sum())
    return right / len(data.test[1])


def tune_cut(name: str, branches: Branches, seed: int, folder: Path, source: Path | None) -> Result:
    """Fine-tune a network that was cut from the one supernet."""
    found = search_once(name, seed, folder / "supernet.pt", source)
    return _tuned(name, found.net.export(branches), seed, source)


def search_and_tune(name: str, budget: int, seed: int, keep: Path, source: Path | None) -> Result:
    """Search for one budget with DUCCIO, and fine-tune the network of the largest logits."""
    found = search_weights(name, budget, seed, keep, source)
    own = found.net.selection()
    tuned = _tuned(name, found.net.export(), seed, source)
    return {"selection": own, "params": size(name, own), "train_cpu_s": found.train_cpu_s, **tuned}


def _tuned(name: str, network: nn.Module, seed: int, source: Path | None) -> Result:
    """Recalibrate a network and train it on, and measure it in between."""
    data = samples(name, source, TASKS[name].alone_samples)
    recalibrate_batchnorm(network, data.batches(data.train, BATCH), batches=CALIBRATION_BATCHES)
    before = accuracy(network, data, data.test)
    started = time.process_time()
    fit(network, data, **FINE_TUNING[name], seed=seed)
    return {
        "recalibrated": before,
        "fine_tuned": accuracy(network, data, data.test),
        "tune_cpu_s": time.process_time() - started,
    }


def _input_of(path: Path) -> str:
    return str(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()[0].name)


@click.command(context_settings={"show_default": True})
@click.argument("name", type=click.Choice(list(BUDGETS)))
@click.option("--data", "source", type=click.Path(path_type=Path), help="Folder with the data's files.")
@click.option("--out", "folder", default="front", type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--jobs", default=1, type=click.IntRange(min=1), help="Worker processes, of one thread each.")
@click.option("--seed", default=0, help="Of supernet, searches and fine-tuning.")
def main(name: str, source: Path | None, folder: Path, jobs: int, seed: int) -> None:
    """Cut a front out of one file, and report it beside separate searches."""
    print(environment(), flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    task, largest = TASKS[name], template(name)[1].maximum()
    budgets = {f"{share:.0%}": int(share * largest) for share in BUDGETS[name]}
    searched = [f"{share:.0%}" for share in SEARCHED[name]]
    ledger = Ledger(
        folder / "front.json",
        {
            "shared": (task.shared_samples, task.shared, task.selections, task.score_samples),
            "mixture": (task.alone_samples, task.mixture),
            "fine-tuning": FINE_TUNING[name],
            "budgets": budgets,
            "seed": seed,
        },
    )
    run("one supernet", {"supernet": (name, seed, folder, source)}, make_supernet, ledger, jobs)
    run("cuts", {f"cut {at}": (name, most, folder, source) for at, most in budgets.items()}, cut, ledger, jobs)
    chosen: dict[str, Branches] = {at: ledger[f"cut {at}"]["selection"] for at in budgets}
    tuning = {f"tuned {at}": (name, own, seed, folder, source) for at, own in chosen.items()}
    run("fine-tuning", tuning, tune_cut, ledger, jobs)
    searches = {f"duccio {at}": (name, budgets[at], seed, folder / f"duccio-{at}.pt", source) for at in searched}
    run("DUCCIO", searches, search_and_tune, ledger, jobs)
    sys.exit(0 if report(ledger, budgets) else 1)


def report(ledger: Ledger, budgets: dict[str, int]) -> bool:
    """Print what was found; return whether every cut meets its budget."""
    once = ledger["supernet"]
    print(
        f"one supernet: trained in {once['train_cpu_s']:.0f} s, scored in {once['score_cpu_s']:.0f} s, exported in "
        f"{once['export_cpu_s']:.0f} s of processor time; rank correlation {once['rank_correlation']:.2f}"
    )
    print("test accuracy right after the cut (DUCCIO: after recalibration), and after fine-tuning; processor seconds")
    columns = f"{'params':>8}{'at once':>8}{'tuned':>8}{'s':>6}"
    print(f"{'':>5}{'budget':>9} | {columns} | {columns.replace('params', 'DUCCIO')}")
    for at, budget in budgets.items():
        own, tuned = ledger[f"cut {at}"], ledger[f"tuned {at}"]
        row = f"{own['params']:>8,}{own['accuracy']:>8.4f}{tuned['fine_tuned']:>8.4f}{own['cut_cpu_s']:>6.1f}"
        beside = searched_row(ledger[f"duccio {at}"], budget) if f"duccio {at}" in ledger else ""
        print(f"{at:>5}{budget:>9,} | {row} | {beside}")
    met = all(ledger[f"cut {at}"]["params"] <= budget for at, budget in budgets.items())
    walls = [ledger[f"cut {at}"]["cut_wall_s"] for at in budgets]
    tuning = sum(ledger[f"tuned {at}"]["tune_cpu_s"] for at in budgets) / len(budgets)
    print(
        f"a cut takes {min(walls):.1f} to {max(walls):.1f} s by the clock, without PyTorch; fine-tuning {tuning:.0f} s"
    )
    print(f"budgets {'met' if met else 'NOT met'} by every cut")
    return met


def searched_row(found: Result, budget: int) -> str:
    """Return what a search of its own gave for a budget."""
    over = "" if found["params"] <= budget else "  OVER the budget"
    reached = f"{found['recalibrated']:>8.4f}{found['fine_tuned']:>8.4f}"
    return f"{found['params']:>8,}{reached}{found['train_cpu_s']:>6.0f}{over}"


if __name__ == "__main__":
    main()
