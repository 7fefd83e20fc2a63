"""A number for each step of a search: constant, linear, exponential, cosine; temperatures and strengths follow them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Constant", "Cosine", "Curve", "Exponential", "Linear", "Ramp", "count", "finite"]


class Curve(Protocol):
    """A number for each step; any function of the step's number is one."""

    def __call__(self, step: int, /) -> float:
        """Return the value at a step, counted from 0."""


@dataclass(frozen=True, slots=True)
class Constant:
    """``value`` at every step.

    Raises:
        ValueError: The value is not a finite number.
    """

    value: float

    def __post_init__(self) -> None:
        finite(value=self.value)

    def __call__(self, step: int) -> float:
        """Return the value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Ramp(ABC):
    """A curve from ``first`` to ``last`` in so many steps, and ``last`` from then on.

    Attributes:
        first: The value at step 0.
        last: The value at step ``steps`` and after.
        steps: At least 1.

    Raises:
        ValueError: A value is not a finite number, or there is no step.
    """

    first: float
    last: float
    steps: int

    def __post_init__(self) -> None:
        finite(first=self.first, last=self.last)
        count(steps=self.steps)

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the value at a step."""

    def _passed(self, step: int) -> float:
        """Return how much of the steps is over, 0 to 1."""
        return min(step / self.steps, 1.0)


@dataclass(frozen=True, slots=True)
class Linear(Ramp):
    """``first + (last - first) * step / steps``; a ``Ramp``."""

    def __call__(self, step: int) -> float:
        """Return the value at a step."""
        return _between(self.first, self.last, self._passed(step))


@dataclass(frozen=True, slots=True)
class Exponential(Ramp):
    """``first * (last / first) ** (step / steps)``; a ``Ramp``.

    The usual choice for a temperature (Jang et al., arXiv 1611.01144, section 4; FBNet, arXiv 1812.03443).

    Raises:
        ValueError: A value is not a positive number, or there is no step.
    """

    def __post_init__(self) -> None:
        Ramp.__post_init__(self)  # super() does not work in a dataclass with slots
        if self.first <= 0 or self.last <= 0:
            raise ValueError(
                f"an exponential curve from {self.first} to {self.last} does not exist, both must be above 0; "
                "take Linear or Cosine to reach 0"
            )

    def __call__(self, step: int) -> float:
        """Return the value at a step."""
        passed = self._passed(step)
        return self.last if passed == 1 else self.first * (self.last / self.first) ** passed


@dataclass(frozen=True, slots=True)
class Cosine(Ramp):
    """``last + (first - last) * (1 + cos(pi * step / steps)) / 2``; a ``Ramp``.

    Slow at both ends (SGDR, arXiv 1608.03983, eq. 5).
    """

    def __call__(self, step: int) -> float:
        """Return the value at a step."""
        return _between(self.first, self.last, (1 - math.cos(math.pi * self._passed(step))) / 2)


def _between(first: float, last: float, share: float) -> float:
    return last if share == 1 else first + (last - first) * share  # the last value exactly


def finite(**values: float) -> None:
    """Check that arguments, given by their names, are finite numbers; raises ValueError."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, not {value!r}")


def count(*, least: int = 1, **values: int) -> int:
    """Check that an argument, given by its name, is a whole number of at least ``least``; return it.

    Raises:
        ValueError: It is not.
    """
    ((name, value),) = values.items()
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return value
