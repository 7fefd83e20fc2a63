"""Where a tensor's external bytes stand: a byte range of a regular file inside of the model's folder, or an error.

A model names its data files itself, so that a hostile one could name any file of the machine. Nothing is believed of
a path before the file is open: every folder on the way is opened without following links, and then what is open is
looked at.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final

from supernet_onnx.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx import TensorProto

__all__ = ["DataFile", "Extent", "check_extents", "locate"]

_KEYS: Final = frozenset({"location", "offset", "length", "checksum"})  # all that the ONNX standard knows
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_FLAGS: Final = (
    os.O_RDONLY
    | _NOFOLLOW
    | getattr(os, "O_NONBLOCK", 0)  # opening a FIFO that nobody writes to would wait for ever
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_NO_FILE: Final = (errno.ENXIO, errno.ELOOP, errno.EISDIR)  # a socket, a link that came just now, a folder
_MAX_DIGITS: Final = 19  # of a 64-bit number


@dataclass(frozen=True, slots=True)
class DataFile:
    """A regular file that holds external data.

    Attributes:
        path: With all links resolved.
        identity: Device and inode, by which it is known again when it is opened later.
    """

    path: Path
    identity: tuple[int, int]

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    def open(self) -> BinaryIO:
        """Open the file for reading.

        Raises:
            ModelError: Another file has taken its place since it was located.
            OSError: It cannot be opened.
        """
        descriptor = os.open(self.path, _FLAGS)
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != self.identity:
            os.close(descriptor)
            raise ModelError(f"external data '{self.name}' were replaced while the model was read; try again")
        return os.fdopen(descriptor, "rb")


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a tensor's bytes stand.

    Attributes:
        file: A regular file in the model's folder.
        offset: Of the first byte.
        length: In bytes.
    """

    file: DataFile
    offset: int
    length: int


def locate(tensor: TensorProto, directory: Path, *, allow_links: bool = False) -> Extent:
    """Find a tensor's external bytes.

    Args:
        tensor: One whose values stand in another file.
        directory: The model's folder.
        allow_links: Whether the file may be a hard link, or stand outside of the folder behind a symbolic link.

    Raises:
        ModelError: The path leads out of the folder, is no regular file or a link; offset and length are no range
            of that file; or there are other keys than those of the ONNX standard.
    """
    where = _where(tensor)
    parts, start, length = _parsed(tensor)
    root, file = _resolved(parts, directory, where, allow_links=allow_links)
    status = _status(file, root, where)
    if status.st_nlink > 1 and not allow_links:  # the one way out of the folder that a path does not show
        raise ModelError(
            f"{where} has several hard links and may be a file from elsewhere; copy it, or pass --allow-links if you "
            "trust the model"
        )
    size = status.st_size
    end = size if length is None else start + length
    if start > size or end > size:
        edge = f"ends at byte {end}" if end > size else f"starts at byte {start}"
        raise ModelError(f"{where} {edge}, the file has {size}; it is cut short: copy it again")
    return Extent(DataFile(file, (status.st_dev, status.st_ino)), start, end - start)


def _resolved(parts: tuple[str, ...], directory: Path, where: str, *, allow_links: bool) -> tuple[Path, Path]:
    """Follow all links, to the folder and to the file, which must be inside of it."""
    try:
        root = directory.resolve(strict=True)
        file = root.joinpath(*parts).resolve(strict=True)
    except (OSError, RuntimeError) as error:  # links that go in a circle are a RuntimeError
        problem = error.strerror if isinstance(error, OSError) else "its links go in a circle"
        raise ModelError(f"{where} cannot be read: {problem}; it belongs beside the model") from error
    if not allow_links and not file.is_relative_to(root):
        raise ModelError(
            f"{where} must be a regular file inside of the model's folder, but is a link to '{file}'; "
            "copy the file, or pass --allow-links if you trust the model"
        )
    return root, file


def _status(file: Path, root: Path, where: str) -> os.stat_result:
    """Open a file and look at what is open, which nobody can exchange any more."""
    try:
        descriptor = _open(file, root if file.is_relative_to(root) else Path(file.anchor))
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise ModelError(f"{where} cannot be read: {error.strerror}; it belongs beside the model") from error
        raise ModelError(f"{where} must be a regular file inside of the model's folder") from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{where} must be a regular file inside of the model's folder")
    return status


def check_extents(tensors: Iterable[TensorProto], directory: Path, *, allow_links: bool = False) -> None:
    """Check that the external data of a model are what a writer writes: one range a tensor, or one for equal tensors.

    A file that is missing is no error: most of what is asked of a model needs no weights.

    Raises:
        ModelError: As ``locate`` raises; or two ranges overlap in part.
    """
    ranges: dict[tuple[str, ...], list[tuple[int, int, str]]] = defaultdict(list)
    for tensor in tensors:
        parts, start, length = _parsed(tensor)
        if os.path.lexists(directory.joinpath(*parts)):
            extent = locate(tensor, directory, allow_links=allow_links)
            ranges[(str(extent.file.path),)].append((start, start + extent.length, tensor.name))
        elif length is not None:
            ranges[parts].append((start, start + length, tensor.name))
    for parts, found in ranges.items():
        _check_overlaps(PurePosixPath(*parts).name, sorted(set(found)))


def _check_overlaps(file: str, ranges: list[tuple[int, int, str]]) -> None:
    start, end, name = 0, 0, ""
    for next_start, next_end, next_name in ranges:
        if next_start == next_end:
            continue  # an empty tensor stands anywhere
        if next_start < end and (next_start, next_end) != (start, end):
            raise ModelError(
                f"tensors '{name}' and '{next_name}': their external data overlap in '{file}': bytes {start} to {end} "
                f"and {next_start} to {next_end}; write the model again"
            )
        start, end, name = next_start, next_end, next_name


def _parsed(tensor: TensorProto) -> tuple[tuple[str, ...], int, int | None]:
    """Return the parts of the path, offset and length; no file is looked at."""
    entries: dict[str, str] = {}
    where = _where(tensor)
    for entry in tensor.external_data:
        if not (isinstance(entry.key, str) and isinstance(entry.value, str)):  # protobuf gives bytes for no text
            raise ModelError(
                f"tensor '{tensor.name}': the place of its external data is not UTF-8; write the model again"
            )
        if entry.key not in _KEYS:
            raise ModelError(
                f"{where} has the key '{entry.key}', expected location, offset, length or checksum; write the model "
                "again"
            )
        if entry.key in entries:
            raise ModelError(f"{where} gives its {entry.key} twice; write the model again")
        entries[entry.key] = entry.value
    location = entries.get("location", "")
    path = PurePosixPath(location.replace("\\", "/"))  # whatever the system: a file made for another one is no excuse
    outside = path.is_absolute() or ".." in path.parts or ":" in location or not location.isprintable()
    if not path.parts or outside:
        raise ModelError(f"{where} must be a path inside of the model's folder; write the model again")
    offset, length = entries.get("offset", "0"), entries.get("length")
    for number in (offset, length or "0"):
        if not (number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS):
            shown = (offset[:40], None if length is None else length[:40])
            raise ModelError(f"{where} has offset {shown[0]} and length {shown[1]}, expected numbers of at least 0")
    return path.parts, int(offset), int(length) if length else None


def _where(tensor: TensorProto) -> str:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    return f"tensor '{tensor.name}': external data '{location}'"


def _open(file: Path, root: Path) -> int:
    """Open a file below a folder; no folder on the way may have become a link."""
    if os.open not in os.supports_dir_fd:
        return os.open(file, _FLAGS)
    *folders, name = file.relative_to(root).parts or (".",)
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | _NOFOLLOW, dir_fd=current)
            os.close(current)
            current = inner
        return os.open(name, _FLAGS, dir_fd=current)
    finally:
        os.close(current)
