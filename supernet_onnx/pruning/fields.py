"""Copying messages field by field where they are too large to copy whole, without losing any field."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from google.protobuf.unknown_fields import UnknownFieldSet

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

__all__ = ["copy_fields"]

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = 0, 1, 2, 3, 4, 5  # wire types


def copy_fields(target: ModelProto | GraphProto, source: ModelProto | GraphProto, *, but: Collection[str]) -> None:
    """Copy the fields of a message, those too that this release of onnx does not know, but for the named ones.

    Args:
        target: Of the source's type. Its fields are set, repeated ones extended.
        source: Not changed.
        but: The names of the fields to leave out.
    """
    for field, value in source.ListFields():
        if field.name in but:
            continue
        if isinstance(value, bytes):  # a text that is no UTF-8, which protobuf reads but does not let set
            target.MergeFromString(_field(field.number, value))
        elif isinstance(value, str | int | float):
            setattr(target, field.name, value)
        elif isinstance(value, Iterable):
            getattr(target, field.name).extend(value)
        else:
            getattr(target, field.name).CopyFrom(value)
    unknown = UnknownFieldSet(source)
    if len(unknown):
        target.MergeFromString(_encode(unknown))


def _encode(fields: UnknownFieldSet) -> bytes:
    """Write unknown fields as they stand in a file (https://protobuf.dev/programming-guides/encoding)."""
    written = bytearray()
    for field in map(fields.__getitem__, range(len(fields))):
        written += _varint(field.field_number << 3 | field.wire_type)
        match field.wire_type:
            case wire if wire == _VARINT:
                written += _varint(field.data)
            case wire if wire == _BYTES:
                written += _varint(len(field.data)) + field.data
            case wire if wire == _GROUP:
                written += _encode(field.data) + _varint(field.field_number << 3 | _END_GROUP)
            case wire:
                written += field.data.to_bytes(8 if wire == _FIXED64 else 4, "little")
    return bytes(written)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
