"""Measures against plain arithmetic, and losses of one's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from supernet_onnx.errors import RunError
from supernet_onnx.runtime import MEASURES, find_measure

if TYPE_CHECKING:
    from pathlib import Path

LOGITS = np.array([[0.0, math.log(3), 0.0], [1000.0, 0.0, 0.0]], np.float32)


def test_cross_entropy_and_accuracy_are_means_over_samples() -> None:
    labels = np.array([1, 1])
    assert MEASURES["cross_entropy"].of({"y": LOGITS}, labels) == pytest.approx((-math.log(3 / 5) + 1000) / 2)
    assert MEASURES["accuracy"].of({"y": LOGITS, "z": labels}, labels) == 0.5
    assert MEASURES["accuracy"].of({"y": LOGITS}, labels.astype(np.uint8)[:, None]) == 0.5


def test_pixels_count_as_samples() -> None:
    logits = np.zeros((2, 3, 4, 5), np.float32)
    logits[:, 2] = 1
    labels = np.full((2, 4, 5), 2)
    labels[0, 0, 0] = 1
    assert MEASURES["accuracy"].of({"y": logits}, labels) == 39 / 40
    assert MEASURES["accuracy"].of({"y": logits}, labels[:, None]) == 39 / 40


def test_the_accuracy_of_outputs_that_are_no_numbers_is_an_error() -> None:
    with pytest.raises(RunError, match="is nan on a batch"):
        MEASURES["accuracy"].of({"y": LOGITS * np.nan}, np.array([1, 1]))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (LOGITS[:, 0], np.array([1, 1]), r"outputs 'y' float32\[2\] .* expected logits \(N, C, ...\)"),
        (LOGITS, np.array([1.0, 1.0]), r"expected integer labels of the shape \[2\]"),
        (LOGITS, np.array([1, 1, 1]), r"targets int64\[3\]: ValueError: expected integer labels of the shape \[2\]"),
        (LOGITS, np.array([1, 3]), "expected labels from 0 to 2, found 1 to 3"),
        (LOGITS, np.array([-1, 1]), "expected labels from 0 to 2, found -1 to 1"),
        (LOGITS * np.nan, np.array([1, 1]), "is nan on a batch; a finite number was expected"),
    ],
)
def test_outputs_and_targets_that_do_not_fit_are_an_error(logits: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(RunError, match=message), np.errstate(all="ignore"):
        MEASURES["cross_entropy"].of({"y": logits}, labels)


def test_a_loss_of_ones_own_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "loss.py"
    file.write_text("def squares(outputs, targets):\n    return ((outputs['y'] - targets) ** 2).mean()\nnumber = 3\n")
    measure = find_measure(f"{file}:squares")
    assert (measure.name, measure.goal) == ("squares", "minimize")
    assert measure.of({"y": np.array([1.0, 3.0])}, np.array([0.0, 0.0])) == 5
    with pytest.raises(RunError, match=r"'squares' fails on the outputs 'z' .*KeyError: 'y'"):
        measure.of({"z": np.zeros(2)}, np.zeros(2))
    for text, message in (
        ("f1", "'f1' is no measure; expected one of cross_entropy, accuracy, or FILE.py:FUNCTION"),
        (f"{file}:cubes", "cannot be loaded: AttributeError"),
        (f"{file}:number", "is 3, expected a function"),
        (f"{tmp_path / 'none.py'}:f", "cannot be loaded: FileNotFoundError"),
    ):
        with pytest.raises(RunError, match=message):
            find_measure(text)
