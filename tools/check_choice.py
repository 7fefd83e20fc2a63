"""Compare the exact choice with going through all selections, and time it where nobody can.

    python -m tools.check_choice [--draws 1000] [--folder DIR]

For each reference supernet that is small enough, random budgets and scores; for ``proxyless``, three budgets at once.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from supernet_onnx import read
from supernet_onnx.cost import METRICS
from supernet_onnx.errors import InfeasibleError
from supernet_onnx.search import Chooser
from supernet_onnx.selection import count, every
from tools.references import export

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from supernet_onnx.supergraph import SuperGraph

NAMES = ("params", "macs", "size", "peak_memory")
SMALL = 20_000  # selections


def draw_budgets(chooser: Chooser, generator: random.Random, *, least: float) -> dict[str, float]:
    """Draw budgets on one to three metrics, between a share of the smallest subnet's cost and the largest's."""
    budgets = {}
    for name in generator.sample(NAMES, generator.randint(1, 3)):
        table = chooser.tables[name]
        budgets[name] = generator.uniform(least * table.minimum(), table.maximum())
    return budgets


def compare(name: str, supergraph: SuperGraph, draws: int) -> None:
    """Print how many choices differ from the best of all selections; the pools are flat, so all are reached."""
    chooser = Chooser(supergraph, [METRICS[metric] for metric in NAMES])
    selections = list(every(supergraph))
    totals = {metric: np.array([chooser.tables[metric].total(s) for s in selections]) for metric in NAMES}
    indices = np.array([selection.indices for selection in selections])
    generator = random.Random(0)
    spent, wrong, infeasible = 0.0, 0, 0
    for _ in range(draws):
        scores = {pool.name: [generator.gauss(0, 1) for _ in pool.branches] for pool in supergraph.pools}
        budgets = draw_budgets(chooser, generator, least=0.8)
        meets = np.all([totals[metric] <= limit for metric, limit in budgets.items()], axis=0)
        sums: NDArray[np.float64] = np.sum(
            [np.array(of)[indices[:, level]] for level, of in enumerate(scores.values())], axis=0
        )
        best = sums[meets].max() if meets.any() else -math.inf
        start = time.process_time()
        try:
            choice = chooser.choose(budgets=budgets, scores=scores)
            found, proved = choice.objective, choice.gap == 0
        except InfeasibleError:
            found, proved = -math.inf, True
            infeasible += 1
        spent += time.process_time() - start
        wrong += not proved or not (found == best or abs(found - best) < 1e-9)
    print(
        f"{name}: {len(selections):,} selections, {draws:,} draws ({infeasible:,} infeasible): {wrong} differ from "
        f"brute force; {1000 * spent / draws:.1f} ms CPU a choice"
    )


def measure_large(name: str, supergraph: SuperGraph, draws: int) -> None:
    """Print the time of choices under three budgets."""
    start = time.process_time()
    chooser = Chooser(supergraph, [METRICS[metric] for metric in NAMES])
    pricing = time.process_time() - start
    generator = random.Random(0)
    times: list[float] = []
    while len(times) < draws:
        scores = {pool.name: [generator.gauss(0, 1) for _ in pool.branches] for pool in supergraph.pools}
        budgets = {metric: f"{generator.randint(30, 90)}%" for metric in ("params", "macs", "peak_memory")}
        start = time.perf_counter()
        try:
            assert chooser.choose(budgets=budgets, scores=scores).gap == 0
        except InfeasibleError:
            continue
        times.append(time.perf_counter() - start)
    print(
        f"{name}: 10^{math.log10(count(supergraph)):.1f} selections, three budgets, {draws} draws: the median takes "
        f"{1000 * float(np.median(times)):.0f} ms, the longest {1000 * max(times):.0f} ms, "
        f"pricing once {1000 * pricing:.0f} ms"
    )


def main() -> None:
    """Print versions and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where the exported supernets are kept")
    arguments = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; python {platform.python_version()}, "
        f"scipy {scipy.__version__}, numpy {np.__version__}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for name in ("dscnn", "resnet8", "proxyless"):
            supergraph = read(export(name, folder))
            small = count(supergraph) <= SMALL
            (compare if small else measure_large)(name, supergraph, arguments.draws if small else 50)


if __name__ == "__main__":
    main()
