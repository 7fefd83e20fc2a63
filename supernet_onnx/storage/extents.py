"""Where the external data of a model stand: the tensors that have some, and their byte ranges."""

from __future__ import annotations

import itertools
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from supernet_onnx.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Extent", "data_files", "external_tensors", "locate", "with_values"]


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


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a tensor's bytes stand.

    Attributes:
        file: A regular file in the model's folder.
        offset: Of the first byte.
        length: In bytes.
    """

    file: Path
    offset: int
    length: int


def locate(tensor: TensorProto, directory: Path) -> Extent:
    """Locate a tensor's external bytes, inside of the model's folder only.

    Raises:
        ModelError: They are missing, outside of the folder, or out of the file's range.
    """
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
    if status.st_nlink > 1:  # as onnx does: a hard link is the one way out of the folder that a path does not show
        raise ModelError(f"{where} has several hard links and may be a file from elsewhere; copy it")
    offset, length = entries.get("offset", "0"), entries.get("length")
    if not all(number.isascii() and number.isdigit() and len(number) < 20 for number in (offset, length or "0")):
        raise ModelError(f"{where} has offset {offset} and length {length}, expected numbers of at least 0")
    start, size = int(offset), status.st_size
    end = size if length is None else start + int(length)
    if start > size or end > size:
        edge = f"ends at byte {end}" if end > size else f"starts at byte {start}"
        raise ModelError(f"{where} {edge}, the file has {size}; it is cut short: copy it again")
    return Extent(file, start, end - start)


def with_values(tensor: TensorProto, directory: Path, *, size_bytes: int) -> TensorProto:
    """Return a copy of a small external tensor that holds its values itself.

    Args:
        tensor: Not changed.
        directory: The folder that its location is relative to.
        size_bytes: What it must take; nothing larger is read.

    Raises:
        ModelError: Its data cannot be read, or take another number of bytes.
    """
    extent = locate(tensor, directory)
    if extent.length != size_bytes:
        raise ModelError(
            f"tensor '{tensor.name}': has {extent.length} bytes in '{extent.file.name}', expected {size_bytes}; "
            "write the model again"
        )
    try:
        with extent.file.open("rb") as file:
            file.seek(extent.offset)
            values = file.read(size_bytes)
    except OSError as error:
        raise ModelError(f"external data '{extent.file.name}' cannot be read: {error.strerror}") from error
    inline = TensorProto()
    inline.CopyFrom(tensor)
    inline.ClearField("data_location")
    del inline.external_data[:]
    inline.raw_data = values
    return inline
