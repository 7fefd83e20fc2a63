"""What every subnet must be, checked naively against its supernet: nothing here knows conditions or graph-surgeon."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from supernet_onnx import marks
from supernet_onnx.pruning import prune
from supernet_onnx.selection import every
from supernet_onnx.supergraph import read
from tests import graphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def blank(node: NodeProto) -> bytes:
    """Return a node's bytes without the names of the tensors that it reads and makes."""
    copy = NodeProto()
    copy.CopyFrom(node)
    waiting = [copy]
    while waiting:
        item = waiting.pop()
        item.input[:] = ["" for _ in item.input]
        item.output[:] = ["" for _ in item.output]
        for graph in graphs.nested_graphs(item):
            waiting.extend(graph.node)
            for value in graph.output:
                value.name = ""
    return copy.SerializeToString(deterministic=True)


def joins(model: ModelProto, chosen: Mapping[str, int], live: set[int]) -> int:
    """Count the pools that must stay as an Identity: those that are graph outputs, but for one that names a node's."""
    outputs = {value.name for value in model.graph.output}
    pools = {model.graph.node[i].output[0]: model.graph.node[i] for i in live if marks.is_pool(model.graph.node[i])}
    sources = collections.Counter()
    for name in outputs & pools.keys():
        source = name
        while source == name or (source in pools and source not in outputs):
            source = pools[source].input[1 + chosen[marks.decode(pools[source]).pool]]
        sources[source] += 1
    made = {name for i in live for name in model.graph.node[i].output}
    return sum(count - (source in made - outputs) for source, count in sources.items())


def assert_nothing_is_left_over(subnet: ModelProto) -> None:
    graph = subnet.graph
    nodes, tensors = graphs.live(subnet, {})
    assert nodes == set(range(len(graph.node)))
    used = tensors | {
        entry.value for item in graph.quantization_annotation for entry in item.quant_parameter_tensor_names
    }
    made = {name for node in graph.node for name in node.output}
    initializers = {tensor.name for tensor in graph.initializer}
    assert initializers | {sparse.values.name for sparse in graph.sparse_initializer} <= used
    present = used | made | {value.name for value in graph.input}
    assert {value.name for value in graph.value_info} <= present
    assert {item.tensor_name for item in graph.quantization_annotation} <= present
    functions = {(function.domain, function.name): function for function in subnet.functions}
    called = calls(graph.node)
    for _ in functions:
        called |= {name for key in called & functions.keys() for name in calls(functions[key].node)}
    assert functions.keys() <= called
    imported = {entry.domain for entry in subnet.opset_import}
    assert imported == {domain for domain, _ in called} | {""}
    assert not {entry.key for entry in subnet.metadata_props} & {marks.FORMAT_KEY, marks.VERSION_KEY}


def calls(nodes: Iterable[NodeProto]) -> set[tuple[str, str]]:
    found = set()
    for node in nodes:
        found.add((node.domain, node.op_type))
        for graph in graphs.nested_graphs(node):
            found |= calls(graph.node)
    return found


def assert_survivors_are_unchanged(model: ModelProto, subnet: ModelProto, chosen: Mapping[str, int]) -> None:
    live, _ = graphs.live(model, chosen)
    before, after = model.graph, subnet.graph
    survivors = [before.node[i] for i in sorted(live) if not marks.is_pool(before.node[i])]
    pools = {before.node[i].output[0] for i in live if marks.is_pool(before.node[i])}
    left = [node for node in after.node if node.metadata_props]  # every node of ``graphs.marked`` has some
    joined = [node for node in after.node if not node.metadata_props]
    assert [blank(node) for node in survivors] == [blank(node) for node in left]
    assert all(node.op_type == "Identity" and set(node.output) <= pools for node in joined)
    assert len(joined) == joins(model, chosen, live)
    for old, new in ((before.initializer, after.initializer), (before.value_info, after.value_info)):
        originals = {item.name: item.SerializeToString() for item in old}
        assert all(originals[item.name] == item.SerializeToString() for item in new)
        assert [item.name for item in new] == [item.name for item in old if item.name in {item.name for item in new}]
    assert list(before.output) == list(after.output)
    kept = {value.name for value in after.input}
    defaults = {tensor.name for tensor in before.initializer}
    assert list(after.input) == [value for value in before.input if value.name in kept]
    assert {value.name for value in before.input} - kept <= defaults - {tensor.name for tensor in after.initializer}
    for field in ("name", "doc_string", "metadata_props"):
        assert getattr(before, field) == getattr(after, field)
    for field in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(model, field) == getattr(subnet, field)
    assert all(function in model.functions for function in subnet.functions)


def assert_every_selection_is_right(model: ModelProto) -> list[ModelProto]:
    """Prune to every selection, check all that pruning promises, and return the subnets."""
    written = model.SerializeToString(deterministic=True)
    supergraph = read(model)
    subnets = []
    for selection in every(supergraph):
        chosen = dict(zip(selection.pools, selection.indices, strict=True))
        subnet = prune(supergraph, selection)
        onnx.checker.check_model(subnet, full_check=True)
        assert_nothing_is_left_over(subnet)
        assert_survivors_are_unchanged(model, subnet, chosen)
        for expected, got in zip(graphs.evaluate(graphs.one_hot(model, chosen)), graphs.evaluate(subnet), strict=True):
            np.testing.assert_array_equal(got, expected, strict=True)
        assert prune(read(model), selection).SerializeToString() == subnet.SerializeToString()
        subnets.append(subnet)
    assert model.SerializeToString(deterministic=True) == written
    return subnets
