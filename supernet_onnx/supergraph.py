"""A marked ONNX model, read: its pools, and under which selections each part of it is live.

``read`` is the only way in; every invariant of the mark format is checked there, once.
"""

from __future__ import annotations

import contextlib
import gc
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from supernet_onnx import admission, liveness, marks, recovery, storage
from supernet_onnx.diagram import Diagram, Diagrams
from supernet_onnx.errors import MarkError
from supernet_onnx.graph import Wiring, check_topology, describe, subgraphs, wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from supernet_onnx.marks import Mark
    from supernet_onnx.recovery import Recovery

__all__ = ["Branch", "Condition", "Pool", "SuperGraph", "check_pools", "format_version", "read"]

Condition = Diagram
"""When something is live: a diagram over the pools (one level a pool, in their order) whose leaves are 0 and 1."""

_OF_OPTIMIZER: Final = "com.microsoft.nchwc"  # a domain that every model imports which onnxruntime wrote


@dataclass(frozen=True, slots=True)
class Branch:
    """One alternative of a pool.

    Attributes:
        name: Unique in its pool.
        weight: Its mixing coefficient in the file; None where the file computes the weights.
        score: How much it helps the task, higher is better; None where nobody measured it.
    """

    name: str
    weight: float | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Pool:
    """A place with alternatives, found in a graph.

    Attributes:
        name: The qualified name of its module.
        branches: Its alternatives, in order.
        nodes: The indices of its marks in ``model.graph.node``, in graph order; several where the module is used
            more than once or its branches return tuples.
        calls: How often the module is used.
    """

    name: str
    branches: tuple[Branch, ...]
    nodes: tuple[int, ...]
    calls: int

    def index(self, branch: str) -> int | None:
        """Return the index of the branch of that name, or None."""
        return next((i for i, own in enumerate(self.branches) if own.name == branch), None)


@dataclass(frozen=True, slots=True)
class SuperGraph:
    """A model, its pools, and who is live when. Reading never changes the model.

    Attributes:
        model: The ONNX model as it was read, with marks in place of pools that were recovered; external data stay on
            disk.
        directory: The folder that external data are relative to; None for a model that never was a file.
        pools: In the order in which the graph uses them first, but that what is nested in a pool and what feeds it
            comes right before it. Pools that no output needs come first.
        marks: The decoded mark of each pool node, by node index.
        diagrams: The maker of all conditions; level i is ``pools[i]``.
        wiring: What the nodes of the main graph read and make.
        node_conditions: For each node of the main graph, when it is live.
        tensor_conditions: For each tensor that something reads, when it is read by something live. Tensors that
            no selection needs are absent or false.
        recovery: What became of pools whose marks a tool removed.
    """

    model: ModelProto
    directory: Path | None
    pools: tuple[Pool, ...]
    marks: Mapping[int, Mark] = field(repr=False)
    diagrams: Diagrams = field(repr=False)
    wiring: Wiring = field(repr=False)
    node_conditions: tuple[Condition, ...] = field(repr=False)
    tensor_conditions: Mapping[str, Condition] = field(repr=False)
    recovery: Recovery = field(repr=False)

    def __deepcopy__(self, memo: dict[int, object]) -> SuperGraph:
        return self  # nothing writes to it

    @property
    def graph(self) -> GraphProto:
        """The main graph of the model."""
        return self.model.graph

    @property
    def node_reads(self) -> Sequence[list[str]]:
        """For each node of the main graph, the tensors that it reads (``graph.reads``)."""
        return self.wiring.reads

    def pool(self, name: str) -> Pool | None:
        """Return the pool of that name, or None."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def live(self, pool: Pool) -> Condition:
        """Return when a pool is reached: when any of its nodes is live."""
        return self.diagrams.any_of(self.node_conditions[node] for node in pool.nodes)

    def condition(self, tensor: str) -> Condition:
        """Return when a tensor is live; false for one that nothing needs."""
        return self.tensor_conditions.get(tensor, self.diagrams.false)


def read(
    source: ModelProto | Path | str, *, limits: admission.Limits | None = None, allow_links: bool = False
) -> SuperGraph:
    """Read a marked ONNX model. A model without pools is one too, with ``pools == ()``.

    Args:
        source: A model, or the path of one, which must pass the gate (``admission``). External data are not loaded.
        limits: What the file may not exceed; the defaults are far above what honest models have.
        allow_links: Whether the file's external data may be links to files elsewhere.

    Raises:
        ModelError: The file is missing, no ONNX model, or does not pass the gate; the graph does not hold together.
        MarkError: A mark is malformed, contradicts another, or stands in a nested graph or local function.
    """
    with _uncollected():
        return _read(source, limits, allow_links=allow_links)


def _read(source: ModelProto | Path | str, limits: admission.Limits | None, *, allow_links: bool) -> SuperGraph:
    if isinstance(source, ModelProto):
        model, wiring, directory = source, wire(source.graph), None
    else:
        model, wiring = admission.load(source, limits, allow_links=allow_links)
        directory = Path(source).absolute().parent
    _check_format(model)
    check_topology(model.graph, wiring)
    recovered = recovery.recover(model, wiring)
    if recovered.pools:
        model = recovered.model
        wiring = wire(model.graph)
        check_topology(model.graph, wiring)
        if directory is not None:
            _check_recovered(wiring, limits or admission.Limits())
    _check_places(model, wiring)
    found = {index: marks.decode(wiring.nodes[index]) for index in wiring.pools}
    outputs = [value.name for value in model.graph.output]
    pools = _pools(model.graph, found, liveness.order(wiring, outputs, found), directory, allow_links=allow_links)
    diagrams = Diagrams([len(pool.branches) for pool in pools], names=[pool.name for pool in pools])
    levels = {pool.name: level for level, pool in enumerate(pools)}
    node_conditions, tensor_conditions = liveness.sweep(wiring, outputs, found, levels, diagrams)
    return SuperGraph(model, directory, pools, found, diagrams, wiring, node_conditions, tensor_conditions, recovered)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the search for garbage: a large model makes many objects that are none, and looking takes a tenth more."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def format_version(model: ModelProto) -> str | None:
    """Return the mark format version that the model's metadata name, or None."""
    return next((entry.value for entry in model.metadata_props if entry.key == marks.FORMAT_KEY), None)


def check_pools(supergraph: SuperGraph) -> None:
    """Refuse a model that has no pool, or of which a tool has hidden one.

    A supernet's metadata outlive tools that inline its pool functions; those that also rewrite what is inlined leave
    mixtures that nothing can tell from other sums.

    Raises:
        MarkError: It is such a model.
    """
    model, lost = supergraph.model, supergraph.recovery.lost
    if supergraph.pools and not lost:
        return
    if not lost and all(entry.key != marks.FORMAT_KEY for entry in model.metadata_props):
        raise MarkError("the model has no pool, so there is nothing to select: export it with SuperNet.export_onnx")
    if any(entry.domain == _OF_OPTIMIZER for entry in model.opset_import):
        step = "onnxruntime optimized it"
    else:
        step = "a tool inlined its function and rewrote it, as an optimizer does that knows no marks"
    which = f"the mark of pool '{lost[0]}' is" if len(lost) == 1 else "the marks are"
    if len(lost) > 1:
        which = f"the marks of {len(lost)} pools, '{lost[0]}' the first, are"
    raise MarkError(
        f"the model is a supernet in which {which} gone: {step}; take the file that SuperNet.export_onnx wrote, "
        "and optimize what is pruned from it"
    )


def _check_format(model: ModelProto) -> None:
    version = format_version(model)
    if version not in (None, marks.FORMAT):
        raise MarkError(
            f"format version '{version}' is unknown, this release reads version {marks.FORMAT}; "
            "update supernet-onnx or export the model again"
        )
    for opset in model.opset_import:
        if opset.domain == marks.DOMAIN and opset.version != marks.OPSET:
            raise MarkError(
                f"opset import '{marks.DOMAIN}' has version {opset.version}, this release reads {marks.OPSET}; "
                "update supernet-onnx or export the model again"
            )


def _check_recovered(wiring: Wiring, limits: admission.Limits) -> None:
    """Hold pools that the gate could not know to its limits."""
    limits.check("pools", len(wiring.pools), "the graph")
    for index in wiring.pools:
        limits.check("branches", len(wiring.reads[index]) - 1, f"pool node '{wiring.makes[index][0]}'")


def _check_places(model: ModelProto, wiring: Wiring) -> None:
    """Refuse a pool in a nested graph or a local function: its liveness would not be the main graph's."""
    for function in model.functions:
        if function.domain == marks.DOMAIN:
            continue
        for node in function.node:
            _refuse_pool(node, f"local function '{function.domain}::{function.name}'")
    for node in (wiring.nodes[index] for index in sorted(wiring.nested)):
        for graph in subgraphs(node):
            for inner in graph.node:
                _refuse_pool(inner, describe(node))


def _refuse_pool(node: NodeProto, where: str) -> None:
    if marks.is_pool(node):
        raise MarkError(
            f"pool '{marks.decode(node).pool}', {describe(node)}: stands inside {where}; "
            "a pool must stand in the main graph: inline the function or move the pool out of the control flow"
        )
    for graph in subgraphs(node):
        for inner in graph.node:
            _refuse_pool(inner, where)


def _pools(
    graph: GraphProto, found: Mapping[int, Mark], order: Sequence[str], directory: Path | None, *, allow_links: bool
) -> tuple[Pool, ...]:
    """Group the marks by pool name, in this order, and read the weights."""
    groups: dict[str, list[int]] = {name: [] for name in order}
    for index, mark in found.items():
        groups[mark.pool].append(index)
    wanted = {graph.node[index].input[0] for index in found}
    initializers = {name: tensor for tensor in graph.initializer if (name := tensor.name) in wanted} if found else {}
    pools = []
    for name, nodes in groups.items():
        first = found[nodes[0]]
        weights: tuple[float, ...] | None = None
        for index in nodes:
            mark, node = found[index], graph.node[index]
            where = f"pool '{name}', {describe(node)}"
            _check_same(mark, first, where)
            tensor = initializers.get(node.input[0])
            if tensor is not None and directory is not None and tensor.data_location == TensorProto.EXTERNAL:
                size_bytes = 4 * len(mark.branches)
                tensor = storage.with_values(tensor, directory, size_bytes=size_bytes, allow_links=allow_links)
            values = marks.weights_values(tensor, where, len(mark.branches)) if tensor is not None else None
            if index != nodes[0] and values != weights:
                raise MarkError(f"{where}: its weights differ from those of the pool's other nodes")
            weights = values
        branches = tuple(
            Branch(branch, weights[i] if weights else None, first.scores[i] if first.scores else None)
            for i, branch in enumerate(first.branches)
        )
        pools.append(Pool(name, branches, tuple(nodes), len({found[index].call for index in nodes})))
    return tuple(pools)


def _check_same(mark: Mark, first: Mark, where: str) -> None:
    if mark.branches != first.branches:
        raise MarkError(
            f"{where}: names the branches {', '.join(mark.branches)}, another node of this pool "
            f"{', '.join(first.branches)}; two pools may not share a name: rename one and export again"
        )
    if mark.scores != first.scores:
        raise MarkError(f"{where}: its scores differ from those of the pool's other nodes")
