"""The topology of an ONNX graph: what a node reads, who makes a tensor, and whether it all holds together.

Works on the protobuf messages of onnx and reads no weights.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from supernet_onnx import marks
from supernet_onnx.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "STANDARD",
    "Wiring",
    "attribute_graphs",
    "captured",
    "check_topology",
    "defined",
    "describe",
    "forget_shapes",
    "has_subgraphs",
    "initializer_names",
    "input_names",
    "is_standard",
    "num_scan_inputs",
    "opsets",
    "reads",
    "standard_opset",
    "subgraphs",
    "wire",
    "without_shape",
]

STANDARD: Final = ("", "ai.onnx")
"""The two names of the domain of ONNX's own operators."""

_GRAPHS: Final = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the nodes of a graph read and make, taken from the messages once: each look into one takes a while.

    Attributes:
        nodes: The graph's nodes.
        reads: ``reads`` of each.
        makes: The outputs of each; one that is left out is an empty name.
        pools: The indices of the nodes that are pools, in order.
        nested: The indices of the nodes that have graphs in their attributes.
    """

    nodes: Sequence[NodeProto]
    reads: Sequence[list[str]]
    makes: Sequence[list[str]]
    pools: Sequence[int]
    nested: frozenset[int]

    @classmethod
    def of(
        cls,
        nodes: Sequence[NodeProto],
        inputs: Sequence[list[str]],
        makes: Sequence[list[str]],
        pools: Sequence[int],
        nested: Iterable[int],
    ) -> Wiring:
        """Put together what was taken from the nodes; ``inputs`` holds what each states itself."""
        reads = [[name for name in names if name] if "" in names else names for names in inputs]
        nested = frozenset(nested)
        for index in nested:
            reads[index] = [*reads[index], *_captures(nodes[index])]
        return cls(nodes, reads, makes, pools, nested)


def wire(graph: GraphProto) -> Wiring:
    """Take the wiring of a graph from its nodes."""
    nodes = list(graph.node)
    return Wiring.of(
        nodes,
        [node.input[:] for node in nodes],
        [node.output[:] for node in nodes],
        [index for index, node in enumerate(nodes) if marks.is_pool(node)],
        [index for index, node in enumerate(nodes) if has_subgraphs(node)],
    )


def is_standard(node: NodeProto) -> bool:
    """Tell whether a node's operator is one of the standard domain."""
    return node.domain in STANDARD


def opsets(model: ModelProto) -> dict[str, int]:
    """Return the version of each domain that a model imports, ``""`` for the standard one; of several the newest."""
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain in STANDARD else entry.domain
        versions[domain] = max(entry.version, versions.get(domain, 0))
    return versions


def standard_opset(model: ModelProto) -> int:
    """Return the version of the standard domain that a model imports, 0 if it imports none."""
    return opsets(model).get("", 0)


def num_scan_inputs(node: NodeProto) -> int:
    """Return how many inputs, the last ones, a Scan slices for its body; 0 for other nodes."""
    if not is_standard(node) or node.op_type != "Scan":
        return 0
    return next((attribute.i for attribute in node.attribute if attribute.name == "num_scan_inputs"), 0)


def has_subgraphs(node: NodeProto) -> bool:
    """Whether a node has a graph in its attributes."""
    for attribute in node.attribute:  # noqa: SIM110  any() takes longer, and this runs for every node of large graphs
        if attribute.type in _GRAPHS:
            return True
    return False


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Iterate over the graphs in a node's attributes: the bodies of If, Loop and Scan."""
    for attribute in node.attribute:
        yield from attribute_graphs(attribute)


def attribute_graphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    """Iterate over the graphs that are an attribute's value; those nested in them are not looked into."""
    if attribute.type == AttributeProto.GRAPH:
        yield attribute.g
    elif attribute.type == AttributeProto.GRAPHS:
        yield from attribute.graphs


def captured(graph: GraphProto) -> set[str]:
    """Return the tensors that a nested graph reads from outside of itself, at any depth."""
    own = {value.name for value in graph.input}
    own.update(initializer_names(graph))
    outer: set[str] = set()
    for node in graph.node:
        outer.update(name for name in reads(node) if name not in own)
        own.update(node.output)
    outer.update(value.name for value in graph.output if value.name not in own)
    return outer


def defined(graph: GraphProto) -> set[str]:
    """Return the tensors that a nested graph makes for itself, at any depth."""
    names = {value.name for value in graph.input} | initializer_names(graph)
    for node in graph.node:
        names.update(node.output)
        for inner in subgraphs(node):
            names |= defined(inner)
    return names


def reads(node: NodeProto) -> list[str]:
    """Return the tensors that a node reads: its inputs and what its nested graphs capture. No empty names."""
    return [*filter(None, node.input), *_captures(node)]


def _captures(node: NodeProto) -> list[str]:
    return [name for graph in subgraphs(node) for name in sorted(captured(graph))]


def initializer_names(graph: GraphProto) -> set[str]:
    """Return the names of a graph's dense and sparse initializers."""
    names = {tensor.name for tensor in graph.initializer}
    names.update(sparse.values.name for sparse in graph.sparse_initializer)
    return names


def input_names(graph: GraphProto) -> list[str]:
    """Return the inputs that a caller must feed: graph inputs that no initializer gives a default."""
    defaults = initializer_names(graph)
    return [value.name for value in graph.input if value.name not in defaults]


def without_shape(value: ValueInfoProto) -> ValueInfoProto:
    """Copy a value without the shape that is declared for it."""
    copy = ValueInfoProto()
    copy.CopyFrom(value)
    if copy.type.HasField("tensor_type"):
        copy.type.tensor_type.ClearField("shape")
    return copy


def forget_shapes(body: GraphProto) -> None:
    """Remove, in place, the shapes that a nested graph declares for what it makes."""
    del body.value_info[:]
    for value in body.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def describe(node: NodeProto) -> str:
    """Name a node for a message: its operator, its name if it has one, its first output."""
    kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    output = next((name for name in node.output if name), "")
    return f"{kind} node '{node.name or output}'"


def check_topology(graph: GraphProto, wiring: Wiring) -> None:
    """Check that every tensor is made once and before it is read.

    Args:
        graph: Not changed.
        wiring: Of the graph.

    Raises:
        ModelError: A tensor is made twice, is read before it is made (a cycle, or nodes out of order), or is
            made nowhere.
    """
    stored = [tensor.name for tensor in graph.initializer]
    stored += [sparse.values.name for sparse in graph.sparse_initializer]
    inputs = [value.name for value in graph.input]
    for name in _twice(stored):
        raise ModelError(f"initializer '{name}' is stored twice; names must be unique")
    for name in _twice(inputs):
        raise ModelError(f"graph input '{name}' is declared twice; names must be unique")
    made = {*stored, *inputs}
    for node, read, outputs in zip(wiring.nodes, wiring.reads, wiring.makes, strict=True):
        if not made.issuperset(read):
            name = next(name for name in read if name not in made)
            raise ModelError(f"{describe(node)} reads tensor '{name}', {_why_missing(wiring, name)}")
        for name in outputs:
            if name in made:
                raise ModelError(f"{describe(node)} makes tensor '{name}', which exists already; names must be unique")
            if name:
                made.add(name)
    for value in graph.output:
        if value.name not in made:
            raise ModelError(f"graph output '{value.name}' is made by no node")


def _twice(names: list[str]) -> list[str]:
    return [] if len(set(names)) == len(names) else [name for name, count in Counter(names).items() if count > 1]


def _why_missing(wiring: Wiring, name: str) -> str:
    if any(name in outputs for outputs in wiring.makes):
        return "which is made only later: the graph has a cycle or its nodes are not sorted; sort them and try again"
    return "which no node, input or initializer makes"
