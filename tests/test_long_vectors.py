"""Shape inference of tensors of one dim that are too long to be shapes: onnx would keep an object for each element."""

from __future__ import annotations

import os
import resource
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import parser

from supernet_onnx import shapes
from supernet_onnx.shapes import Bindings
from supernet_onnx.shapes.inference import contradiction
from tests.interruption import forked

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import ModelProto

warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)

ROOM = 512 << 20  # bytes, of which onnx would take eight times as much

LONG = """
<ir_version: 10, opset_import: ["" : 20]>
long (float[16777216] x, float[n] z) => (float[16777216] y, float[2, k] u) {
    y = Add (x, x)
    p = Shape (z)
    two = Constant <value = int64[1] {2}> ()
    q = Concat <axis = 0> (two, p)
    u = Expand (z, q)
}
"""
MADE = """
<ir_version: 10, opset_import: ["" : 20]>
made (int64[1] s) => (int64[16777216] y) {
    n = Constant <value = int64[1] {16777216}> ()
    c = ConstantOfShape <value = int64[1] {1}> (n)
    y = Add (c, c)
}
"""


def in_little_memory(work: Callable[[], object]) -> bool:
    """Tell whether a process that may take little more memory than it has gets some work done."""

    def limited() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libstdc++ says there why it ends the process
        work()

    return os.waitpid(forked(limited), 0)[1] == 0


@pytest.mark.parametrize("text", [LONG, MADE])
def test_onnx_itself_takes_more_memory_than_there_is(text: str) -> None:
    model = parser.parse_model(text)
    assert not in_little_memory(lambda: onnx.shape_inference.infer_shapes(model, data_prop=True))


@pytest.mark.parametrize("text", [LONG, MADE])
@pytest.mark.parametrize("work", [shapes.infer, lambda model: contradiction(model, Bindings({}))])
def test_shapes_beside_long_vectors_are_inferred_in_little_memory(
    work: Callable[[ModelProto], object], text: str
) -> None:
    model = parser.parse_model(text)
    shapes.infer(parser.parse_model(LONG.replace("16777216", "2")))  # loads the packages that it takes
    assert in_little_memory(lambda: work(model))
    assert str(shapes.infer(model)["y"]).endswith("[16777216]")
