"""Models as files and as bytes; external data stay on disk, referenced."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto

from supernet_onnx.errors import ModelError, OutputError

__all__ = ["load", "serialize"]

_LIMIT: Final = 2**31 - 1  # bytes of one protobuf message


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
