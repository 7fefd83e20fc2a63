"""Prune a marked supernet of 12 GiB, and time it against cp of the live bytes.

``python tools/bench_large.py [--gib N] [--rounds N] [--folder DIR] [--sparse]``. The supernet has a pool of three
branches, each with a third of the weights in a file of its own. The branch that is selected has random bytes, the
others are holes, but for 1 MiB in 64; with ``--sparse`` the selected one is as they are. The program runs as a process
of its own, whose largest resident memory is read. It brings its output to the disk, so ``cp --sparse=auto`` is timed
with ``sync`` of the copy. Each command starts without the other's output, for whoever writes beside 4 GiB that were
just written takes longer; who goes first changes from pair to pair. The ratio of the minima counts, as one and the same
copy takes one to five times its best time where the disk still writes behind; the median of the ratios is printed
too. Exit code 1 if the former is over 1.3 or the memory over 150 MiB. With ``--sparse`` only memory counts: hardly anything is copied, so the
time is that of the start.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import supernet_onnx
from supernet_onnx import marks

MEMORY_MIB = 150
RATIO = 1.3
BRANCHES = 3
SELECTED = 1
TENSORS = 16  # in a branch
BLOCK = 1 << 20
REAL_EVERY = 64  # blocks, where the rest are holes


def supernet(folder: Path, gib: float, *, is_sparse: bool) -> Path:
    """Write a marked supernet with ``gib`` GiB of external data, a file for each branch."""
    rows = int(gib * (1 << 30)) // (BRANCHES * TENSORS * 4 * 1024) // 16 * 16
    length = rows * 4 * 1024
    nodes, initializers, outputs = [], [], []
    for branch in range(BRANCHES):
        tensor = "x"
        with (folder / f"branch{branch}.bin").open("wb") as file:
            file.truncate(length * TENSORS)
            step = BLOCK if branch == SELECTED and not is_sparse else BLOCK * REAL_EVERY
            for place in range(0, length * TENSORS, step):
                file.seek(place)
                file.write(os.urandom(BLOCK)[: length * TENSORS - place])
        for index in range(TENSORS):
            name = f"b{branch}.{index}"
            weight = TensorProto(name=f"{name}.weight", data_type=TensorProto.FLOAT, dims=[rows, 1024])
            weight.data_location = TensorProto.EXTERNAL
            entries = {"location": f"branch{branch}.bin", "offset": index * length, "length": length}
            for key, value in entries.items():
                weight.external_data.add(key=key, value=str(value))
            initializers.append(weight)
            nodes.append(helper.make_node("Gather", [weight.name, "i"], [f"{name}.row"], name=f"{name}.row"))
            nodes.append(helper.make_node("Add", [tensor, f"{name}.row"], [name], name=name))
            tensor = name
        outputs.append(tensor)
    names = tuple(f"b{branch}" for branch in range(BRANCHES))
    nodes.append(marks.encode(marks.Mark("pool", names), outputs, "y", name="pool"))
    initializers.append(numpy_helper.from_array(np.full(BRANCHES, 1 / 3, np.float32), marks.weights_name("pool")))
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1024])]
    values.append(helper.make_tensor_value_info("i", TensorProto.INT64, [1]))
    output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1024])]
    graph = helper.make_graph(nodes, "large", values, output, initializers)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(marks.DOMAIN, marks.OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    model.functions.append(marks.pool_function(BRANCHES, opset=20))
    path = folder / "large.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def run(command: list[str]) -> tuple[float, float]:
    """Run a program; return its wall seconds and its largest resident memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> int:
    """Build, prune and copy in turn, print, and clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--sparse", action="store_true")
    arguments = parser.parse_args()
    share = 1 / REAL_EVERY if arguments.sparse else 1.0
    needed = arguments.gib * (3 / BRANCHES * share + 1 / REAL_EVERY) + 0.1
    if shutil.disk_usage(arguments.folder).free < needed * (1 << 30):
        raise SystemExit(f"'{arguments.folder}' has no room for {needed:.1f} GiB")
    print(
        f"supernet-onnx {supernet_onnx.__version__}, onnx {onnx.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {os.cpu_count()} CPUs"
    )
    ratios, best, most = [], {"prune": math.inf, "cp": math.inf}, 0.0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        path = supernet(folder, arguments.gib, is_sparse=arguments.sparse)
        output, copied = folder / "out.onnx", folder / "copy.bin"
        data = folder / "out.onnx.data"
        order = [("prune", data), ("cp", copied)]
        live = folder / f"branch{SELECTED}.bin"
        program = [sys.executable, "-m", "supernet_onnx", "prune", str(path), "-o", str(output)]
        commands = {
            "prune": [*program, "--select", f"pool=b{SELECTED}"],
            "cp": ["sh", "-c", f"cp --sparse=auto '{live}' '{copied}' && sync '{copied}'"],
        }
        for _ in range(arguments.rounds):
            seconds, memories = {}, {}
            for kind, made in order:
                for file in (output, data, copied):
                    file.unlink(missing_ok=True)
                os.sync()
                seconds[kind], memories[kind] = run(commands[kind])
                if subprocess.run(["cmp", "--silent", live, made], check=False).returncode:
                    raise SystemExit(f"{kind} wrote other bytes than the live ones")
                blocks = made.stat().st_blocks
                best[kind] = min(best[kind], seconds[kind])
            order.reverse()
            taken, reference, memory = seconds["prune"], seconds["cp"], memories["prune"]
            most = max(most, memory)
            ratios.append(taken / reference)
            print(f"prune {taken:.2f} s, {memory:.0f} MiB; cp and sync {reference:.2f} s; ratio {ratios[-1]:.2f}")
        print(f"live {live.stat().st_size / 2**30:.2f} GiB, of which on the disk {blocks / 2**21:.2f} GiB")
    ratio = best["prune"] / best["cp"]
    print(f"prune {best['prune']:.2f} s and cp {best['cp']:.2f} s at best: ratio {ratio:.2f} (limit {RATIO})")
    print(f"median of the ratios {statistics.median(ratios):.2f}, memory {most:.0f} MiB (limit {MEMORY_MIB})")
    return int((ratio > RATIO and not arguments.sparse) or most > MEMORY_MIB)


if __name__ == "__main__":
    sys.exit(main())
