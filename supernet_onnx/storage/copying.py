"""Byte ranges from file to file: the kernel copies where it can, holes stay holes, no values pass through Python."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supernet_onnx.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from supernet_onnx.storage.confinement import DataFile, Extent

__all__ = ["Progress", "Run", "copy", "lay_out", "runs"]

Progress = Callable[[float, float], None]
"""A function that is called with what is done and with the whole, in bytes."""

_GRANULE: Final = 65536  # what mapping a file asks for at most, on Windows
_PAGE: Final = 4096  # and elsewhere
_LINE: Final = 64  # bytes that a processor fetches at once
_STEP: Final = (1 << 31) - 4096  # bytes between two calls of progress; in steps of 64 MiB it takes 1.6 times as long
_CHUNK: Final = 1 << 20
_NO_KERNEL_COPY: Final = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of one file that are copied to one place; no hole is among them.

    Attributes:
        file: Where they stand.
        offset: Of the first byte, there.
        target: Of the first byte, in the new file.
        length: In bytes.
    """

    file: DataFile
    offset: int
    target: int
    length: int


def lay_out(extents: list[Extent]) -> dict[Extent, int]:
    """Give each extent its offset in one new file: equal ones share it, and the order is that of the old files.

    An offset is a multiple of the power of two that the old one was a multiple of, up to 64 KiB; and of at least 64,
    for large extents of 4096, so that they can be mapped.
    """
    files = {file: rank for rank, file in enumerate(dict.fromkeys(extent.file for extent in extents))}
    places: dict[Extent, int] = {}
    end = 0
    for extent in sorted(set(extents), key=lambda extent: (files[extent.file], extent.offset, extent.length)):
        kept = min(extent.offset & -extent.offset, _GRANULE)
        step = max(kept, _PAGE if extent.length >= _PAGE else _LINE)
        places[extent] = -(-end // step) * step
        end = places[extent] + extent.length
    return places


def runs(places: Mapping[Extent, int]) -> list[Run]:
    """Return what is to be copied: adjacent extents joined, holes left out.

    Raises:
        ModelError: A file cannot be read.
    """
    joined: list[Run] = []
    for extent, place in places.items():
        last = joined[-1] if joined else None
        gap = (extent.file, extent.offset - place)
        if last and gap == (last.file, last.offset - last.target) and extent.offset == last.offset + last.length:
            joined[-1] = Run(last.file, last.offset, last.target, last.length + extent.length)
        else:
            joined.append(Run(extent.file, extent.offset, place, extent.length))
    found: list[Run] = []
    for file, group in itertools.groupby(joined, key=lambda run: run.file):
        try:
            with file.open() as source:
                found += [part for run in group for part in _without_holes(source.fileno(), run)]
        except OSError as error:
            raise _unreadable(file, error) from error
    return found


def copy(pieces: list[Run], target: int, progress: Progress | None = None) -> None:
    """Copy runs to a file that is open for writing.

    Args:
        pieces: What to copy.
        target: A descriptor of the new file.
        progress: Called now and then with the bytes that are done, and all bytes.

    Raises:
        ModelError: A source cannot be read, or became shorter.
        OSError: The target cannot be written.
    """
    total, done = sum(run.length for run in pieces), 0
    for file, group in itertools.groupby(pieces, key=lambda run: run.file):
        try:
            source = file.open()
        except OSError as error:
            raise _unreadable(file, error) from error
        with source:
            for run in group:
                for step in range(0, run.length, _STEP):
                    length = min(_STEP, run.length - step)
                    _copy(source.fileno(), target, Run(file, run.offset + step, run.target + step, length))
                    done += length
                    if progress is not None:
                        progress(done, total)


def _without_holes(source: int, run: Run) -> Iterator[Run]:
    """Split a run at the holes of its file, which read as zeros and need no copying."""
    if not hasattr(os, "SEEK_DATA"):
        yield run
        return
    position, end = run.offset, run.offset + run.length
    while position < end:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # only a hole is left
            yield Run(run.file, position, run.target + position - run.offset, end - position)
            return
        if start >= end:
            return
        position = min(os.lseek(source, start, os.SEEK_HOLE), end)
        yield Run(run.file, start, run.target + start - run.offset, position - start)


def _copy(source: int, target: int, run: Run) -> None:
    done = 0
    while done < run.length:
        copied = _step(source, target, run.offset + done, run.target + done, run.length - done)
        if not copied:
            raise ModelError(f"external data '{run.file.name}' became shorter while it was copied")
        done += copied


def _step(source: int, target: int, offset: int, place: int, length: int) -> int:
    """Copy some of the bytes and return how many; 0 at the end of the source."""
    if hasattr(os, "copy_file_range"):
        try:
            copied = os.copy_file_range(source, target, length, offset_src=offset, offset_dst=place)
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
        else:
            if copied:
                return copied  # some file systems say 0 where they cannot; reading tells which it is
    chunk = memoryview(os.pread(source, min(length, _CHUNK), offset))
    written = 0
    while written < len(chunk):
        written += os.pwrite(target, chunk[written:], place + written)
    return written


def _unreadable(file: DataFile, error: OSError) -> ModelError:
    return ModelError(f"external data '{file.name}' cannot be read: {error.strerror}")
