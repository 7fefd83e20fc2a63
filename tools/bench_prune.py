"""Time reading, pruning and saving marked models of 5,000 to 50,000 nodes against parsing and serializing the file.

``python tools/bench_prune.py [--rounds N]``. The pairs are timed in turn in one process; the minimum of the rounds
stands for each step, in processor time, so that other programs count little. Exit code 1 if a step grows faster than
linearly, or the whole is over 40 times parse + serialize at 50,000 nodes.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_graphsurgeon
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import supernet_onnx
from supernet_onnx import marks

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (5_000, 10_000, 20_000, 50_000)
LIMIT = 40.0  # times parse + serialize, at the largest size
GROWTH = 1.35  # of the time for each node, from the smallest to the largest size; noise included
BRANCHES = 3
DEPTH = 8  # nodes in a branch, a weight for every second one


def supernet(num_nodes: int) -> ModelProto:
    """Build a chain of pools of three branches, with trunk between them."""
    nodes: list[NodeProto] = []
    initializers: list[TensorProto] = []
    previous = "x"
    for place in range(num_nodes // (BRANCHES * DEPTH + 2)):
        outputs = []
        for branch in range(BRANCHES):
            tensor = previous
            for step in range(DEPTH):
                name = f"p{place}.b{branch}.{step}"
                if step % 2:
                    nodes.append(helper.make_node("Relu", [tensor], [name], name=name))
                else:
                    initializers.append(numpy_helper.from_array(np.ones(16, np.float32), f"{name}.weight"))
                    nodes.append(helper.make_node("Mul", [tensor, f"{name}.weight"], [name], name=name))
                tensor = name
            outputs.append(tensor)
        mark = marks.Mark(f"p{place}", tuple(f"b{branch}" for branch in range(BRANCHES)))
        nodes.append(marks.encode(mark, outputs, f"p{place}", name=f"p{place}"))
        weights = np.full(BRANCHES, 1 / BRANCHES, np.float32)
        initializers.append(numpy_helper.from_array(weights, marks.weights_name(f"p{place}")))
        nodes.append(helper.make_node("Relu", [f"p{place}"], [f"t{place}"], name=f"t{place}"))
        previous = f"t{place}"
    types = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 16]) for name in ("x", previous)]
    graph = helper.make_graph(nodes, "supernet", types[:1], types[1:], initializers)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(marks.DOMAIN, marks.OPSET)]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=10, functions=[marks.pool_function(BRANCHES, opset=20)]
    )


def timed(function: Callable[[], object], times: dict[str, float], name: str) -> None:
    """Keep the shortest processor time of a function, in seconds."""
    gc.collect()
    start = time.process_time()
    function()
    times[name] = min(times.get(name, float("inf")), time.process_time() - start)


def measure(num_nodes: int, folder: Path, rounds: int) -> tuple[int, dict[str, float]]:
    """Return the number of nodes and the seconds of each step."""
    path, output = folder / "supernet.onnx", folder / "subnet.onnx"
    onnx.save(supernet(num_nodes), path)
    supergraph = supernet_onnx.read(path)
    selection = supernet_onnx.argmax(supergraph)
    subnet = supernet_onnx.prune(supergraph, selection)
    times: dict[str, float] = {}
    for _ in range(rounds):
        timed(lambda: ModelProto.FromString(path.read_bytes()).SerializeToString(), times, "parse + serialize")
        timed(lambda: supernet_onnx.read(path), times, "read")
        timed(lambda: supernet_onnx.prune(supergraph, selection), times, "prune")
        timed(lambda: supernet_onnx.save(subnet, output), times, "save")
    return len(supergraph.graph.node), times


def main() -> int:
    """Measure all sizes, print the table, and say whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(
        f"supernet-onnx {supernet_onnx.__version__}, onnx {onnx.__version__}, "
        f"onnx-graphsurgeon {onnx_graphsurgeon.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {platform.machine()}; minimum of {rounds} rounds, ms"
    )
    steps = ("parse + serialize", "read", "prune", "save")
    print(f"{'nodes':>8}" + "".join(f"{step:>20}" for step in steps) + f"{'whole / parse + ser.':>22}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            num_nodes, times = measure(size, Path(folder), rounds)
            ratio = sum(times[step] for step in steps[1:]) / times[steps[0]]
            rows.append((num_nodes, times, ratio))
            print(f"{num_nodes:>8}" + "".join(f"{times[step] * 1e3:>20.1f}" for step in steps) + f"{ratio:>22.1f}")
    (small, first, _), (large, last, ratio) = rows[0], rows[-1]
    growth = {step: (last[step] / large) / (first[step] / small) for step in steps[1:]}
    print("time for each node, largest against smallest: " + ", ".join(f"{s} {g:.2f}" for s, g in growth.items()))
    good = ratio <= LIMIT and max(growth["read"], growth["prune"]) <= GROWTH
    print(
        f"whole at {large} nodes: {ratio:.1f} times parse + serialize (limit {LIMIT:.0f}): {'ok' if good else 'FAILED'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
