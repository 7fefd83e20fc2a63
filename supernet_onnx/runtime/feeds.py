"""What to feed a model: seeded random values, or the arrays of an ``.npz`` file."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import TensorProto, helper

from supernet_onnx.errors import RunError
from supernet_onnx.graph import input_names
from supernet_onnx.shapes import type_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from onnx import GraphProto, ValueInfoProto

    from supernet_onnx.runtime.session import Array
    from supernet_onnx.shapes import Dim, TensorType

__all__ = ["load_inputs", "random_inputs", "reading_npz"]

_DRAWN: Final = frozenset(
    {
        TensorProto.BOOL,
        *(TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE),
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    }
)


def random_inputs(
    graph: GraphProto, *, seed: int | Sequence[int] = 0, batch: int = 2, dims: Mapping[str, int] | None = None
) -> dict[str, Array]:
    """Draw a value for every input that a run must feed.

    Floating-point numbers are standard normal, 8-bit integers uniform over their whole range, wider ones uniform
    in 0..9 (small, for they may be indices), booleans fair.

    Args:
        graph: Whose inputs.
        seed: Equal seeds give equal values; no global state is touched.
        batch: The size of a first dim that is symbolic or unknown, unless ``dims`` binds it.
        dims: Sizes of symbolic dims, by name.

    Raises:
        RunError: A dim has no size, or no values can be drawn for an input's type.
    """
    generator = np.random.default_rng(seed)
    values = _required(graph)
    firsts = [shape[0] for shape in map(_shape, values) if shape]
    sizes = {**{first: batch for first in firsts if isinstance(first, str)}, **(dims or {})}
    drawn = {}
    for value in values:
        kind = type_of(value.type)
        if not value.type.HasField("tensor_type") or kind.dtype not in _DRAWN:
            raise RunError(
                f"input '{value.name}': no random values can be drawn for its type; give some with --inputs FILE.npz"
            )
        drawn[value.name] = _draw(kind.dtype, _sizes(value.name, kind, sizes, batch), generator)
    return drawn


def load_inputs(path: Path, graph: GraphProto) -> dict[str, Array]:
    """Read the inputs of a run from an ``.npz`` file, whose arrays bear the names of the inputs.

    Raises:
        RunError: The file cannot be read, lacks an input, holds an array that is no input, or one of another type.
    """
    arrays = _read_archive(path)
    required = {value.name: value for value in _required(graph)}
    if arrays.keys() != required.keys():
        raise RunError(f"'{path}' holds the arrays {_listed(arrays)}, expected the model's inputs: {_listed(required)}")
    for name, array in arrays.items():
        dtype = type_of(required[name].type).dtype
        if dtype not in _DRAWN | {TensorProto.STRING}:
            raise RunError(
                f"input '{name}': its type cannot be fed from '{path}'; only numbers, booleans and texts can"
            )
        expected = helper.tensor_dtype_to_np_dtype(dtype)
        if array.dtype != expected and not (expected.kind == "O" and array.dtype.kind == "U"):
            raise RunError(f"'{path}', array '{name}' is {array.dtype}, the model expects {expected}; convert it")
    return arrays


def _required(graph: GraphProto) -> list[ValueInfoProto]:
    names = set(input_names(graph))
    return [value for value in graph.input if value.name in names]


def _shape(value: ValueInfoProto) -> tuple[Dim, ...]:
    return (type_of(value.type).shape or ()) if value.type.HasField("tensor_type") else ()


def _sizes(name: str, kind: TensorType, sizes: Mapping[str, int], batch: int) -> list[int]:
    if kind.shape is None:
        raise RunError(f"input '{name}': its rank is not known; give values with --inputs FILE.npz")
    shape = []
    for axis, dim in enumerate(kind.shape):
        size = sizes.get(dim) if isinstance(dim, str) else dim
        if dim is None and axis == 0:
            size = batch
        if size is None:
            cure = f"give it one with --dim {dim}=N" if dim else "give values with --inputs FILE.npz"
            raise RunError(f"input '{name}': dim {axis} of {kind} has no size; {cure}")
        shape.append(size)
    return shape


def _draw(dtype: int, shape: list[int], generator: np.random.Generator) -> Array:
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    if kind.kind == "f":
        return generator.standard_normal(shape).astype(kind)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(kind)
    limits = np.iinfo(kind)
    low, high = (limits.min, limits.max) if limits.bits == 8 else (0, 9)
    return generator.integers(low, high, shape, endpoint=True).astype(kind)


def _read_archive(path: Path) -> dict[str, Array]:
    with reading_npz(path), path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            return {name: loaded[name] for name in loaded.files}
    raise RunError(f"'{path}' holds one array without a name; save inputs with numpy.savez(FILE, NAME=array)")


@contextlib.contextmanager
def reading_npz(path: Path) -> Iterator[None]:
    """Turn what zipfile, zlib and numpy raise about a file that is missing, broken or no ``.npz`` into our error."""
    try:
        yield
    except (
        *(OSError, zipfile.BadZipFile, zlib.error),  # no file, no archive, or damaged
        *(NotImplementedError, KeyError),  # compressed in a way that zipfile does not know; an array is not there
        *(EOFError, ValueError),  # an array is cut short, or has no header of numpy's
    ) as error:
        cause = getattr(error, "strerror", None) or " ".join(str(error).split())
        if "pickle" in cause:  # numpy takes what it does not know for one, and tells how to trust it
            cause = "it is none, or holds Python objects, which are not read"
        raise RunError(f"'{path}' cannot be read as .npz: {cause}") from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names)) or "none"
