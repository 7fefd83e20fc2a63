"""What is known of a supergraph's nodes beyond their own operator, each as the condition under which it holds.

A pool between two nodes vanishes when it is pruned, so what a node does may depend on the selection: the trunk's
BatchNormalization behind a pool stands right behind a convolution under some selections. Everything here looks
through pools, so that a supergraph costs under a selection what its subnet costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supernet_onnx.cost.biases import added_biases
from supernet_onnx.folding import FOLDS_INTO
from supernet_onnx.graph import is_standard, reads, subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from onnx import NodeProto

    from supernet_onnx.cost.stored import Layout
    from supernet_onnx.diagram import Diagrams
    from supernet_onnx.shapes import TensorType
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["Facts", "Fold", "gather", "is_pure", "sources", "without"]

_RANDOM: Final = ("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike")

_Edges = dict[str, list[tuple["Condition", str]]]


@dataclass(frozen=True, slots=True)
class Fold:
    """A BatchNormalization that can be folded into the convolution before it.

    Attributes:
        conv: The index of the Conv, ConvTranspose or Gemm node.
        batchnorm: The index of the BatchNormalization node.
        condition: When it can: both are live, nothing else reads what the convolution makes, and all operands but
            the convolution's data are constants.
    """

    conv: int
    batchnorm: int
    condition: Condition


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds when.

    Attributes:
        branches: For the output of each pool node, in graph order, its branch outputs, each with the condition that
            the branch is chosen.
        constant: The tensors that can be computed before the model runs, whatever the selection.
        folds: The BatchNormalizations that are priced as folded. No two of one convolution hold at once.
        folded: When each of those is part of a convolution, by its index.
        added_biases: For the operand of an addition, by node index and slot: when it is a layer's bias, a constant
            with an element for each output of a product by a constant matrix (the last dim), or for each channel of
            what a convolution with a constant kernel makes (dim 1).
    """

    branches: _Edges
    constant: frozenset[str]
    folds: tuple[Fold, ...]
    folded: Mapping[int, Condition]
    added_biases: Mapping[tuple[int, int], Condition]


def gather(supergraph: SuperGraph, layout: Layout, types: Mapping[str, TensorType]) -> Facts:
    """Gather the facts of a supergraph.

    Args:
        supergraph: Whose.
        layout: Its nodes and constants.
        types: The inferred types of its tensors.
    """
    diagrams = supergraph.diagrams
    levels = {pool.name: level for level, pool in enumerate(supergraph.pools)}
    branches = {}
    for index, mark in supergraph.marks.items():
        node, level = supergraph.graph.node[index], levels[mark.pool]
        branches[node.output[0]] = [(diagrams.literal(level, i), name) for i, name in enumerate(node.input[1:])]
    constant = _constant(layout, branches)
    folds = tuple(_folds(supergraph, branches, constant))
    of_batchnorm: dict[int, list[Condition]] = {}
    for fold in folds:
        of_batchnorm.setdefault(fold.batchnorm, []).append(fold.condition)
    folded = {index: diagrams.any_of(conditions) for index, conditions in of_batchnorm.items()}
    return Facts(branches, constant, folds, folded, added_biases(supergraph, branches, constant, types))


def without(diagrams: Diagrams, a: Condition, b: Condition) -> Condition:
    """Return the condition that ``a`` holds and ``b`` does not."""
    if b is diagrams.false or a is diagrams.false:
        return a
    if a is b or b is diagrams.true:
        return diagrams.false
    return diagrams.pointwise(lambda x, y: 1 if x and not y else 0, a, b)


def _constant(layout: Layout, branches: _Edges) -> frozenset[str]:
    """Find the constant tensors: what is stored, what is computed of it alone, and what pools choose of it."""
    constant = {stored.name for stored in layout.constants if not stored.is_fill}
    for step in layout.steps:
        output = next(iter(step.outputs), "")
        if output in branches:
            if all(name in constant for _, name in branches[output]):
                constant.add(output)
        elif is_pure(step.node) and constant.issuperset(filter(None, step.inputs)):
            constant.update(step.outputs)
    return frozenset(constant)


def is_pure(node: NodeProto) -> bool:
    """Tell whether a node computes the same from the same inputs, and has any."""
    if not any(node.input):
        return False
    if not is_standard(node):
        return node.domain == "com.microsoft" and node.op_type in ("DequantizeLinear", "QuantizeLinear")
    if node.op_type in _RANDOM:
        return False
    return next(subgraphs(node), None) is None


def _folds(supergraph: SuperGraph, branches: _Edges, constant: frozenset[str]) -> Iterator[Fold]:
    nodes, diagrams = supergraph.graph.node, supergraph.diagrams
    batchnorms = [index for index, node in enumerate(nodes) if _is_inference_batchnorm(node)]
    if not batchnorms:
        return
    convs = {node.output[0]: index for index, node in enumerate(nodes) if _folds_into(node)}
    sole = _read_once(supergraph, branches, convs)
    for batchnorm in batchnorms:
        if not constant.issuperset(nodes[batchnorm].input[1:]):
            continue
        live = supergraph.node_conditions[batchnorm]
        for source, condition in sources(diagrams, branches, nodes[batchnorm].input[0], live).items():
            conv = convs.get(source)
            if conv is not None and constant.issuperset(filter(None, nodes[conv].input[1:])):
                condition = diagrams.both(condition, sole[source])
                if condition is not diagrams.false:
                    yield Fold(conv, batchnorm, condition)


def _is_inference_batchnorm(node: NodeProto) -> bool:
    if not is_standard(node) or node.op_type != "BatchNormalization" or len(node.input) != 5:
        return False
    training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    return not training and not any(node.output[1:])


def _folds_into(node: NodeProto) -> bool:
    return is_standard(node) and node.op_type in FOLDS_INTO


def sources(diagrams: Diagrams, branches: _Edges, tensor: str, condition: Condition) -> dict[str, Condition]:
    """Return what ``tensor`` is once pools are pruned.

    Args:
        diagrams: The maker of all conditions.
        branches: As in ``Facts``.
        tensor: A tensor's name.
        condition: When it is asked for.

    Returns:
        The tensors that no pool makes and that reach it through pools alone, with when each does.
    """
    reaching = {tensor: condition}
    for output in reversed(branches) if tensor in branches else ():
        through = reaching.pop(output, None)
        if through is None:
            continue
        for literal, name in branches[output]:
            edge = diagrams.both(through, literal)
            reaching[name] = diagrams.either(reaching.get(name, diagrams.false), edge)
    return reaching


def _read_once(supergraph: SuperGraph, branches: _Edges, tensors: Iterable[str]) -> dict[str, Condition]:
    """Return, for each of ``tensors``, when exactly one live node reads it and it is no graph output."""
    graph, diagrams = supergraph.graph, supergraph.diagrams
    once = dict.fromkeys([*tensors, *branches], diagrams.false)  # when at least one node does, looking through pools
    twice = dict(once)

    def add(name: str, first: Condition, second: Condition) -> None:
        if name in once:
            second = diagrams.either(second, diagrams.both(once[name], first))
            twice[name] = diagrams.either(twice[name], second)
            once[name] = diagrams.either(once[name], first)

    for value in graph.output:
        add(value.name, diagrams.true, diagrams.true)
    for index in range(len(graph.node) - 1, -1, -1):
        node, live = graph.node[index], supergraph.node_conditions[index]
        if live is diagrams.false:
            continue
        if index in supergraph.marks:
            first, second = once[node.output[0]], twice[node.output[0]]
            for literal, name in branches[node.output[0]]:
                add(name, diagrams.both(first, literal), diagrams.both(second, literal))
        else:
            for name in reads(node):
                add(name, live, diagrams.false)
    return {name: without(diagrams, once[name], twice[name]) for name in tensors}
