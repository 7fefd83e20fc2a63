from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from supernet_onnx.errors import RunError
from supernet_onnx.runtime import load_inputs, random_inputs
from tests import marked

if TYPE_CHECKING:
    from pathlib import Path

HEADER = '<ir_version: 10, opset_import: ["" : 20]>'

X = np.array([1.0, -2.0, 3.0], np.float32)


def graph_of(inputs: str) -> onnx.GraphProto:
    text = f"g ({inputs}) => (float[1] y) {{ y = Constant <value_floats = [1.0]> () }}"
    return marked.build(HEADER + text).graph


def test_random_inputs_follow_seed_type_and_shape() -> None:
    graph = graph_of("float[batch, 3] a, float16[2] h, uint8[500] u, int8[500] s, int64[500] i, bool[500] t, double d")
    drawn = random_inputs(graph, seed=5)
    again, other = random_inputs(graph, seed=5), random_inputs(graph, seed=6)
    assert {name: (value.dtype.name, value.shape) for name, value in drawn.items()} == {
        "a": ("float32", (2, 3)),
        "h": ("float16", (2,)),
        "u": ("uint8", (500,)),
        "s": ("int8", (500,)),
        "i": ("int64", (500,)),
        "t": ("bool", (500,)),
        "d": ("float64", ()),
    }
    for name, value in drawn.items():
        np.testing.assert_array_equal(value, again[name])
    assert not np.array_equal(drawn["a"], other["a"])
    assert set(drawn["i"].tolist()) == set(range(10))
    assert set(drawn["t"].tolist()) == {True, False}
    assert drawn["u"].max() > 240
    assert drawn["s"].min() < -120


def test_random_inputs_leave_the_global_generator_alone() -> None:
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    random_inputs(graph_of("float[4] x"))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_one_name_has_one_size_in_all_inputs() -> None:
    drawn = random_inputs(graph_of("float[n, t] a, float[t, n] b"), batch=4, dims={"t": 6})
    assert (drawn["a"].shape, drawn["b"].shape) == ((4, 6), (6, 4))
    assert random_inputs(graph_of("float[n, 2] a"), batch=4, dims={"n": 7})["a"].shape == (7, 2)


def test_an_input_with_a_default_is_not_drawn() -> None:
    graph = graph_of("float[2] x, float[2] w")
    graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "w"))
    assert list(random_inputs(graph)) == ["x"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("float[n, t] x", r"input 'x': dim 1 of float\[n,t\] has no size; give it one with --dim t=N"),
        ("float[n, ?] x", r"input 'x': dim 1 of float\[n,\?\] has no size; give values with --inputs FILE.npz"),
        ("string[2] x", r"input 'x': no random values can be drawn for its type; give some with --inputs FILE.npz"),
        ("bfloat16[2] x", r"input 'x': no random values can be drawn for its type; give some with --inputs FILE.npz"),
        ("seq(float[2]) x", r"input 'x': no random values can be drawn for its type; give some with --inputs FILE.npz"),
        ("float[] x", r"input 'x': its rank is not known; give values with --inputs FILE.npz"),
    ],
)
def test_an_input_that_cannot_be_drawn_is_an_error_with_a_way_out(inputs: str, message: str) -> None:
    graph = graph_of(inputs)
    with pytest.raises(RunError, match=f"^{message}$"):
        random_inputs(graph)


def test_inputs_are_read_from_an_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", x=X)
    loaded = load_inputs(tmp_path / "inputs.npz", graph_of("float[n] x"))
    np.testing.assert_array_equal(loaded["x"], X)


def test_texts_are_read_from_an_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", x=np.array(["a", "b"]))
    assert load_inputs(tmp_path / "inputs.npz", graph_of("string[n] x"))["x"].tolist() == ["a", "b"]


@pytest.mark.parametrize("kind", ["seq(float[n])", "bfloat16[n]"])
def test_an_input_that_an_archive_cannot_hold_is_an_error(kind: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", x=X)
    with pytest.raises(
        RunError, match=r"^input 'x': its type cannot be fed from '.*inputs\.npz'; only numbers, booleans"
    ):
        load_inputs(tmp_path / "inputs.npz", graph_of(f"{kind} x"))


def test_an_archive_of_other_arrays_is_an_error(tmp_path: Path) -> None:
    path, graph = tmp_path / "inputs.npz", graph_of("float[n] x")
    np.savez(path, y=X, z=X)
    with pytest.raises(RunError, match=r"holds the arrays 'y', 'z', expected the model's inputs: 'x'$"):
        load_inputs(path, graph)
    np.savez(path, x=X.astype(np.float64))
    with pytest.raises(RunError, match=r"array 'x' is float64, the model expects float32; convert it$"):
        load_inputs(path, graph)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut short", b"\x93NUMPY"])
def test_a_file_that_is_no_archive_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "inputs.npz"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"inputs\.npz' cannot be read as \.npz: "):
        load_inputs(path, graph_of("float[n] x"))


def test_a_single_array_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(RunError, match=r"x\.npy' holds one array without a name; save inputs with numpy\.savez"):
        load_inputs(tmp_path / "x.npy", graph_of("float[n] x"))
    with pytest.raises(RunError, match=r"cannot be read as \.npz: No such file or directory$"):
        load_inputs(tmp_path / "none.npz", graph_of("float[n] x"))
