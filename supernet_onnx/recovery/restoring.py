"""Marks in place of inlined pool functions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from onnx import ModelProto, NodeProto, TensorProto, helper

from supernet_onnx import marks
from supernet_onnx.graph import standard_opset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from supernet_onnx.graph import Wiring
    from supernet_onnx.marks import Mark
    from supernet_onnx.recovery.mixtures import Mixture

__all__ = ["Restoring"]

_SUFFIX: Final = marks.weights_name("")


class Restoring:
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

    def of(self, found: Mapping[int, Mixture]) -> ModelProto:
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
        self._add_functions(restored)
        return restored

    def _add_functions(self, restored: ModelProto) -> None:
        """Let runtimes execute the marks."""
        there = {function.name for function in restored.functions if function.domain == marks.DOMAIN}
        opset = max(standard_opset(restored), marks.MIN_OPSET)
        for size in sorted({len(mark.branches) for mark in self.written.values()}):
            if marks.op_type(size) not in there:
                restored.functions.append(marks.pool_function(size, opset=opset))

    def _mark(self, index: int, mixture: Mixture) -> Mark | None:
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

    def _nodes(self, found: Mapping[int, Mixture]) -> Iterator[NodeProto]:
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
