"""How much work something is: the lines of code that it runs through, which no clock and no busy machine changes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

OURS = ("supernet_onnx", "onnx_graphsurgeon")


def lines(work: Callable[[], object]) -> int:
    """Count the lines of our code, and of graph-surgeon's, that some work runs through."""
    count = 0

    def within(_frame: FrameType, event: str, _argument: object) -> Callable[..., object]:
        nonlocal count
        count += event == "line"
        return within

    def entered(frame: FrameType, _event: str, _argument: object) -> Callable[..., object] | None:
        return within if any(name in frame.f_code.co_filename for name in OURS) else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
