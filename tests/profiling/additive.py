"""A machine on which latencies add up exactly: each operator has its price, and every run one more."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from onnx import ModelProto

RUN = 0.5
PRICES = {"Conv": 3.0, "Add": 0.25, "Sub": 0.5, "Mul": 0.75, "Relu": 0.125, "Neg": 1.0, "Abs": 2.0, "If": 4.0}


def price(
    model: ModelProto, prices: Mapping[str, float] = PRICES, *, run: float = RUN, free: Collection[str] = ()
) -> float:
    """Add up the prices of the nodes of a model, but for those named in ``free``.

    The model that a profile times to know what every run takes does nothing to speak of.
    """
    if model.graph.name == "nothing":
        return run
    counted = [node.op_type for node in model.graph.node if node.name not in free and node.op_type != "Identity"]
    return run + sum(prices.get(operator, 1.5) for operator in counted)


class Machine:
    """Opens models that take what ``price`` says; counts how often each was opened and run."""

    def __init__(
        self,
        prices: Mapping[str, float] = PRICES,
        *,
        run: float = RUN,
        free: Collection[str] = (),
        stops_after: int | None = None,
    ) -> None:
        self._free = free
        self._prices, self._run, self._left = prices, run, stops_after
        self.opened: Counter[bytes] = Counter()
        self.runs = 0

    def open(self, model: ModelProto) -> Callable[[], float]:
        self.opened[model.SerializeToString(deterministic=True)] += 1
        took = price(model, self._prices, run=self._run, free=self._free)

        def run() -> float:
            if self._left is not None and self.runs >= self._left:
                raise KeyboardInterrupt
            self.runs += 1
            return took

        return run
