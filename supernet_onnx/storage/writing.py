"""Files that are whole under their name or not there: drafts, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from supernet_onnx.errors import OutputError
from supernet_onnx.storage.locking import locked, new_draft, sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Draft", "check_target", "drafts", "publish", "refuse_overwrite", "write"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A file that has no name of its own yet.

    Attributes:
        file: Open for writing; it holds the draft's lock.
        path: The temporary name.
    """

    file: io.FileIO
    path: Path

    def write(self, content: bytes) -> None:
        """Write all of the content; a full disk takes a part of it in silence and refuses the rest."""
        left = memoryview(content)
        while left:
            left = left[self.file.write(left) :]

    def sync(self) -> None:
        """Bring the content to the disk."""
        os.fsync(self.file.fileno())


def write(path: Path | str, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: The folder is missing or read-only, the disk is full, or the path is no regular file.
    """
    path = Path(path)
    with drafts(path) as draft:
        new = draft()
        new.write(content)
        new.sync()
        with locked(path.absolute().parent):
            publish([(new, path)])


@contextlib.contextmanager
def drafts(path: Path) -> Iterator[Callable[[], Draft]]:
    """Give a function that makes drafts beside ``path``; those that were not published vanish at the end.

    Raises:
        OutputError: ``path`` cannot be written, whatever of the writing failed.
    """
    check_target(path)
    with contextlib.ExitStack() as stack:

        def draft() -> Draft:
            descriptor, name = new_draft(path.absolute().parent)
            file = stack.enter_context(io.FileIO(descriptor, "wb"))
            stack.callback(name.unlink, missing_ok=True)
            return Draft(file, name)

        try:
            yield draft
        except OSError as error:
            raise OutputError(f"'{path}' cannot be written: {error.strerror or error}") from error


def publish(files: Sequence[tuple[Draft, Path]]) -> None:
    """Give drafts their names, in order; the last is the one that counts. The folder must be locked.

    If that one is not renamed, whatever the reason, the others are removed.
    """
    last, _ = files[-1]
    for draft, target in files:
        os.chmod(draft.path, _mode(target))
    try:
        for draft, target in files:
            os.replace(draft.path, target)
            sync(target.absolute().parent)
    finally:
        if last.path.exists():  # asked of the disk: an interrupt may come right behind a rename
            for draft, target in files[:-1]:
                if not draft.path.exists():
                    target.unlink(missing_ok=True)


def refuse_overwrite(output: Path, inputs: list[Path]) -> None:
    """Refuse an output that is one of the inputs.

    Raises:
        OutputError: It is, under whatever name.
    """
    for path in inputs:
        if os.path.exists(output) and os.path.exists(path) and os.path.samefile(output, path):
            raise OutputError(f"output '{output}' is also an input; choose another name, or pass --force to replace it")


def check_target(path: Path) -> None:
    """Refuse an output that is a folder, a pipe or a device.

    Raises:
        OutputError: It is.
    """
    if os.path.isdir(path):
        raise OutputError(f"output '{path}' is a folder; give a file name")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OutputError(f"output '{path}' is no regular file; give a file name")


def _mode(path: Path) -> int:
    """Return the permissions of the file that is replaced, or those of a new file."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
