"""``Data``: inputs and labels in three parts; how to go through them, and where a package's files lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from supernet_onnx.errors import SuperNetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DEFAULT_FOLDER", "Batches", "Data", "DataError", "Part", "as_kept", "find", "noise", "normalised"]

Part = tuple[Tensor, Tensor]
"""Inputs ``(N, ...)`` and labels ``(N,)``."""

DEFAULT_FOLDER: Final = Path(__file__).parents[2] / "data"  # where tools/fetch_data puts what it brings


class DataError(SuperNetError):
    """Data are not there, or not what they should be."""

    code = "data"


def as_kept(inputs: Tensor) -> Tensor:
    """Return inputs as they are."""
    return inputs


@dataclass(frozen=True, slots=True)
class Data:
    """Inputs and labels in three parts that have nothing in common.

    Attributes:
        name: What the data are, for reports.
        train: For weights and logits.
        validation: To watch the training and to score branches by.
        test: To be looked at once, at the end.
        classes: How many there are; labels are from 0 to ``classes - 1``.
        prepare: Makes what the network takes of a batch of inputs as they are kept, which may be much smaller.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    classes: int
    prepare: Callable[[Tensor], Tensor] = as_kept

    def batches(self, part: Part, size: int, generator: torch.Generator | None = None) -> Batches:
        """Return an iterable over prepared batches of a part; in a new random order each time, given a generator."""
        return Batches(part, size, self.prepare, generator)

    def first(self, train: int | None = None, validation: int | None = None) -> Data:
        """Return the same with the first samples of two parts alone, or all; parts come in random order."""
        return replace(self, train=_cut(self.train, train), validation=_cut(self.validation, validation))


@dataclass(frozen=True, slots=True)
class Batches:
    """Prepared batches of a part, as often as it is iterated over; a remainder of a single sample is left out.

    BatchNorm cannot be trained on a single sample.
    """

    part: Part
    size: int
    prepare: Callable[[Tensor], Tensor]
    generator: torch.Generator | None

    def __len__(self) -> int:
        """Return the number of batches."""
        full, rest = divmod(len(self.part[1]), self.size)
        return full + (rest > 1)

    def __iter__(self) -> Iterator[Part]:
        """Iterate over ``(inputs, labels)``."""
        inputs, labels = self.part
        order = None if self.generator is None else torch.randperm(len(labels), generator=self.generator)
        for start in range(0, len(self) * self.size, self.size):
            index = slice(start, start + self.size) if order is None else order[start : start + self.size]
            yield self.prepare(inputs[index]), labels[index]


def noise(shape: tuple[int, ...], classes: int = 10, *, samples: int = 256, seed: int = 0) -> Data:
    """Return random inputs with random labels, to try a network whose data are not at hand; nothing can be learned."""
    generator = torch.Generator().manual_seed(seed)

    def part(size: int) -> Part:
        return torch.randn(size, *shape, generator=generator), torch.randint(classes, (size,), generator=generator)

    return Data("random numbers", part(samples), part(samples // 2), part(samples // 2), classes)


def find(file: str, dataset: str, *places: Path) -> Path:
    """Return the folder in which a file lies, anywhere below the first of some places that has it.

    Args:
        file: Name or pattern of the file.
        dataset: What ``tools/fetch_data`` calls the data.
        places: Folders; those that are not there are passed over.

    Raises:
        DataError: None of them has it.
    """
    for place in places:
        found = min(place.rglob(file), default=None)
        if found is not None:
            return found.parent
    raise DataError(
        f"{dataset}: no file '{file}' below {' or '.join(map(str, places))}; "
        f"get the data with 'bash tools/fetch_data {dataset}', or name their folder with --folder"
    )


def normalised(parts: tuple[Part, Part, Part], dims: tuple[int, ...]) -> tuple[Part, Part, Part]:
    """Return parts whose inputs have mean 0 and standard deviation 1 over some dims, measured on the first part."""
    inputs = parts[0][0]
    mean, std = inputs.mean(dims, keepdim=True), inputs.std(dims, keepdim=True)
    first, second, third = (((values - mean) / std, labels) for values, labels in parts)
    return first, second, third


def _cut(part: Part, size: int | None) -> Part:
    return part[0][:size], part[1][:size]
