"""Pools whose functions another tool has inlined, found again by what is left of them in the graph.

onnx's inliner puts the body of a pool's function where the mark was, and onnxruntime does so in every model that it
writes; its optimizer then computes the weights. What stays is ``Sum(Mul(Where(w_i == 0, 0, branch_i), w_i), ...)``,
the name of the sum, and the model's metadata, where the export keeps what the marks said. A pool that another tool
wrote differently is not guessed at.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from supernet_onnx import marks
from supernet_onnx.graph import is_standard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from supernet_onnx.graph import Wiring
    from supernet_onnx.marks import Mark

__all__ = ["Recovery", "recover"]

_CASTS: Final = 4  # in a row; the function has one, and a tool that changes types may add some
_SUFFIX: Final = marks.weights_name("")


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of the pools whose marks a tool removed.

    Attributes:
        model: A copy with a mark in place of each function that was inlined; the model itself if there is none.
        pools: The names of the pools that were recovered.
        unnamed: Those of them whose branches have no names left; they are called ``branch_0``, ``branch_1``, ...
        lost: The names of the pools that the metadata tell of, but that are not found any more; without metadata the
            outputs of what can be nothing but a pool of unknown name.
    """

    model: ModelProto
    pools: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it, a sentence each."""
        notes = []
        if self.pools:
            notes.append(f"a tool had inlined the pool functions; recovered: {_listed(self.pools)}")
        if self.unnamed:
            notes.append(f"the branches have no names any more and are called branch_0, ...: {_listed(self.unnamed)}")
        if self.lost:
            notes.append(f"a tool has rewritten pools, which cannot be selected any more: {_listed(self.lost)}")
        return tuple(notes)


def recover(model: ModelProto, wiring: Wiring) -> Recovery:
    """Recover the pools that were inlined in the main graph.

    Args:
        model: Not changed.
        wiring: Of its main graph, which holds together.
    """
    record = _recorded(model)
    marked = {wiring.makes[index][0] for index in wiring.pools}
    missing = record.keys() - marked
    if not missing and (record or wiring.pools or not _was_marked(model)):
        return Recovery(model)
    made = {name: index for index, makes in enumerate(wiring.makes) for name in makes if name}
    places = sorted(made[name] for name in missing if name in made) if record else range(len(wiring.nodes))
    search = _Search(model, wiring, made)
    sums = (index for index in places if _is(wiring.nodes[index], "Sum"))
    found = {index: mixture for index in sums if (mixture := search.mixture(index)) is not None}
    restoring = _Restoring(model, wiring, record)
    restored = restoring.of(found)
    unknown = [wiring.makes[index][0] for index in found if index not in restoring.written and not record]
    left = missing - {wiring.makes[index][0] for index in restoring.written}
    there = {mark.pool for output, mark in record.items() if output not in left}
    gone = {
        mark.pool for output, mark in record.items() if output in left and (mark.pool not in there or output in made)
    }
    return Recovery(
        restored,
        tuple(dict.fromkeys(mark.pool for mark in restoring.written.values())),
        tuple(restoring.unnamed),
        (*sorted(gone), *unknown),
    )


def _was_marked(model: ModelProto) -> bool:
    return any(entry.key == marks.FORMAT_KEY for entry in model.metadata_props) or any(
        entry.domain == marks.DOMAIN for entry in model.opset_import
    )


def _recorded(model: ModelProto) -> dict[str, Mark]:
    """Return what the model's metadata keep of its marks, by the outputs of their nodes."""
    texts = (entry.value for entry in model.metadata_props if entry.key == marks.POOLS_KEY)
    return marks.read_record(next(texts, ""))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(f"'{name}'" for name in names[:8]) + more


@dataclass(frozen=True, slots=True)
class _Mixture:
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


class _Search:
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

    def mixture(self, index: int) -> _Mixture | None:
        """Return what a Sum mixes, if it is what is left of a pool."""
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
        return _Mixture(tuple(branches), "".join(sources), tuple(weights), frozenset(self._nodes))

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
        return self._wiring.nodes[index].input

    def _number(self, name: str) -> float | None:
        """Return the value of a constant of one element."""
        tensor = self._stored.get(name)
        index = self._made.get(name)
        if index is not None and _is(self._wiring.nodes[index], "Constant"):
            attributes = self._wiring.nodes[index].attribute
            tensor = next((item.t for item in attributes if item.type == AttributeProto.TENSOR), None)
            self._nodes.add(index)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL or tensor.data_type == TensorProto.STRING:
            return None
        values = numpy_helper.to_array(tensor) if list(tensor.dims) in ([], [1]) else np.empty(0)
        return float(values.reshape(())) if values.size == 1 else None


class _Restoring:
    """Writes marks where mixtures were found.

    Args:
        model: Not changed.
        wiring: Of its main graph.
        record: What its metadata keep of its marks.
    """

    def __init__(self, model: ModelProto, wiring: Wiring, record: Mapping[str, Mark]) -> None:
        self._model, self._wiring, self._record = model, wiring, record
        self._stored = {tensor.name for tensor in model.graph.initializer}
        self._calls: Counter[str] = Counter()
        self.unnamed: dict[str, None] = {}
        self.written: dict[int, Mark] = {}

    def of(self, found: Mapping[int, _Mixture]) -> ModelProto:
        """Return the model with a mark for each mixture that can be told to be a pool."""
        written = {index: mark for index, mixture in found.items() if (mark := self._mark(index, mixture)) is not None}
        self.written = written
        if not written:
            return self._model
        restored = ModelProto()
        restored.CopyFrom(self._model)
        del restored.graph.node[:]
        restored.graph.node.extend(self._nodes(found))
        weights = {
            marks.weights_name(mark.pool): found[index].weights
            for index, mark in written.items()
            if found[index].weights
        }
        for name, values in weights.items():
            if name not in self._stored:
                restored.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values))
        if all(entry.domain != marks.DOMAIN for entry in restored.opset_import):
            restored.opset_import.append(helper.make_opsetid(marks.DOMAIN, marks.OPSET))
        return restored

    def _mark(self, index: int, mixture: _Mixture) -> Mark | None:
        """Return what the mark said, or what can be told of it."""
        size = len(mixture.branches)
        kept = self._record.get(self._wiring.makes[index][0])
        if kept is not None:
            return kept if len(kept.branches) == size else None
        if mixture.source not in self._stored or not mixture.source.endswith(_SUFFIX) or mixture.source == _SUFFIX:
            return None
        pool = mixture.source.removesuffix(_SUFFIX)
        self.unnamed[pool] = None
        self._calls[pool] += 1
        return marks.Mark(pool, tuple(f"branch_{i}" for i in range(size)), self._calls[pool] - 1)

    def _nodes(self, found: Mapping[int, _Mixture]) -> Iterator[NodeProto]:
        """Iterate over the nodes, with marks, and without what only the mixtures needed."""
        wiring, written = self._wiring, self.written
        candidates = frozenset().union(*(found[index].nodes for index in written))
        readers = Counter(value.name for value in self._model.graph.output)
        dead: set[int] = set()
        for index in range(len(wiring.nodes) - 1, -1, -1):
            if index in candidates and not any(readers[name] for name in wiring.makes[index]):
                dead.add(index)
            elif index in written:
                readers.update((*found[index].branches, found[index].source))
            else:
                readers.update(wiring.reads[index])
        for index, node in enumerate(wiring.nodes):
            if index in written:
                mark, output = written[index], wiring.makes[index][0]
                pool = marks.encode(mark, found[index].branches, output, name=node.name or output)
                pool.input[0] = found[index].source or pool.input[0]
                yield pool
            elif index not in dead:
                yield node


def _is(node: NodeProto, *kinds: str) -> bool:
    return node.op_type in kinds and is_standard(node)
