"""Supernets, fronts, latency tables and training logs to show on a page."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from supernet_onnx import marks, selection, supergraph
from supernet_onnx.cli import main
from supernet_onnx.cost import METRICS, measure
from supernet_onnx.cost.calls import resolve_calls
from supernet_onnx.cost.structure import structure_of
from supernet_onnx.marks import Mark
from supernet_onnx.shapes import Bindings
from tests import marked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx import ModelProto

    from supernet_onnx.supergraph import SuperGraph

KERNELS = (1, 3, 5)
SCORES = (0.0, 0.5, 1.0, -0.25)


@dataclass(frozen=True)
class Files:
    """The files of a page, on a disk."""

    model: Path
    front: Path
    latency: Path
    log: Path

    def arguments(self) -> list[str]:
        """What ``report`` takes to show them all."""
        return [
            *("report", str(self.model), "--front", str(self.front)),
            *("--cost-table", str(self.latency), "--log", str(self.log)),
        ]


def chain(pools: int, *, channels: int = 4, names: Sequence[str] = (), branches: Sequence[str] = ()) -> ModelProto:
    """Return a supernet of pools in a row: convolutions of kernel 1, 3 and 5, and a skip.

    Branch i of a pool has ``channels ** 2 * kernel ** 2`` parameters, the last none; the pools heed branch
    ``level % 4`` most. There is no trunk but the stem of ``3 * channels`` parameters.
    """
    generator = np.random.default_rng(0)
    branches = branches or [f"conv{kernel}" for kernel in KERNELS] + ["skip"]
    nodes, initializers = [], []

    def conv(data: str, name: str, shape: tuple[int, ...]) -> str:
        initializers.append(numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), f"{name}.w"))
        pad = shape[-1] // 2
        nodes.append(helper.make_node("Conv", [data, f"{name}.w"], [name], name=name, pads=[pad] * 4))
        return name

    tensor = conv("x", "stem", (channels, 3, 1, 1))
    for level in range(pools):
        name = names[level] if level < len(names) else f"stages.{level // 6}.{level % 6}.conv"
        made = [conv(tensor, f"p{level}k{kernel}", (channels, channels, kernel, kernel)) for kernel in KERNELS]
        weights = np.array([0.7 if i == level % 4 else 0.1 for i in range(4)], np.float32)
        initializers.append(numpy_helper.from_array(weights, f"{name}.weights"))
        output = "y" if level == pools - 1 else f"p{level}"
        nodes.append(marks.encode(Mark(name, tuple(branches), scores=SCORES), [*made, tensor], output))
        tensor = output
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size, 8, 8])
        for name, size in (("x", 3), ("y", channels))
    )
    graph = helper.make_graph(nodes, "chain", [x], [y], initializers)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(marks.DOMAIN, marks.OPSET)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets, functions=[marks.pool_function(4, opset=20)])


def front(graph: SuperGraph, points: int, *, seed: int = 0) -> dict[str, object]:
    """Return a front of selections, not the best ones but such that none beats another: dearer ones score higher."""
    table = measure(graph, [METRICS["params"]])["params"]
    drawn = {table.total(chosen): chosen for chosen in itertools.islice(selection.sample(graph, seed=seed), 4 * points)}
    return {
        "format": "supernet-onnx front",
        "version": 1,
        "model": "chain.onnx",
        "metrics": [
            {"name": "params", "unit": "elements", "goal": "minimize"},
            {"name": "accuracy", "unit": "", "goal": "maximize"},
        ],
        "points": [
            {"selection": drawn[total].as_dict(), "values": {"params": total, "accuracy": 1 - 50 / (total + 99)}}
            for total in sorted(drawn)[:points]
        ],
    }


def latency(graph: SuperGraph, subnets: int, *, seed: int = 0) -> dict[str, object]:
    """Return a table of a supernet whose predictions are 5 % too high for every other subnet, and exact for the rest.

    Branch i of a pool takes 0.01 ms times i, the trunk 0.05 ms.
    """
    generator = random.Random(seed)
    measured = [generator.uniform(0.5, 3) for _ in range(subnets)]
    structure = structure_of(resolve_calls(graph, Bindings({}, {})))
    return {
        "format": "supernet-onnx cost table",
        "version": 1,
        "metric": "latency",
        "unit": "ms",
        "batch": 1,
        "dims": {},
        "shapes": {},
        "measured_on": {"processor": "a processor", "threads": 1, "versions": {"onnxruntime": "1.32.0"}},
        "trunk": 0.05,
        "branches": {pool.name: {one.name: i / 100 for i, one in enumerate(pool.branches)} for pool in graph.pools},
        "joint": [],
        "subnets": [
            {"measured": time, "predicted": time * (1.05 if i % 2 else 1.0), "fitted": i % 3 == 0}
            for i, time in enumerate(measured)
        ],
        "structure": asdict(structure),
    }


def log(graph: SuperGraph, steps: int) -> str:
    """Return the log of a search in which the weights go from equal ones towards those of the file."""
    pools = {pool.name: [branch.name for branch in pool.branches] for pool in graph.pools}
    lines: list[dict[str, object]] = [{"format": 1, "pools": pools, "costs": {"params": {"minimum": 0, "maximum": 99}}}]
    for step in range(steps):
        done = step / max(steps - 1, 1)
        weights = {
            pool.name: {
                branch.name: (1 - done) / len(pool.branches) + done * (branch.weight or 0) for branch in pool.branches
            }
            for pool in graph.pools
        }
        states = {
            name: {
                "weights": of_pool,
                "entropy": -sum(w * math.log(w) for w in of_pool.values()) / math.log(len(of_pool)),
                "selected": max(of_pool, key=of_pool.__getitem__),
            }
            for name, of_pool in weights.items()
        }
        lines.append(
            {
                "step": step,
                "values": {"loss": 2 - done, "accuracy": 0.2 + 0.7 * done},
                "temperature": 1 - 0.9 * done,
                "pools": states,
                "entropy": 1 - done,
                "costs": {"params": {"expected": 9000 - 2000 * done, "selected": 8000.0}},
            }
        )
    return "".join(json.dumps(line) + "\n" for line in lines)


def write(folder: Path, model: ModelProto, *, points: int = 12, subnets: int = 30, steps: int = 40) -> Files:
    """Write a model, and a front, latency table and training log of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = marked.write(model, folder / "chain.onnx")
    graph = supergraph.read(path)
    files = Files(path, folder / "front.json", folder / "latency.json", folder / "search.jsonl")
    files.front.write_text(json.dumps(front(graph, points)))
    files.latency.write_text(json.dumps(latency(graph, subnets)))
    files.log.write_text(log(graph, steps))
    return files


def publish(files: Files, *options: str) -> Path:
    """Write the page of some files beside them, by the command line."""
    output = files.model.with_suffix(".html")
    result = CliRunner().invoke(main, [*files.arguments(), "-o", str(output), *options])
    assert result.exit_code == 0, result.output
    return output


def publish_alone(files: Files) -> Path:
    """Write the page of the model, without front, latency and log, by the command line."""
    result = CliRunner().invoke(main, ["report", str(files.model)])
    assert result.exit_code == 0, result.output
    return files.model.with_name("chain.report.html")
