"""A supergraph as a list of operator calls, each with the condition under which it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from onnx import AttributeProto

from supernet_onnx.cost.buffers import Buffers
from supernet_onnx.cost.facts import Facts, gather, without
from supernet_onnx.cost.opcall import AttrValue, OpCall, Operand
from supernet_onnx.cost.quantisation import Widths, dequantised, integer_bits
from supernet_onnx.cost.roles import is_standard, role
from supernet_onnx.cost.stored import Layout, lay_out
from supernet_onnx.cost.uses import Use, sweep
from supernet_onnx.graph import describe, initializer_names, input_names
from supernet_onnx.shapes import TensorType, infer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import GraphProto, NodeProto

    from supernet_onnx.diagram import Diagrams
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["Call", "CallGraph", "resolve_calls"]


class Call(NamedTuple):
    """An operator call in a supergraph.

    Attributes:
        node: The index of the main graph's node.
        condition: When it runs like this.
        call: What a handler sees; None where the node runs as part of another.
    """

    node: int
    condition: Condition
    call: OpCall | None


@dataclass(frozen=True)  # no slots: ``uses`` and ``buffers`` are computed when first asked for
class CallGraph:
    """What metrics price.

    Attributes:
        supergraph: The supergraph.
        layout: Its nodes and constants, nested graphs included.
        types: The inferred types of the main graph's tensors.
        facts: What is known of its nodes.
        calls: Its live nodes as calls, pools left out. A node has several, one behind the other, where what it does
            depends on the selection; their conditions exclude each other and make up the node's. A
            BatchNormalization that folds into the convolution before it is that one's bias.
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

    @cached_property
    def buffers(self) -> Buffers:
        """Which tensors share a buffer, and when nodes run."""
        return Buffers(self)


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
    operands = _Operands(supergraph.graph, types)
    widths = dequantised(supergraph, facts, types)
    calls = tuple(
        variant
        for call in _calls(supergraph, facts, operands)
        for variant in _by_width(supergraph.diagrams, call, widths)
    )
    if open_dims:
        hint = f" (open dims of the graph inputs: {', '.join(open_dims)}; bind each with --dim NAME=VALUE)"
    else:
        hint = (
            " (no dim of the graph inputs is open: it depends on data, or shape inference failed at a node before it)"
        )
    return CallGraph(supergraph, layout, types, facts, calls, hint)


def _open_dims(graph: GraphProto, types: Mapping[str, TensorType]) -> tuple[str, ...]:
    """Return the names of dims that the caller could still bind."""
    shapes = [types[name].shape or () for name in input_names(graph) if name in types]
    return tuple(dict.fromkeys(dim for shape in shapes for dim in shape if isinstance(dim, str)))


class _Operands:
    """Makes operands: types, and who is constant."""

    def __init__(self, graph: GraphProto, types: Mapping[str, TensorType]) -> None:
        self._types = types
        self._constants = initializer_names(graph)
        for node in graph.node:
            if is_standard(node) and node.op_type == "Constant":
                self._constants.update(node.output)

    def of(self, name: str, *, is_bias: bool = False) -> Operand | None:
        """Return the operand of that name, None for an omitted one."""
        if not name:
            return None
        known = self._types.get(name, TensorType(0, None))
        return Operand(name, known.dtype, known.shape, name in self._constants, is_bias, integer_bits(known.dtype))


def _calls(supergraph: SuperGraph, facts: Facts, operands: _Operands) -> Iterator[Call]:
    diagrams = supergraph.diagrams
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in supergraph.model.opset_import}
    folded, added = _folded(supergraph, facts), _added(supergraph, facts)
    for index, node in enumerate(supergraph.graph.node):
        live = supergraph.node_conditions[index]
        if live is diagrams.false or index in supergraph.marks:
            continue
        domain = "" if is_standard(node) else node.domain
        plain = OpCall(
            node.op_type,
            domain,
            opsets.get(domain, 1),
            describe(node),
            _attributes(node),
            tuple(operands.of(name, is_bias=role(node, slot) == "bias") for slot, name in enumerate(node.input)),
            tuple(operands.of(name) for name in node.output),
        )
        rest = live
        for slot, bias, condition in added.get(index, ()):
            when = diagrams.both(live, condition)
            if when is diagrams.false:  # a bias of branches that no one reads
                continue
            rest = without(diagrams, rest, when)
            padded = [*plain.inputs, *[None] * (slot + 1 - len(plain.inputs))]
            padded[slot] = operands.of(bias, is_bias=True)
            yield Call(index, when, replace(plain, inputs=tuple(padded)))
        if index in folded:
            yield Call(index, folded[index], None)
            rest = without(diagrams, rest, folded[index])
        if rest is not diagrams.false:
            yield Call(index, rest, plain)


def _by_width(diagrams: Diagrams, call: Call, widths: Mapping[str, Widths]) -> Iterator[Call]:
    """Tell a call what its inputs were dequantised from: one call for each combination that can be."""
    if call.call is None or not any(operand and operand.name in widths for operand in call.call.inputs):
        yield call
        return
    variants: list[tuple[Condition, tuple[Operand | None, ...]]] = [(call.condition, ())]
    for operand in call.call.inputs:
        if operand is None or operand.name not in widths:
            variants = [(condition, (*before, operand)) for condition, before in variants]
            continue
        variants = [
            (when, (*before, replace(operand, bits=bits)))
            for condition, before in variants
            for bits, of_width in widths[operand.name].items()
            if (when := diagrams.both(condition, of_width)) is not diagrams.false
        ]
    for condition, inputs in variants:
        yield Call(call.node, condition, replace(call.call, inputs=inputs))


def _folded(supergraph: SuperGraph, facts: Facts) -> dict[int, Condition]:
    """Return when each BatchNormalization is part of a convolution."""
    conditions: dict[int, list[Condition]] = {}
    for fold in facts.folds:
        conditions.setdefault(fold.batchnorm, []).append(fold.condition)
    return {index: supergraph.diagrams.any_of(of_node) for index, of_node in conditions.items()}


def _added(supergraph: SuperGraph, facts: Facts) -> dict[int, list[tuple[int, str, Condition]]]:
    """Return the biases that nodes add without a bias slot saying so: the slot, the tensor, and when."""
    nodes = supergraph.graph.node
    added: dict[int, list[tuple[int, str, Condition]]] = {}
    for fold in facts.folds:
        if not any(nodes[fold.conv].input[2:]):
            added.setdefault(fold.conv, []).append((2, nodes[fold.batchnorm].input[2], fold.condition))
    for (index, slot), condition in facts.linear_biases.items():
        added.setdefault(index, []).append((slot, nodes[index].input[slot], condition))
    return added


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
