"""Metrics of what a model stores: parameters and bytes.

A constant is an initializer (dense or sparse, also one that is a graph input too) or the value of a Constant node.
What it is follows from where it arrives: constants are followed through everything that can be computed before the
model runs (Transpose, Reshape, Cast, DequantizeLinear, ...) and through pools, to the operators that take them.

Parameters are

- whatever arrives in a weight or bias slot of an operator (``supernet_onnx.cost.roles``), of any element type, so
  that quantised weights count like floats (and each once where onnxruntime packs several to an element), and what
  ConstantOfShape fills counts like a stored tensor;
- float constants of more than one element that arrive elsewhere as data, quantised ones included: embedding tables,
  position codes, scales.

No parameters are pool weights; scalars (rank 0), and single elements outside of weight and bias slots, where ``0.5``
in ``x * 0.5`` and a learned factor look alike; what only describes a shape, an index, a limit or a quantisation;
integers outside of weight and bias slots; booleans and strings. Of a sparse constant the stored values count.

A BatchNormalization right behind a convolution is priced as folded (``supernet_onnx.cost.facts``): its four vectors
are no parameters, and the convolution has a bias. Elsewhere its four vectors count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from onnx import TensorProto

from supernet_onnx.cost.facts import sources
from supernet_onnx.cost.opcall import Operand
from supernet_onnx.cost.spec import Bill, Entry
from supernet_onnx.errors import UnknownOperatorError, UnknownShapeError
from supernet_onnx.graph import describe
from supernet_onnx.marks import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supernet_onnx.cost.calls import CallGraph
    from supernet_onnx.cost.spec import Unknown
    from supernet_onnx.cost.stored import Stored
    from supernet_onnx.supergraph import Condition

__all__ = ["ParameterCount", "StoredSize", "params", "params_no_bias", "size"]

_PACKING: Final = ("MatMulBnb4", "MatMulNBits")
_NEVER_PARAMETERS: Final = (TensorProto.UNDEFINED, TensorProto.STRING, TensorProto.BOOL)


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """The number of live parameters, each tensor once however many nodes share it.

    Attributes:
        name: The metric's name.
        unit: Elements.
        biases: Whether tensors that only serve as biases count.
    """

    name: str
    unit: str
    biases: bool

    def bill(self, graph: CallGraph, *, unknown: Unknown = "error") -> Bill:
        """Count a graph's parameters.

        Raises:
            UnknownOperatorError: A local function is called that could not be inlined, and ``unknown`` is
                ``"error"``.
            UnknownShapeError: Nothing tells how many weights ConstantOfShape fills.
        """
        functions = _functions(self.name, graph, unknown)
        entries = list(self._stored(graph))
        if self.biases:
            entries.extend(_biases_from_batchnorm(graph))
        return Bill(tuple(entries), functions)

    def _stored(self, graph: CallGraph) -> Iterator[Entry]:
        packed = dict(_packed(graph))
        for stored in graph.layout.constants:
            condition = self._condition(graph, stored)
            if condition is graph.supergraph.diagrams.false:
                continue
            amount = _numel(graph, stored.name) if stored.is_fill else packed.get(stored.name, stored.elements)
            if amount:
                yield Entry(graph.uses[stored.name].reader, condition, amount)

    def _condition(self, graph: CallGraph, stored: Stored) -> Condition:
        """Return when a constant is a parameter."""
        diagrams = graph.supergraph.diagrams
        use = graph.uses.get(stored.name)
        if use is None or stored.rank == 0 or stored.dtype in _NEVER_PARAMETERS:
            return diagrams.false
        condition = use.weight
        if self.biases:
            condition = diagrams.either(condition, use.bias)
        if stored.elements > 1:
            condition = diagrams.either(condition, use.quantized)
            if stored.is_float:
                condition = diagrams.either(condition, use.other)
        return condition


@dataclass(frozen=True, slots=True)
class StoredSize:
    """The bytes of all live constants as they are stored, shapes and indices included, pool weights left out.

    Types of 2, 4 and 6 bits are packed, each tensor rounded up to whole bytes; a string takes its bytes; a sparse
    tensor its values and indices. External data count and are not read. Nothing is folded.

    Attributes:
        name: The metric's name.
        unit: Bytes.
    """

    name: str
    unit: str

    def bill(self, graph: CallGraph, *, unknown: Unknown = "error") -> Bill:
        """Add up a graph's constants.

        Raises:
            UnknownOperatorError: A local function is called that could not be inlined, and ``unknown`` is
                ``"error"``.
        """
        supergraph = graph.supergraph
        entries = []
        for stored in graph.layout.constants:
            if stored.home is None:
                condition = supergraph.condition(stored.name)
            else:
                condition = supergraph.node_conditions[stored.home]
            if condition is not supergraph.diagrams.false and stored.size_bytes:
                entries.append(Entry(graph.uses[stored.name].reader, condition, stored.size_bytes))
        return Bill(tuple(entries), _functions(self.name, graph, unknown))


def _packed(graph: CallGraph) -> Iterator[tuple[str, int]]:
    """Iterate over the weights that onnxruntime packs several to an element, with how many they are."""
    for step in graph.layout.steps:
        if step.node.domain == "com.microsoft" and step.node.op_type in _PACKING:
            sizes = {attribute.name: attribute.i for attribute in step.node.attribute}
            if "K" in sizes and "N" in sizes and len(step.inputs) > 1:
                yield step.inputs[1], sizes["K"] * sizes["N"]


def _functions(metric: str, graph: CallGraph, unknown: Unknown) -> tuple[str, ...]:
    """Return the local functions that something live still calls, or refuse them."""
    local = {(f.domain, f.name) for f in graph.supergraph.model.functions if f.domain != DOMAIN}
    called: dict[str, None] = {}
    for step in graph.layout.steps if local else ():
        node = step.node
        live = graph.supergraph.node_conditions[step.home] is not graph.supergraph.diagrams.false
        if live and (node.domain, node.op_type) in local:
            if unknown == "error":
                raise UnknownOperatorError(
                    f"{describe(node)}: '{metric}' cannot look into this local function, which imports another opset "
                    "version than the model; convert it, or leave it out with --unknown free"
                )
            called[f"{node.domain}::{node.op_type}"] = None
    return tuple(called)


def _biases_from_batchnorm(graph: CallGraph) -> Iterator[Entry]:
    """Count the biases that convolutions without one get from the BatchNormalizations folded into them.

    A convolution and a BatchNormalization that are used together several times share one bias.
    """
    nodes, diagrams = graph.supergraph.graph.node, graph.supergraph.diagrams
    biases: dict[tuple[str, ...], Entry] = {}  # by the constants that they are made of
    for fold in graph.facts.folds:
        conv, batchnorm = nodes[fold.conv], nodes[fold.batchnorm]
        if any(conv.input[2:]):
            continue
        for key, when in _origins(graph, (conv.input[1], *batchnorm.input[1:]), fold.condition):
            node, condition, amount = biases.get(key) or (fold.conv, diagrams.false, _numel(graph, batchnorm.input[2]))
            assert node is not None
            biases[key] = Entry(min(node, fold.conv), diagrams.either(condition, when), amount)
    yield from biases.values()


def _origins(graph: CallGraph, names: tuple[str, ...], condition: Condition) -> list[tuple[tuple[str, ...], Condition]]:
    """Return what several tensors are at once when pools are pruned, with when they are that."""
    diagrams, branches = graph.supergraph.diagrams, graph.facts.branches
    found: list[tuple[tuple[str, ...], Condition]] = [((), condition)]
    for name in names:
        found = [
            ((*known, source), when)
            for known, before in found
            for source, when in sources(diagrams, branches, name, before).items()
            if when is not diagrams.false
        ]
    return found


def _numel(graph: CallGraph, name: str) -> int:
    known = graph.types.get(name)
    try:
        return Operand(name, known.dtype if known else 0, known.shape if known else None).numel
    except UnknownShapeError as error:
        raise UnknownShapeError(f"{error}{graph.hint}") from error


params: Final = ParameterCount("params", "elements", biases=True)
"""Live parameters, each once."""

params_no_bias: Final = ParameterCount("params_no_bias", "elements", biases=False)
"""Live parameters that do not only serve as biases (of convolutions, linear layers, normalisations, recurrence)."""

size: Final = StoredSize("size", "bytes")
"""Live constants as stored."""
