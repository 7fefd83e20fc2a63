"""Measure how a search speeds up with processes on one journal file, and what an evaluation takes.

    python -m tools.bench_search [--trials 48] [--rounds 3] [--samples 512] [--model resnet8]

An untrained reference supernet with its BatchNorms, random images and labels. Each round runs every number of processes
in turn, each on a study of its own; ratios are those of the medians. The time until all processes measure is left out.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from supernet_onnx import SuperNet, read
from supernet_onnx.search import Evaluation, Exploration, explore

WORKERS = (1, 2, 4)


def prepare(name: str, samples: int, folder: Path) -> Evaluation:
    """Write a supernet and data for it, and return what is to be measured; one thread a process."""
    module = importlib.import_module(f"models.{name}")
    torch.manual_seed(0)
    example = module.example_input()
    SuperNet(module.build(), input_example=example).export_onnx(folder / "model.onnx", fold_batchnorm=False)
    generator = np.random.default_rng(0)
    images = generator.standard_normal((samples, *example.shape[1:])).astype(np.float32)
    name = read(folder / "model.onnx").graph.input[0].name
    arrays: dict[str, Any] = {name: images, "labels": generator.integers(0, 2, samples)}
    np.savez(folder / "data.npz", **arrays)
    return Evaluation(folder / "model.onnx", folder / "data.npz", "accuracy", threads=1)


def rate(exploration: Exploration, *, trials: int, jobs: int, place: Path) -> float:
    """Return how many selections a new study measures in a second, while all of its processes are at work.

    That is from the first one that every process has finished to the first process's last one.
    """
    place.unlink(missing_ok=True)
    explore(replace(exploration, storage=str(place)), trials=trials, jobs=jobs)
    study = optuna.load_study(study_name=exploration.study, storage=JournalStorage(JournalFileBackend(str(place))))
    times: dict[int, list[float]] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.user_attrs.get("measured") and trial.datetime_complete is not None:
            times.setdefault(trial.user_attrs["process"]["pid"], []).append(trial.datetime_complete.timestamp())
    if len(times) < jobs:
        raise SystemExit(f"only {len(times)} of {jobs} processes measured anything; allow more --trials")
    start, end = max(map(min, times.values())), min(map(max, times.values()))
    done = sum(start < moment <= end for of_one in times.values() for moment in of_one)
    if done < 4 * jobs:
        raise SystemExit(f"{done} selections while all {jobs} processes were at work tell nothing; allow more --trials")
    return done / (end - start)


def main() -> None:
    """Print versions and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--model", default="resnet8")
    arguments = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; python {platform.python_version()}, "
        f"optuna {optuna.__version__}, onnxruntime {onnxruntime.__version__}, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        exploration = Exploration(prepare(arguments.model, arguments.samples, folder), sampler="random")
        rates: dict[int, list[float]] = {jobs: [] for jobs in WORKERS}
        for number in range(arguments.rounds):
            for jobs in WORKERS:
                seeded = replace(exploration, seed=number)
                rates[jobs].append(rate(seeded, trials=arguments.trials, jobs=jobs, place=folder / f"{jobs}.log"))
                print(f"round {number}, {jobs} processes: {rates[jobs][-1]:.2f} selections a second", flush=True)
        one = statistics.median(rates[1])
        for jobs, found in rates.items():
            median = statistics.median(found)
            print(
                f"{arguments.model}, {arguments.samples} samples, {jobs} processes on one journal file: "
                f"{median:.2f} selections a second, {median / one:.2f} times one process"
            )


if __name__ == "__main__":
    main()
