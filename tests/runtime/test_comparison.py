from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from supernet_onnx import pruning, selection, storage, supergraph
from supernet_onnx.errors import RunError
from supernet_onnx.runtime import one_hot, open_session, verify
from supernet_onnx.runtime.comparison import compare
from tests import marked

if TYPE_CHECKING:
    from pathlib import Path

HEADER = '<ir_version: 10, opset_import: ["" : 20]>'

SIGN = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
sign (float[n] x) => (float[n] y, float[2] "p.weights") <float[2] "p.weights" = {0.25, 0.75}> {
    minus = Neg (x)
    y = supernet_onnx.Pool2 <pool = "p", branches = ["plus", "minus"]> ("p.weights", x, minus)
}
"""

COMPUTED = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
computed (float[n] x) => (float[n] y) <float[2] logits = {0.0, 1.0}> {
    w = Softmax (logits)
    minus = Neg (x)
    y = supernet_onnx.Pool2 <pool = "p", branches = ["plus", "minus"]> (w, x, minus)
}
"""

X = np.array([1.0, -2.0, 3.0], np.float32)


def run(model: onnx.ModelProto, **feeds: np.ndarray) -> dict[str, object]:
    return dict(open_session(model).run(feeds))


def test_the_marked_supernet_runs_as_the_mixture() -> None:
    outputs = run(marked.build(SIGN), x=X)
    np.testing.assert_allclose(outputs["y"], 0.25 * X - 0.75 * X)


@pytest.mark.parametrize("text", [SIGN, COMPUTED])
@pytest.mark.parametrize(("branch", "expected"), [("plus", X), ("minus", -X)])
def test_one_hot_weights_leave_exactly_the_selected_branch(text: str, branch: str, expected: np.ndarray) -> None:
    graph = supergraph.read(marked.build(text))
    outputs = run(one_hot(graph, selection.resolve(graph, {"p": branch})), x=X)
    np.testing.assert_array_equal(outputs["y"], expected)


def test_one_hot_weights_replace_nothing_but_what_the_pools_read() -> None:
    graph = supergraph.read(marked.build(SIGN))
    before = graph.model.SerializeToString()
    outputs = run(one_hot(graph, selection.argmax(graph)), x=X)
    np.testing.assert_array_equal(outputs["p.weights"], np.array([0.25, 0.75], np.float32))
    assert graph.model.SerializeToString() == before


def test_a_branch_that_computes_infinity_does_not_reach_a_one_hot_sum() -> None:
    text = SIGN.replace("minus = Neg (x)", "zero = Sub (x, x) minus = Div (x, zero)")
    graph = supergraph.read(marked.build(text))
    outputs = run(one_hot(graph, selection.resolve(graph, {"p": "plus"})), x=X)
    np.testing.assert_array_equal(outputs["y"], X)


def test_pool_functions_that_a_tool_has_removed_are_put_back() -> None:
    model = marked.build(SIGN)
    del model.functions[:]
    del model.opset_import[1:]
    graph = supergraph.read(model)
    assert verify(graph, selection.argmax(graph), pruning.prune(graph, selection.argmax(graph))).passed


def test_every_subnet_computes_what_the_supernet_does() -> None:
    graph = supergraph.read(marked.flat())
    for chosen in selection.every(graph):
        comparison = verify(graph, chosen, pruning.prune(graph, chosen))
        assert comparison.passed
        assert comparison.num_inputs == 3
        assert [output.name for output in comparison.outputs] == ["y"]


def test_the_subnet_of_another_selection_fails_the_check() -> None:
    graph = supergraph.read(marked.flat())
    subnet = pruning.prune(graph, selection.resolve(graph, {"pool": "skip"}))
    comparison = verify(graph, selection.resolve(graph, {"pool": "conv3"}), subnet)
    assert not comparison.passed
    assert comparison.outputs[0].max_abs > 0.01


def test_given_inputs_are_what_is_run() -> None:
    graph = supergraph.read(marked.build(SIGN))
    plus, minus = (selection.resolve(graph, {"p": branch}) for branch in ("plus", "minus"))
    comparison = verify(graph, plus, pruning.prune(graph, minus), inputs={"x": X})
    assert comparison.num_inputs == 1
    assert (comparison.outputs[0].max_abs, comparison.outputs[0].max_rel) == (6.0, 2.0)  # 3 - (-3), in units of 3


def test_a_subnet_with_other_inputs_is_an_error() -> None:
    graph = supergraph.read(marked.build(SIGN))
    other = marked.build(SIGN.replace("float[n] x)", "float[n] x, float[n] z)"))
    with pytest.raises(RunError, match=r"^the subnet takes the inputs x, z, the supernet x; give the subnet that was"):
        verify(graph, selection.argmax(graph), other)


def test_a_selection_of_another_supergraph_is_refused() -> None:
    graph, other = supergraph.read(marked.build(SIGN)), supergraph.read(marked.flat())
    with pytest.raises(ValueError, match="the selection was made for another supergraph"):
        verify(graph, selection.argmax(other), graph.model)


def test_a_comparison_of_no_inputs_is_refused() -> None:
    graph = supergraph.read(marked.build(SIGN))
    with pytest.raises(ValueError, match="no comparison is no check"):
        verify(graph, selection.argmax(graph), graph.model, num_inputs=0)


def test_random_values_that_a_model_cannot_take_are_named_as_the_cause() -> None:
    text = HEADER + "g (float[2, 3] x, int64[64] i) => (float[64, 3] y) { y = Gather (x, i) }"
    graph = supergraph.read(marked.build(text))
    with pytest.raises(
        RunError, match=r"out of data bounds.*; if random values do not suit its inputs, give some with"
    ):
        verify(graph, selection.argmax(graph), graph.model)


def test_external_data_are_found_beside_the_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(marked.flat(), path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    graph = supergraph.read(path)
    assert len(storage.data_files(graph.model, tmp_path)) == 1
    chosen = selection.resolve(graph, {"pool": "conv3"})
    subnet = pruning.prune(graph, chosen)
    assert verify(graph, chosen, subnet).passed
    (tmp_path / "elsewhere").mkdir()
    storage.save(subnet, tmp_path / "elsewhere" / "subnet.onnx", directory=graph.directory)
    assert verify(graph, chosen, tmp_path / "elsewhere" / "subnet.onnx").passed


def outputs(**values: object) -> dict[str, object]:
    return {name: np.asarray(value) if not isinstance(value, list) else value for name, value in values.items()}


def compared(expected: object, actual: object, *, atol: float = 0.0, rtol: float = 0.0) -> object:
    (result,) = compare(outputs(y=expected), outputs(y=actual), atol=atol, rtol=rtol)
    return result


NAN, INF = math.nan, math.inf


def test_nan_equals_nan_and_infinity_infinity_of_its_sign() -> None:
    values = np.array([NAN, INF, -INF, 1.0], np.float32)
    result = compared(values, values.copy())
    assert (result.passed, result.max_abs, result.max_rel) == (True, 0.0, 0.0)


@pytest.mark.parametrize("actual", [[1.0, 2.0], [NAN, 2.0], [-INF, 2.0]])
def test_nan_or_infinity_on_one_side_only_fails_at_any_tolerance(actual: list[float]) -> None:
    expected = np.array([INF, 2.0], np.float32)
    result = compared(expected, np.array(actual, np.float32), atol=1e30, rtol=1e30)
    assert not result.passed
    assert result.max_abs == INF
    assert result.problem == "NaN or infinity on one side only in 1 of 2 elements"


def test_an_element_passes_up_to_atol_plus_rtol_times_what_was_expected() -> None:
    expected, actual = np.array([0.0, 8.0]), np.array([0.25, 8.5])
    assert compared(expected, actual, atol=0.25, rtol=0.25 / 8).passed
    assert not compared(expected, actual, atol=0.24, rtol=0.25 / 8).passed
    assert not compared(expected, actual, atol=0.25, rtol=0.24 / 8).passed
    result = compared(expected, actual)
    assert (result.max_abs, result.max_rel) == (0.5, 0.5 / 8)


def test_scalars_empty_tensors_and_extreme_numbers_are_compared_without_a_warning() -> None:
    assert compared(np.float32(2), np.float32(2)).passed
    assert compared(np.float32(2), np.float32(3)).max_rel == 0.5
    assert compared(np.zeros((0, 3)), np.zeros((0, 3))).passed
    extreme = compared(np.array([1e308, 5e-324]), np.array([-1e308, 1.0]), rtol=1e30)
    assert (extreme.max_abs, extreme.max_rel) == (INF, INF)


def test_half_precision_passes_within_four_units_in_the_last_place() -> None:
    one, ulp = np.float16(1), np.finfo(np.float16).eps
    assert compared(np.array([one]), np.array([one + 4 * ulp])).passed
    assert not compared(np.array([one]), np.array([one + 5 * ulp])).passed


def test_integers_must_agree_whatever_the_relative_tolerance() -> None:
    large = np.array([2**62], np.int64)
    result = compared(large, large + 1, rtol=1.0)  # float64 cannot tell the two apart
    assert (result.passed, result.max_abs) == (False, 1.0)
    assert compared(large, large + 1, atol=1.0).passed
    assert not compared(np.array([True]), np.array([False]), rtol=1.0).passed


def test_shapes_types_texts_and_missing_outputs_are_told() -> None:
    zeros = np.zeros((2, 3), np.float32)
    assert compared(zeros, zeros.T).problem == "float32[3,2], expected float32[2,3]"
    assert compared(zeros, zeros.astype(np.float64)).problem == "float64[2,3], expected float32[2,3]"
    assert compared(np.array(["a"], object), np.array(["b"], object)).problem == "other texts than expected"
    assert compared(np.array(["a"], object), np.array(["a"], object)).passed
    results = compare({"y": zeros}, {"z": zeros}, atol=0.0, rtol=0.0)
    assert [(result.name, result.problem, result.passed) for result in results] == [
        ("y", "the subnet has no such output", False),
        ("z", "the supernet has no such output", False),
    ]


def test_sequences_are_compared_element_by_element() -> None:
    one, two = np.array([1.0]), np.array([2.0])
    assert compared([one, two], [one, two]).passed
    assert compared([one, two], [one, one]).max_abs == 1.0
    assert compared([], []).passed
    assert compared([one, two], [one]).problem == "a sequence of 1, expected 2"
    assert compared([one], one).problem == "a sequence on one side only"


def test_an_output_that_is_a_map_cannot_be_compared() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "ai.onnx.ml" : 1]> g (float[1, 2] x) => (y) {
        y = ai.onnx.ml.ZipMap <classlabels_int64s = [3, 4]> (x) }"""
    model = marked.build(text)
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    model.graph.output[0].CopyFrom(helper.make_value_info("y", kind))
    graph = supergraph.read(model)
    with pytest.raises(RunError, match=r"^output 'y' is neither a tensor nor a sequence of tensors, and cannot be"):
        verify(graph, selection.argmax(graph), model)
