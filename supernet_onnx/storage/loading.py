"""Models as files and as bytes; external data stay on disk, referenced."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto

from supernet_onnx.errors import ModelError, OutputError

__all__ = ["load", "read_text", "serialize"]

_LIMIT: Final = 2**31 - 1  # bytes of one protobuf message
_LONGEST_TEXT: Final = 1 << 28  # bytes; a selection of all pools that a model may have takes a hundredth


def load(path: Path | str) -> ModelProto:
    """Read an ONNX model; external data stay on disk, referenced.

    Raises:
        ModelError: There is no such file, it cannot be read, or it is no ONNX model.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > _LIMIT:
            raise ModelError(
                f"'{path}' has {size} bytes; one file holds at most 2 GiB, the limit of protobuf: "
                "keep its weights in external data"
            )
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise ModelError(f"'{path}' is a folder; expected an .onnx file") from error
    except FileNotFoundError as error:
        raise ModelError(f"'{path}' does not exist; check the path") from error
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from error
    if not content:
        raise ModelError(f"'{path}' is empty; expected an ONNX model: write it again")
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(
            f"'{path}' is no ONNX model, or is cut short ({len(content)} bytes): it does not parse as protobuf"
        ) from error
    if not model.HasField("graph") or not model.opset_import:
        raise ModelError(f"'{path}' is no ONNX model: it has no graph or imports no operator set")
    return model


def serialize(model: ModelProto) -> bytes:
    """Return the model as bytes; equal models give equal bytes.

    Raises:
        OutputError: The model is over protobuf's limit of 2 GiB.
    """
    try:
        return model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise OutputError(
            "the model is larger than 2 GiB, the limit of one file; keep its weights in external data"
        ) from error


def read_text(path: Path | str) -> str:
    """Read a text file: a selection, scores, a front, a cost table.

    Raises:
        OSError: It is missing, no regular file (a device never ends), too long, or no UTF-8; ``strerror`` says so.
    """
    status = os.stat(path)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise OSError(errno.EINVAL, "it is no regular file")
    if status.st_size > _LONGEST_TEXT:
        raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, expected a text of at most {_LONGEST_TEXT}")
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, "it is no UTF-8 text") from error
