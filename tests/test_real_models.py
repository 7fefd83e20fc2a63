"""Real models, each wrapped as a branch of a pool: pruned back to what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from onnx import ModelProto

from supernet_onnx import storage
from supernet_onnx.pruning import prune
from supernet_onnx.selection import resolve
from supernet_onnx.supergraph import read
from tests import graphs, real_models

if TYPE_CHECKING:
    from pathlib import Path


def without_unread(original: ModelProto) -> ModelProto:
    """Return a model without the initializers that nothing reads, which a prune takes for dead as well.

    Three of the models have some: a name in a queue of images, shapes that an optimizer left behind.
    """
    read_anywhere = {value.name for value in original.graph.output}
    waiting = list(original.graph.node)
    while waiting:
        node = waiting.pop()
        read_anywhere.update(node.input)
        for graph in graphs.nested_graphs(node):
            read_anywhere.update(value.name for value in graph.output)
            waiting.extend(graph.node)
    unread = {tensor.name for tensor in original.graph.initializer} - read_anywhere
    cut = ModelProto()
    cut.CopyFrom(original)
    for items in (cut.graph.initializer, cut.graph.input, cut.graph.value_info):
        kept = [item for item in items if item.name not in unread]
        del items[:]
        items.extend(kept)
    return cut


def assert_pruned_back(path: Path, folder: Path) -> None:
    original = ModelProto.FromString(path.read_bytes())
    supernet = folder / "supernet.onnx"
    supernet.write_bytes(real_models.wrapped(original).SerializeToString())
    supergraph = read(supernet)
    subnet = folder / "subnet.onnx"
    storage.save(prune(supergraph, resolve(supergraph, {"pool": "original"})), subnet)
    assert subnet.read_bytes() == without_unread(original).SerializeToString()
    other = prune(supergraph, resolve(supergraph, {"pool": "zeros"}))
    assert {node.op_type for node in other.graph.node} <= {"Identity"}
    assert len(other.graph.initializer) == len(original.graph.output)


@pytest.mark.parametrize("path", real_models.LIGHT, ids=lambda path: path.stem)
def test_onnx_s_own_models_are_pruned_back_to_what_they_were(path: Path, tmp_path: Path) -> None:
    assert_pruned_back(path, tmp_path)


@pytest.mark.parametrize("name", real_models.SHIPPED)
def test_models_that_packages_ship_are_pruned_back_to_what_they_were(name: str, tmp_path: Path) -> None:
    assert real_models.FOLDER.is_dir(), "the packages with the models are missing; run tools/setup"
    assert_pruned_back(real_models.FOLDER / name, tmp_path)
