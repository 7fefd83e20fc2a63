"""Small marked models as ONNX text, for the tests of the graph half."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper, parser

from supernet_onnx import marks

if TYPE_CHECKING:
    from pathlib import Path

FLAT = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
flat (float[batch, 3, 8, 8] x) => (float[batch, 5] y) <float[3] "pool.weights" = {0.2, 0.5, 0.3}> {
    stem = Conv <pads = [1, 1, 1, 1]> (x, stem_w)
    a = Conv <pads = [1, 1, 1, 1]> (stem, a_w, a_b)
    b0 = Conv <pads = [1, 1, 1, 1], group = 4> (stem, b0_w)
    b1 = Relu (b0)
    b = Conv (b1, b1_w)
    met = supernet_onnx.Pool3 <pool = "pool", branches = ["conv3", "separable", "skip"]>
        ("pool.weights", a, b, stem)
    mean = GlobalAveragePool (met)
    flattened = Flatten (mean)
    y = Gemm <transB = 1> (flattened, head_w, head_b)
}
"""
"""Pool of conv3 (4*4*9 + 4 = 148 parameters), separable (4*9 + 16 = 52) and skip (0); trunk 108 + 20 + 5 = 133."""

FLAT_WEIGHTS = {
    "stem_w": (4, 3, 3, 3),
    "a_w": (4, 4, 3, 3),
    "a_b": (4,),
    "b0_w": (4, 1, 3, 3),
    "b1_w": (4, 4, 1, 1),
    "head_w": (5, 4),
    "head_b": (5,),
}

PLAIN = """
<ir_version: 10, opset_import: ["" : 20]>
plain (float[batch, 4] x) => (float[batch, 4] y) { y = Relu (x) }
"""


def build(text: str, weights: dict[str, tuple[int, ...]] | None = None) -> onnx.ModelProto:
    """Parse a model, give it random weights of these shapes and the functions of its pools."""
    model = parser.parse_model(text)
    generator = np.random.default_rng(7)
    for name, shape in (weights or {}).items():
        values = generator.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    sizes = sorted({len(node.input) - 1 for node in model.graph.node if marks.is_pool(node)})
    model.functions.extend(marks.pool_function(size, opset=20) for size in sizes)
    return model


def flat() -> onnx.ModelProto:
    """Return a supernet with one pool; its largest weight is that of ``separable``."""
    return build(FLAT, FLAT_WEIGHTS)


def write(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model and return its path."""
    path.write_bytes(model.SerializeToString())
    return path
