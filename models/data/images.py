"""Images: scikit-learn's handwritten digits, and Fashion-MNIST (Xiao et al., arXiv 1708.07747)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, nn

from models.data.dataset import DEFAULT_FOLDER, Data, DataError, as_kept, find
from models.digits import load_data

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["digits", "fashion_mnist", "framed", "read_idx", "resized"]

MEAN: Final = 0.2860  # of Fashion-MNIST's training pixels, 0 to 1
STD: Final = 0.3530

_DEBIAN: Final = Path("/usr/share/datasets/fashion-mnist")  # where the package dataset-fashion-mnist puts it
_IDX_UNSIGNED_BYTES: Final = 8
_VALIDATION: Final = 10_000


def digits(prepare: Callable[[Tensor], Tensor] = as_kept, *, seed: int = 0) -> Data:
    """Load 1,797 images of digits, pixels from 0 to 1, split as ``models.digits`` does.

    Args:
        prepare: Makes the network's input of images ``(N, 1, 8, 8)``.
        seed: Decides the split.
    """
    parts = load_data(seed)
    return Data("scikit-learn's digits", parts.train, parts.validation, parts.test, 10, prepare)


def fashion_mnist(folder: Path | None = None, prepare: Callable[[Tensor], Tensor] = as_kept, *, seed: int = 0) -> Data:
    """Load Fashion-MNIST, normalised: 60,000 images of 28x28 and 10,000 to test by, ten kinds of clothes.

    10,000 of the 60,000 are set apart for validation.

    Args:
        folder: Has the four ``idx`` files somewhere below it. None takes those of ``tools/fetch_data``, or else of
            the installed Debian package ``dataset-fashion-mnist``.
        prepare: Makes the network's input of images ``(N, 1, 28, 28)``, such as ``framed``.
        seed: Decides what is set apart, and the order.

    Raises:
        DataError: The files are not there or broken.
    """
    places = [folder] if folder is not None else [DEFAULT_FOLDER, _DEBIAN]
    where = find("train-images-idx3-ubyte.gz", "fashion-mnist", *places)
    images, labels = (_part(where, "train", what) for what in ("images-idx3", "labels-idx1"))
    tests = tuple(_part(where, "t10k", what) for what in ("images-idx3", "labels-idx1"))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    held_out = min(_VALIDATION, len(labels) // 5)
    train, validation = order[held_out:], order[:held_out]
    return Data(
        "Fashion-MNIST",
        (_normalised(images[train]), labels[train].long()),
        (_normalised(images[validation]), labels[validation].long()),
        (_normalised(tests[0]), tests[1].long()),
        classes=10,
        prepare=prepare,
    )


def framed(images: Tensor) -> Tensor:
    """Return images of 28x28, ``(N, 1, 28, 28)``, with a border of 2 pixels and three equal channels.

    ``(N, 3, 32, 32)`` is what networks for CIFAR-10 take; in memory as convolutions like it, channels last.
    """
    border = (2, 2, 2, 2)
    padded = nn.functional.pad(images, border, value=-MEAN / STD)  # black
    return padded.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def resized(size: int, channels: int) -> Callable[[Tensor], Tensor]:
    """Return a function that makes ``(N, channels, size, size)`` of images ``(N, 1, H, W)``.

    The channels are equal. Larger images are interpolated, smaller ones are means over the pixels.
    """

    def resize(images: Tensor) -> Tensor:
        if size < images.shape[-1]:
            made = nn.functional.adaptive_avg_pool2d(images, size)
        else:
            made = nn.functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
        return made.expand(-1, channels, -1, -1).contiguous(memory_format=torch.channels_last)

    return resize


def read_idx(path: Path) -> Tensor:
    """Read a gzipped idx file of unsigned bytes: two zeros, the type, the number of dims, the dims, the elements.

    Raises:
        DataError: The file is no such file, or cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: {error}; expected a gzipped idx file, fetch it anew") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _IDX_UNSIGNED_BYTES:
        raise DataError(f"{path}: this is no idx file of unsigned bytes; fetch it anew")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content, ">u4", count=min(content[3], (len(content) - 4) // 4), offset=4)
    elements = np.frombuffer(content, np.uint8, offset=min(start, len(content)))
    if elements.size != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path}: {elements.size} elements, its header says {shape.tolist()}; fetch it anew")
    return torch.from_numpy(elements.reshape(shape).copy())


def _part(folder: Path, part: str, what: str) -> Tensor:
    return read_idx(folder / f"{part}-{what}-ubyte.gz")


def _normalised(images: Tensor) -> Tensor:
    return ((images.float() / 255 - MEAN) / STD).unsqueeze(1)
