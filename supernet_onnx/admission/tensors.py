"""One tensor of a model: does what it states fit what it stores?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from onnx import TensorProto

from supernet_onnx.errors import ModelError

if TYPE_CHECKING:
    from supernet_onnx.admission.limits import Limits

__all__ = ["check_tensor"]

_BITS: Final = {
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
    "COMPLEX128": 128,
}  # every other type takes a byte
_FIELDS: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_FIELD_OF: Final = {
    **dict.fromkeys(("FLOAT", "COMPLEX64"), "float_data"),
    **dict.fromkeys(("DOUBLE", "COMPLEX128"), "double_data"),
    **dict.fromkeys(("UINT32", "UINT64"), "uint64_data"),
    "INT64": "int64_data",
    "STRING": "string_data",
}  # every other type stands in int32_data
_KINDS: Final = {
    dtype: (kind, _BITS.get(kind, 8), _FIELD_OF.get(kind, "int32_data"))
    for kind, dtype in TensorProto.DataType.items()
    if dtype != TensorProto.UNDEFINED
}


def check_tensor(tensor: TensorProto, where: str, limits: Limits) -> int | None:
    """Check type, dims and the amount of data of a tensor; external data are not looked at.

    Returns:
        The bytes that stand in the field for raw data; None where the values stand in another file.

    Raises:
        ModelError: Dims are over a limit, the type is unknown, a dim is negative, or the data are not as many as the
            dims say.
    """
    dims = tensor.dims[:]
    numel = math.prod(dims)
    if len(dims) > limits.rank or numel > limits.elements:
        limits.check_dims(dims, where)
    if tensor.data_type not in _KINDS:
        raise ModelError(f"{where}: type {tensor.data_type} is unknown; the file is damaged, or onnx must be updated")
    if dims and min(dims) < 0:
        raise ModelError(f"{where}: dims {dims[:8]} are negative; the file is damaged, write it again")
    kind, bits, own = _KINDS[tensor.data_type]
    if tensor.HasField("segment"):
        raise ModelError(f"{where}: its values are split into segments, which nothing reads; write the model whole")
    raw_bytes = len(tensor.raw_data)  # asked for once, for the answer is a copy
    used = _used(tensor, raw_bytes)
    if tensor.data_location == TensorProto.EXTERNAL:
        if kind == "STRING" or used:
            problem = f"has values in {used[0]}, too" if used else "cannot be one of strings"
            raise ModelError(f"{where}: stands in another file, and {problem}; write the model again")
        return None
    if used and (len(used) > 1 or used[0] not in ("raw_data" if kind != "STRING" else own, own)):
        raise ModelError(f"{where}: its values stand in {' and '.join(used)}, expected {own}; the file is damaged")
    if raw_bytes:
        expected, found, unit = -(-numel * bits // 8), raw_bytes, "bytes"
    else:
        each = 2 if kind.startswith("COMPLEX") else 1
        expected = -(-numel * bits // 8) if bits < 8 else numel * each
        found, unit = len(getattr(tensor, own)), "values"
    if found != expected:
        raise ModelError(
            f"{where}: dims {dims[:8]} of {kind.lower()} take {expected} {unit}, it has {found}; "
            "the file is damaged, write it again"
        )
    return raw_bytes


def _used(tensor: TensorProto, raw_bytes: int) -> list[str]:
    """Return the fields that hold values; nearly always raw data alone, for which there is a short way."""
    if raw_bytes and not (
        tensor.float_data
        or tensor.int32_data
        or tensor.int64_data
        or tensor.double_data
        or tensor.uint64_data
        or tensor.string_data
    ):
        return ["raw_data"]
    return (["raw_data"] if raw_bytes else []) + [field for field in _FIELDS if len(getattr(tensor, field))]
