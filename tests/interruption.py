"""A save in a forked process that is killed at some moment, and what must hold whenever that is."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from onnx import ModelProto, TensorProto, parser

from supernet_onnx import storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 1 << 20
PLAIN = '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Neg (x) }'


def version(folder: Path, number: int) -> ModelProto:
    """Return a model whose documentation and external data both tell its version."""
    folder.mkdir(exist_ok=True)
    (folder / f"{number}.bin").write_bytes(bytes([number]) * SIZE)
    model = parser.parse_model(PLAIN)
    model.doc_string = str(number)
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.UINT8, dims=[SIZE])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=f"{number}.bin")
    return model


def found(path: Path) -> int:
    """Return the version of the model at ``path``; its data must be whole and of that version."""
    model = storage.load(path)
    extent = storage.locate(next(storage.external_tensors(model)), path.parent)
    number = int(model.doc_string)
    assert extent.file.path.read_bytes() == bytes([number]) * SIZE
    return number


def forked(work: Callable[[], object]) -> int:
    """Do some work in a process of its own and return its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def killed(work: Callable[[], object], after: float, by: signal.Signals = signal.SIGKILL) -> None:
    """Do some work in a process of its own that is killed after so many seconds."""
    child = forked(work)
    time.sleep(after)
    os.kill(child, by)
    os.waitpid(child, 0)
