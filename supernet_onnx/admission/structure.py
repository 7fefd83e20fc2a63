"""The walk over all that a model holds, without recursion: counts, names, tensors, calls of local functions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

from supernet_onnx import marks, storage
from supernet_onnx.admission.tensors import check_tensor
from supernet_onnx.errors import ModelError
from supernet_onnx.graph import Wiring, attribute_graphs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from supernet_onnx.admission.limits import Limits

__all__ = ["Structure", "check_structure"]

_TYPES: Final = frozenset(TensorProto.DataType.values())

_Call = tuple[str, str, str]  # domain, name and overload of a local function


@dataclass
class _Body:
    """What a graph or a local function holds, its nested graphs included."""

    nodes: int = 0
    depth: int = 0
    calls: list[_Call] = field(default_factory=list)


@dataclass
class Structure:
    """What the walk saw that later work needs, so that it need not look again.

    Attributes:
        external: The tensors whose values stand in other files.
        raw_bytes: What all other tensors hold in their fields for raw data.
        nodes: Those of the main graph.
        inputs: What each of them reads.
        makes: What each of them makes.
        pools: The indices of those that are pools.
        nested: The indices of those that have graphs in their attributes.
        outside: The indices of those that have external tensors in their attributes.
    """

    external: list[TensorProto] = field(default_factory=list)
    raw_bytes: int = 0
    nodes: list[NodeProto] = field(default_factory=list)
    inputs: list[list[str]] = field(default_factory=list)
    makes: list[list[str]] = field(default_factory=list)
    pools: list[int] = field(default_factory=list)
    nested: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)

    def wiring(self) -> Wiring:
        """Return the wiring of the main graph."""
        return Wiring.of(self.nodes, self.inputs, self.makes, self.pools, self.nested)


def check_structure(model: ModelProto, limits: Limits) -> Structure:
    """Check counts, depth, names and tensors of a model.

    Raises:
        ModelError: Something is over a limit or damaged, or a local function calls itself.
    """
    seen = Structure()
    functions: dict[_Call, _Body] = {}
    keys = [(function.domain, function.name, function.overload) for function in model.functions]
    local = set(keys)
    if len(local) < len(model.functions):
        raise ModelError("two local functions have one name; names must be unique")
    for key, function in zip(keys, model.functions, strict=True):
        _Walk(limits, seen, local, "a local function").names(key)
        where = f"local function '{function.domain}::{function.name}'"
        functions[key] = _Walk(limits, seen, local, where).body(function)
    walk = _Walk(limits, seen, local, "the graph")
    walk.names([opset.domain for opset in model.opset_import])
    walk.names([text for entry in model.metadata_props for text in (entry.key, entry.value[:1])])
    if len({entry.key for entry in model.metadata_props}) < len(model.metadata_props):
        raise ModelError("the model's metadata have a key twice; keys must be unique: write it again")
    main = walk.body(model.graph, is_main=True)
    for info in model.training_info:
        for graph in (info.initialization, info.algorithm):
            _Walk(limits, seen, local, "training info").body(graph)
    _check_calls(main, functions, limits)
    return seen


class _Walk:
    """One pass over a graph or function, and the graphs nested in it."""

    def __init__(self, limits: Limits, seen: Structure, local: set[_Call], where: str) -> None:
        self._limits, self._seen, self._local, self._where = limits, seen, local, where
        self._local_domains = {domain for domain, _, _ in local}
        self._pools = 0

    def body(self, top: GraphProto | FunctionProto, *, is_main: bool = False) -> _Body:
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
                self.names(graph.input)
                self.names(graph.output)
                self._attributes(graph.attribute_proto, self._where)
            kept = self._seen if is_main and graph is top else Structure(self._seen.external)
            waiting.extend((inner, depth + 1) for inner in self._nodes(list(graph.node), found.calls, kept))
        self._limits.check("pools", self._pools, self._where)
        return found

    def _nodes(self, nodes: list[NodeProto], calls: list[_Call], kept: Structure) -> list[GraphProto]:
        """Check nodes, note the local functions that they call, and return the graphs in their attributes.

        This is what takes the time in large models. A look into a node costs more than what is done with what it
        tells, so each field is taken once, from all nodes, and checked for all of them together.
        """
        kept.nodes = nodes
        kept.inputs, kept.makes = [node.input[:] for node in nodes], [node.output[:] for node in nodes]
        kinds, domains = [node.op_type for node in nodes], [node.domain for node in nodes]
        for names in ([node.name for node in nodes], kinds, domains):
            self.names(names)
        for tensors in (kept.inputs, kept.makes):
            self.names(list(itertools.chain.from_iterable(tensors)))
            for node, found in zip(nodes, tensors, strict=True):
                if len(found) > self._limits.inputs:
                    self._limits.check("inputs", len(found), f"{self._where}, node '{_name(node)}'")
        if not all(kinds):
            raise ModelError(f"{self._where}, node '{_name(nodes[kinds.index('')])}' has no operator type")
        if not self._local_domains.isdisjoint(domains):
            keys = ((domain, kind, node.overload) for domain, kind, node in zip(domains, kinds, nodes, strict=True))
            calls.extend(key for key in keys if key in self._local)
        kept.pools = [index for index, domain in enumerate(domains) if domain == marks.DOMAIN]
        for index in kept.pools:
            self._limits.check("branches", len(kept.inputs[index]) - 1, f"pool node '{_name(nodes[index])}'")
        self._pools += len(kept.pools)
        return self._nested(nodes, kept)

    def _nested(self, nodes: list[NodeProto], kept: Structure) -> list[GraphProto]:
        """Check the attributes of nodes and return the graphs in them."""
        graphs: list[GraphProto] = []
        for index, node in enumerate(nodes):
            if attributes := node.attribute:
                before = len(kept.external)
                if inner := self._attributes(attributes, f"{self._where}, node '{_name(node)}'"):
                    graphs += inner
                    kept.nested.append(index)
                if len(kept.external) > before:
                    kept.outside.append(index)
        return graphs

    def _attributes(self, attributes: Iterable[AttributeProto], where: str) -> list[GraphProto]:
        """Check attributes and return the graphs in them."""
        graphs: list[GraphProto] = []
        seen: set[str] = set()
        for attribute in attributes:
            name, kind = attribute.name, attribute.type
            self.names([name], where)
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
            names = [value.name for value in values]
            self.names(names)
            for name, value in zip(names, values, strict=True):
                self._type(value.type, f"{self._where}, tensor '{name}'")
        names = [tensor.name for tensor in graph.initializer]
        self.names(names)
        if not all(names):
            raise ModelError(f"{self._where}: an initializer has no name; the file is damaged, write it again")
        for name, tensor in zip(names, graph.initializer, strict=True):
            self._tensor(tensor, f"initializer '{name}'")
        self.names([sparse.values.name for sparse in graph.sparse_initializer])
        for sparse in graph.sparse_initializer:
            self._tensor(sparse.values, f"sparse initializer '{sparse.values.name}'")
            self._tensor(sparse.indices, f"sparse initializer '{sparse.values.name}', its indices")
            self._limits.check_dims(sparse.dims, f"sparse initializer '{sparse.values.name}'")

    def _tensor(self, tensor: TensorProto, where: str) -> None:
        raw_bytes = check_tensor(tensor, where, self._limits)
        if raw_bytes is None:
            self._seen.external.append(tensor)
        else:
            self._seen.raw_bytes += raw_bytes

    def _type(self, kind: TypeProto, where: str) -> None:
        held = kind.WhichOneof("value")
        for _ in range(self._limits.depth):  # sequences of optionals of sequences ...
            if held == "sequence_type":
                kind = kind.sequence_type.elem_type
            elif held == "optional_type":
                kind = kind.optional_type.elem_type
            elif held == "map_type":
                kind = kind.map_type.value_type
            else:
                break
            held = kind.WhichOneof("value")
        if held not in ("tensor_type", "sparse_tensor_type"):
            return
        tensor = kind.tensor_type if held == "tensor_type" else kind.sparse_tensor_type
        if held == "tensor_type" and tensor.elem_type not in _TYPES:
            raise ModelError(f"{where}: type {tensor.elem_type} is unknown; update onnx, or write the file again")
        dims = tensor.shape.dim
        if dims:
            self._limits.check("rank", len(dims), where)
            self._limits.check_dims([size for dim in dims if (size := dim.dim_value) > 0], where)
            self.names([dim.dim_param for dim in dims], where)

    def names(self, names: Collection[str], where: str = "") -> None:
        """Check the length of names, and that they are texts."""
        limit = self._limits.names
        if not names or (set(map(type, names)) == {str} and max(map(len, names)) <= limit):
            return
        for name in names:
            if not isinstance(name, str):  # what protobuf gives for a text that is no text
                raise ModelError(
                    f"{where or self._where}: the name {name[:40]!r} is not UTF-8; the file is damaged, write it again"
                )
            if len(name) > limit:
                self._limits.check("names", len(name), f"{where or self._where}: the name '{name[:40]}...'")


def _name(node: NodeProto) -> str:
    """Return what a message calls a node."""
    return node.name or next(iter(node.output), "")


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
