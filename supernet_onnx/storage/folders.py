"""Folders of results that are there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from supernet_onnx.errors import OutputError
from supernet_onnx.storage.locking import scratch, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_new_folder", "new_folder"]


def check_new_folder(path: Path) -> None:
    """Refuse a folder that has something in it, or has no place.

    Raises:
        OutputError: It is one, or the folder around it is missing.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(f"'{path}' exists and is no empty folder; name a new one, so that nothing is mixed up")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"folder '{path}': the folder around it does not exist; create it first")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to write into, which gets its name when the block ends well, and is removed otherwise.

    Raises:
        OutputError: ``check_new_folder`` refuses it, or it cannot be written.
    """
    check_new_folder(path)
    parent = path.absolute().parent
    try:
        with scratch(parent) as outer:
            draft = outer / path.absolute().name
            draft.mkdir()
            yield draft
            sync(draft)
            os.replace(draft, path)
            sync(parent)
    except OSError as error:
        raise OutputError(f"folder '{path}' cannot be written: {error.strerror or error}") from error
