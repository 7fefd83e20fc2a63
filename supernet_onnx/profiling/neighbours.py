"""What onnxruntime fuses across the rim of a piece: an operator before it, and activations and additions behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supernet_onnx.graph import is_standard

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from onnx import NodeProto

    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["Neighbours"]

_HEADS: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_ACTIVATIONS: Final = frozenset({"Clip", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
_TAILS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(_HEADS, _ACTIVATIONS | {"Add", "BatchNormalization", "Mul"}),
    **dict.fromkeys(("BatchNormalization", "Mul"), _ACTIVATIONS),
    "Add": _ACTIVATIONS | {"BatchNormalization", "LayerNormalization"},
}  # what an operator may take in, by onnxruntime's ConvActivation, ConvAdd, MatMulAdd, Gelu and SkipLayerNorm fusions
_LONGEST: Final = 2  # a convolution takes in an addition and an activation


class Neighbours:
    """Finds the neighbours of pieces.

    Args:
        supergraph: Not changed.
        constants: The tensors that no input changes.
    """

    def __init__(self, supergraph: SuperGraph, constants: Collection[str]) -> None:
        self._supergraph = supergraph
        self._constants = constants
        graph = supergraph.graph
        self._nodes = graph.node
        self._maker = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
        self._outputs = {value.name for value in graph.output}
        self._readers: dict[str, list[int]] = {}
        for i, names in enumerate(supergraph.node_reads):
            for name in dict.fromkeys(names):
                self._readers.setdefault(name, []).append(i)
        self._levels = {pool.name: level for level, pool in enumerate(supergraph.pools)}

    def of(self, nodes: Sequence[int], condition: Condition) -> tuple[list[int], list[int], dict[str, str]]:
        """Return the nodes before a piece, those behind it, and what they read under another name.

        Args:
            nodes: The piece's.
            condition: When they are live.
        """
        own = set(nodes)
        after, names = self._after(own)
        return self._before(nodes, own, condition), after, names

    def _after(self, nodes: set[int]) -> tuple[list[int], dict[str, str]]:
        """Follow the one tensor that leaves a piece, through pools, as long as one node alone reads it."""
        leaving = [name for i in nodes for name in self._nodes[i].output if not self._is_inside(name, nodes)]
        after: list[int] = []
        names: dict[str, str] = {}
        if len(leaving) != 1:
            return after, names
        made = {name for i in nodes for name in self._nodes[i].output}
        name, last = leaving[0], self._nodes[self._maker[leaving[0]]]
        while len(after) < _LONGEST:
            found = self._only_reader(name)
            if found is None or not _takes(last, self._nodes[found[0]]):
                break
            reader, under = found
            if reader in nodes or not made.isdisjoint(set(self._nodes[reader].input) - {under}):
                break
            if under != name:
                names[under] = name
            after.append(reader)
            name, last = self._nodes[reader].output[0], self._nodes[reader]
        return after, names

    def _is_inside(self, name: str, nodes: Collection[int]) -> bool:
        readers = self._readers.get(name, ())
        return name not in self._outputs and all(reader in nodes for reader in readers)

    def _only_reader(self, name: str) -> tuple[int, str] | None:
        """Return the one node that reads a tensor, through pools, and under which name; None if there is no such."""
        found: list[tuple[int, str]] = []
        stack, seen = [name], set()
        while stack and len(found) < 2:
            here = stack.pop()
            if here in self._outputs:
                return None
            if here in seen:
                continue
            seen.add(here)
            for reader in self._readers.get(here, ()):
                if reader in self._supergraph.marks:
                    stack.append(self._nodes[reader].output[0])
                else:
                    found.append((reader, here))
        return found[0] if len(found) == 1 else None

    def _before(self, nodes: Sequence[int], own: Collection[int], condition: Condition) -> list[int]:
        """Find the operator that takes in the first node of a piece, which alone reads what it makes."""
        for i in nodes:
            name = next((name for name in self._nodes[i].input if name not in self._constants), "")
            maker = self._maker.get(name)
            if maker is None or maker in own or maker in self._supergraph.marks or name in self._outputs:
                continue
            if self._nodes[maker].op_type in _HEADS and _takes(self._nodes[maker], self._nodes[i]):
                others = [reader for reader in self._readers[name] if reader != i]
                if not any(self._are_live_together(reader, name, condition) for reader in others):
                    return [maker]
        return []

    def _are_live_together(self, reader: int, name: str, condition: Condition) -> bool:
        diagrams = self._supergraph.diagrams
        live = self._supergraph.node_conditions[reader]
        mark = self._supergraph.marks.get(reader)
        if mark is None:
            return diagrams.both(live, condition) is not diagrams.false
        level = self._levels[mark.pool]
        branches = [i for i, other in enumerate(self._nodes[reader].input[1:]) if other == name]
        ways = (diagrams.both(live, diagrams.literal(level, i)) for i in branches)
        return any(diagrams.both(way, condition) is not diagrams.false for way in ways)


def _takes(node: NodeProto, follower: NodeProto) -> bool:
    """Tell whether onnxruntime may fuse two nodes, one behind the other."""
    return (
        is_standard(node)
        and is_standard(follower)
        and len(follower.output) == 1
        and follower.op_type in _TAILS.get(node.op_type, ())
    )
