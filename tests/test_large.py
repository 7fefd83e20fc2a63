"""Models that are larger than the memory that pruning them may take."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from supernet_onnx import storage, supergraph
from tests import marked
from tests.cli.calling import record

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30

LARGE = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
large (float[1, 4] x, int64[1] i) => (float[1, 4] y) {
    a = Gather (a_w, i)
    b = Gather (b_w, i)
    y = supernet_onnx.Pool2 <pool = "pool", branches = ["a", "b"]> ("pool.weights", a, b)
}
"""


MEASURED = """
import re, sys
from pathlib import Path
from supernet_onnx.cli import main
main(sys.argv[1:], standalone_mode=False)
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
"""Prints the largest resident memory in KiB; what ``wait4`` tells includes that of the parent before ``exec``."""


def write_large(folder: Path) -> Path:
    """Write a supernet of 6 GiB in sparse files; its pool weights stand there too, behind branch b."""
    model = marked.build(LARGE)
    for branch in "ab":
        with (folder / f"{branch}.bin").open("wb") as file:
            file.truncate(3 * GIB)
        add(model.graph.initializer.add(name=f"{branch}_w", dims=[3 * GIB // 16, 4]), f"{branch}.bin", 0, 3 * GIB)
    with (folder / "b.bin").open("r+b") as file:
        file.seek(2 * GIB)
        file.write(np.arange(4, dtype=np.float32).tobytes())
        file.seek(3 * GIB)
        file.write(np.array([0.25, 0.75], np.float32).tobytes())
    add(model.graph.initializer.add(name="pool.weights", dims=[2]), "b.bin", 3 * GIB, 8)
    return marked.write(model, folder / "large.onnx")


def add(tensor: TensorProto, file: str, offset: int, length: int) -> None:
    tensor.data_type, tensor.data_location = TensorProto.FLOAT, TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def test_six_gibibytes_are_pruned_in_150_mebibytes_of_memory(tmp_path: Path) -> None:
    path = write_large(tmp_path)
    done = subprocess.run([sys.executable, "-c", MEASURED, "prune", path], capture_output=True, check=True, text=True)
    assert int(done.stdout.splitlines()[-1]) < 150 * 1024
    data = tmp_path / "large.pruned.onnx.data"
    assert data.stat().st_size == 3 * GIB
    assert data.stat().st_blocks * 512 < GIB
    with data.open("rb") as file:
        file.seek(2 * GIB)
        assert np.frombuffer(file.read(16), np.float32).tolist() == [0, 1, 2, 3]


def test_weights_of_a_pool_are_read_from_external_data(tmp_path: Path) -> None:
    graph = supergraph.read(write_large(tmp_path))
    assert [branch.weight for branch in graph.pools[0].branches] == [0.25, 0.75]
    assert next(storage.external_tensors(graph.model)).data_location == TensorProto.EXTERNAL


def test_large_models_are_inspected_and_priced(tmp_path: Path) -> None:
    path = write_large(tmp_path)
    assert record("inspect", path)["pools"][0]["selected"] == "b"
    assert record("cost", path, "--metric", "size")["metrics"]["size"]["total"] == 3 * GIB
