"""Cutting a supergraph into pieces: models of their own that can be timed, each of one condition.

A piece is what hangs together among the nodes that are live under one condition. It is timed together with the
neighbours that onnxruntime would fuse it with (an activation behind it, an addition, a convolution before), and these
alone, so that the difference is what the piece adds where it stands. Equal pieces (operators, attributes, shapes and
types; values of weights do not matter) have one key.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from onnx import ModelProto, NodeProto, TensorProto, helper

from supernet_onnx import marks
from supernet_onnx.errors import RunError
from supernet_onnx.graph import describe, has_subgraphs, input_names
from supernet_onnx.profiling.neighbours import Neighbours

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from onnx import TypeProto

    from supernet_onnx.shapes import TensorType
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["Cut", "Piece", "cut"]

_SHAPES: Final = (TensorProto.INT32, TensorProto.INT64)
_OVERRIDABLE: Final = 4  # the IR version from which on initializers that are also inputs are no constants
_SMALL: Final = 1024  # elements; larger integer tensors are data, not shapes
_INTEGERS: Final = frozenset({*_SHAPES, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8})


@dataclass(frozen=True, slots=True)
class Piece:
    """Nodes that hang together and are live under one condition.

    Attributes:
        condition: When it runs.
        key: That of its model, neighbours included.
        without: The keys of the neighbours alone, whose time is not the piece's.
        operators: The operators of its own nodes, in order.
    """

    condition: Condition
    key: str
    without: tuple[str, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A supergraph in pieces.

    Attributes:
        pieces: All of them; together they are every live node that is neither a pool nor constant.
        models: The models to time, by key.
    """

    pieces: tuple[Piece, ...]
    models: Mapping[str, ModelProto]


def cut(supergraph: SuperGraph, types: Mapping[str, TensorType]) -> Cut:
    """Cut a supergraph into pieces.

    Args:
        supergraph: Not changed. Constants are copied as they are stored: external data stay where they are.
        types: The types of all tensors, dims bound.

    Raises:
        RunError: The shape of a tensor between pieces is not known.
    """
    scissors = _Scissors(supergraph, types)
    neighbours = Neighbours(supergraph, scissors.constants)
    models: dict[str, ModelProto] = {}

    def model_of(nodes: Iterable[int], names: Mapping[str, str]) -> str:
        model = scissors.model(sorted(nodes), names)
        key = _key(model)
        models.setdefault(key, model)
        return key

    pieces = []
    for condition, nodes in scissors.groups():
        before, after, names = neighbours.of(nodes, condition)
        key = model_of([*before, *nodes, *after], names)
        without = tuple(model_of(outer, {}) for outer in (before, after) if outer)
        operators = tuple(supergraph.graph.node[i].op_type for i in nodes)
        pieces.append(Piece(condition, key, without, operators))
    return Cut(tuple(pieces), models)


class _Scissors:
    """Groups nodes into pieces, and makes models of groups."""

    def __init__(self, supergraph: SuperGraph, types: Mapping[str, TensorType]) -> None:
        self._supergraph = supergraph
        self._types = types
        graph = supergraph.graph
        self._maker = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
        self._dense = {tensor.name: tensor for tensor in graph.initializer}
        self._sparse = {tensor.values.name: tensor for tensor in graph.sparse_initializer}
        self._declared = {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}
        self._needed = {value.name for value in graph.output}
        self._readers: dict[str, set[int]] = {}
        for i, names in enumerate(supergraph.node_reads):
            for name in names:
                self._readers.setdefault(name, set()).add(i)
        can_change = supergraph.model.ir_version >= _OVERRIDABLE
        fed = {value.name for value in graph.input} if can_change else set(input_names(graph))
        self.constants = {name for name in (*self._dense, *self._sparse) if name not in fed}
        for i, node in enumerate(graph.node):
            if i not in supergraph.marks and all(name in self.constants for name in supergraph.node_reads[i]):
                self.constants.update(node.output)

    def groups(self) -> Iterator[tuple[Condition, list[int]]]:
        """Iterate over the nodes that hang together under one condition; those that onnxruntime folds are in none."""
        conditions = self._supergraph.node_conditions
        group: dict[int, list[int]] = {}
        for i, node in enumerate(self._supergraph.graph.node):
            is_folded = all(name in self.constants for name in node.output if name)
            if i in self._supergraph.marks or is_folded or conditions[i] is self._supergraph.diagrams.false:
                continue
            group[i] = [i]
            for name in self._supergraph.node_reads[i]:
                maker = self._maker.get(name)
                if maker in group and conditions[maker] is conditions[i] and group[maker] is not group[i]:
                    merged = sorted(group[maker] + group[i])
                    group.update((member, merged) for member in merged)
        seen = {id(nodes): nodes for nodes in group.values()}
        for nodes in seen.values():
            yield conditions[nodes[0]], nodes

    def model(self, nodes: Sequence[int], names: Mapping[str, str]) -> ModelProto:
        """Return some nodes as a model, with the constants and the shape arithmetic that they need.

        Args:
            nodes: Their indices, in order.
            names: Tensors that are read under another name, ``{old: new}``.
        """
        taken, inputs, stored = self._closure(nodes, names)
        source = self._supergraph.model
        model = ModelProto(ir_version=source.ir_version)
        model.opset_import.extend(entry for entry in source.opset_import if entry.domain != marks.DOMAIN)
        model.functions.extend(function for function in source.functions if function.domain != marks.DOMAIN)
        graph = model.graph
        graph.name = "piece"
        for i in taken:
            node = graph.node.add()
            node.CopyFrom(source.graph.node[i])
            if i in nodes:
                node.input[:] = [names.get(name, name) for name in node.input]
        graph.initializer.extend(self._dense[name] for name in stored if name in self._dense)
        graph.sparse_initializer.extend(self._sparse[name] for name in stored if name in self._sparse)
        for name in inputs:
            graph.input.add(name=name).type.CopyFrom(self._type(name, nodes))
        inside = {names.get(name, name) for i in taken for name in self._supergraph.node_reads[i]}
        for name in (name for i in nodes for name in source.graph.node[i].output if name):
            outside = name in self._needed or not self._readers.get(name, set()) <= set(taken)
            if name not in inside or (outside and name not in names.values()):
                graph.output.add(name=name).type.CopyFrom(self._output_type(name))
        return model

    def _closure(self, nodes: Sequence[int], names: Mapping[str, str]) -> tuple[list[int], list[str], list[str]]:
        """Return the nodes with what makes their constants and shapes, what must be fed, and what is stored."""
        graph = self._supergraph.graph
        taken = set(nodes)
        made = {name for i in nodes for name in graph.node[i].output}
        inputs: dict[str, None] = {}
        stored: dict[str, None] = {}
        stack = [names.get(name, name) for i in reversed(nodes) for name in reversed(self._supergraph.node_reads[i])]
        while stack:
            name = stack.pop()
            maker = self._maker.get(name)
            if name in made or name in inputs or name in stored:
                continue
            if maker is None and name in self.constants:
                stored[name] = None
            elif maker is not None and maker not in self._supergraph.marks and self._is_inner(name):
                taken.add(maker)
                made.update(graph.node[maker].output)
                stack.extend(reversed(self._supergraph.node_reads[maker]))
            else:
                inputs[name] = None
        return sorted(taken), list(inputs), list(stored)

    def _is_inner(self, name: str) -> bool:
        """Tell whether a tensor must be made in the piece, for random values would not do: constants and shapes."""
        kind = self._types.get(name)
        is_shape = kind is not None and kind.dtype in _SHAPES and (kind.numel or _SMALL + 1) <= _SMALL
        return name in self.constants or is_shape

    def _type(self, name: str, nodes: Sequence[int]) -> TypeProto:
        kind = self._types.get(name)
        if kind is None or kind.numel is None or kind.shape is None:
            where = describe(self._supergraph.graph.node[nodes[0]])
            raise RunError(
                f"tensor '{name}', which {where} and what follows read, is {kind or 'of unknown type'}: its size is "
                "not known, so nothing can be timed; give the open dims sizes with --dim NAME=SIZE or --shape"
            )
        return helper.make_tensor_type_proto(kind.dtype, kind.shape)

    def _output_type(self, name: str) -> TypeProto:
        kind = self._types.get(name)
        if kind is not None and kind.dtype:
            return helper.make_tensor_type_proto(kind.dtype, None)
        return self._declared.get(name, helper.make_tensor_type_proto(TensorProto.FLOAT, None))


def _key(model: ModelProto) -> str:
    """Return a hash of all that a piece's time depends on: no names, no values of floating-point constants."""
    text = hashlib.sha256()
    numbers: dict[str, int] = {}

    def number(name: str) -> int:
        return numbers.setdefault(name, len(numbers)) if name else -1

    for value in model.graph.input:
        text.update(f"in {number(value.name)} ".encode() + value.type.SerializeToString(deterministic=True))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for name in node.input:
            if name in stored and name not in numbers:
                text.update(f"stored {number(name)} ".encode() + _tensor(stored[name]))
        ends = [number(name) for name in node.input], [number(name) for name in node.output]
        text.update(f"{node.domain}::{node.op_type} {ends} ".encode())
        if has_subgraphs(node):
            text.update(_bare(node).SerializeToString(deterministic=True))
            continue
        for attribute in sorted(node.attribute, key=lambda attribute: attribute.name):
            is_tensor = attribute.HasField("t")
            text.update(_tensor(attribute.t) if is_tensor else attribute.SerializeToString(deterministic=True))
    text.update(" ".join(str(number(value.name)) for value in model.graph.output).encode())
    text.update(";".join(f"{entry.domain} {entry.version}" for entry in model.opset_import).encode())
    return text.hexdigest()[:16]


def _bare(node: NodeProto) -> NodeProto:
    bare = NodeProto()
    bare.CopyFrom(node)
    bare.ClearField("name")
    del bare.metadata_props[:]
    return bare


def _tensor(tensor: TensorProto) -> bytes:
    kind = f"{tensor.data_type} {list(tensor.dims)} ".encode()
    if tensor.data_type not in _INTEGERS or math.prod(tensor.dims) > _SMALL:
        return kind
    bare = TensorProto()
    bare.CopyFrom(tensor)
    bare.ClearField("name")
    bare.ClearField("doc_string")
    return kind + bare.SerializeToString(deterministic=True)
