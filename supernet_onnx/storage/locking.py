"""Who works in a folder: drafts that die with their owner, and one at a time who gives them their names.

A draft is a file or folder with a name of ours that its owner keeps locked (``flock``, which the kernel lifts
whenever the owner ends). One that nobody has locked was left by a run that was killed, and the next run removes it.
The folder itself is locked while drafts are made, swept and renamed, so no draft is ever seen before its owner has
locked it. Where a system has no such locks, nothing is swept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["locked", "new_draft", "scratch", "sync"]

_PREFIX: Final = ".supernet-onnx."
_SUFFIX: Final = ".tmp"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other writer of ours out of a folder."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def new_draft(folder: Path) -> tuple[int, Path]:
    """Make an empty file for a draft, and remove the drafts of owners that are dead.

    Returns:
        An open descriptor, which holds the lock, and the path.
    """
    with locked(folder):
        _sweep(folder)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=_PREFIX, suffix=_SUFFIX)
        _lock(descriptor)
    return descriptor, Path(name)


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Give a temporary folder inside of another; it is removed afterwards, by the next run if this one is killed."""
    with contextlib.ExitStack() as stack:
        with locked(folder):
            _sweep(folder)
            path = Path(tempfile.mkdtemp(dir=folder, prefix=_PREFIX, suffix=_SUFFIX))
            stack.callback(shutil.rmtree, path, ignore_errors=True)
            if sys.platform != "win32":
                descriptor = os.open(path, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                _lock(descriptor)
        yield path


def sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems sync no folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a draft; tell whether nobody else has."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(folder: Path) -> None:
    if sys.platform == "win32":
        return
    for path in [Path(entry) for entry in os.scandir(folder) if entry.name.startswith(_PREFIX)]:
        if not path.name.endswith(_SUFFIX) or path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        with contextlib.suppress(OSError):  # another user's, say; it does not stop this run
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _lock(descriptor):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(descriptor)
