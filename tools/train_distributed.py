"""Train a supernet on several processes, and compare the curve with that of one process with the same global batch.

``python -m tools.train_distributed [--processes 1 --processes 2 --processes 4] [--steps N]`` starts ``torchrun`` for
each number of processes (gloo, on the CPU), and trains a supernet for scikit-learn's digits: with
DistributedDataParallel in every way to sample, and with FSDP2's ``fully_shard``. It prints for each the largest
difference of the loss of any step from that of one process without a wrapper. Exit code 1 if one is over the tolerance,
or if ``net.cost`` is not the same number on all processes at each step.

``wrap`` is what a distributed search needs; all else is a plain training loop. BatchNorm would see another batch on
each process, so that no curve could be the same, and its synchronized form needs a GPU: GroupNorm takes its place
here. Sums over parts of a batch round differently, and a steep descent carries that on: in float32 differences of 1e-7
grow to 1e-2 within 40 steps. So the training is in float64, where they stay small, and a wrong gradient would not.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, cast

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import supernet_onnx
from models import digits
from supernet_onnx import SuperNet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLINGS: Final = ("softmax", "gumbel", "gumbel_hard", "hard", "single_path", "two_path", "uniform")
SHARDED: Final = ("softmax", "gumbel", "single_path")
RUNS: Final = (*((name, "ddp") for name in SAMPLINGS), *((name, "fully_shard") for name in SHARDED))
BATCH: Final = 64  # of all processes together
GROUPS: Final = 4
SEED: Final = 0
TOLERANCE: Final = 1e-9  # of losses of 0.5 to 2.5


class Curve(TypedDict):
    """A training.

    Attributes:
        losses: Of each step, over the global batch.
        costs: ``net.cost`` at each step.
        agreed: Whether the costs are the same numbers on all processes.
        seconds: CPU time of a process.
    """

    losses: list[float]
    costs: list[float]
    agreed: bool
    seconds: float


def build() -> SuperNet:
    """Return the supernet for digits in float64, with GroupNorm for BatchNorm, the same on every process."""
    torch.manual_seed(SEED)
    model = digits.build()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(GROUPS, child.num_features))
    return SuperNet(model.double(), input_example=digits.example_input().double(), seed=SEED)


def fresh(pristine: SuperNet, sampling: str) -> SuperNet:
    """Return a copy of a supernet, which is faster than to make one."""
    net = copy.deepcopy(pristine)
    net.sampling = sampling
    return net


def wrap(net: SuperNet, engine: str) -> nn.Module:
    """Return what runs the forwards of a supernet that all processes train; the cost is that of the supernet itself."""
    if engine == "ddp":
        unused = net.sampling is None or net.sampling.chooses  # branches that were not drawn have no gradient
        return DistributedDataParallel(net, find_unused_parameters=unused)
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for pool in reversed(list(net.pools.values())):  # inner pools first
        for branch in pool.branches:
            if any(True for _ in branch.parameters()):
                fully_shard(branch, mesh=mesh)
    return cast("nn.Module", fully_shard(net, mesh=mesh))


def train(net: SuperNet, forward: nn.Module, steps: int, rank: int, ranks: int) -> Curve:
    """Train on this process's part of each batch."""
    optimizer = torch.optim.SGD(forward.parameters(), lr=0.05, momentum=0.9)
    pixels, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    images = pixels.view(-1, 1, 8, 8) / 16
    generator = torch.Generator().manual_seed(SEED)
    scale = 1 / net.cost.item()
    start = time.process_time()
    losses, costs = [], []
    for _ in range(steps):
        batch = torch.randint(len(labels), (BATCH,), generator=generator)
        mine = batch[rank::ranks]
        task_loss = nn.functional.cross_entropy(forward(images[mine]), labels[mine])
        cost = net.cost
        optimizer.zero_grad()
        (task_loss + scale * cost).backward()
        optimizer.step()
        losses.append(task_loss.item())
        costs.append(cost.item())
    return {"losses": losses, "costs": costs, "agreed": True, "seconds": time.process_time() - start}


def work(steps: int, output: Path) -> None:
    """Be one of the processes that ``torchrun`` started; the first one writes what came of all of them."""
    torch.distributed.init_process_group("gloo")
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    pristine = build()
    curves: dict[str, Curve] = {}
    for sampling, engine in RUNS:
        net = fresh(pristine, sampling)
        mine = train(net, wrap(net, engine), steps, rank, ranks)
        all_of_them: list[Curve] = [mine] * ranks
        torch.distributed.all_gather_object(all_of_them, mine)
        curves[f"{sampling} {engine}"] = {
            "losses": [sum(parts) / ranks for parts in zip(*(each["losses"] for each in all_of_them), strict=True)],
            "costs": mine["costs"],
            "agreed": all(each["costs"] == mine["costs"] for each in all_of_them),
            "seconds": mine["seconds"],
        }
    if rank == 0:
        output.write_text(json.dumps(curves))
    torch.distributed.destroy_process_group()


def launch(processes: int, steps: int) -> dict[str, Curve]:
    """Run ``work`` on so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "curves.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += ["-m", "tools.train_distributed", f"--steps={steps}", f"--output={output}"]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return cast("dict[str, Curve]", json.loads(output.read_text()))


def compare(alone: Mapping[str, Curve], curves: Mapping[str, Curve], processes: int) -> bool:
    """Print how far the curves of so many processes are from those of one, and return whether all are near enough."""
    passed = True
    for name, curve in curves.items():
        plain = alone[name.split()[0]]
        worst = max(abs(a - b) for a, b in zip(plain["losses"], curve["losses"], strict=True))
        good = worst <= TOLERANCE and curve["agreed"]
        passed &= good
        print(
            f"{processes} processes, {name:24} loss {curve['losses'][0]:.3f} to {curve['losses'][-1]:.3f}, "
            f"largest difference {worst:.1e}; net.cost {curve['costs'][0]:,.0f} to {curve['costs'][-1]:,.0f}, "
            f"{'the same' if curve['agreed'] else 'DIFFERENT'} on all; "
            f"{curve['seconds']:.1f} s of CPU time each, alone {plain['seconds']:.1f}  {'ok' if good else 'FAILED'}",
            flush=True,
        )
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, action="append", help="1, 2 and 4 unless given")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--output", type=Path, help="for the processes that this program starts")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.output is not None:
        work(options.steps, options.output)
        return 0
    print(
        f"supernet-onnx {supernet_onnx.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, 1 thread a process, gloo; global batch {BATCH}, {options.steps} steps, "
        f"tolerance {TOLERANCE:g} on the loss of each"
    )
    pristine = build()
    alone = {}
    for sampling in SAMPLINGS:
        net = fresh(pristine, sampling)
        alone[sampling] = train(net, net, options.steps, 0, 1)
    good = True
    for processes in options.processes or [1, 2, 4]:
        good &= compare(alone, launch(processes, options.steps), processes)
    print("ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
