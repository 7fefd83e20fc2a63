"""A supergraph as a list of operator calls, each with the condition under which it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from supernet_onnx.cost.buffers import Buffers
from supernet_onnx.cost.facts import Facts, gather, without
from supernet_onnx.cost.inlining import inline
from supernet_onnx.cost.nested import Nested
from supernet_onnx.cost.quantisation import Widths, dequantised
from supernet_onnx.cost.reading import Reader
from supernet_onnx.cost.stored import Layout, lay_out
from supernet_onnx.cost.uses import Use, sweep
from supernet_onnx.graph import has_subgraphs, input_names, opsets
from supernet_onnx.shapes import Bindings, TensorType, contradiction, infer_graph

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from supernet_onnx.cost.bodies import Inside
    from supernet_onnx.cost.opcall import OpCall, Operand
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


@dataclass(frozen=True)  # no slots: some properties are computed when first asked for
class CallGraph:
    """What metrics price.

    Attributes:
        supergraph: The supergraph, local functions inlined.
        layout: Its nodes and constants, nested graphs included.
        types: The inferred types of the main graph's tensors.
        facts: What is known of its nodes.
        calls: Its live nodes as calls, pools left out. A node has several, one behind the other, where what it does
            depends on the selection; their conditions exclude each other and make up the node's. A
            BatchNormalization that folds into the convolution before it is that one's bias.
        bindings: What is said about its inputs.
        nested: Its nodes' graphs.
    """

    supergraph: SuperGraph
    layout: Layout
    types: Mapping[str, TensorType]
    facts: Facts
    calls: tuple[Call, ...]
    bindings: Bindings
    nested: Nested

    @cached_property
    def insides(self) -> dict[int, tuple[Inside, ...]]:
        """The graphs nested in nodes as graphs of their own, by node index, as far as ``bodies.insides`` read them."""
        return {}

    @cached_property
    def uses(self) -> Mapping[str, Use]:
        """What each tensor is used for."""
        return sweep(self.supergraph, self.layout.steps, self.facts)

    @cached_property
    def buffers(self) -> Buffers:
        """Which tensors share a buffer, and when nodes run."""
        return Buffers(self)

    @cached_property
    def hint(self) -> str:
        """What to add to a message about an unknown shape: why it is not known, or what would make it known."""
        problem = contradiction(self.supergraph.model, self.bindings)
        if problem is not None:
            return f" (shapes contradict each other: {problem})"
        inputs = [(name, self.types[name]) for name in input_names(self.supergraph.graph) if name in self.types]
        named = dict.fromkeys(dim for _, kind in inputs for dim in kind.shape or () if isinstance(dim, str))
        unnamed = [name for name, kind in inputs if kind.shape is None or None in kind.shape]
        asked = [f"open dims of the graph inputs: {', '.join(named)}; bind each with --dim NAME=VALUE"] if named else []
        asked += [f"give the shape of '{name}' with --shape {name}=..." for name in unnamed]
        if any(map(has_subgraphs, self.supergraph.graph.node)):
            switches = [name for name, kind in inputs if kind.numel == 1 and name not in self.bindings.values]
            asked += [f"if control flow depends on '{name}', give it with --value {name}=..." for name in switches]
        return f" ({'; '.join(asked) or self._first_unknown()})"

    def _first_unknown(self) -> str:
        for call in (call for _, _, call in self.calls if call is not None):
            known = all(operand is None or operand.is_known for operand in call.inputs)
            if known and not all(operand is None or operand.is_known for operand in call.outputs):
                return f"no dim of the graph inputs is open: what {call.name} makes depends on data or is not inferred"
        return "no dim of the graph inputs is open: it depends on data"


def resolve_calls(supergraph: SuperGraph, bindings: Bindings | None = None) -> CallGraph:
    """List the calls of a supergraph, with inferred shapes. Calls of local functions are inlined.

    Args:
        supergraph: What to list.
        bindings: What is said about its inputs; an unbound batch dim is 1.

    Raises:
        ShapeError: What is said contradicts what the model declares.
        CostError: A trip count is given for a node that is not there.
        ModelError: onnx refuses the graph.
    """
    bindings = bindings or Bindings()
    supergraph = inline(supergraph)
    inference = infer_graph(supergraph.model, bindings)
    layout = lay_out(supergraph.graph)
    facts = gather(supergraph, layout, inference.types)
    reader = Reader(supergraph.graph, inference.types, opsets(supergraph.model))
    nested = Nested(supergraph.graph, inference, reader, bindings.trip_counts)
    widths = dequantised(supergraph, facts, inference.types)
    calls = tuple(
        variant
        for call in _calls(supergraph, facts, reader, nested)
        for variant in _by_width(supergraph.diagrams, call, widths)
    )
    return CallGraph(supergraph, layout, inference.types, facts, calls, bindings, nested)


def _calls(supergraph: SuperGraph, facts: Facts, reader: Reader, nested: Nested) -> Iterator[Call]:
    diagrams = supergraph.diagrams
    folded, added = facts.folded, _added(supergraph, facts)
    for index, node in enumerate(supergraph.graph.node):
        live = supergraph.node_conditions[index]
        if live is diagrams.false or index in supergraph.marks:
            continue
        plain = reader.call(node)
        if has_subgraphs(node):
            plain = replace(plain, bodies=nested.bodies(index))
        rest = live
        for slot, bias, condition in added.get(index, ()):
            when = diagrams.both(live, condition)
            if when is diagrams.false:  # a bias of branches that no one reads
                continue
            rest = without(diagrams, rest, when)
            padded = [*plain.inputs, *[None] * (slot + 1 - len(plain.inputs))]
            padded[slot] = reader.operand(bias, is_bias=True)
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


def _added(supergraph: SuperGraph, facts: Facts) -> dict[int, list[tuple[int, str, Condition]]]:
    """Return the biases that nodes add without a bias slot saying so: the slot, the tensor, and when."""
    nodes = supergraph.graph.node
    added: dict[int, list[tuple[int, str, Condition]]] = {}
    for fold in facts.folds:
        if not any(nodes[fold.conv].input[2:]):
            added.setdefault(fold.conv, []).append((2, nodes[fold.batchnorm].input[2], fold.condition))
    for (index, slot), condition in facts.added_biases.items():
        added.setdefault(index, []).append((slot, nodes[index].input[slot], condition))
    return added
