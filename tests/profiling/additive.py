"""A machine on which latencies add up exactly: each operator has its price, and every run one more."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from onnx import ModelProto

RUN = 0.5
PRICES = {"Conv": 3.0, "Add": 0.25, "Sub": 0.5, "Mul": 0.75, "Relu": 0.125, "Neg": 1.0, "Abs": 2.0, "If": 4.0}


def price(model: ModelProto, prices: Mapping[str, float] = PRICES, *, run: float = RUN) -> float:
    """Add up the prices of what runs; onnxruntime folds what depends on constants alone.

    The model that a profile times to know what every run takes does nothing to speak of.
    """
    if model.graph.name == "nothing":
        return run
    fed = {value.name for value in model.graph.input}
    constants = {tensor.name for tensor in model.graph.initializer} - fed
    total = run
    for node in model.graph.node:
        if all(name in constants for name in node.input if name) and node.op_type != "If":
            constants.update(node.output)
        else:
            total += prices.get(node.op_type, 0.0 if node.op_type == "Identity" else 1.5)
    return total


class Machine:
    """Opens models that take what ``price`` says; counts how often each was opened and run."""

    def __init__(
        self, prices: Mapping[str, float] = PRICES, *, run: float = RUN, stops_after: int | None = None
    ) -> None:
        self._prices, self._run, self._left = prices, run, stops_after
        self.opened: Counter[bytes] = Counter()
        self.runs = 0

    def open(self, model: ModelProto) -> Callable[[], float]:
        self.opened[model.SerializeToString(deterministic=True)] += 1
        took = price(model, self._prices, run=self._run)

        def run() -> float:
            if self._left is not None and self.runs >= self._left:
                raise KeyboardInterrupt
            self.runs += 1
            return took

        return run
