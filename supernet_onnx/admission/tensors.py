"""One tensor of a model: does what it states fit what it stores?"""

from __future__ import annotations

import math
from typing import Final

from onnx import TensorProto

from supernet_onnx.errors import ModelError

__all__ = ["check_tensor"]

_BITS: Final = {
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
    "COMPLEX128": 128,
}  # every other type takes a byte
_FIELDS: Final = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_FIELD_OF: Final = {
    **dict.fromkeys(("FLOAT", "COMPLEX64"), "float_data"),
    **dict.fromkeys(("DOUBLE", "COMPLEX128"), "double_data"),
    **dict.fromkeys(("UINT32", "UINT64"), "uint64_data"),
    "INT64": "int64_data",
    "STRING": "string_data",
}  # every other type stands in int32_data


def check_tensor(tensor: TensorProto, where: str) -> None:
    """Check type, dims and the amount of data of a tensor; external data are not looked at.

    Raises:
        ModelError: The type is unknown, a dim is negative, or the data are not as many as the dims say.
    """
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise ModelError(f"{where}: type {tensor.data_type} is unknown; the file is damaged, or onnx must be updated")
    if any(dim < 0 for dim in tensor.dims):
        raise ModelError(f"{where}: dims {list(tensor.dims)[:8]} are negative; the file is damaged, write it again")
    kind = TensorProto.DataType.Name(tensor.data_type)
    used = [field for field in _FIELDS if len(getattr(tensor, field))]
    if tensor.data_location == TensorProto.EXTERNAL:
        if kind == "STRING" or used:
            problem = f"has values in {used[0]}, too" if used else "cannot be one of strings"
            raise ModelError(f"{where}: stands in another file, and {problem}; write the model again")
        return
    allowed = ("raw_data",) if kind != "STRING" else ()
    expected_field = _FIELD_OF.get(kind, "int32_data")
    if len(used) > 1 or any(field not in (*allowed, expected_field) for field in used):
        raise ModelError(
            f"{where}: its values stand in {' and '.join(used)}, expected {expected_field}; the file is damaged"
        )
    numel = math.prod(tensor.dims)
    bits = _BITS.get(kind, 8)
    if used == ["raw_data"]:
        expected, found, unit = -(-numel * bits // 8), len(tensor.raw_data), "bytes"
    else:
        each = 2 if kind.startswith("COMPLEX") else 1
        expected = -(-numel * bits // 8) if bits < 8 else numel * each
        found, unit = len(getattr(tensor, expected_field)), "values"
    if found != expected:
        raise ModelError(
            f"{where}: dims {list(tensor.dims)[:8]} of {kind.lower()} take {expected} {unit}, it has {found}; "
            "the file is damaged, write it again"
        )
