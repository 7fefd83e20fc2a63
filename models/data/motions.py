"""Motions: what a smartwatch senses while someone does physiotherapy exercises for the shoulder.

The data are those of Burns et al. (arXiv 1802.01489) as the package seglearn ships them: accelerometer and gyroscope
at 50 Hz, 140 recordings of ten persons and seven exercises.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from models.data.dataset import DEFAULT_FOLDER, Data, DataError, Part, find, normalised

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FILE", "SHA256", "motions", "windows"]

FILE: Final = "watch_dataset.npy"
SHA256: Final = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"  # of the file in seglearn 1.2.5
STEPS: Final = 100  # of a window: two seconds
HOP: Final = 50
CLASSES: Final = 7

_VALIDATION_PERSONS: Final = 2
_TEST_PERSONS: Final = 2


def motions(folder: Path | None = None, *, seed: int = 0, sha256: str = SHA256) -> Data:
    """Load windows ``(N, 6, 100)`` of two seconds, sensors as channels, labelled with one of seven exercises.

    Two persons are for validation, two for testing, the other six for training: whole persons, for a network that
    has seen a person knows the way that this person moves. Each sensor is normalised by the training windows.

    Args:
        folder: Has ``watch_dataset.npy`` somewhere below it; None takes that of ``tools/fetch_data``.
        seed: Decides who is held out, and the order.
        sha256: What the file must be. It is a pickle, which can run any program when it is read.

    Raises:
        DataError: The file is not there, or another one.
    """
    path = find(FILE, "motions", folder if folder is not None else DEFAULT_FOLDER) / FILE
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise DataError(f"{path}: its SHA-256 is {found}, expected {sha256}; a pickle of unknown origin is not read")
    content = np.load(path, allow_pickle=True).item()
    cut = [windows(recording) for recording in content["X"]]
    inputs = torch.from_numpy(np.concatenate(cut))
    labels, persons = (
        torch.from_numpy(np.repeat(np.asarray(content[key], dtype=np.int64), [len(part) for part in cut]))
        for key in ("y", "subject")
    )
    generator = torch.Generator().manual_seed(seed)
    everyone = persons.unique()
    everyone = everyone[torch.randperm(len(everyone), generator=generator)]
    held_out = _VALIDATION_PERSONS + _TEST_PERSONS

    def part(of: torch.Tensor) -> Part:
        index = torch.isin(persons, of).nonzero().squeeze(1)
        index = index[torch.randperm(len(index), generator=generator)]
        return inputs[index], labels[index]

    persons_of = (everyone[held_out:], everyone[:_VALIDATION_PERSONS], everyone[_VALIDATION_PERSONS:held_out])
    train, validation, test = normalised((part(persons_of[0]), part(persons_of[1]), part(persons_of[2])), (0, 2))
    return Data("seglearn's smartwatch motions", train, validation, test, CLASSES)


def windows(recording: np.ndarray) -> np.ndarray:
    """Cut a recording ``(T, 6)`` into windows ``(N, 6, STEPS)``, each ``HOP`` later; a rest is left out."""
    starts = range(0, len(recording) - STEPS + 1, HOP)
    cut = [recording[start : start + STEPS].T for start in starts]
    return np.asarray(cut, dtype=np.float32).reshape(-1, recording.shape[1], STEPS)
