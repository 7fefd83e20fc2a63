from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from supernet_onnx import marks
from supernet_onnx.errors import MarkError
from supernet_onnx.marks import Mark

if TYPE_CHECKING:
    from collections.abc import Callable

    Runner = Callable[[ModelProto, dict[str, np.ndarray]], np.ndarray]

MARK = Mark("blocks.3.conv", ("Conv2d", "Identity"), call=2, scores=(-0.5, 0.25))


def in_onnxruntime(model: ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def in_the_reference(model: ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return ReferenceEvaluator(model).run(None, feeds)[0]


def mixture(num_branches: int, dtype: int, *, shape: str = "[n, 2]", opset: int = 20) -> ModelProto:
    """A model of one pool: its inputs are the weights and the branches."""
    kind = marks.dtype_name(dtype)
    branches = [f"b{i}" for i in range(num_branches)]
    inputs = ", ".join([f"float[{num_branches}] weights", *(f"{kind}{shape} {branch}" for branch in branches)])
    quoted = ", ".join(f'"{branch}"' for branch in branches)
    names = ", ".join(branches)
    model = parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {opset}, "supernet_onnx" : 1]> g ({inputs}) => ({kind}{shape} y) '
        f'{{ y = supernet_onnx.Pool{num_branches} <pool = "p", branches = [{quoted}]> (weights, {names}) }}'
    )
    model.functions.append(marks.pool_function(num_branches, opset=opset))
    onnx.checker.check_model(model, full_check=True)
    return model


def encoded() -> NodeProto:
    return marks.encode(MARK, ["a", "b"], "y", name="met")


def replaced(name: str, value: object) -> NodeProto:
    """Return the mark with one attribute replaced, or without it."""
    node = encoded()
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))
    return node


def test_a_mark_is_read_as_it_was_written() -> None:
    node = encoded()
    assert marks.is_pool(node)
    assert (node.domain, node.op_type) == ("supernet_onnx", "Pool2")
    assert list(node.input) == ["blocks.3.conv.weights", "a", "b"]
    assert marks.decode(node) == MARK


def test_scores_and_call_are_optional() -> None:
    node = marks.encode(Mark("p", ("A",)), ["a"], "y")
    assert not [attribute for attribute in node.attribute if attribute.name == "scores"]
    assert marks.decode(node) == Mark("p", ("A",), call=0, scores=None)
    assert marks.decode(replaced("call", None)).call == 0


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (replaced("pool", None), "node 'met': attribute 'pool' must be a string; the mark is damaged: export"),
        (replaced("pool", 3), "node 'met': attribute 'pool' must be a string"),
        (replaced("pool", ""), "node 'met': attribute 'pool' is empty; a pool needs a name to be selected by"),
        (replaced("pool", b"\xff"), r"node 'met': attribute 'pool' is not UTF-8: b'\xff'"),
        (replaced("branches", None), "pool 'blocks.3.conv', node 'met': attribute 'branches' must be strings"),
        (replaced("branches", "A"), "pool 'blocks.3.conv', node 'met': attribute 'branches' must be strings"),
        (replaced("branches", [b"A", b"\xff"]), "node 'met': attribute 'branches' is not UTF-8"),
        (replaced("branches", ["A"]), "pool 'blocks.3.conv', node 'met': Pool2 names 1 branches, expected 2"),
        (replaced("branches", ["A", "A"]), "node 'met': branch names must be unique, these are not: A"),
        (replaced("branches", ["A", ""]), "node 'met': branch 1 has no name"),
        (replaced("call", -1), "pool 'blocks.3.conv', node 'met': attribute 'call' must be an int of at least 0"),
        (replaced("call", 1.0), "node 'met': attribute 'call' must be an int of at least 0"),
        (replaced("scores", [1.0]), "node 'met': attribute 'scores' must be 2 floats, one for each branch"),
        (replaced("scores", [1, 2]), "node 'met': attribute 'scores' must be 2 floats"),
    ],
)
def test_a_damaged_attribute_is_refused(node: NodeProto, message: str) -> None:
    with pytest.raises(MarkError, match=re.escape(message)):
        marks.decode(node)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("op_type", "Pool", "node 'met': 'supernet_onnx::Pool' is no pool; expected Pool1, Pool2, ...; the file was"),
        ("op_type", "Pool02", "'supernet_onnx::Pool02' is no pool"),
        ("op_type", "Pool" + "9" * 5000, "is no pool"),
        ("op_type", "Mixture", "'supernet_onnx::Mixture' is no pool"),
        ("op_type", "Pool3", "pool 'blocks.3.conv', node 'met': Pool3 names 2 branches, expected 3"),
        ("input", ["w", "a"], "node 'met': 2 inputs, expected 3: the weights and 2 branch outputs"),
        ("input", ["w", "a", "b", "c"], "node 'met': 4 inputs, expected 3"),
        ("input", ["w", "a", ""], "node 'met': input 2 is missing, a pool has no optional inputs"),
        ("output", ["y", "z"], "pool 'blocks.3.conv', node 'met': 2 outputs, expected 1"),
        ("output", [""], "pool 'blocks.3.conv', node 'met': 0 outputs, expected 1"),
        ("output", [], "pool 'blocks.3.conv', node 'met': 0 outputs, expected 1"),
    ],
)
def test_a_node_of_another_form_is_refused(field: str, value: str | list[str], message: str) -> None:
    node = encoded()
    if isinstance(value, str):
        node.op_type = value
    else:
        getattr(node, field)[:] = value
    with pytest.raises(MarkError, match=re.escape(message)):
        marks.decode(node)


def test_a_node_without_a_name_is_called_by_its_output() -> None:
    node = marks.encode(Mark("p", ("A", "A")), ["a", "b"], "y")
    with pytest.raises(MarkError, match="pool 'p', node 'y': branch names must be unique"):
        marks.decode(node)


def test_weights_are_read_from_raw_and_typed_data() -> None:
    values = np.array([0.25, 0.75], np.float32)
    raw = numpy_helper.from_array(values, "w")
    typed = helper.make_tensor("w", TensorProto.FLOAT, [2], values)
    assert marks.weights_values(raw, "here", 2) == marks.weights_values(typed, "here", 2) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (helper.make_tensor("w", 1, [3], [1, 2, 3]), "here: weights 'w' are float[3], expected float[2]"),
        (helper.make_tensor("w", 1, [2, 1], [1, 2]), "here: weights 'w' are float[2,1], expected float[2]"),
        (helper.make_tensor("w", 11, [2], [1, 2]), "here: weights 'w' are double[2], expected float[2]"),
        (TensorProto(name="w", data_type=999, dims=[2]), "here: weights 'w' are type 999[2], expected float[2]"),
        (TensorProto(name="w", data_type=1, dims=[2]), "here: weights 'w' cannot be read"),
        (TensorProto(name="w", data_type=1, dims=[2], raw_data=b"123"), "here: weights 'w' cannot be read"),
        (helper.make_tensor("w", 1, [2], [1, float("nan")]), "here: weights 'w' are not finite: [1.0, nan]"),
        (TensorProto(name="w", data_type=1, dims=[2], data_location=1), "here: weights 'w' stand in another file"),
    ],
)
def test_weights_of_another_form_are_refused(tensor: TensorProto, message: str) -> None:
    with pytest.raises(MarkError, match=re.escape(message)):
        marks.weights_values(tensor, "here", 2)


@pytest.mark.parametrize("run", [in_onnxruntime, in_the_reference])
def test_the_pool_function_is_the_weighted_sum(run: Runner) -> None:
    branches = {f"b{i}": np.array([[i, 10.0 * i]], np.float32) for i in range(3)}
    weights = np.array([0.5, 0.25, 0.25], np.float32)
    got = run(mixture(3, TensorProto.FLOAT), {"weights": weights, **branches})
    np.testing.assert_array_equal(got, [[0.25 + 0.5, 2.5 + 5]])


@pytest.mark.parametrize("run", [in_onnxruntime, in_the_reference])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_one_hot_weights_give_exactly_the_selected_branch_whatever_the_others_are(
    run: Runner, kind: type[np.floating], chosen: int
) -> None:
    values = np.array([[1 / 3, -65504], [0.1, 6e-8]]).astype(kind)
    branches = [np.full((2, 2), bad, kind) for bad in (np.inf, np.nan, -np.inf)]
    branches[chosen] = values
    feeds = {"weights": np.eye(3, dtype=np.float32)[chosen], **{f"b{i}": branch for i, branch in enumerate(branches)}}
    got = run(mixture(3, helper.np_dtype_to_tensor_dtype(np.dtype(kind))), feeds)
    np.testing.assert_array_equal(got, values, strict=True)


@pytest.mark.parametrize("run", [in_onnxruntime, in_the_reference])
def test_the_selected_branch_keeps_its_own_inf_and_nan(run: Runner) -> None:
    feeds = {"weights": np.array([1], np.float32), "b0": np.array([[np.inf, np.nan]], np.float32)}
    np.testing.assert_array_equal(run(mixture(1, TensorProto.FLOAT), feeds), feeds["b0"])


@pytest.mark.parametrize("run", [in_onnxruntime, in_the_reference])
def test_scalars_mix_under_the_oldest_opset_too(run: Runner) -> None:
    feeds = {"weights": np.array([0.5, 0.5], np.float32), "b0": np.array(3, np.float32), "b1": np.array(-1, np.float32)}
    assert run(mixture(2, TensorProto.FLOAT, shape="", opset=15), feeds) == 1


def test_bfloat16_branches_mix_in_the_reference() -> None:
    kind = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    feeds = {"weights": np.array([0, 1], np.float32), "b0": np.array([[np.inf, 1]], kind), "b1": np.ones((1, 2), kind)}
    assert (in_the_reference(mixture(2, TensorProto.BFLOAT16), feeds) == feeds["b1"]).all()
