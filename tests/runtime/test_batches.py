from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import parser

from supernet_onnx.errors import RunError
from supernet_onnx.runtime import Batches

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
    ],
)
def test_data_that_do_not_fit_the_model_are_an_error(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(RunError, match=message):
        Batches(tmp_path / "d.npz", GRAPH, size=2)


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
