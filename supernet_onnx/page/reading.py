"""Reading the JSON files that a page shows beside the model, with errors that say what is wrong in which file."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final, TypeVar

from supernet_onnx.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.diagram import Number

__all__ = ["check_header", "field", "number", "parse"]

T = TypeVar("T")

_NAMES: Final[Mapping[type, str]] = {
    str: "a text",
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a whole number",
}


def parse(text: str) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        ReportError: The text is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:  # of a number of thousands of digits: a bare ValueError
        raise ReportError(f"expected JSON, this is not: {error}") from error
    if not isinstance(found, dict):
        raise ReportError("expected a JSON object")
    return found


def check_header(record: Mapping[str, object], name: str, *, version: int, made_by: str) -> None:
    """Check that a file is of the format and version that this release reads.

    Raises:
        ReportError: It is not.
    """
    if record.get("format") != name:
        raise ReportError(f"is no {name.removeprefix('supernet-onnx ')}; expected a file of {made_by}")
    if record.get("version") != version:
        raise ReportError(
            f"has version {record.get('version')!r} of its format, this release reads {version}; make it anew with "
            f"{made_by}, or update supernet-onnx"
        )


def field(record: Mapping[str, object], name: str, kind: type[T], *, where: str = "") -> T:
    """Return a field of an object that must be of a type.

    Raises:
        ReportError: It is missing, or of another type.
    """
    value = record.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ReportError(f"{where}'{name}' is {_brief(value)}, expected {_NAMES.get(kind, kind.__name__)}")
    return value


def number(value: object, where: str) -> Number:
    """Return a value that must be a finite number.

    Raises:
        ReportError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ReportError(f"{where} is {_brief(value)}, expected a finite number")
    return value


def _brief(value: object) -> str:
    return "missing" if value is None else f"{str(value)[:40]!r}"
