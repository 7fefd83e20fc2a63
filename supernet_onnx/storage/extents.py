"""The external data of a model: the tensors that have some, their files, and small values read from them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from supernet_onnx.errors import ModelError
from supernet_onnx.storage.confinement import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["attribute_tensors", "data_files", "external_tensors", "with_values"]


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Iterate over the tensors of a model whose values stand in other files: anywhere that a model keeps tensors."""
    graphs = [model.graph, *(graph for info in model.training_info for graph in (info.initialization, info.algorithm))]
    nodes = (node for function in model.functions for node in function.node)
    defaults = (attribute for function in model.functions for attribute in function.attribute_proto)
    for tensor in itertools.chain(*map(_tensors, graphs), _node_tensors(nodes), _attribute_tensors(defaults)):
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
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    yield from _attribute_tensors(attribute for node in nodes for attribute in node.attribute)


def _attribute_tensors(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    for attribute in attributes:
        if attribute.type == AttributeProto.GRAPH:
            yield from _tensors(attribute.g)
        elif attribute.type == AttributeProto.GRAPHS:
            yield from itertools.chain(*map(_tensors, attribute.graphs))
        else:
            yield from attribute_tensors(attribute)


def attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    """Iterate over the tensors that are an attribute's value, the two of a sparse one each; not those in its graphs."""
    if attribute.type == AttributeProto.TENSOR:
        yield attribute.t
    elif attribute.type == AttributeProto.TENSORS:
        yield from attribute.tensors
    elif attribute.type == AttributeProto.SPARSE_TENSOR:
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
    elif attribute.type == AttributeProto.SPARSE_TENSORS:
        yield from (tensor for sparse in attribute.sparse_tensors for tensor in (sparse.values, sparse.indices))


def with_values(tensor: TensorProto, directory: Path, *, size_bytes: int, allow_links: bool = False) -> TensorProto:
    """Return a copy of a small external tensor that holds its values itself.

    Args:
        tensor: Not changed.
        directory: The folder that its location is relative to.
        size_bytes: What it must take; nothing larger is read.
        allow_links: Whether the data may be a link to a file elsewhere.

    Raises:
        ModelError: Its data cannot be read, or take another number of bytes.
    """
    extent = locate(tensor, directory, allow_links=allow_links)
    if extent.length != size_bytes:
        raise ModelError(
            f"tensor '{tensor.name}': has {extent.length} bytes in '{extent.file.name}', expected {size_bytes}; "
            "write the model again"
        )
    try:
        with extent.file.open() as file:
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
