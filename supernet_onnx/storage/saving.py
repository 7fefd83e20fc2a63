"""Models with external data: a pair of files, of which no reader ever sees an old half beside a new one.

The rename of the model is the one moment at which the output changes. Its data have their name before that, and it
is never a name that the model before it reads: ``OUT.data``, or ``OUT.1.data`` where the old model has ``OUT.data``.
Only then are the old model's data removed, if they bear such a name and are not what was just copied from. A run that
is killed leaves data of such a name without a model at worst, and a later save takes the name. Where the same model
with the same bytes is saved again, the data keep their name, so that equal input gives equal files.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onnx import ModelProto, StringStringEntryProto

from supernet_onnx.errors import ModelError, OutputError
from supernet_onnx.storage.confinement import locate
from supernet_onnx.storage.copying import copy, lay_out, runs
from supernet_onnx.storage.extents import data_files, external_tensors
from supernet_onnx.storage.loading import load, serialize
from supernet_onnx.storage.locking import locked
from supernet_onnx.storage.writing import Draft, drafts, publish

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from supernet_onnx.storage.confinement import Extent
    from supernet_onnx.storage.copying import Progress, Run

__all__ = ["save"]

_CHUNK: Final = 1 << 20


def save(
    model: ModelProto,
    path: Path | str,
    *,
    directory: Path | None = None,
    allow_links: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write a model, and the external data that it names to one file beside it, ``NAME.data``.

    The data are called ``NAME.1.data`` where the model that is replaced, or this one, reads a ``NAME.data``. Data of
    that kind which only the replaced model read are removed.

    Args:
        model: What to write; it is not changed.
        path: Where. Existing files are replaced, never appended to; of a link, the link is.
        directory: The folder that the model's external data are relative to.
        allow_links: Whether they may be links to files elsewhere.
        progress: Called now and then with the bytes of external data that are copied, and all of them.

    Returns:
        The files of the saved model, itself first.

    Raises:
        ModelError: External data are missing, too short, or lie outside of ``directory``.
        OutputError: A file cannot be written, or the disk has no room. Nothing is left half written.
    """
    path = Path(path)
    tensors = list(external_tensors(model))
    if tensors and directory is None:
        raise ModelError("the model has external data but was never a file; load their values into the model first")
    if directory is None or not tensors:
        return _save_alone(model, path)
    extents = [locate(tensor, directory, allow_links=allow_links) for tensor in tensors]
    places = lay_out(extents)
    moved = ModelProto()
    moved.CopyFrom(model)
    end = max(place + extent.length for extent, place in places.items())
    with drafts(path) as draft:
        pieces = runs(places)
        _check_room(path, pieces, model.ByteSize())
        data, new = draft(), draft()
        copy(pieces, data.file.fileno(), progress)
        data.file.truncate(end)
        data.sync()
        with locked(path.absolute().parent):
            return _publish_pair(new, data, path, moved, [places[extent] for extent in extents], extents)


def _save_alone(model: ModelProto, path: Path) -> list[Path]:
    content = serialize(model)
    with drafts(path) as draft:
        new = draft()
        new.write(content)
        new.sync()
        with locked(path.absolute().parent):
            obsolete = _data_of(path)
            publish([(new, path)])
            _remove(obsolete, path, ())
    return [path]


def _publish_pair(
    new: Draft, data: Draft, path: Path, model: ModelProto, offsets: list[int], extents: list[Extent]
) -> list[Path]:
    """Name the data, write the model that reads them by that name, and give both their places."""
    sources = {extent.file.path for extent in extents}
    old = _data_of(path)
    name = _same(data, path, model, offsets, extents, old)
    is_kept = name is not None
    if name is None:
        name = next(name for name in _names(path) if name not in old and not _is_one_of(path.with_name(name), sources))
        _point(model, name, offsets, extents)
    new.write(serialize(model))
    new.sync()
    target = path.with_name(name)
    publish([(new, path)] if is_kept else [(data, target), (new, path)])
    _remove(old - {name}, path, sources)
    return [path, target]


def _same(
    data: Draft, path: Path, model: ModelProto, offsets: list[int], extents: list[Extent], old: Collection[str]
) -> str | None:
    """Return the name of the old data if the old files have the bytes of the new ones; the model reads it then."""
    for name in sorted(old):
        _point(model, name, offsets, extents)
        if path.stat().st_size == model.ByteSize() and path.read_bytes() == serialize(model):
            return name if _equal(data.path, path.with_name(name)) else None
    return None


def _point(model: ModelProto, name: str, offsets: list[int], extents: list[Extent]) -> None:
    """Let the external tensors of a model read one file."""
    for tensor, offset, extent in zip(external_tensors(model), offsets, extents, strict=True):
        del tensor.external_data[:]
        for key, value in (("location", name), ("offset", offset), ("length", extent.length)):
            tensor.external_data.append(StringStringEntryProto(key=key, value=str(value)))


def _names(path: Path) -> Iterator[str]:
    """Iterate over the names of an output's data."""
    yield f"{path.name}.data"
    for number in itertools.count(1):
        yield f"{path.name}.{number}.data"


def _data_of(path: Path) -> set[str]:
    """Return the names of that kind that the model now at ``path`` reads. A file that is no model reads none."""
    if not path.is_file() or not any(path.with_name(name).exists() for name in itertools.islice(_names(path), 9)):
        return set()  # spares reading it
    with contextlib.suppress(ModelError):
        read = {file.as_posix() for file in data_files(load(path), Path())}
        return read & set(itertools.islice(_names(path), len(read) + 9))
    return set()


def _remove(names: Collection[str], path: Path, sources: Collection[Path]) -> None:
    """Remove the data of the model that was replaced; those that the new one was copied from stay."""
    for file in (path.with_name(name) for name in names):
        if not _is_one_of(file, sources):
            with contextlib.suppress(OSError):  # the output is complete without
                file.unlink(missing_ok=True)


def _is_one_of(file: Path, sources: Collection[Path]) -> bool:
    return file.exists() and any(file.samefile(source) for source in sources)


def _equal(one: Path, other: Path) -> bool:
    """Tell whether two files have the same bytes."""
    if other.is_symlink() or not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(_CHUNK):
            if chunk != right.read(_CHUNK):
                return False
    return True


def _check_room(path: Path, pieces: list[Run], model_bytes: int) -> None:
    if not hasattr(os, "statvfs"):
        return
    room = os.statvfs(path.absolute().parent)
    free, needed = room.f_bavail * room.f_frsize, sum(run.length for run in pieces) + model_bytes
    if needed > free:
        raise OutputError(
            f"'{path}' needs {needed} bytes, its disk has {free} free; free some, or choose another folder with -o"
        )
