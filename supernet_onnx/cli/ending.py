"""How signals end a command: SIGTERM as SIGINT, through all that cleans up, and soon whatever runs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Terminated", "terminable"]

_GRACE: Final = 5.0  # seconds


class Terminated(BaseException):
    """SIGTERM came; like ``KeyboardInterrupt``, nothing but the end of a command catches it."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise ``Terminated`` in the block, so that temporary files are removed.

    Python acts on a signal only when a library returns to it, and onnxruntime runs a loop as long as the model says.
    So a thread waits for signals, too, and ends the process if one has not ended the block after some seconds. What
    is left then, the next run removes.
    """
    if (
        sys.platform == "win32"
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # somebody else's affair
    ):
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _terminate)
    watcher = threading.Thread(target=_watch, args=(reader,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(before)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _watch(reader: int) -> None:
    """Wait for a signal's number in the pipe, then for the pipe's end, but not for ever."""
    number = os.read(reader, 1)
    if not number:
        return
    deadline = time.monotonic() + _GRACE
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        if not os.read(reader, 64):
            return
    with contextlib.suppress(OSError):
        os.write(2, b"error: ended by a signal; what was begun is removed by the next run\n")
    os._exit(128 + number[0])
