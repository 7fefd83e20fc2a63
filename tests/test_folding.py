"""BatchNormalization folded by hand-made numbers, in every kind of layer, and where it must not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from supernet_onnx import folding, runtime
from supernet_onnx.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

HEADER = '<ir_version: 10, opset_import: ["" : 20]>'
VECTORS = dict.fromkeys(("scale", "shift", "mean", "var"), (4,))


def model(text: str, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    made = parser.parse_model(f"{HEADER} {text}")
    generator = np.random.default_rng(1)
    for name, shape in {**shapes, **VECTORS}.items():
        values = generator.uniform(0.5, 2, shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(values, name))
    return made


def run(made: onnx.ModelProto, shape: tuple[int, ...]) -> np.ndarray:
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    return runtime.open_session(made).run({"x": x})[made.graph.output[0].name]


BN = "y = BatchNormalization <epsilon = 0.01> (t, scale, shift, mean, var)"
IMAGE = "g (float[2,2,6,6] x) => (float[2,4,a,b] y)"
ROW = "g (float[3,2] x) => (float[3,4] y)"


@pytest.mark.parametrize(
    ("text", "shapes", "shape", "weight"),
    [
        (f"{IMAGE} {{ t = Conv (x, w, b) {BN} }}", {"w": (4, 2, 3, 3), "b": (4,)}, (2, 2, 6, 6), 72),
        (f"{IMAGE} {{ t = Conv <group = 2> (x, w) {BN} }}", {"w": (4, 1, 3, 3)}, (2, 2, 6, 6), 36),
        (
            f"{IMAGE} {{ t = ConvTranspose <group = 2> (x, w, b) {BN} }}",
            {"w": (2, 2, 3, 3), "b": (4,)},
            (2, 2, 6, 6),
            36,
        ),
        (f"{IMAGE} {{ t = ConvTranspose (x, w) {BN} }}", {"w": (2, 4, 3, 3)}, (2, 2, 6, 6), 72),
        (f"{ROW} {{ t = Gemm <transB = 1> (x, w, b) {BN} }}", {"w": (4, 2), "b": (4,)}, (3, 2), 8),
        (f"{ROW} {{ t = Gemm <alpha = 0.5, beta = 3.0> (x, w, b) {BN} }}", {"w": (2, 4), "b": (1, 4)}, (3, 2), 8),
        (f"{ROW} {{ t = Gemm (x, w, b) {BN} }}", {"w": (2, 4), "b": ()}, (3, 2), 8),
    ],
)
def test_a_folded_layer_computes_the_same_with_a_weight_and_a_bias(
    text: str, shapes: dict[str, tuple[int, ...]], shape: tuple[int, ...], weight: int
) -> None:
    made = model(text, shapes)
    before = made.SerializeToString()
    folded = folding.fold(made)
    assert made.SerializeToString() == before
    assert len(folded.graph.node) == 1
    assert sorted(int(np.prod(tensor.dims)) for tensor in folded.graph.initializer) == sorted([weight, 4])
    assert np.allclose(run(folded, shape), run(made, shape), rtol=1e-5, atol=1e-5)
    onnx.checker.check_model(folded, full_check=True)


@pytest.mark.parametrize(
    "text",
    [
        f"g (float[2,4,3,3] x) => (float[2,4,3,3] y) {{ t = Relu (x) {BN} }}",
        f"g (float[2,4,3,3] x) => (float[2,4,3,3] y, float[2,4,3,3] t) {{ t = Conv (x, w) {BN} }}",
        f"g (float[2,4,3,3] x) => (float[2,4,3,3] z) {{ t = Conv (x, w) {BN}  z = Add (y, t) }}",
        f"g (float[2,4,3,3] x, float[4,4,1,1] w) => (float[2,4,3,3] y) {{ t = Conv (x, w) {BN} }}",
        f"g (float[2,4,3,3] x) => (float[2,4,3,3] y) {{ n = Neg (w) t = Conv (x, n) {BN} }}",
        "g (float[3,4] x) => (float[3,4] y) { t = Gemm (x, v, m) " + BN + " }",
    ],
)
def test_what_else_reads_or_makes_the_input_leaves_a_batchnorm_as_it_is(text: str) -> None:
    made = model(text, {"w": (4, 4, 1, 1), "v": (4, 4), "m": (3, 4)})
    assert folding.fold(made) == made


def test_a_layer_that_is_used_twice_stays_one() -> None:
    made = model(
        f"g (float[2,4,3,3] x) => (float[2,4,3,3] z) {{ t = Conv (x, w) {BN}"
        "  u = Conv (y, w)  z = BatchNormalization <epsilon = 0.01> (u, scale, shift, mean, var) }",
        {"w": (4, 4, 1, 1)},
    )
    folded = folding.fold(made)
    assert [node.op_type for node in folded.graph.node] == ["Conv", "Conv"]
    assert folded.graph.node[0].input[1:] == folded.graph.node[1].input[1:]
    assert len(folded.graph.initializer) == 2
    assert np.allclose(run(folded, (2, 4, 3, 3)), run(made, (2, 4, 3, 3)), rtol=1e-5, atol=1e-5)


def test_other_statistics_are_those_of_one_layer_only() -> None:
    made = model(
        f"g (float[2,4,3,3] x) => (float[2,4,3,3] z) {{ t = Conv (x, w) {BN}"
        "  z = BatchNormalization (y, shift, scale, mean, mean) }",
        {"w": (4, 4, 1, 1)},
    )
    first, second = folding.layers(made)
    new = folding.Statistics(np.arange(4.0), np.arange(4.0) + 1)
    changed = folding.with_statistics(made, {first: new})
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in changed.graph.initializer}
    nodes = [node for node in changed.graph.node if node.op_type == "BatchNormalization"]
    assert np.array_equal(values[nodes[0].input[3]], new.mean.astype(np.float32))
    assert np.array_equal(values[nodes[0].input[4]], new.variance.astype(np.float32))
    assert tuple(nodes[1].input[1:]) == second
    assert "var" not in values
    assert "mean" in values


def test_statistics_that_are_computed_cannot_be_replaced() -> None:
    made = model(
        "g (float[2,4,3,3] x) => (float[2,4,3,3] y) "
        "{ m = Neg (mean) y = BatchNormalization (x, scale, shift, m, var) }",
        {},
    )
    (layer,) = folding.layers(made)
    with pytest.raises(ModelError, match="its statistics 'm' are no initializer"):
        folding.with_statistics(made, {layer: folding.Statistics(np.zeros(4), np.ones(4))})


def test_external_data_are_read_for_what_is_folded(tmp_path: Path) -> None:
    made = model(f"{IMAGE} {{ t = Conv (x, w, b) {BN} }}", {"w": (4, 2, 3, 3), "b": (4,)})
    expected = folding.fold(made)
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    outside = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    assert folding.fold(outside, directory=tmp_path).graph.initializer == expected.graph.initializer
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"initializer '.*' cannot be read"):
        folding.fold(outside, directory=tmp_path)
