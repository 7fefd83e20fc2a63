"""The arrays of an ``.npz`` file in batches, as large as the disk allows: only one batch is in memory."""

from __future__ import annotations

import contextlib
import struct
import zipfile
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
from onnx import helper

from supernet_onnx.errors import RunError
from supernet_onnx.graph import input_names
from supernet_onnx.runtime.feeds import reading_npz
from supernet_onnx.shapes import type_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from onnx import GraphProto

    from supernet_onnx.runtime.session import Array
    from supernet_onnx.shapes.types import Dim

__all__ = ["Batches", "find_target"]

_LOCAL_HEADER: Final = 30  # bytes in front of a zip member's name, of which the last four give two lengths
_ENCRYPTED: Final = 1


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    is_fortran: bool


class _Reader(Protocol):
    """Reads the next samples of an array."""

    def __call__(self, count: int) -> Array: ...


class Batches:
    """The inputs of a model, batch by batch, from an ``.npz`` file whose arrays bear their names.

    It can be gone through several times. Arrays that are stored as they are (``numpy.savez``) are mapped into memory, a
    batch at a time; compressed ones are read as a stream. Other arrays are passed over.

    Args:
        path: The file.
        graph: The model's.
        size: The samples of a batch; the last one may have fewer. The first dim of every array is that of the samples.
        target: The name of an array that is to be in the batches, too; it may be of any type and shape.

    Attributes:
        num_samples: How many there are.

    Raises:
        RunError: The file cannot be read, lacks an input, holds one of another type or shape, or inputs differ in
            length.
    """

    def __init__(self, path: Path, graph: GraphProto, *, size: int, target: str | None = None) -> None:
        self._path = path
        self._size = size
        stated = {value.name: type_of(value.type) for value in graph.input}
        types = {name: value.dtype for name, value in stated.items()}
        inputs = input_names(graph)
        self._names = inputs if target is None else [*inputs, target]
        if target in inputs:
            raise RunError(f"'{target}' is an input of the model, so it cannot hold the targets; name another array")
        there = _names_in(path)
        for name in self._names:
            if name not in there:
                kind = "model's input" if name in types else "target"
                raise RunError(f"'{path}' holds the arrays {_listed(there)}, and lacks the {kind} '{name}'")
        headers = {}
        with reading_npz(path), zipfile.ZipFile(path) as archive:
            for name in self._names:
                with archive.open(f"{name}.npy") as file:
                    headers[name] = _read_header(file)
        for name, header in headers.items():
            expected = helper.tensor_dtype_to_np_dtype(types[name]) if name in types else header.dtype
            if header.dtype != expected or header.dtype.hasobject or not header.shape or header.is_fortran:
                order = " in Fortran order" if header.is_fortran else ""
                wanted = f"the model expects {expected}" if name in types else "a target is numbers"
                raise RunError(
                    f"'{path}', array '{name}' is {header.dtype}{list(header.shape)}{order}, {wanted} "
                    "with the samples along the first dim; convert it"
                )
        lengths = {header.shape[0] for header in headers.values()}
        if len(lengths) != 1 or lengths == {0}:
            told = ", ".join(f"'{name}' {header.shape[0]}" for name, header in headers.items()) or "no inputs"
            raise RunError(f"'{path}': the inputs must have one number of samples, and at least one; they have {told}")
        self.num_samples = lengths.pop()
        for name in inputs:
            self._check_shape(name, headers[name].shape, stated[name].shape)

    def _check_shape(self, name: str, shape: Sequence[int], expected: Sequence[Dim] | None) -> None:
        """Refuse an input whose samples have other sizes than the model states, or that it takes in other batches."""
        if expected is None:
            return
        sizes = zip(shape[1:], expected[1:], strict=False)
        if len(shape) != len(expected) or any(isinstance(wanted, int) and size != wanted for size, wanted in sizes):
            wanted = ", ".join("any" if dim is None else str(dim) for dim in expected)
            raise RunError(f"'{self._path}', array '{name}' is {list(shape)}, the model expects [{wanted}]")
        batch = expected[0]
        if not isinstance(batch, int) or (batch == self._size and self.num_samples % batch == 0):
            return
        raise RunError(
            f"'{self._path}', array '{name}': the model takes {batch} samples at once, no more and no less; give "
            f"--batch-size {batch} and a multiple of that, not {self.num_samples} samples in batches of {self._size}"
        )

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Iterate over the batches, ``{input: array}``."""
        with contextlib.ExitStack() as stack:
            with reading_npz(self._path):
                archive = stack.enter_context(zipfile.ZipFile(self._path))
                readers = {name: self._reader(archive, f"{name}.npy", stack) for name in self._names}
            for start in range(0, self.num_samples, self._size):
                count = min(self._size, self.num_samples - start)
                with reading_npz(self._path):
                    batch = {name: read(count) for name, read in readers.items()}
                yield batch

    def _reader(self, archive: zipfile.ZipFile, member: str, stack: contextlib.ExitStack) -> _Reader:
        info = archive.getinfo(member)
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & _ENCRYPTED:
            return _Mapped(self._path, info.header_offset)
        return _Streamed(stack.enter_context(archive.open(info)))


class _Mapped:
    """Reads samples of an array that is stored as it is, by mapping its part of the file."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        with path.open("rb") as file:
            file.seek(offset)
            lengths = struct.unpack("<HH", file.read(_LOCAL_HEADER)[-4:])  # of the name and the extra field
            file.seek(sum(lengths), 1)
            self._header = _read_header(file)
            self._place = file.tell()

    def __call__(self, count: int) -> Array:
        shape, dtype = (count, *self._header.shape[1:]), self._header.dtype
        if not (wanted := int(np.prod(shape)) * dtype.itemsize):
            return np.zeros(shape, dtype)
        mapped = np.memmap(self._path, dtype, "r", offset=self._place, shape=shape)
        self._place += wanted
        return np.array(mapped)  # members of an archive need not be aligned; and the map ends here


class _Streamed:
    """Reads samples of an array that is compressed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._header = _read_header(file)

    def __call__(self, count: int) -> Array:
        shape = (count, *self._header.shape[1:])
        wanted = int(np.prod(shape)) * self._header.dtype.itemsize
        content = self._file.read(wanted)
        if len(content) < wanted:
            raise EOFError(f"an array ends after {len(content)} of {wanted} bytes")
        return np.frombuffer(content, self._header.dtype).reshape(shape)


def find_target(path: Path, graph: GraphProto) -> str:
    """Return the name of the one array of an ``.npz`` file that is no input of the model.

    Raises:
        RunError: The file cannot be read, or there is none, or several.
    """
    others = _names_in(path) - {value.name for value in graph.input}
    if len(others) != 1:
        told = f"has the arrays {_listed(others)} beside the inputs" if others else "holds nothing beside the inputs"
        cure = "say which one holds the targets, with --target NAME" if others else "save the targets in it, too"
        raise RunError(f"'{path}' {told}; {cure}")
    return others.pop()


def _names_in(path: Path) -> set[str]:
    with reading_npz(path), zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def _read_header(file: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    return _Header(shape, dtype, is_fortran)


def _listed(names: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names)) or "none"
