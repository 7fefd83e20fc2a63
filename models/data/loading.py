"""Data by their names, made to fit what a network takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.data.dataset import Data, DataError, noise
from models.data.images import digits, fashion_mnist, framed, resized
from models.data.motions import motions
from models.data.speech import speech

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

__all__ = ["DATASETS", "load"]

DATASETS: Final = ("digits", "fashion-mnist", "motions", "speech", "noise")


def load(name: str, shape: tuple[int, ...], *, folder: Path | None = None, seed: int = 0) -> Data:
    """Load data whose prepared inputs are ``(N, *shape)``.

    Args:
        name: One of ``DATASETS``. Images are fitted to the shape, noise is made for it, others have theirs.
        shape: That of a network's input, without the batch.
        folder: Where the files lie; None for where ``tools/fetch_data`` puts them.
        seed: Decides what is held out, and the order.

    Raises:
        DataError: The files are not there or broken, or such data cannot have that shape.
        ValueError: There are no data of that name.
    """
    match name:
        case "digits":
            return digits(_fitted(shape), seed=seed)
        case "fashion-mnist":
            return fashion_mnist(folder, framed if shape == (3, 32, 32) else _fitted(shape), seed=seed)
        case "motions":
            return _checked(motions(folder, seed=seed), shape)
        case "speech":
            return _checked(speech(folder, seed=seed), shape)
        case "noise":
            return noise(shape, seed=seed)
    raise ValueError(f"there are no data '{name}'; the data are {', '.join(DATASETS)}")


def _fitted(shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Return what makes inputs of a shape ``(channels, size, size)`` of images ``(N, 1, H, W)``."""
    if len(shape) != 3 or shape[1] != shape[2]:
        raise DataError(f"images cannot become inputs of shape {shape}; choose other data")
    return resized(shape[1], shape[0])


def _checked(data: Data, shape: tuple[int, ...]) -> Data:
    own = tuple(data.train[0].shape[1:])
    if own != shape:
        raise DataError(f"{data.name} have inputs of shape {own}, the network takes {shape}; choose other data")
    return data
