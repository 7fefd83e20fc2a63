"""Time ``SuperNet(...)`` against one bare ONNX export of the same model, and ``net.cost`` of 13 pools.

``python tools/bench_supernet.py [--rounds N]``. The pairs are timed in turn in one process; the minimum of the rounds
stands for each. Exit code 1 if ``SuperNet`` takes over 1.2 times the bare export, or ``net.cost`` over 50 microseconds.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import platform
import statistics
import sys
import time
import warnings
from typing import TYPE_CHECKING

import onnx
import torch
from torch import nn

import supernet_onnx
from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import macs, params

if TYPE_CHECKING:
    from collections.abc import Callable

EXPORT_LIMIT = 1.2  # times a bare torch.onnx.export
COST_LIMIT_US = 50.0
SHAPE = (3, 32, 32)


def block(channels: int, kernel: int, *, separable: bool = False) -> nn.Module:
    """A convolution, or a depthwise and a pointwise one, with BatchNorm and ReLU."""
    depthwise = [nn.Conv2d(channels, channels, kernel, padding="same", groups=channels if separable else 1)]
    pointwise = [nn.Conv2d(channels, channels, 1)] if separable else []
    return nn.Sequential(*depthwise, *pointwise, nn.BatchNorm2d(channels), nn.ReLU())


def model(num_pools: int) -> nn.Module:
    """A chain of pools of four branches (three in every second one) at 16 channels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
    for i in range(num_pools):
        branches = [block(16, 3), block(16, 5), block(16, 3, separable=True), nn.Identity()]
        layers.append(SuperNetModule(branches[: 4 - i % 2]))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def bare_export(num_pools: int) -> None:
    """What the exporter alone does with the same model, the pools as plain mixtures."""
    dim = torch.export.Dim("batch")
    example = torch.zeros(2, *SHAPE)
    torch.onnx.export(
        model(num_pools).eval(), (example,), dynamo=True, optimize=True, verbose=False, dynamic_shapes=[{0: dim}]
    )


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    gc.collect()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def bench_construction(num_pools: int, rounds: int) -> float:
    """Print and return how much longer ``SuperNet(...)`` takes than the bare export."""
    ours, bare = float("inf"), float("inf")
    for _ in range(rounds):
        ours = min(ours, seconds(lambda: SuperNet(model(num_pools), params, input_shape=SHAPE)))
        bare = min(bare, seconds(lambda: bare_export(num_pools)))
    print(f"{num_pools} pools: SuperNet() {ours:.2f} s, bare torch.onnx.export {bare:.2f} s, ratio {ours / bare:.2f}")
    return ours / bare


def bench_cost(calls: int) -> float:
    """Print and return the median time of ``net.cost`` for 13 pools, in microseconds."""
    net = SuperNet(model(13), macs, input_shape=SHAPE)

    def median_us(function: Callable[[], object]) -> float:
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e6

    forward, both = median_us(lambda: net.cost), median_us(lambda: net.cost.backward())
    print(f"net.cost of 13 pools, median of {calls} calls: {forward:.1f} us; with backward {both:.1f} us")
    return forward


def main() -> int:
    """Measure, and say whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")  # the exporter's own deprecations
    logging.disable(logging.WARNING)
    print(
        f"supernet-onnx {supernet_onnx.__version__}, torch {torch.__version__}, onnx {onnx.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{platform.machine()}; minimum of {rounds} rounds"
    )
    seconds(lambda: bare_export(1))  # imports and first-use costs of the exporter
    ratios = [bench_construction(num_pools, rounds) for num_pools in (4, 13)]
    cost_us = bench_cost(500 * rounds)
    good = max(ratios) <= EXPORT_LIMIT and cost_us <= COST_LIMIT_US
    print(f"limits {EXPORT_LIMIT} and {COST_LIMIT_US:.0f} us: {'ok' if good else 'FAILED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
