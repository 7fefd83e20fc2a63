"""A supergraph as a list of operator calls, each with the condition under which it runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from onnx import AttributeProto

from supernet_onnx.cost.facts import Facts, gather, without
from supernet_onnx.cost.opcall import AttrValue, OpCall, Operand
from supernet_onnx.cost.roles import is_standard, role
from supernet_onnx.cost.stored import Layout, lay_out
from supernet_onnx.cost.uses import Use, sweep
from supernet_onnx.graph import describe, initializer_names, input_names
from supernet_onnx.shapes import TensorType, infer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import GraphProto, NodeProto

    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["Call", "CallGraph", "resolve_calls"]


class Call(NamedTuple):
    """An operator call in a supergraph.

    Attributes:
        node: The index of the main graph's node.
        condition: When it runs like this.
        call: What a handler sees.
    """

    node: int
    condition: Condition
    call: OpCall


@dataclass(frozen=True)  # no slots: ``uses`` is computed when it is first asked for
class CallGraph:
    """What metrics price.

    Attributes:
        supergraph: The supergraph.
        layout: Its nodes and constants, nested graphs included.
        types: The inferred types of the main graph's tensors.
        facts: What is known of its nodes.
        calls: Its live nodes as calls, pools left out. A node stands here more than once where what it does
            depends on the selection; the conditions then exclude each other. A BatchNormalization that folds into
            the convolution before it stands here as the convolution's bias.
        hint: What to add to a message about an unknown shape: the dims that the graph inputs leave open.
    """

    supergraph: SuperGraph
    layout: Layout
    types: Mapping[str, TensorType]
    facts: Facts
    calls: tuple[Call, ...]
    hint: str

    @cached_property
    def uses(self) -> Mapping[str, Use]:
        """What each tensor is used for."""
        return sweep(self.supergraph, self.layout.steps, self.facts)


def resolve_calls(supergraph: SuperGraph, *, dims: Mapping[str, int] | None = None) -> CallGraph:
    """List the calls of a supergraph, with inferred shapes.

    Args:
        supergraph: What to list.
        dims: Sizes for symbolic dims, by name; an unbound batch dim is 1.

    Raises:
        ModelError: Shapes or types in the graph contradict each other.
    """
    types = infer(supergraph.model, dims=dims)
    layout = lay_out(supergraph.graph)
    facts = gather(supergraph, layout, types)
    open_dims = _open_dims(supergraph.graph, types)
    operands = _Operands(supergraph.graph, types, open_dims)
    calls = tuple(_calls(supergraph, facts, operands))
    named = f"the graph inputs leave open: {', '.join(open_dims)}" if open_dims else "it depends on the data of a run"
    return CallGraph(supergraph, layout, types, facts, calls, f" ({named})")


def _open_dims(graph: GraphProto, types: Mapping[str, TensorType]) -> tuple[str, ...]:
    """Return the names of dims that the caller could still bind."""
    shapes = [types[name].shape or () for name in input_names(graph) if name in types]
    return tuple(dict.fromkeys(dim for shape in shapes for dim in shape if isinstance(dim, str)))


class _Operands:
    """Makes operands: types, and who is constant."""

    def __init__(self, graph: GraphProto, types: Mapping[str, TensorType], open_dims: tuple[str, ...]) -> None:
        self._types = types
        self._open_dims = frozenset(open_dims)
        self._constants = initializer_names(graph)
        for node in graph.node:
            if is_standard(node) and node.op_type == "Constant":
                self._constants.update(node.output)

    def of(self, name: str, *, is_bias: bool = False) -> Operand | None:
        """Return the operand of that name, None for an omitted one. Dims that inference named are not known."""
        if not name:
            return None
        known = self._types.get(name, TensorType(0, None))
        dims = known.shape
        if dims is not None and not self._open_dims.issuperset(dim for dim in dims if isinstance(dim, str)):
            dims = tuple(dim if isinstance(dim, int) or dim in self._open_dims else None for dim in dims)
        return Operand(name, known.dtype, dims, name in self._constants, is_bias)


def _calls(supergraph: SuperGraph, facts: Facts, operands: _Operands) -> Iterator[Call]:
    diagrams = supergraph.diagrams
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in supergraph.model.opset_import}
    special = _specials(supergraph, facts)
    for index, node in enumerate(supergraph.graph.node):
        rest = supergraph.node_conditions[index]
        if rest is diagrams.false or index in supergraph.marks:
            continue
        attrs = _attributes(node)
        domain = "" if is_standard(node) else node.domain
        outputs = tuple(operands.of(name) for name in node.output)
        for condition, biases in [*special.get(index, ()), (diagrams.true, {})]:
            when = diagrams.both(rest, condition)
            rest = without(diagrams, rest, condition)
            if when is diagrams.false or biases is None:
                continue
            names = list(node.input)
            for slot, name in biases.items():
                names.extend([""] * (slot + 1 - len(names)))
                names[slot] = name
            inputs = tuple(
                operands.of(name, is_bias=slot in biases or role(node, slot) == "bias")
                for slot, name in enumerate(names)
            )
            call = OpCall(node.op_type, domain, opsets.get(domain, 1), describe(node), attrs, inputs, outputs)
            yield Call(index, when, call)


def _specials(supergraph: SuperGraph, facts: Facts) -> dict[int, list[tuple[Condition, dict[int, str] | None]]]:
    """Return when a node is not what it seems: with which operands as biases, or None where it is priced elsewhere."""
    nodes = supergraph.graph.node
    special: dict[int, list[tuple[Condition, dict[int, str] | None]]] = {}
    for fold in facts.folds:
        special.setdefault(fold.batchnorm, []).append((fold.condition, None))
        if not any(nodes[fold.conv].input[2:]):
            bias = nodes[fold.batchnorm].input[2]
            special.setdefault(fold.conv, []).append((fold.condition, {2: bias}))
    for (index, slot), condition in facts.linear_biases.items():
        special.setdefault(index, []).append((condition, {slot: nodes[index].input[slot]}))
    return special


def _attributes(node: NodeProto) -> dict[str, AttrValue]:
    decoded = {attribute.name: _decode(attribute) for attribute in node.attribute}
    return {name: value for name, value in decoded.items() if value is not None}


def _decode(attribute: AttributeProto) -> AttrValue | None:
    match attribute.type:
        case AttributeProto.INT:
            return attribute.i
        case AttributeProto.FLOAT:
            return attribute.f
        case AttributeProto.STRING:
            return _text(attribute.s)
        case AttributeProto.TENSOR:
            return attribute.t
        case AttributeProto.INTS:
            return tuple(attribute.ints)
        case AttributeProto.FLOATS:
            return tuple(attribute.floats)
        case AttributeProto.STRINGS:
            return tuple(map(_text, attribute.strings))
        case AttributeProto.TENSORS:
            return tuple(attribute.tensors)
    return None


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
