"""Time ``net.cost``, forward and backward, on MobileNetV1 against the same in PLiNIO.

``python -m tools.bench_cost [--plinio FOLDER]``, with FOLDER a checkout of github.com/eml-eda/plinio whose
requirements are installed; without it only our own time is printed. Blocks of calls are timed in turn in one process,
in time of the processor. The floor is what torch takes for a node that computes nothing between as many separate logits
and a scalar. Exit code 1 if ours takes over a twentieth.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

import supernet_onnx
from models import mobilenetv1
from supernet_onnx import SuperNet
from supernet_onnx.cost import params_no_bias

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 1 / 20
CALLS = 50


class Nothing(torch.autograd.Function):
    """A scalar whose gradients are 0, at no computation."""

    @staticmethod
    def forward(ctx: Any, gradients: tuple[torch.Tensor, ...], *logits: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        """Return 0."""
        ctx.gradients = gradients
        return torch.scalar_tensor(0.0, dtype=torch.float64)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        """Return zeros."""
        return None, *ctx.gradients


def ours() -> dict[str, Callable[[], torch.Tensor]]:
    """Return functions that give our cost of MobileNetV1, and what no cost of separate logits can do without."""
    net = SuperNet(mobilenetv1.build(), params_no_bias, input_example=mobilenetv1.example_input())
    logits = [torch.zeros_like(alpha, requires_grad=True) for alpha in net.nas_parameters()]
    gradients = tuple(torch.zeros_like(alpha) for alpha in logits)
    return {
        "floor": lambda: cast("torch.Tensor", Nothing.apply(gradients, *logits)),  # type: ignore[no-untyped-call]
        "supernet-onnx": lambda: net.cost,
    }


def plinios(folder: Path) -> Callable[[], torch.Tensor]:
    """Return a function that gives PLiNIO's cost of its own MobileNetV1 supernet."""
    sys.path[:0] = [str(folder), str(folder / "unit_test")]
    from plinio.cost import params_no_bias as metric  # type: ignore[import-not-found]  # a checkout that the user names
    from plinio.methods import SuperNet as PlinioSuperNet  # type: ignore[import-not-found]
    from unit_test.models.vww_sn_model import MobileNetSN  # type: ignore[import-not-found]

    net = PlinioSuperNet(MobileNetSN(), cost=metric, input_shape=(3, 96, 96))
    net.train_nas_only()
    net(torch.zeros(2, 3, 96, 96))
    return lambda: cast("torch.Tensor", net.cost)


def block(cost: Callable[[], torch.Tensor]) -> tuple[float, float]:
    """Return the mean processor seconds of one cost, and of one with its backward pass, over a block of calls."""
    start = time.process_time()
    for _ in range(CALLS):
        cost()
    middle = time.process_time()
    for _ in range(CALLS):
        cost().backward(retain_graph=True)  # PLiNIO's graph reaches back into its last forward
    return (middle - start) / CALLS, (time.process_time() - middle) / CALLS


def main() -> int:
    """Measure, print, and say whether the bound holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--plinio", type=Path, help="a checkout of github.com/eml-eda/plinio")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"supernet-onnx {supernet_onnx.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, 1 thread, {platform.machine()}; us, median of {options.rounds} blocks of {CALLS}"
    )
    costs = ours()
    if options.plinio is None:
        print("PLiNIO was not run: name a checkout with --plinio FOLDER")
    else:
        costs["PLiNIO"] = plinios(options.plinio)
    rounds = [{name: block(cost) for name, cost in costs.items()} for _ in range(options.rounds)]
    medians = {
        name: [statistics.median(round_[name][part] for round_ in rounds) * 1e6 for part in (0, 1)] for name in costs
    }
    for name, (forward, both) in medians.items():
        print(f"{name:>14}: cost {forward:9.1f}   with backward {both:9.1f}   value {costs[name]().item():,.2f}")
    if "PLiNIO" not in medians:
        return 0
    ratios = [medians["supernet-onnx"][part] / medians["PLiNIO"][part] for part in (0, 1)]
    good = max(ratios) <= LIMIT
    print(f"ratios {ratios[0]:.3f} and {ratios[1]:.3f}, limit {LIMIT:.3f}: {'ok' if good else 'FAILED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
