from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import parser

from supernet_onnx.errors import RunError
from supernet_onnx.runtime import Batches, find_target
from tests.sparse import write_zeros

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = parser.parse_model(
    '<ir_version: 10, opset_import: ["" : 20]> g (float[n, 3] x, int64[n] k) => (float[n, 3] y) { y = Relu (x) }'
).graph
X = np.arange(21, dtype=np.float32).reshape(7, 3)
K = np.arange(7)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_are_the_arrays_in_order_each_time_and_other_arrays_are_passed_over(
    save: object, size: int, tmp_path: Path
) -> None:
    save(tmp_path / "d.npz", k=K, targets=np.array(["a"]), x=X)
    batches = Batches(tmp_path / "d.npz", GRAPH, size=size)
    assert batches.num_samples == 7
    for _ in range(2):
        read = list(batches)
        assert [len(batch["x"]) for batch in read[:-1]] == [size] * (len(read) - 1)
        assert all(batch.keys() == {"x", "k"} for batch in read)
        assert np.array_equal(np.concatenate([batch["x"] for batch in read]), X)
        assert np.array_equal(np.concatenate([batch["k"] for batch in read]), K)


def test_data_that_are_larger_than_a_batch_are_never_in_memory_at_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", k=np.zeros(4_000_000, np.int64), x=np.zeros((4_000_000, 3), np.float32))
    tracemalloc.start()
    for _ in Batches(tmp_path / "d.npz", GRAPH, size=1000):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "holds the arrays 'x', and lacks the model's input 'k'"),
        ({"x": X.astype(np.float64), "k": K}, r"array 'x' is float64\[7, 3\], the model expects float32"),
        ({"x": np.asfortranarray(X), "k": K}, r"array 'x' is float32\[7, 3\] in Fortran order"),
        ({"x": X[:6], "k": K}, "must have one number of samples, and at least one; they have 'x' 6, 'k' 7"),
        ({"x": X[:0], "k": K[:0]}, "they have 'x' 0, 'k' 0"),
        ({"x": X[:, :2], "k": K}, r"d.npz', array 'x' is \[7, 2\], the model expects \[n, 3\]"),
        ({"x": X[:, :, None], "k": K}, r"array 'x' is \[7, 3, 1\], the model expects \[n, 3\]"),
        ({"x": X, "k": K[:, None]}, r"array 'k' is \[7, 1\], the model expects \[n\]"),
    ],
)
def test_data_that_do_not_fit_the_model_are_an_error(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(RunError, match=message):
        Batches(tmp_path / "d.npz", GRAPH, size=2)


@pytest.mark.parametrize(("samples", "size", "fits"), [(6, 2, True), (2, 2, True), (6, 3, False), (7, 2, False)])
def test_a_model_of_a_fixed_batch_takes_whole_batches_of_that_size(
    samples: int, size: int, fits: bool, tmp_path: Path
) -> None:
    graph = parser.parse_graph("g (float[2, 3] x) => (float[2, 3] y) { y = Relu (x) }")
    np.savez(tmp_path / "d.npz", x=X[:samples])
    if fits:
        assert [len(batch["x"]) for batch in Batches(tmp_path / "d.npz", graph, size=size)] == [2] * (samples // 2)
        return
    told = f"the model takes 2 samples at once, .* give --batch-size 2 and a multiple of that, not {samples} samples"
    with pytest.raises(RunError, match=told):
        Batches(tmp_path / "d.npz", graph, size=size)


def test_a_file_that_is_broken_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    with pytest.raises(RunError, match=r"cannot be read as .npz: No such file"):
        Batches(path, GRAPH, size=2)
    path.write_bytes(b"none")
    with pytest.raises(RunError, match=r"cannot be read as .npz: File is not a zip file"):
        Batches(path, GRAPH, size=2)
    np.savez(path, x=np.array([None]), k=K)
    with pytest.raises(RunError, match="array 'x' is object"):
        Batches(path, GRAPH, size=2)


def test_targets_of_any_type_come_along_and_are_found_where_they_are_the_only_other_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", k=K, x=X, label=K.astype(np.uint8)[:, None])
    assert find_target(tmp_path / "d.npz", GRAPH) == "label"
    batches = list(Batches(tmp_path / "d.npz", GRAPH, size=4, target="label"))
    assert np.array_equal(np.concatenate([batch["label"] for batch in batches]), K[:, None])
    np.savez(tmp_path / "d.npz", k=K, x=X, a=K, b=K)
    with pytest.raises(RunError, match=r"has the arrays 'a', 'b' beside the inputs; say which .* with --target NAME"):
        find_target(tmp_path / "d.npz", GRAPH)
    with pytest.raises(RunError, match="lacks the target 'c'"):
        Batches(tmp_path / "d.npz", GRAPH, size=2, target="c")
    with pytest.raises(RunError, match="'x' is an input of the model, so it cannot hold the targets"):
        Batches(tmp_path / "d.npz", GRAPH, size=2, target="x")
    np.savez(tmp_path / "d.npz", k=K, x=X)
    with pytest.raises(RunError, match="holds nothing beside the inputs; save the targets in it, too"):
        find_target(tmp_path / "d.npz", GRAPH)


LIMITED = """
import resource, sys
from pathlib import Path
from onnx import parser
from supernet_onnx.runtime import Batches
graph = parser.parse_model(sys.argv[2]).graph
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (400 << 20), held + (400 << 20)))
batches = Batches(Path(sys.argv[1]), graph, size=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(batch["x"].size for batch in batches), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_file_that_does_not_fit_into_the_address_space_is_read_by_mapping_a_batch_at_a_time(tmp_path: Path) -> None:
    path = write_zeros(tmp_path / "large.npz", {"x": (8, 1 << 27)})  # 1 GiB, nothing of it on the disk
    assert path.stat().st_blocks * 512 < 1 << 20
    text = '<ir_version: 10, opset_import: ["" : 20]> g (uint8[n, m] x) => (uint8[n, m] y) { y = Identity (x) }'
    done = subprocess.run([sys.executable, "-c", LIMITED, path, text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read, grown_kib = map(int, done.stdout.split())
    assert read == 1 << 30
    assert grown_kib < 3 * (1 << 17)  # a batch of 128 MiB is mapped and copied, while the last one is still held
