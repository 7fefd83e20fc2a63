"""Models and other files on disk: load without weights, save whole or not at all.

A save writes to temporary files in the target's folder, flushes them to the disk and renames them; external data
first, the model last. External data are copied file to file, only the byte ranges that the model still names.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from google.protobuf.message import DecodeError, EncodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto

from supernet_onnx.errors import ModelError, OutputError
from supernet_onnx.extents import Extent, locate, open_extent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
        OutputError: The folder is missing or read-only, the disk is full, or the path is no regular file.
    """
    with _replacing(Path(path)) as (file,):
        file.write(content)


def save(model: ModelProto, path: Path | str, *, directory: Path | None = None, allow_links: bool = False) -> None:
    """Write a model, and the external data that it names to ``NAME.data`` beside it.

    Args:
        model: What to write; it is not changed.
        path: Where. An existing file is replaced, never appended to.
        directory: The folder that the model's external data are relative to.
        allow_links: Whether they may be links to files elsewhere.

    Raises:
        ModelError: External data are missing, too short, or lie outside of ``directory``.
        OutputError: A file cannot be written, or ``NAME.data`` is one that a model of another name reads. Nothing is
            left half written.
    """
    path = Path(path)
    if next(external_tensors(model), None) is None:
        write(path, serialize(model))
        return
    if directory is None:
        raise ModelError("the model has external data but was never a file; load their values into the model first")
    moved = ModelProto()
    moved.CopyFrom(model)
    data = path.with_name(f"{path.name}.data")
    places = _move_external(moved, data.name, directory, allow_links)
    if not os.path.exists(path) and os.path.exists(data) and any(data.samefile(extent.file) for extent in places):
        raise OutputError(
            f"'{data}' holds the external data that are to be saved; choose another name than '{path.name}'"
        )
    content = serialize(moved)
    with _replacing(data, path) as (data_file, model_file):
        for extent, place in places.items():
            data_file.seek(place)
            data_file.writelines(_chunks(extent))
        data_file.truncate(max(place + extent.length for extent, place in places.items()))
        model_file.write(content)


def refuse_overwrite(output: Path, inputs: list[Path]) -> None:
    """Refuse an output that is one of the inputs.

    Raises:
        OutputError: It is, under whatever name.
    """
    for path in inputs:
        if os.path.exists(output) and os.path.exists(path) and os.path.samefile(output, path):
            raise OutputError(f"output '{output}' is also an input; choose another name, or pass --force to replace it")


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Iterate over the tensors of a model whose values stand in other files: anywhere that a model keeps tensors."""
    graphs = [model.graph, *(graph for info in model.training_info for graph in (info.initialization, info.algorithm))]
    nodes = (node for function in model.functions for node in function.node)
    for tensor in itertools.chain(*map(_tensors, graphs), _attribute_tensors(nodes)):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor


def data_files(model: ModelProto, directory: Path) -> list[Path]:
    """Return the files that hold a model's external data, each once; they need not exist."""
    entries = (entry for tensor in external_tensors(model) for entry in tensor.external_data)
    return list(dict.fromkeys(directory / entry.value for entry in entries if entry.key == "location"))


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _attribute_tensors(graph.node)


def _attribute_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == AttributeProto.TENSORS:
            yield from attribute.tensors
        elif attribute.type == AttributeProto.GRAPH:
            yield from _tensors(attribute.g)
        elif attribute.type == AttributeProto.GRAPHS:
            yield from itertools.chain(*map(_tensors, attribute.graphs))
        elif attribute.type == AttributeProto.SPARSE_TENSOR:
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        elif attribute.type == AttributeProto.SPARSE_TENSORS:
            yield from (tensor for sparse in attribute.sparse_tensors for tensor in (sparse.values, sparse.indices))


def _move_external(model: ModelProto, name: str, directory: Path, allow_links: bool) -> dict[Extent, int]:
    """Point a model's external tensors to one new file, and return where each extent goes in it."""
    places: dict[Extent, int] = {}
    end = 0
    for tensor in external_tensors(model):
        extent = locate(tensor, directory, allow_links=allow_links)
        if extent not in places:
            places[extent] = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = places[extent] + extent.length
        del tensor.external_data[:]
        for key, value in (("location", name), ("offset", places[extent]), ("length", extent.length)):
            tensor.external_data.append(StringStringEntryProto(key=key, value=str(value)))
    return places


def _chunks(extent: Extent) -> Iterator[bytes]:
    """Iterate over the bytes of an extent."""
    where = f"external data '{extent.file.name}'"
    left = extent.length
    try:
        with os.fdopen(open_extent(extent), "rb") as source:
            source.seek(extent.offset)
            while left:
                chunk = source.read(min(left, _CHUNK))
                if not chunk:
                    raise ModelError(f"{where} became shorter while it was copied")
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise ModelError(f"{where} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _replacing(*paths: Path) -> Iterator[list[BinaryIO]]:
    """Give temporary files that take the places of ``paths`` if the block ends well, and vanish if not.

    No place is taken before all files are on the disk.
    """
    with contextlib.ExitStack() as stack:
        try:
            files: list[BinaryIO] = []
            temporary: list[Path] = []
            for path in paths:
                _check_target(path)
                descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=".supernet-onnx.", suffix=".tmp")
                temporary.append(Path(name))
                stack.callback(temporary[-1].unlink, missing_ok=True)
                files.append(stack.enter_context(os.fdopen(descriptor, "wb")))
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
                file.close()
            for path, new in zip(paths, temporary, strict=True):
                os.chmod(new, _mode(path))
            for path, new in zip(paths, temporary, strict=True):
                os.replace(new, path)
        except OSError as error:
            raise OutputError(f"'{paths[-1]}' cannot be written: {error.strerror or error}") from error


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f"output '{path}' is a folder; give a file name")
    if path.exists() and not path.is_file():
        raise OutputError(f"output '{path}' is no regular file; give a file name")


def _mode(path: Path) -> int:
    """Return the permissions of the file that is replaced, or those of a new file."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
