"""What changes from epoch to epoch of a search: temperature, warm-up with frozen logits, and when it may stop.

Objects as torch's learning-rate schedulers: make one, call ``step()`` at the end of every epoch (or every batch, where
the numbers are of batches), and keep its ``state_dict()`` beside the optimizer's to resume a search.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypedDict

from supernet_onnx.train.curves import Ramp, count

if TYPE_CHECKING:
    from supernet_onnx.train.curves import Curve
    from supernet_onnx.train.supernet import SuperNet

__all__ = ["StableSelection", "StableState", "StepState", "Stepped", "TemperatureSchedule", "WarmUp"]


class StepState(TypedDict):
    """What a schedule remembers.

    Attributes:
        steps: How many ``step()`` calls there were.
    """

    steps: int


class Stepped(ABC):
    """What acts on a supernet at once and at each ``step()``, and remembers no more than how many there were."""

    def __init__(self) -> None:
        self._steps = 0

    def step(self) -> None:
        """Go on to the next epoch."""
        self._steps += 1
        self._set()

    def state_dict(self) -> StepState:
        """Return the number of steps so far; a curve belongs to the program, as a learning rate's does."""
        return {"steps": self._steps}

    def load_state_dict(self, state: StepState) -> None:
        """Continue after so many steps, with the net as it was at that time."""
        self._steps = count(steps=state["steps"], least=0)
        self._set()

    @abstractmethod
    def _set(self) -> None:
        """Act, after so many steps."""


class TemperatureSchedule(Stepped):
    """Sets the temperature of all pools, at once and at each ``step()``.

    Annealing brings the mixture close to the network that will be chosen. A falling temperature multiplies the
    logits' gradients by its inverse, so it ends above 0: 0.05 to 0.1 is common.

        schedule = TemperatureSchedule(net, Exponential(1.0, 0.05, steps=epochs - 10), delay=10)

    Args:
        net: Its pools' temperatures are set.
        curve: The temperature at each step, always above 0.
        delay: Steps at the curve's first value before it begins, such as those of a warm-up.

    Raises:
        ValueError: The curve gives no positive number, or the delay is no number of steps.
    """

    def __init__(self, net: SuperNet, curve: Curve, *, delay: int = 0) -> None:
        super().__init__()
        self._net = net
        self._curve = curve
        self._delay = count(delay=delay, least=0)
        if isinstance(curve, Ramp):  # said now, not when the search reaches the end
            _check_temperature(curve.last, f"after {delay + curve.steps} steps")
        self._set()

    @property
    def temperature(self) -> float:
        """The temperature that was set last."""
        return self._curve(max(self._steps - self._delay, 0))

    def _set(self) -> None:
        temperature = self.temperature
        _check_temperature(temperature, f"after {self._steps} steps")
        self._net.update_softmax_options(temperature=temperature)


class WarmUp(Stepped):
    """Freezes the logits for the first epochs, so that branches are compared once they have learned something.

    Branches without weights and small kernels learn fastest and would win before the others can compete (FairNAS,
    arXiv 1907.01845; arXiv 1909.09656). While the logits wait they keep their values: untouched ones are equal, so
    each branch weighs the same.

    Args:
        net: Its ``train_selection`` is set, at once and at each ``step()``: False until the warm-up is over.
        epochs: How long; 0 for no warm-up.

    Raises:
        ValueError: ``epochs`` is no number of epochs.
    """

    def __init__(self, net: SuperNet, epochs: int) -> None:
        super().__init__()
        self._net = net
        self._epochs = count(epochs=epochs, least=0)
        self._set()

    @property
    def is_over(self) -> bool:
        """Whether the logits are trained now."""
        return self._steps >= self._epochs

    def step(self) -> None:
        """End an epoch."""
        self._steps += 1
        if self._steps <= self._epochs:  # later on, what is trained is none of its business
            self._set()

    def _set(self) -> None:
        self._net.train_selection = self.is_over


class StableState(TypedDict):
    """What ``StableSelection`` remembers.

    Attributes:
        unchanged: For how many epochs the selection has been the same.
        selection: The selection after the last epoch.
        logits: The logits after the last epoch, by name.
    """

    unchanged: int
    selection: dict[str, str]
    logits: dict[str, list[float]]


class StableSelection:
    """Says when the selection has been the same for so many epochs that the search may stop (DARTS+, 1909.06035).

    An epoch in which no logit moved, such as one of a warm-up, says nothing and does not count.

        stable = StableSelection(net, epochs=10)
        for epoch in range(epochs):
            ...
            if stable.step():
                break

    Args:
        net: Looked at only.
        epochs: How many epochs in a row must end with the selection of the epoch before.

    Raises:
        ValueError: ``epochs`` is not at least 1.
    """

    def __init__(self, net: SuperNet, *, epochs: int) -> None:
        self._net = net
        self._epochs = count(epochs=epochs)
        self._unchanged = 0
        self._selection = net.selection()
        self._logits = self._read_logits()

    @property
    def is_stable(self) -> bool:
        """Whether the selection was the same for long enough."""
        return self._unchanged >= self._epochs

    def step(self) -> bool:
        """End an epoch; return whether the search may stop."""
        logits, selection = self._read_logits(), self._net.selection()
        if selection != self._selection:
            self._unchanged = 0
        elif logits != self._logits:
            self._unchanged += 1
        self._logits, self._selection = logits, selection
        return self.is_stable

    def state_dict(self) -> StableState:
        """Return the count, and the selection and logits that the next epoch is compared with."""
        return {"unchanged": self._unchanged, "selection": dict(self._selection), "logits": dict(self._logits)}

    def load_state_dict(self, state: StableState) -> None:
        """Continue from a saved count."""
        self._unchanged = count(unchanged=state["unchanged"], least=0)
        self._selection = dict(state["selection"])
        self._logits = dict(state["logits"])

    def _read_logits(self) -> dict[str, list[float]]:
        return {name: alpha.detach().tolist() for name, alpha in self._net.named_nas_parameters()}


def _check_temperature(value: float, when: str) -> None:
    if not 0 < value < math.inf:
        raise ValueError(
            f"the temperature would be {value} {when}; it divides the logits, so let the curve stay above 0 and end at "
            "0.05, for instance"
        )
