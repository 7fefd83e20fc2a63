"""What is measured on data: a mean over the samples of a batch, from the outputs of a model and the targets."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from supernet_onnx.errors import FAILURES, RunError, in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supernet_onnx.runtime.session import Array, Value

__all__ = ["MEASURES", "Measure", "find_measure"]

Function: TypeAlias = "Callable[[Mapping[str, Value], Array], float]"
"""From the outputs by name, in their order, and the targets, to the mean over the samples of a batch."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A mean over samples.

    Attributes:
        name: What it is called.
        goal: Which values are better.
        function: From outputs and targets to the mean over a batch.
    """

    name: str
    goal: Literal["minimize", "maximize"]
    function: Function

    def of(self, outputs: Mapping[str, Value], targets: Array) -> float:
        """Return the mean over the samples of a batch.

        Raises:
            RunError: The function fails, or gives no finite number.
        """
        try:
            value = float(self.function(outputs, targets))
        except FAILURES as error:
            shown = ", ".join(f"'{name}' {_kind(value)}" for name, value in outputs.items())
            raise RunError(
                f"'{self.name}' fails on the outputs {shown} and the targets {_kind(targets)}: {in_one_line(error)}"
            ) from error
        if not math.isfinite(value):
            raise RunError(f"'{self.name}' is {value} on a batch; a finite number was expected")
        return value


def _logits_and_labels(outputs: Mapping[str, Value], targets: Array) -> tuple[Array, Array]:
    """Return the first output as ``(N, C)`` and the labels as ``(N,)``; other dims count as samples."""
    logits = next(iter(outputs.values()))
    if not isinstance(logits, np.ndarray) or logits.ndim < 2:
        raise ValueError("expected logits (N, C, ...) as the first output")
    labels = targets.reshape(len(targets), *targets.shape[2:]) if targets.shape[1:2] == (1,) else targets
    if labels.dtype.kind not in "iu" or labels.shape != (len(logits), *logits.shape[2:]):
        raise ValueError(f"expected integer labels of the shape {[len(logits), *logits.shape[2:]]}")
    if labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(f"expected labels from 0 to {logits.shape[1] - 1}, found {labels.min()} to {labels.max()}")
    flat = np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])
    return flat, labels.reshape(-1)


def _cross_entropy(outputs: Mapping[str, Value], targets: Array) -> float:
    """Return the mean of ``-log softmax(logits)[label]``, in float64."""
    logits, labels = _logits_and_labels(outputs, targets)
    values = logits.astype(np.float64)
    values -= values.max(1, keepdims=True)
    logs = values - np.log(np.exp(values).sum(1, keepdims=True))
    return float(-np.take_along_axis(logs, labels[:, None].astype(np.int64), 1).mean())


def _accuracy(outputs: Mapping[str, Value], targets: Array) -> float:
    """Return the share of samples whose largest logit is that of the label."""
    logits, labels = _logits_and_labels(outputs, targets)
    if np.isnan(logits).any():
        return math.nan  # argmax would take it for the largest
    return float((logits.argmax(1) == labels).mean())


MEASURES: Final = {
    measure.name: measure
    for measure in (
        Measure("cross_entropy", "minimize", _cross_entropy),
        Measure("accuracy", "maximize", _accuracy),
    )
}
"""Those that have a name here; both take the model's first output for logits ``(N, C, ...)``, and integer labels."""


def find_measure(text: str) -> Measure:
    """Find a measure by its name, or run the Python file of ``FILE.py:FUNCTION`` and take a loss from it.

    Raises:
        RunError: There is none.
    """
    if text in MEASURES:
        return MEASURES[text]
    file, colon, name = text.rpartition(":")
    if not colon or not file.endswith(".py"):
        known = ", ".join(MEASURES)
        raise RunError(f"'{text}' is no measure; expected one of {known}, or FILE.py:FUNCTION for a loss of your own")
    spec = importlib.util.spec_from_file_location(f"supernet_onnx_measure_{Path(file).stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = getattr(module, name)
    except FAILURES as error:
        raise RunError(f"'{text}' cannot be loaded: {in_one_line(error)}; mend it") from error
    if not callable(function):
        raise RunError(f"'{text}' is {function!r}, expected a function of outputs and targets")
    return Measure(name, "minimize", function)


def _kind(value: Value) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else "(a sequence)"
