"""What other tools leave of the marks, and that every selection can be pruned from what they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
import onnxruntime
import onnxsim
import onnxslim
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from supernet_onnx import marks, recovery, runtime
from supernet_onnx.errors import MarkError, ModelError
from supernet_onnx.pruning import prune
from supernet_onnx.selection import every
from supernet_onnx.supergraph import read
from tests import marked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the other tools' own


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = marked.flat()
    model.metadata_props.add(key=marks.FORMAT_KEY, value=marks.FORMAT)
    return marked.write(model, tmp_path / "supernet.onnx")


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # the base class has no types
    def __init__(self) -> None:
        values = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
        self._rest = iter([{"x": values}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rest, None)


def _quantized(path: Path, quant_format: QuantFormat) -> onnx.ModelProto:
    quantize_static(path, path.with_name("quantized.onnx"), _Calibration(), quant_format=quant_format)
    return onnx.load(path.with_name("quantized.onnx"))


def _dynamically_quantized(path: Path) -> onnx.ModelProto:
    quantize_dynamic(path, path.with_name("quantized.onnx"))
    return onnx.load(path.with_name("quantized.onnx"))


KEEPING: dict[str, Callable[[Path], onnx.ModelProto]] = {
    "onnxslim": lambda path: onnxslim.slim(str(path)),
    "onnxsim": lambda path: onnxsim.simplify(onnx.load(path))[0],
    "version converter": lambda path: onnx.version_converter.convert_version(onnx.load(path), 21),
    "dynamic quantization": _dynamically_quantized,
    "QDQ": lambda path: _quantized(path, QuantFormat.QDQ),
    "QOperator": lambda path: _quantized(path, QuantFormat.QOperator),
}


@pytest.mark.parametrize("tool", KEEPING)
def test_every_selection_is_pruned_from_what_a_tool_leaves(tool: str, path: Path) -> None:
    before, after = read(path), read(KEEPING[tool](path))
    assert [(p.name, [b.name for b in p.branches]) for p in after.pools] == [
        (p.name, [b.name for b in p.branches]) for p in before.pools
    ]
    for selection in every(after):
        subnet = prune(after, selection)
        assert not any(marks.is_pool(node) for node in subnet.graph.node)
        assert runtime.verify(after, selection, subnet).passed


def _optimized(path: Path, level: onnxruntime.GraphOptimizationLevel) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(path.with_name("optimized.onnx"))
    options.log_severity_level = 4
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(path.with_name("optimized.onnx"))


INLINING: dict[str, Callable[[Path], onnx.ModelProto]] = {
    "inliner": lambda path: onnx.inliner.inline_local_functions(onnx.load(path)),
    "onnxruntime, no optimization": lambda path: _optimized(path, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL),
    "onnxruntime, basic": lambda path: _optimized(path, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC),
    "onnxruntime, extended": lambda path: _optimized(path, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED),
    "onnxruntime, all": lambda path: _optimized(path, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL),
}


@pytest.mark.parametrize("tool", INLINING)
@pytest.mark.parametrize("weights", [(0.2, 0.5, 0.3), (0.0, 1.0, 0.0)])
def test_pools_that_a_tool_inlined_are_recovered_by_name_and_every_selection_pruned(
    tool: str, weights: tuple[float, ...], path: Path
) -> None:
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(onnx.helper.make_tensor("pool.weights", 1, [3], weights))
    recovery.record.keep(model)
    marked.write(model, path)
    before, after = read(path), read(INLINING[tool](path))
    assert not after.recovery.lost
    assert [pool.branches for pool in after.pools] == [pool.branches for pool in before.pools]
    assert [pool.name for pool in after.pools] == ["pool"]
    for of_original, selection in zip(every(before), every(after), strict=True):
        subnet = prune(after, selection)
        assert not {"Where", "Sum", "Mul", "Gather"} & {node.op_type for node in subnet.graph.node}
        assert not [entry.key for entry in subnet.metadata_props]
        assert runtime.verify(before, of_original, subnet).passed
        assert runtime.verify(after, selection, subnet).passed


@pytest.mark.parametrize("tool", ["inliner", "onnxruntime, no optimization"])
def test_without_metadata_pools_keep_the_names_of_their_weights_and_branches_are_numbered(
    tool: str, path: Path
) -> None:
    before, after = read(path), read(INLINING[tool](path))
    (pool,) = after.pools
    assert (pool.name, [branch.name for branch in pool.branches]) == ("pool", ["branch_0", "branch_1", "branch_2"])
    assert after.recovery.notes == (
        "a tool had inlined the pool functions; recovered: 'pool'",
        "the branches have no names any more and are called branch_0, ...: 'pool'",
    )
    for of_original, selection in zip(every(before), every(after), strict=True):
        assert runtime.verify(before, of_original, prune(after, selection)).passed


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
def test_a_pool_whose_name_an_optimizer_computed_away_is_an_error_that_names_the_step(level: str, path: Path) -> None:
    supergraph = read(INLINING[f"onnxruntime, {level}"](path))
    assert supergraph.recovery.lost == ("met",)
    with pytest.raises(MarkError) as error:
        prune(supergraph, next(every(supergraph)))
    assert str(error.value) == (
        "the model is a supernet in which the mark of pool 'met' is gone: onnxruntime optimized it; take the file "
        "that SuperNet.export_onnx wrote, and optimize what is pruned from it"
    )


def test_a_pool_that_a_tool_rewrote_is_never_left_as_a_mixture(path: Path) -> None:
    model = onnx.load(path)
    recovery.record.keep(model)
    inlined = onnx.inliner.inline_local_functions(model)
    (mixture,) = (node for node in inlined.graph.node if node.op_type == "Sum")
    mixture.op_type, mixture.input[:] = "Add", mixture.input[:2]
    with pytest.raises(MarkError, match=r"the mark of pool 'pool' is gone: a tool inlined its function and rewrote it"):
        prune(read(inlined), next(every(read(inlined))))


def test_the_float16_converter_leaves_nodes_out_of_order_but_converts_a_subnet(path: Path) -> None:
    with pytest.raises(ModelError, match="its nodes are not sorted; sort them and try again"):
        read(convert_float_to_float16(onnx.load(path), keep_io_types=True))
    supergraph = read(path)
    subnet = convert_float_to_float16(prune(supergraph, next(every(supergraph))), keep_io_types=True)
    feed = {"x": np.ones((1, 3, 8, 8), np.float32)}
    session = onnxruntime.InferenceSession(subnet.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.isfinite(session.run(None, feed)[0]).all()
