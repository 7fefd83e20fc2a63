"""Predict the latency of subnets that the profile has not seen, and compare with onnxruntime.

    python -m tools.check_latency [MODEL ...] [--unseen 40] [--subnets 64] [--rounds 60] [--seed 0] [--folder DIR]

For each reference supernet: a profile on one thread, and random subnets beside it that the fit does not see, in the
same rounds: a machine that other programs use is faster or slower by several percent from minute to minute, which no
table can know. A latency is the mean over a model's sessions of the lower quartile of its runs, in the processor time
of the thread that runs it (``supernet_onnx.profiling.measuring`` says why): the median and the wall clock tell more of
what else the machine does. ``macs`` as a predictor is the best line through the subnets that the profile was fitted to.
Exported models and profiles are kept in the folder; models that are there are not exported again.

Limits: a mean absolute percentage error of at most 5, at least 95 % of the subnets within 10 %, and a rank correlation
of at least 0.98. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from scipy import stats

from supernet_onnx import read
from supernet_onnx.cost import macs, measure
from supernet_onnx.profiling import Settings, profile
from tools.references import export

if TYPE_CHECKING:
    from supernet_onnx.profiling import Profile
    from supernet_onnx.supergraph import SuperGraph

NAMES = ("resnet8", "mobilenetv1", "vit", "proxyless")
MAX_MAPE, MIN_WITHIN, MIN_RANK = 0.05, 0.95, 0.98

Floats = NDArray[np.float64]


class Figures(NamedTuple):
    """How well latencies are predicted."""

    mape: float
    within: float
    rank: float

    def __str__(self) -> str:
        return f"MAPE {self.mape:6.2%}  within 10 % {self.within:7.1%}  Spearman {self.rank:.4f}"

    @property
    def are_within_limits(self) -> bool:
        """Whether they are what the profile promises."""
        return self.mape <= MAX_MAPE and self.within >= MIN_WITHIN and self.rank >= MIN_RANK


def figures(predicted: Floats, measured: Floats) -> Figures:
    """Compare predictions with measurements."""
    errors = np.abs(predicted / measured - 1)
    rank = float(stats.spearmanr(predicted, measured).statistic)
    return Figures(float(errors.mean()), float((errors <= 0.1).mean()), rank)


def by_macs(supergraph: SuperGraph, found: Profile) -> Floats:
    """Predict by the best line from multiply-accumulates through the fitted subnets, errors counted relatively."""
    table = measure(supergraph, [macs])["macs"]
    counts = np.array([float(table.total(subnet.selection)) for subnet in found.subnets])
    times = np.array([subnet.measured_ms for subnet in found.subnets])
    fitted = np.array([subnet.fitted for subnet in found.subnets])
    line = np.polyfit(counts[fitted], times[fitted], 1, w=1 / times[fitted])
    return np.asarray(np.polyval(line, counts[~fitted]), np.float64)


def check(path: Path, settings: Settings) -> Figures:
    """Profile a supernet; print and return how well it predicts what the fit has not seen."""
    supergraph, start, spent = read(path), time.perf_counter(), time.process_time()
    found = profile(supergraph, settings, name=path.name)
    path.with_suffix(".latency.json").write_text(found.to_json(), encoding="utf-8")
    unseen = [subnet for subnet in found.subnets if not subnet.fitted]
    measured = np.array([subnet.measured_ms for subnet in unseen])
    told = figures(np.array([subnet.predicted_ms for subnet in unseen]), measured)
    errors = found.correction.errors
    print(f"{path.stem}: {len(unseen)} unseen subnets, {measured.min():.3f} to {measured.max():.3f} ms")
    print(f"  profile  {told}  {'met' if told.are_within_limits else 'MISSED'}")
    print(f"  macs     {figures(by_macs(supergraph, found), measured)}")
    print(
        f"  {settings.subnets} subnets, each left out of the fit: corrected {errors['correction']:.2%}, by the line "
        f"{errors['line']:.2%}, pieces as they are {errors['pieces']:.2%} ({found.correction.source}); "
        f"{time.perf_counter() - start:.0f} s, {time.process_time() - spent:.0f} s CPU",
        flush=True,
    )
    return told


def main() -> None:
    """Print versions and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(NAMES)}; all if left out")
    parser.add_argument("--unseen", type=int, default=40, help="subnets to predict")
    parser.add_argument("--subnets", type=int, default=64, help="subnets to fit to")
    parser.add_argument("--rounds", type=int, default=60, help="how often each model runs")
    parser.add_argument("--seed", type=int, default=0, help="decides which subnets are drawn")
    parser.add_argument("--folder", type=Path, help="keep exported models and profiles here")
    options = parser.parse_args()
    print(f"python {platform.python_version()}, onnxruntime {onnxruntime.__version__}, torch {torch.__version__}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, one thread; load {os.getloadavg()[0]:.1f}", flush=True)
    settings = Settings(rounds=options.rounds, subnets=options.subnets, unseen=options.unseen, seed=options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        told = [check(export(name, folder), settings) for name in options.models or NAMES]
    sys.exit(0 if all(of.are_within_limits for of in told) else 1)


if __name__ == "__main__":
    main()
