"""The walk over all that a model holds, without recursion: counts, names, tensors, calls of local functions."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

from supernet_onnx import marks, storage
from supernet_onnx.admission.tensors import check_tensor
from supernet_onnx.errors import ModelError
from supernet_onnx.graph import attribute_graphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from supernet_onnx.admission.limits import Limits

__all__ = ["check_structure"]

_Call = tuple[str, str, str]  # domain, name and overload of a local function


@dataclass
class _Body:
    """What a graph or a local function holds, its nested graphs included."""

    nodes: int = 0
    depth: int = 0
    calls: list[_Call] = field(default_factory=list)


def check_structure(model: ModelProto, limits: Limits) -> list[TensorProto]:
    """Check counts, depth, names and tensors of a model.

    Returns:
        The tensors whose values stand in other files.

    Raises:
        ModelError: Something is over a limit or damaged, or a local function calls itself.
    """
    external: list[TensorProto] = []
    functions: dict[_Call, _Body] = {}
    keys = [(function.domain, function.name, function.overload) for function in model.functions]
    local = set(keys)
    if len(local) < len(model.functions):
        raise ModelError("two local functions have one name; names must be unique")
    for key, function in zip(keys, model.functions, strict=True):
        _Walk(limits, external, local, "a local function").names(key)
        where = f"local function '{function.domain}::{function.name}'"
        functions[key] = _Walk(limits, external, local, where).body(function)
    walk = _Walk(limits, external, local, "the graph")
    walk.names(opset.domain for opset in model.opset_import)
    walk.names(text for entry in model.metadata_props for text in (entry.key, entry.value[:1]))
    main = walk.body(model.graph)
    for info in model.training_info:
        for graph in (info.initialization, info.algorithm):
            _Walk(limits, external, local, "training info").body(graph)
    _check_calls(main, functions, limits)
    return external


class _Walk:
    """One pass over a graph or function, and the graphs nested in it."""

    def __init__(self, limits: Limits, external: list[TensorProto], local: set[_Call], where: str) -> None:
        self._limits, self._external, self._local, self._where = limits, external, local, where
        self._pools = 0

    def body(self, top: GraphProto | FunctionProto) -> _Body:
        """Check a graph or function and all below it."""
        found = _Body()
        waiting: list[tuple[GraphProto | FunctionProto, int]] = [(top, 1)]
        while waiting:
            graph, depth = waiting.pop()
            found.depth = max(found.depth, depth)
            self._limits.check("depth", depth, f"{self._where}: graphs in graphs")
            found.nodes += len(graph.node)
            self._limits.check("nodes", found.nodes, self._where)
            if isinstance(graph, GraphProto):
                self._values(graph)
            else:
                self.names(graph.input, self._where)
                self.names(graph.output, self._where)
                self._attributes(graph.attribute_proto, self._where)
            for node in graph.node:
                if self._local and (key := (node.domain, node.op_type, node.overload)) in self._local:
                    found.calls.append(key)
                if inner := self._node(node):
                    waiting.extend((graph, depth + 1) for graph in inner)
        self._limits.check("pools", self._pools, self._where)
        return found

    def _node(self, node: NodeProto) -> list[GraphProto]:
        """Check a node and return the graphs in its attributes. This runs for every node of large models."""
        name, kind, domain, inputs, outputs = node.name, node.op_type, node.domain, node.input, node.output
        try:
            length = len("".join((name, kind, domain, *inputs, *outputs)))
        except TypeError:  # a name is no text
            length = sys.maxsize
        if length > self._limits.names:
            self.names((name, kind, domain, *inputs, *outputs))
        most = len(inputs)
        if max(most, len(outputs)) > self._limits.inputs:  # so that no message is put together for every node
            self._limits.check("inputs", max(most, len(outputs)), f"{self._where}, node '{name}'")
        if domain == marks.DOMAIN:
            self._pools += 1
            self._limits.check("branches", most - 1, f"pool node '{name or ''.join(outputs[:1])}'")
        if not kind:
            raise ModelError(f"{self._where}, node '{name or ''.join(outputs[:1])}' has no operator type")
        if not node.attribute:
            return []
        return self._attributes(node.attribute, f"{self._where}, node '{node.name or ''.join(outputs[:1])}'")

    def _attributes(self, attributes: Iterable[AttributeProto], where: str) -> list[GraphProto]:
        """Check attributes and return the graphs in them."""
        graphs: list[GraphProto] = []
        seen: set[str] = set()
        for attribute in attributes:
            name, kind = attribute.name, attribute.type
            self.names((name,), where)
            if not name or name in seen:
                problem = f"attribute '{name}' is given twice" if name else "an attribute has no name"
                raise ModelError(f"{where}: {problem}; the file is damaged, write it again")
            seen.add(name)
            graphs.extend(attribute_graphs(attribute))
            for tensor in storage.attribute_tensors(attribute):
                self._tensor(tensor, f"{where}, attribute '{name}'")
            if kind == AttributeProto.UNDEFINED and not attribute.ref_attr_name:
                raise ModelError(f"{where}: attribute '{name}' has no type; the file is damaged, write it again")
        return graphs

    def _values(self, graph: GraphProto) -> None:
        for values in (graph.input, graph.output, graph.value_info):
            for value in values:
                self.names((value.name,), self._where)
                self._type(value.type, f"{self._where}, tensor '{value.name[:80]}'")
        for tensor in graph.initializer:
            name = tensor.name
            if not name:
                raise ModelError(f"{self._where}: an initializer has no name; the file is damaged, write it again")
            self.names((name,))
            self._tensor(tensor, f"initializer '{name}'")
        for sparse in graph.sparse_initializer:
            self.names((sparse.values.name,), self._where)
            self._tensor(sparse.values, f"sparse initializer '{sparse.values.name}'")
            self._tensor(sparse.indices, f"sparse initializer '{sparse.values.name}', its indices")
            self._dims(sparse.dims, f"sparse initializer '{sparse.values.name}'")

    def _tensor(self, tensor: TensorProto, where: str) -> None:
        self._dims(tensor.dims, where)
        check_tensor(tensor, where)
        if tensor.data_location == TensorProto.EXTERNAL:
            self._external.append(tensor)

    def _type(self, kind: TypeProto, where: str) -> None:
        for _ in range(self._limits.depth):  # sequences of optionals of sequences ...
            if kind.HasField("sequence_type"):
                kind = kind.sequence_type.elem_type
            elif kind.HasField("optional_type"):
                kind = kind.optional_type.elem_type
            elif kind.HasField("map_type"):
                kind = kind.map_type.value_type
            else:
                break
        tensor = kind.tensor_type if kind.HasField("tensor_type") else kind.sparse_tensor_type
        if kind.HasField("tensor_type") and tensor.elem_type not in TensorProto.DataType.values():
            raise ModelError(f"{where}: type {tensor.elem_type} is unknown; update onnx, or write the file again")
        if tensor.HasField("shape"):
            dims = [dim.dim_value for dim in tensor.shape.dim if dim.HasField("dim_value")]
            self._limits.check("rank", len(tensor.shape.dim), where)
            self._dims([dim for dim in dims if dim > 0], where)
            self.names([dim.dim_param for dim in tensor.shape.dim], where)

    def _dims(self, dims: Sequence[int], where: str) -> None:
        if dims:
            self._limits.check("rank", len(dims), where)
            self._limits.check("elements", math.prod(dims), where)

    def names(self, names: Iterable[str], where: str = "") -> None:
        """Check the length of names, and that they are texts."""
        for name in names:
            if not isinstance(name, str):  # what protobuf gives for a text that is no text
                raise ModelError(
                    f"{where or self._where}: the name {name[:40]!r} is not UTF-8; the file is damaged, write it again"
                )
            if len(name) > self._limits.names:
                self._limits.check("names", len(name), f"{where or self._where}: the name '{name[:40]}...'")


def _check_calls(main: _Body, functions: dict[_Call, _Body], limits: Limits) -> None:
    """Refuse a function that calls itself, chains that are too long, and bodies that grow without end when expanded."""
    expanded: dict[_Call, _Body] = {}
    for root in functions:
        waiting, open_calls = [root], set[_Call]()
        while waiting:
            key = waiting[-1]
            if key in expanded:
                waiting.pop()
                open_calls.discard(key)
                continue
            missing = [call for call in functions[key].calls if call not in expanded]
            if not missing:
                expanded[key] = _expand(functions[key], expanded, limits, f"local function '{key[0]}::{key[1]}'")
                continue
            open_calls.add(key)
            for call in missing:
                if call in open_calls:
                    raise ModelError(
                        f"local function '{call[0]}::{call[1]}' calls itself, directly or through others; "
                        "no model may: write it again"
                    )
            waiting.extend(dict.fromkeys(missing))
    _expand(main, expanded, limits, "the graph")


def _expand(body: _Body, expanded: dict[_Call, _Body], limits: Limits, where: str) -> _Body:
    total = _Body(
        body.nodes + sum(expanded[call].nodes for call in body.calls),
        body.depth + max((expanded[call].depth for call in body.calls), default=0),
    )
    limits.check("nodes", total.nodes, f"{where}, with its local functions expanded")
    limits.check("depth", total.depth, f"{where}, with its local functions expanded")
    return total
