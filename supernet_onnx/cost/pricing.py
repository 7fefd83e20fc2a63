"""Pricing a supergraph: one cost table for each metric, or a line for each node."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict, Unpack

from supernet_onnx.cost.calls import resolve_calls
from supernet_onnx.cost.hardware import diana_latency, gap8_latency, mpic_energy, mpic_latency, ne16_latency
from supernet_onnx.cost.memory import peak_memory, traffic
from supernet_onnx.cost.operators import macs, ops, ops_no_bias
from supernet_onnx.cost.peaks import PeakTable, parts_of
from supernet_onnx.cost.table import SumTable
from supernet_onnx.cost.weights import params, params_no_bias, size
from supernet_onnx.graph import describe, is_standard
from supernet_onnx.shapes import Bindings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from onnx import NodeProto

    from supernet_onnx.cost.calls import CallGraph
    from supernet_onnx.cost.spec import Bill, Metric, Unknown
    from supernet_onnx.cost.table import CostTable
    from supernet_onnx.diagram import Number
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["METRICS", "Given", "NodeCost", "OperatorCost", "by_node", "by_operator", "by_operators", "measure"]

_ALL: Final[tuple[Metric, ...]] = (
    params, params_no_bias, macs, ops, ops_no_bias, size, peak_memory, traffic,
    gap8_latency, mpic_latency, mpic_energy, ne16_latency, diana_latency,
)  # fmt: skip

METRICS: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in _ALL})
"""The metrics that come with the package, by name."""


class NodeCost(NamedTuple):
    """What stands with one node under one condition.

    Attributes:
        node: The node in words, or ``graph outputs`` for constants that no node reads.
        op_type: Its operator; empty for the graph outputs.
        condition: When the amounts are due.
        amounts: The amount of every metric, by name.
    """

    node: str
    op_type: str
    condition: Condition
    amounts: dict[str, Number]


class Given(TypedDict, total=False):
    """What is said about a model that is priced: keyword arguments that several functions take.

    Attributes:
        dims: Sizes for symbolic dims, by name.
        shapes: Shapes of graph inputs, by name.
        values: Values of graph inputs of one element, by name, where control flow depends on them.
        trip_counts: How often the body of a Loop, Scan or SequenceMap runs, by the node's name or first output; for
            those of which the graph does not tell.
        unknown: What becomes of an operator that a metric cannot count: ``"error"``, which is the default, or
            ``"free"`` to leave it out and name it in the table.
    """

    dims: Mapping[str, int]
    shapes: Mapping[str, Sequence[int]]
    values: Mapping[str, float]
    trip_counts: Mapping[str, int]
    unknown: Unknown


class OperatorCost(NamedTuple):
    """What the nodes of one operator cost together under a selection.

    Attributes:
        operator: The operator, ``domain::`` before it where that is not the standard one.
        nodes: How many of its nodes are live.
        amounts: The amount of every metric, by name: the sum over the nodes, or the largest where it adds up so.
    """

    operator: str
    nodes: int
    amounts: dict[str, Number]


def measure(supergraph: SuperGraph, metrics: Iterable[Metric], **given: Unpack[Given]) -> dict[str, CostTable]:
    """Price a supergraph; a model without pools is one too, and costs its trunk.

    Shapes are inferred once for all metrics, for one sample: a symbolic or unknown batch dim of a graph input is 1.
    Pools and their weights cost nothing, nor do nodes that no selection needs. Local functions cost what their bodies
    do; control flow is priced by the rules of ``supernet_onnx.cost.nested``. The supergraph is not changed.

    Args:
        supergraph: What to price.
        metrics: By what; ``METRICS`` holds those that come with the package.
        given: What is said about the model, as keyword arguments (``Given``).

    Returns:
        ``{metric name: table}``, in the order of ``metrics``.

    Raises:
        UnknownOperatorError: A metric cannot count an operator.
        UnknownShapeError: A metric needs a dim that nothing binds, or that cannot be, for shapes contradict each
            other.
        ShapeError: ``shapes`` or ``values`` are those of no input, or contradict what the model declares.
        CostError: A trip count is given for a node that is not there.
        ModelError: onnx refuses the graph.
        ValueError: Two metrics have one name, or handlers of one match equally.
        TypeError: A keyword argument is none of ``Given``.
    """
    graph, bills = _price(supergraph, metrics, **given)
    live = tuple(graph.supergraph.live(pool) for pool in graph.supergraph.pools)
    tables: dict[str, CostTable] = {}
    for metric, bill in bills.values():
        by_node: dict[int | None, dict[Condition, Number]] = {}
        for node, condition, amount in bill.entries:
            amounts = by_node.setdefault(None if bill.combine == "sum" else node, {})
            amounts[condition] = amounts.get(condition, 0) + amount
        sums = [{condition: amount for condition, amount in of.items() if amount} for of in by_node.values()]
        title = (metric.name, metric.unit, supergraph.pools, live, bill.unknown)
        if bill.combine == "sum":
            tables[metric.name] = SumTable(*title, sums[0] if sums else {})
        else:
            tables[metric.name] = PeakTable(*title, parts_of(graph.supergraph.diagrams, sums))
    return tables


def by_node(supergraph: SuperGraph, metrics: Iterable[Metric], **given: Unpack[Given]) -> list[NodeCost]:
    """Price a supergraph node by node.

    A constant stands with the first node that reads it. A node has a line for each condition that something of it
    depends on: one that nodes of several branches share is due under another condition than the node itself. For
    each metric that adds up, the lines do to the amounts of its table, condition by condition; of one of which the
    largest counts, the lines of a node are a sum that may be the largest.

    Args:
        supergraph: As for ``measure``.
        metrics: Likewise.
        given: Likewise.

    Returns:
        The lines in graph order, local functions inlined; every live node that is no pool has one, if only of zeros.

    Raises:
        SuperNetError: As ``measure`` raises.
    """
    graph, bills = _price(supergraph, metrics, **given)
    supergraph = graph.supergraph
    nodes = supergraph.graph.node
    lines: dict[tuple[int, Condition], NodeCost] = {}

    def line(index: int, condition: Condition) -> NodeCost:
        known = lines.get((index, condition))
        if known is None:
            title = (describe(nodes[index]), nodes[index].op_type) if index < len(nodes) else ("graph outputs", "")
            known = lines[index, condition] = NodeCost(*title, condition, dict.fromkeys(bills, 0))
        return known

    for index, condition in enumerate(supergraph.node_conditions):
        if index not in supergraph.marks and condition is not supergraph.diagrams.false:
            line(index, condition)
    for name, (_, bill) in bills.items():
        for node, condition, amount in bill.entries:
            line(len(nodes) if node is None else node, condition).amounts[name] += amount
    return [cost for (_, _), cost in sorted(lines.items(), key=lambda item: item[0][0])]


def by_operator(
    supergraph: SuperGraph, metrics: Iterable[Metric], selection: Selection, **given: Unpack[Given]
) -> list[OperatorCost]:
    """Price a supergraph operator by operator. What stands in control flow is paid by the node that holds it.

    Args:
        supergraph: As for ``measure``.
        metrics: Likewise.
        selection: Which branches are live.
        given: As for ``measure``.

    Returns:
        The operators of live nodes, local functions inlined, those that cost most by the first metric first.

    Raises:
        SuperNetError: As ``measure`` raises.
    """
    (found,) = by_operators(supergraph, metrics, [selection], **given)
    return found


def by_operators(
    supergraph: SuperGraph,
    metrics: Iterable[Metric],
    selections: Iterable[Selection],
    **given: Unpack[Given],
) -> list[list[OperatorCost]]:
    """Price a supergraph operator by operator under several selections; its nodes are priced once.

    Args:
        supergraph: As for ``measure``.
        metrics: Likewise.
        selections: Which branches are live.
        given: As for ``measure``.

    Returns:
        For each selection, what ``by_operator`` returns.

    Raises:
        SuperNetError: As ``measure`` raises.
    """
    graph, bills = _price(supergraph, metrics, **given)
    return [_operators(graph, bills, selection.indices) for selection in selections]


def _operators(
    graph: CallGraph, bills: Mapping[str, tuple[Metric, Bill]], choices: Sequence[int]
) -> list[OperatorCost]:
    nodes = graph.supergraph.graph.node
    live = {
        index
        for index, condition in enumerate(graph.supergraph.node_conditions)
        if index not in graph.supergraph.marks and condition.at(choices)
    }
    counts = Counter(_operator(nodes[index]) for index in live)
    found = {operator: OperatorCost(operator, count, dict.fromkeys(bills, 0)) for operator, count in counts.items()}
    for name, (_, bill) in bills.items():
        of_node: dict[int, Number] = {}
        for node, condition, amount in bill.entries:
            if node is not None and condition.at(choices):
                of_node[node] = of_node.get(node, 0) + amount
        for node, amount in of_node.items():
            if node not in live:
                continue  # memory that is held while a node of another branch would run
            amounts = found[_operator(nodes[node])].amounts
            amounts[name] = amounts[name] + amount if bill.combine == "sum" else max(amounts[name], amount)
    first = next(iter(bills), None)
    return sorted(found.values(), key=lambda cost: (-cost.amounts[first] if first else 0, -cost.nodes, cost.operator))


def _operator(node: NodeProto) -> str:
    return node.op_type if is_standard(node) else f"{node.domain}::{node.op_type}"


def _price(
    supergraph: SuperGraph,
    metrics: Iterable[Metric],
    *,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, float] | None = None,
    trip_counts: Mapping[str, int] | None = None,
    unknown: Unknown = "error",
) -> tuple[CallGraph, dict[str, tuple[Metric, Bill]]]:
    """Return the calls of a supergraph, and the bill of every metric by its name."""
    graph = resolve_calls(supergraph, Bindings(dims or {}, shapes or {}, values or {}, trip_counts or {}))
    bills: dict[str, tuple[Metric, Bill]] = {}
    for metric in metrics:
        if metric.name in bills:
            raise ValueError(f"two metrics are named '{metric.name}'; names must be unique")
        bills[metric.name] = (metric, metric.bill(graph, unknown=unknown))
    return graph, bills
