"""What each tensor of a supergraph is used for, and under which selections: one sweep from the outputs back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet_onnx.cost.facts import without
from supernet_onnx.cost.roles import is_shape_slot, role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from supernet_onnx.cost.facts import Facts
    from supernet_onnx.cost.stored import Step
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["Use", "sweep"]


class Use:
    """What a tensor is used for, each as the condition under which it is.

    Uses pass back through pools, and through nodes whose output can be computed before the model runs: what such
    an output is used for, its data inputs are used for.

    Attributes:
        read: Something live reads it, for whatever.
        data: It reaches a graph output otherwise than as a shape.
        weight: It arrives in a weight slot.
        bias: It arrives in a bias slot, or is the bias of a linear layer.
        other: It arrives in another slot as data.
        reader: The first node of the main graph that reads it while the model runs; None if none does.
    """

    __slots__ = ("bias", "data", "other", "read", "reader", "weight")

    def __init__(self, never: Condition) -> None:
        self.read = never
        self.data = never
        self.weight = never
        self.bias = never
        self.other = never
        self.reader: int | None = None

    def met_by(self, node: int | None) -> None:
        """Note a reader; the first in graph order stays."""
        if node is not None and (self.reader is None or node < self.reader):
            self.reader = node


def sweep(supergraph: SuperGraph, steps: Iterable[Step], facts: Facts) -> dict[str, Use]:
    """Find out what every tensor is used for. One that nothing needs is absent, or used never.

    Args:
        supergraph: Whose tensors.
        steps: Its nodes, makers before readers.
        facts: What is known of them.
    """
    back = _Sweep(supergraph, facts)
    for step in reversed(tuple(steps)):
        if supergraph.node_conditions[step.home] is supergraph.diagrams.false:
            continue
        if step.home in supergraph.marks:
            back.pool(step.outputs[0])
        else:
            back.node(step)
    return back.uses


class _Sweep:
    def __init__(self, supergraph: SuperGraph, facts: Facts) -> None:
        self.uses: dict[str, Use] = {}
        self._conditions = supergraph.node_conditions
        self._diagrams = supergraph.diagrams
        self._facts = facts
        self._folded: dict[int, Condition] = {}
        for fold in facts.folds:
            before = self._folded.get(fold.batchnorm, self._diagrams.false)
            self._folded[fold.batchnorm] = self._diagrams.either(before, fold.condition)
        for value in supergraph.graph.output:
            use = self._of(value.name)
            use.read = use.data = use.other = self._diagrams.true

    def _of(self, name: str) -> Use:
        use = self.uses.get(name)
        if use is None:
            use = self.uses[name] = Use(self._diagrams.false)
        return use

    def pool(self, name: str) -> None:
        """Pass the uses of a pool's output to its branch outputs."""
        output = self._of(name)
        for literal, branch in self._facts.branches[name]:
            use = self._of(branch)
            self._inherit(use, output, literal)
            use.read = self._join(use.read, output.read, literal)
            use.data = self._join(use.data, output.data, literal)
            use.met_by(output.reader)

    def node(self, step: Step) -> None:
        """Note what a node uses its inputs for."""
        output = self._merged(step.outputs)
        before_run = self._facts.constant.issuperset(step.outputs)
        for slot, name in enumerate(step.inputs):
            if not name:
                continue
            use, kind = self._of(name), role(step.node, slot)
            use.read = self._diagrams.either(use.read, self._conditions[step.home])
            use.met_by(output.reader if before_run and kind == "data" else step.home)
            if is_shape_slot(step.node, slot):
                continue
            use.data = self._diagrams.either(use.data, output.data)
            if step.node.op_type == "DequantizeLinear" and slot == 0:  # whatever for, these are quantised weights
                self._inherit(use, output, self._diagrams.true)
                use.weight = self._diagrams.either(use.weight, output.other)
            elif kind == "data":
                self._take_data(step, slot, use, output, before_run=before_run)
            elif kind != "setting":
                taken = output.data
                if step.home in self._folded and not step.is_nested:
                    taken = without(self._diagrams, taken, self._folded[step.home])
                if kind == "weight":
                    use.weight = self._diagrams.either(use.weight, taken)
                else:
                    use.bias = self._diagrams.either(use.bias, taken)

    def _take_data(self, step: Step, slot: int, use: Use, output: Use, *, before_run: bool) -> None:
        """Note the use of an input that is no weight by the operator alone."""
        diagrams = self._diagrams
        linear = diagrams.false if step.is_nested else self._facts.linear_biases.get((step.home, slot), diagrams.false)
        use.bias = self._join(use.bias, output.data, linear)
        rest = without(diagrams, diagrams.true, linear)
        if before_run:
            self._inherit(use, output, rest)
        else:
            use.other = self._join(use.other, output.data, rest)
            if step.node.op_type == "Gather":  # of a quantised embedding table
                use.weight = self._join(use.weight, output.weight, rest)

    def _merged(self, names: Iterable[str]) -> Use:
        """Return the uses of any of several tensors."""
        found = [self.uses[name] for name in names if name in self.uses]
        if len(found) == 1:
            return found[0]
        merged = Use(self._diagrams.false)
        for use in found:
            self._inherit(merged, use, self._diagrams.true)
            merged.data = self._diagrams.either(merged.data, use.data)
            merged.met_by(use.reader)
        return merged

    def _inherit(self, use: Use, output: Use, when: Condition) -> None:
        use.weight = self._join(use.weight, output.weight, when)
        use.bias = self._join(use.bias, output.bias, when)
        use.other = self._join(use.other, output.other, when)

    def _join(self, known: Condition, more: Condition, when: Condition) -> Condition:
        return self._diagrams.either(known, self._diagrams.both(more, when))
