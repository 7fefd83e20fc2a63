"""The gate itself: what is checked, in which order."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from supernet_onnx import storage
from supernet_onnx.admission.checker import check_operators
from supernet_onnx.admission.limits import Limits
from supernet_onnx.admission.structure import check_structure
from supernet_onnx.errors import ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

    from supernet_onnx.graph import Wiring

__all__ = ["admit", "load"]


def load(path: Path | str, limits: Limits | None = None, *, allow_links: bool = False) -> tuple[ModelProto, Wiring]:
    """Read a model that somebody else may have made, and the wiring of its main graph.

    Args:
        path: Of the model; its external data stay on disk.
        limits: What it may not exceed.
        allow_links: Whether its external data may be links to files elsewhere.

    Raises:
        ModelError: There is no such file, it is no ONNX model, or it does not pass the gate.
    """
    limits = limits or Limits()
    path = Path(path)
    try:
        status = os.stat(path)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe would wait, a device never end
            raise ModelError(f"'{path}' is no regular file; expected an .onnx file")
        limits.check("bytes", status.st_size, f"'{path}'")
    except (OSError, ValueError):
        pass  # storage says what is wrong
    model = storage.load(path)
    try:
        return model, admit(model, path.absolute().parent, limits, allow_links=allow_links)
    except ModelError as error:
        raise type(error)(f"'{path}': {error}") from error


def admit(model: ModelProto, directory: Path | None, limits: Limits, *, allow_links: bool = False) -> Wiring:
    """Check a model before work, or the result after it, and return the wiring of its main graph.

    Args:
        model: Not changed.
        directory: The folder that external data are relative to; None leaves them unchecked.
        limits: What the model may not exceed.
        allow_links: Whether external data may be links to files elsewhere.

    Raises:
        ModelError: It does not pass.
    """
    try:
        structure = check_structure(model, limits)
    except UnicodeDecodeError as error:
        raise ModelError(f"a name is not UTF-8: {error.object[:40]!r}; the file is damaged, write it again") from error
    if directory is not None:
        storage.check_extents(structure.external, directory, allow_links=allow_links)
    check_operators(model, structure)
    return structure.wiring()
