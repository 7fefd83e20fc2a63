"""What the constants of a supergraph are used for, and under which selections: one sweep from the outputs back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx.cost.facts import without
from supernet_onnx.cost.roles import is_shape_slot, role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supernet_onnx.cost.facts import Facts
    from supernet_onnx.cost.stored import Step
    from supernet_onnx.diagram import Diagrams
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["Use", "sweep"]


@dataclass(frozen=True, slots=True)
class Use:
    """What a tensor is used for, each as the condition under which it is.

    Uses pass back through pools, and through nodes whose output can be computed before the model runs: what such
    an output is used for, its data inputs are used for.

    Attributes:
        data: It reaches a graph output otherwise than as a shape.
        weight: It arrives in a weight slot.
        bias: It arrives in a bias slot, or is added to what a layer makes as its bias.
        other: It arrives in another slot as data.
        quantized: It arrives as data that are quantised, so that integers are what floats would be.
        reader: The first node of the main graph that reads it while the model runs; None if none does.
    """

    data: Condition
    weight: Condition
    bias: Condition
    other: Condition
    quantized: Condition
    reader: int | None


def sweep(supergraph: SuperGraph, steps: Sequence[Step], facts: Facts) -> dict[str, Use]:
    """Find out what every constant is used for. One that nothing needs is absent, or used never.

    Args:
        supergraph: Whose constants.
        steps: Its nodes, makers before readers.
        facts: What is known of them.
    """
    back = _Sweep(supergraph, facts)
    for step in reversed(steps):
        if supergraph.node_conditions[step.home] is supergraph.diagrams.false:
            continue
        if step.home in supergraph.marks:
            back.pool(step.outputs[0])
        else:
            back.node(step)
    return {name: back.settle(name) for name in facts.constant}


class _Open:
    """A use while its readers are still being met: the conditions of each kind, to be joined at once."""

    __slots__ = ("bias", "data", "other", "quantized", "reader", "weight")

    def __init__(self) -> None:
        self.data: set[Condition] = set()
        self.weight: set[Condition] = set()
        self.bias: set[Condition] = set()
        self.other: set[Condition] = set()
        self.quantized: set[Condition] = set()
        self.reader: int | None = None

    def met_by(self, node: int | None) -> None:
        """Note a reader; the first in graph order stays."""
        if node is not None and (self.reader is None or node < self.reader):
            self.reader = node

    def settle(self, diagrams: Diagrams) -> Use:
        def joined(conditions: set[Condition]) -> Condition:
            if len(conditions) > 1:
                return diagrams.any_of(conditions)
            return next(iter(conditions), diagrams.false)  # nearly always

        return Use(
            joined(self.data), joined(self.weight), joined(self.bias), joined(self.other), joined(self.quantized),
            self.reader,
        )  # fmt: skip


class _Sweep:
    def __init__(self, supergraph: SuperGraph, facts: Facts) -> None:
        self._diagrams = supergraph.diagrams
        self._facts = facts
        self._open: dict[str, _Open] = {}
        for value in supergraph.graph.output:
            use = self._open.setdefault(value.name, _Open())
            use.data.add(self._diagrams.true)
            use.other.add(self._diagrams.true)

    def settle(self, name: str) -> Use:
        """Return what a tensor is used for, once all of its readers were met."""
        return self._open.get(name, _NOTHING).settle(self._diagrams)

    def pool(self, name: str) -> None:
        """Pass the uses of a pool's output to its branch outputs."""
        output = self.settle(name)
        for literal, branch in self._facts.branches[name]:
            use = self._open.setdefault(branch, _Open())
            use.data.add(self._diagrams.both(output.data, literal))
            self._inherit(use, output, literal)
            use.met_by(output.reader)

    def node(self, step: Step) -> None:
        """Note what a node uses its inputs for."""
        output = self._merged(step.outputs)
        before_run = self._facts.constant.issuperset(step.outputs)
        for slot, name in enumerate(step.inputs):
            if not name:
                continue
            use, kind = self._open.setdefault(name, _Open()), role(step.node, slot)
            use.met_by(output.reader if before_run and kind == "data" else step.home)
            if is_shape_slot(step.node, slot):
                continue
            use.data.add(output.data)
            if step.node.op_type == "DequantizeLinear" and slot == 0:  # whatever for, these are quantised weights
                self._inherit(use, output, self._diagrams.true)
                use.quantized.add(output.other)
            elif kind in ("data", "quantized"):
                self._take_data(step, slot, use, output, before_run=before_run)
            elif kind != "setting":
                taken = output.data
                if step.home in self._facts.folded and not step.is_nested:
                    taken = without(self._diagrams, taken, self._facts.folded[step.home])
                (use.weight if kind == "weight" else use.bias).add(taken)

    def _take_data(self, step: Step, slot: int, use: _Open, output: Use, *, before_run: bool) -> None:
        """Note the use of an input that is no weight by the operator alone."""
        rest = self._diagrams.true
        if not step.is_nested and (step.home, slot) in self._facts.added_biases:
            is_bias = self._facts.added_biases[step.home, slot]
            use.bias.add(self._diagrams.both(output.data, is_bias))
            rest = without(self._diagrams, rest, is_bias)
        if before_run:
            self._inherit(use, output, rest)
        elif role(step.node, slot) == "quantized":
            use.quantized.add(self._diagrams.both(output.data, rest))
        else:
            use.other.add(self._diagrams.both(output.data, rest))
            if step.node.op_type == "Gather":  # of a quantised embedding table
                use.weight.add(output.weight)
                use.quantized.add(output.quantized)

    def _merged(self, names: Sequence[str]) -> Use:
        """Return the uses of any of a node's outputs."""
        if len(names) == 1:
            return self.settle(names[0])
        merged = _Open()
        for use in map(self.settle, filter(None, names)):
            merged.data.add(use.data)
            self._inherit(merged, use, self._diagrams.true)
            merged.met_by(use.reader)
        return merged.settle(self._diagrams)

    def _inherit(self, use: _Open, output: Use, when: Condition) -> None:
        use.weight.add(self._diagrams.both(output.weight, when))
        use.bias.add(self._diagrams.both(output.bias, when))
        use.other.add(self._diagrams.both(output.other, when))
        use.quantized.add(self._diagrams.both(output.quantized, when))


_NOTHING = _Open()
