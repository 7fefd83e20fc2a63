"""Time training steps and weigh what they keep for backward: soft mixtures, single paths, dropped branches.

``python -m tools.bench_training [--plinio FOLDER] [--device cuda]``, with FOLDER a checkout of
github.com/eml-eda/plinio whose requirements are installed. A step is forward, cross entropy, backward and SGD.
Pairs are timed in turn in one process, by the CPU time of one thread, so that other work on the machine counts little;
the smallest of the rounds stands for each step.

1. ``softmax`` against the same network in PLiNIO: time, and bytes that forward keeps for backward, at most equal.
2. ``single_path`` and ``uniform`` against the plain networks that they sample: the same selections are drawn again, and
   exported. Time at most 1.2 times theirs on average; the peak of what is allocated at most 1.2 times the largest's.
3. ``Softmax(drop_below=0.01)``: steps of a search of 20 epochs, with what still runs.

Exit code 1 if a bound does not hold.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import supernet_onnx
from models import dscnn, mobilenetv1, resnet8
from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.train.sampling import Softmax

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = {"resnet8": resnet8, "dscnn": dscnn, "mobilenetv1": mobilenetv1}
CLASSES = {"resnet8": 10, "dscnn": 12, "mobilenetv1": 2}
BATCH = 32
PATH_LIMIT = 1.2


class Step:
    """A training step of a network on a fixed random batch.

    Args:
        net: Trained in place.
        name: Of the model that it is, for the sizes of inputs and outputs.
        device: Where to.
    """

    def __init__(self, net: nn.Module, name: str, device: str) -> None:
        self.net = net.train().to(device)
        generator = torch.Generator().manual_seed(0)
        shape = MODELS[name].example_input().shape[1:]
        self.x = torch.randn(BATCH, *shape, generator=generator).to(device)
        self.y = torch.randint(CLASSES[name], (BATCH,), generator=generator).to(device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), 1e-3)

    def __call__(self) -> None:
        """Make a step."""
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def loss(self) -> Tensor:
        """Return the loss of a forward."""
        return nn.functional.cross_entropy(self.net(self.x), self.y)

    def milliseconds(self) -> float:
        """Return the CPU time of a step; where an accelerator works, the time of the clock."""
        if self.x.is_cpu:
            start = time.process_time()
            self()
            return (time.process_time() - start) * 1e3
        torch.cuda.synchronize()
        start = time.perf_counter()
        self()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3

    def saved_mebibytes(self) -> float:
        """Return what a forward keeps for the backward, without the parameters."""
        own = {parameter.untyped_storage().data_ptr() for parameter in self.net.parameters()}
        kept: dict[int, int] = {}
        alive: list[Tensor] = []

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
                alive.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = self.loss()
        total = sum(kept.values()) / 2**20
        del loss
        return total

    def peak_mebibytes(self) -> float:
        """Return the most that a step allocates at any moment, over what was allocated before it."""
        self.optimizer.zero_grad()
        if self.x.is_cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self()
            return (torch.cuda.max_memory_allocated() - before) / 2**20
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            self()
        # every allocation and, negative, every release; torch sums them up by operator only
        events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
        sizes: list[int] = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
        return max(itertools.accumulate(sizes)) / 2**20


def ours(name: str, **options: object) -> SuperNet:
    """Return one of the reference supernets."""
    torch.manual_seed(0)
    model = MODELS[name]
    return SuperNet(model.build(), input_example=model.example_input(), **options)  # type: ignore[arg-type]


def plinios(name: str, folder: Path) -> nn.Module:
    """Return PLiNIO's supernet of the same architecture."""
    sys.path[:0] = [str(folder), str(folder / "unit_test")]
    from plinio.methods import SuperNet as PlinioSuperNet  # type: ignore[import-not-found]  # a checkout the user names
    from unit_test.models.icl_sn_model import ResNet8SN  # type: ignore[import-not-found]
    from unit_test.models.kws_sn_model import DSCnnSN  # type: ignore[import-not-found]
    from unit_test.models.vww_sn_model import MobileNetSN  # type: ignore[import-not-found]

    classes = {"resnet8": ResNet8SN, "dscnn": DSCnnSN, "mobilenetv1": MobileNetSN}
    net: nn.Module = PlinioSuperNet(classes[name](), input_shape=tuple(MODELS[name].example_input().shape[1:]))
    return net


def bench_soft(name: str, folder: Path, rounds: int, device: str) -> bool:
    """Print time and bytes of a soft step against PLiNIO's, and say whether both are at most its."""
    steps = {"ours": Step(ours(name), name, device), "PLiNIO": Step(plinios(name, folder), name, device)}
    bytes_ = {who: step.saved_mebibytes() for who, step in steps.items()}
    times: dict[str, list[float]] = {who: [] for who in steps}
    for round_ in range(rounds):
        for who in sorted(steps, reverse=bool(round_ % 2)):
            times[who].append(steps[who].milliseconds())
    best = {who: min(values) for who, values in times.items()}
    ratio = statistics.median(a / b for a, b in zip(times["ours"], times["PLiNIO"], strict=True))
    good = ratio <= 1 and bytes_["ours"] <= bytes_["PLiNIO"]
    print(
        f"{name:>12} softmax: {best['ours']:7.1f} ms, PLiNIO {best['PLiNIO']:7.1f} ms, median ratio {ratio:.3f}; "
        f"saved {bytes_['ours']:6.1f} MiB, PLiNIO {bytes_['PLiNIO']:6.1f} MiB, ratio "
        f"{bytes_['ours'] / bytes_['PLiNIO']:.3f}  {'ok' if good else 'FAILED'}"
    )
    return good


def drawn(net: SuperNet, step: Step, count: int) -> list[dict[str, str]]:
    """Return what so many steps draw, and leave the supernet as it was, so that it draws the same again."""
    state = copy.deepcopy(net.state_dict())
    ran: dict[str, str] = {}
    handles = [
        branch.register_forward_hook(lambda *_, pool=name, chosen=pool.branch_names[i]: ran.update({pool: chosen}))
        for name, pool in pools(net).items()
        for i, branch in enumerate(pool.branches)
    ]
    selections = []
    for _ in range(count):
        step.loss()
        selections.append(dict(ran))
    for handle in handles:
        handle.remove()
    net.load_state_dict(state)
    return selections


def pools(net: SuperNet) -> dict[str, SuperNetModule]:
    """Return the pools of a supernet by name."""
    return {name: module for name, module in net.model.named_modules() if isinstance(module, SuperNetModule)}


def bench_paths(name: str, sampling: str, count: int, rounds: int, device: str) -> bool:
    """Print time and bytes of steps that sample against those of the networks sampled; say whether the bounds hold."""
    net = ours(name, sampling=sampling, seed=0)
    step = Step(net, name, device)
    selections = drawn(net, step, count)
    plain = [Step(net.export(selection), name, device) for selection in selections]
    state = copy.deepcopy(net.state_dict())
    times = {"path": [float("inf")] * count, "plain": [float("inf")] * count}
    step()  # the first backward finds out whether outputs may be shared
    for _ in range(rounds):
        net.load_state_dict(state)
        for i in range(count):
            times["path"][i] = min(times["path"][i], step.milliseconds())
            times["plain"][i] = min(times["plain"][i], plain[i].milliseconds())
    net.load_state_dict(state)
    held = max(step.peak_mebibytes() for _ in range(count))
    largest = max(other.peak_mebibytes() for other in plain)
    ratio = sum(times["path"]) / sum(times["plain"])
    good = ratio <= PATH_LIMIT and held <= PATH_LIMIT * largest
    print(
        f"{name:>12} {sampling}: {statistics.mean(times['path']):6.1f} ms, plain {statistics.mean(times['plain']):6.1f}"
        f" ms, ratio {ratio:.3f}; peak {held:6.1f} MiB, plain {largest:6.1f} MiB, ratio {held / largest:.3f}  "
        f"{'ok' if good else 'FAILED'}"
    )
    return good


def bench_drop(name: str, epochs: int, steps: int, device: str) -> bool:
    """Print the time of a step through the epochs of a search that drops branches; say whether it falls."""
    net = ours(name, sampling=Softmax(drop_below=0.01, probe_every=50), seed=0)
    step = Step(net, name, device)
    step.optimizer = torch.optim.SGD(
        [{"params": net.net_parameters(), "lr": 1e-2}, {"params": net.nas_parameters(), "lr": 1.0}]
    )
    scale = 4 / float(net.cost.detach())
    task_loss: Callable[[], Tensor] = step.loss
    step.loss = lambda: task_loss() + scale * net.cost  # type: ignore[method-assign]
    means, running = [], []
    for _ in range(epochs):
        means.append(statistics.mean(step.milliseconds() for _ in range(steps)))
        running.append(sum(int((pool.theta() >= 0.01).sum()) for pool in pools(net).values()))
    print(f"{name:>12} drop_below=0.01, ms a step by epoch: {' '.join(f'{mean:.0f}' for mean in means)}")
    print(f"{'':>12} branches of weight 0.01 or more after it: {' '.join(map(str, running))}")
    return means[-1] < means[0]


def main() -> int:
    """Measure, print, and say whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--plinio", type=Path, help="a checkout of github.com/eml-eda/plinio")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", action="append", choices=MODELS, help="all unless given")
    parser.add_argument("--part", action="append", choices=["soft", "paths", "drop"], help="all unless given")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--selections", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"supernet-onnx {supernet_onnx.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, 1 thread, {platform.machine()}, {options.device}; batch {BATCH}"
    )
    parts, good = options.part or ["soft", "paths", "drop"], True
    for name in options.model or MODELS:
        if "soft" in parts and options.plinio is None:
            print("PLiNIO was not run: name a checkout with --plinio FOLDER")
        elif "soft" in parts:
            good &= bench_soft(name, options.plinio, options.rounds, options.device)
        if "paths" in parts:
            for sampling in ("single_path", "uniform"):
                good &= bench_paths(name, sampling, options.selections, max(options.rounds // 3, 1), options.device)
        if "drop" in parts:
            good &= bench_drop(name, 20, 20, options.device)
    print("ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
