"""The arrays of an ``.npz`` file in batches, as large as the disk allows: only one batch is in memory."""

from __future__ import annotations

import contextlib
import zipfile
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
from onnx import helper

from supernet_onnx.errors import RunError
from supernet_onnx.graph import input_names
from supernet_onnx.runtime.feeds import reading_npz
from supernet_onnx.shapes import type_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from onnx import GraphProto

    from supernet_onnx.runtime.session import Array

__all__ = ["Batches"]


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    is_fortran: bool


class Batches:
    """The inputs of a model, batch by batch, from an ``.npz`` file whose arrays bear their names.

    It can be gone through several times. Arrays are read as a stream, compressed ones as well; arrays that are no
    inputs, such as targets, are passed over.

    Args:
        path: The file.
        graph: The model's.
        size: The samples of a batch; the last one may have fewer. The first dim of every array is that of the samples.

    Attributes:
        num_samples: How many there are.

    Raises:
        RunError: The file cannot be read, lacks an input, holds one of another type, or inputs differ in length.
    """

    def __init__(self, path: Path, graph: GraphProto, *, size: int) -> None:
        self._path = path
        self._size = size
        types = {value.name: type_of(value.type).dtype for value in graph.input}
        self._names = input_names(graph)
        with reading_npz(path), zipfile.ZipFile(path) as archive:
            there = {name.removesuffix(".npy") for name in archive.namelist()}
            for name in self._names:
                if name not in there:
                    held = ", ".join(f"'{other}'" for other in sorted(there)) or "none"
                    raise RunError(f"'{path}' holds the arrays {held}, and lacks the model's input '{name}'")
            headers = {}
            for name in self._names:
                with archive.open(f"{name}.npy") as file:
                    headers[name] = _read_header(file)
        for name, header in headers.items():
            expected = helper.tensor_dtype_to_np_dtype(types[name])
            if header.dtype != expected or header.dtype.hasobject or not header.shape or header.is_fortran:
                order = " in Fortran order" if header.is_fortran else ""
                raise RunError(
                    f"'{path}', array '{name}' is {header.dtype}{list(header.shape)}{order}, the model expects "
                    f"{expected} with the samples along the first dim; convert it"
                )
        lengths = {header.shape[0] for header in headers.values()}
        if len(lengths) != 1 or lengths == {0}:
            told = ", ".join(f"'{name}' {header.shape[0]}" for name, header in headers.items()) or "no inputs"
            raise RunError(f"'{path}': the inputs must have one number of samples, and at least one; they have {told}")
        self.num_samples = lengths.pop()

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Iterate over the batches, ``{input: array}``."""
        with contextlib.ExitStack() as stack:
            with reading_npz(self._path):
                archive = stack.enter_context(zipfile.ZipFile(self._path))
                files = {name: stack.enter_context(archive.open(f"{name}.npy")) for name in self._names}
                headers = {name: _read_header(file) for name, file in files.items()}
            for start in range(0, self.num_samples, self._size):
                count = min(self._size, self.num_samples - start)
                with reading_npz(self._path):
                    batch = {name: _read(files[name], headers[name], count) for name in self._names}
                yield batch


def _read_header(file: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    return _Header(shape, dtype, is_fortran)


def _read(file: IO[bytes], header: _Header, count: int) -> Array:
    shape = (count, *header.shape[1:])
    wanted = int(np.prod(shape)) * header.dtype.itemsize
    content = file.read(wanted)
    if len(content) < wanted:
        raise EOFError(f"an array ends after {len(content)} of {wanted} bytes")
    return np.frombuffer(content, header.dtype).reshape(shape)
