"""Models and other files on disk: load without weights, save whole or not at all.

A save writes to a temporary file in the target's folder, flushes it to the disk and renames it; external data
first, the model last. External data are copied file to file, only the byte ranges that the model still names.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final

from google.protobuf.message import DecodeError, EncodeError
from onnx import AttributeProto, GraphProto, ModelProto, StringStringEntryProto, TensorProto

from supernet_onnx.errors import ModelError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["data_files", "external_tensors", "load", "refuse_overwrite", "save", "serialize", "write"]

_ALIGNMENT: Final = 4096  # what memory mapping asks for
_CHUNK: Final = 1 << 22


def load(path: Path | str) -> ModelProto:
    """Read an ONNX model; external data stay on disk, referenced.

    Raises:
        ModelError: There is no such file, it cannot be read, or it is no ONNX model.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise ModelError(f"'{path}' is a folder; expected an .onnx file") from error
    except FileNotFoundError as error:
        raise ModelError(f"'{path}' does not exist; check the path") from error
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from error
    if not content:
        raise ModelError(f"'{path}' is empty; expected an ONNX model: write it again")
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(
            f"'{path}' is no ONNX model, or is cut short ({len(content)} bytes): it does not parse as protobuf"
        ) from error
    if not model.HasField("graph") or not model.opset_import:
        raise ModelError(f"'{path}' is no ONNX model: it has no graph or imports no operator set")
    return model


def serialize(model: ModelProto) -> bytes:
    """Return the model as bytes; equal models give equal bytes.

    Raises:
        OutputError: The model is over protobuf's limit of 2 GiB.
    """
    try:
        return model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise OutputError(
            "the model is larger than 2 GiB, the limit of one file; keep its weights in external data"
        ) from error


def write(path: Path | str, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary file beside it, flushed, then renamed.

    Raises:
        OutputError: The folder is missing or read-only, the disk is full, or the path is a folder.
    """
    with _replacing(Path(path)) as file:
        file.write(content)


def save(model: ModelProto, path: Path | str, *, directory: Path | None = None) -> None:
    """Write a model, and the external data that it names to ``NAME.data`` beside it.

    Args:
        model: What to write; it is not changed.
        path: Where. An existing file is replaced, never appended to.
        directory: The folder that the model's external data are relative to.

    Raises:
        ModelError: External data are missing, too short, or lie outside of ``directory``.
        OutputError: The file cannot be written. Nothing is left half written.
    """
    path = Path(path)
    if next(external_tensors(model), None) is not None:
        if directory is None:
            raise ModelError("the model has external data but was never a file; load their values into the model first")
        kept = ModelProto()
        kept.CopyFrom(model)
        model = kept
        content = _copy_external(model, path, directory)
    else:
        content = serialize(model)
    write(path, content)


def refuse_overwrite(output: Path, inputs: list[Path]) -> None:
    """Refuse an output that is one of the inputs.

    Raises:
        OutputError: It is, under whatever name.
    """
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise OutputError(f"output '{output}' is also an input; choose another name, or pass --force to replace it")


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Iterate over the tensors of a model whose values stand in other files, nested graphs included."""
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor


def data_files(model: ModelProto, directory: Path) -> list[Path]:
    """Return the files that hold a model's external data, each once; they need not exist."""
    entries = (entry for tensor in external_tensors(model) for entry in tensor.external_data)
    return list(dict.fromkeys(directory / entry.value for entry in entries if entry.key == "location"))


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.TENSORS:
                yield from attribute.tensors
            elif attribute.type == AttributeProto.GRAPH:
                yield from _tensors(attribute.g)
            elif attribute.type == AttributeProto.GRAPHS:
                for nested in attribute.graphs:
                    yield from _tensors(nested)


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where a tensor's bytes stand."""

    file: Path
    offset: int
    length: int


def _extent(tensor: TensorProto, directory: Path) -> _Extent:
    """Locate a tensor's external bytes, inside of the model's folder only."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"tensor '{tensor.name}': external data '{location}'"
    parts = PurePosixPath(location.replace("\\", "/")).parts
    if not location or PurePosixPath(location).is_absolute() or ".." in parts or ":" in location:
        raise ModelError(f"{where} must be a path inside of the model's folder")
    file = directory.joinpath(*parts)
    try:
        inside = file.resolve(strict=True).is_relative_to(directory.resolve())
        status = file.stat()
    except OSError as error:
        raise ModelError(f"{where} cannot be read: {error.strerror}; it belongs beside the model") from error
    if not inside or not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{where} must be a regular file inside of the model's folder")
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(status.st_size - offset)))
    except ValueError as error:
        raise ModelError(f"{where} has an offset or length that is no number") from error
    if offset < 0 or length < 0 or offset + length > status.st_size:
        raise ModelError(
            f"{where} ends at byte {offset + length}, the file has {status.st_size}; it is cut short: copy it again"
        )
    return _Extent(file, offset, length)


def _copy_external(model: ModelProto, path: Path, directory: Path) -> bytes:
    """Copy the model's extents to ``NAME.data``, each once, point the tensors there, and return the model's bytes."""
    name = f"{path.name}.data"
    places: dict[_Extent, int] = {}
    end = 0
    for tensor in external_tensors(model):
        extent = _extent(tensor, directory)
        if extent not in places:
            places[extent] = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = places[extent] + extent.length
        del tensor.external_data[:]
        for key, value in (("location", name), ("offset", places[extent]), ("length", extent.length)):
            tensor.external_data.append(StringStringEntryProto(key=key, value=str(value)))
    content = serialize(model)
    with _replacing(path.with_name(name)) as target:
        for extent, place in places.items():
            target.seek(place)
            _copy_range(extent, target)
        target.truncate(end)
    return content


def _copy_range(extent: _Extent, target: BinaryIO) -> None:
    with extent.file.open("rb") as source:
        source.seek(extent.offset)
        left = extent.length
        while left:
            chunk = source.read(min(left, _CHUNK))
            if not chunk:
                raise ModelError(f"external data '{extent.file.name}' became shorter while it was copied")
            target.write(chunk)
            left -= len(chunk)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a temporary file that takes the place of ``path`` if the block ends well, and vanishes if not."""
    if path.is_dir():
        raise OutputError(f"output '{path}' is a folder; give a file name")
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_mode(path))
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _mode(path: Path) -> int:
    """Return the permissions of the file that is replaced, or those of a new file."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
