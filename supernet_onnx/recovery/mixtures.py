"""What inlined pool functions look like: ``Sum(Mul(Where(w_i == 0, 0, branch_i), w_i), ...)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper

from supernet_onnx.graph import is_standard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supernet_onnx.graph import Wiring

__all__ = ["Mixture", "Search"]

_INPUTS: Final = {"Mul": 2, "Where": 3, "Gather": 2, "Equal": 2, "Cast": 1, "CastLike": 2}
_CASTS: Final = 4  # in a row; the function has one, and a tool that changes types may add some


@dataclass(frozen=True, slots=True)
class Mixture:
    """What the function of a pool became.

    Attributes:
        branches: The branch outputs.
        source: The tensor of all weights; empty if they were computed beforehand.
        weights: Their values then.
        nodes: The indices of the nodes that it consists of, but for the sum.
    """

    branches: tuple[str, ...]
    source: str
    weights: tuple[float, ...]
    nodes: frozenset[int]


class Search:
    """Looks for what inlined pool functions consist of.

    Args:
        model: The model.
        wiring: Of its main graph.
        made: The index of the node that makes a tensor.
    """

    def __init__(self, model: ModelProto, wiring: Wiring, made: Mapping[str, int]) -> None:
        self._wiring, self._made = wiring, made
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) <= 1}
        self._nodes: set[int] = set()  # those of the mixture that is looked at

    def mixture(self, index: int) -> Mixture | None:
        """Return what a node mixes, if it is the Sum that is left of a pool."""
        if not _is(self._wiring.nodes[index], "Sum"):
            return None
        self._nodes = set()
        branches: list[str] = []
        sources: set[str] = set()
        weights: list[float] = []
        for position, name in enumerate(self._wiring.nodes[index].input):
            term = self._term(position, name)
            if term is None:
                return None
            branch, weight = term
            branches.append(branch)
            if isinstance(weight, str):
                sources.add(weight)
            else:
                weights.append(weight)
        if not branches or len(sources) + bool(weights) != 1:
            return None
        return Mixture(tuple(branches), "".join(sources), tuple(weights), frozenset(self._nodes))

    def _term(self, position: int, name: str) -> tuple[str, str | float] | None:
        """Return the branch of a term, and its weight: a number, or the tensor that holds all weights."""
        inputs = self._inputs(name, "Mul")
        if inputs is None:  # a product with 1 is no product any more
            kept, factor = name, ""
        elif self._inputs(inputs[0], "Where") is not None:
            kept, factor = inputs
        else:
            factor, kept = inputs
        chosen = self._inputs(kept, "Where")
        if chosen is None or not self._is_zero(chosen[1]):
            return None
        is_off, _, branch = chosen
        number = 1.0 if not factor else self._number(factor)
        if number is not None:
            return (branch, number) if self._number(is_off) == (number == 0) else None
        source = self._gathered(factor, position)
        compared = self._inputs(is_off, "Equal")
        if source is None or compared is None or compared[0] != factor or not self._is_zero(compared[1]):
            return None
        return branch, source

    def _gathered(self, name: str, position: int) -> str | None:
        """Return the tensor of which this is the element at ``position``, behind its casts."""
        inputs = self._inputs(name, "Gather")
        if inputs is None or self._number(inputs[1]) != position:
            return None
        return self._before_casts(inputs[0])

    def _is_zero(self, name: str) -> bool:
        return self._number(self._before_casts(name)) == 0

    def _before_casts(self, name: str) -> str:
        for _ in range(_CASTS):
            inputs = self._inputs(name, "Cast", "CastLike")
            if inputs is None:
                break
            name = inputs[0]
        return name

    def _inputs(self, name: str, *kinds: str) -> Sequence[str] | None:
        """Return what the node reads that makes a tensor, if it is of one of these kinds."""
        index = self._made.get(name)
        if index is None or not _is(self._wiring.nodes[index], *kinds):
            return None
        self._nodes.add(index)
        node = self._wiring.nodes[index]
        return node.input if len(node.input) == _INPUTS[node.op_type] else None

    def _number(self, name: str) -> float | None:
        """Return the value of a scalar constant."""
        tensor = self._stored.get(name)
        index = self._made.get(name)
        if index is not None and _is(self._wiring.nodes[index], "Constant"):
            attributes = self._wiring.nodes[index].attribute
            tensor = next((item.t for item in attributes if item.type == AttributeProto.TENSOR), None)
            self._nodes.add(index)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL or tensor.data_type == TensorProto.STRING:
            return None
        if tensor.dims:
            return None
        try:
            return float(numpy_helper.to_array(tensor).reshape(()))
        except (TypeError, ValueError):  # damaged, or of a kind that is no number
            return None


def _is(node: NodeProto, *kinds: str) -> bool:
    return node.op_type in kinds and is_standard(node)
