"""Malformed models, each by every verb: exit code 2, one line, nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from onnx import AttributeProto, ModelProto, helper

from supernet_onnx import read
from tests import graphs, marked
from tests.cli.calling import error
from tests.files import names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERBS = ["inspect", "cost", "prune", "verify", "bench"]


def refused(verb: str, content: bytes, folder: Path) -> str:
    """Run a verb on a file; return its one line."""
    path = folder / "bad.onnx"
    path.write_bytes(content)
    line = error(verb, path, path) if verb == "verify" else error(verb, path)
    assert names(folder) == ["bad.onnx"]
    assert str(path) in line
    return line


def dangling_input(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


def cycle(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "mean"


def duplicate_output_name(model: ModelProto) -> None:
    model.graph.node[1].output[0] = "stem"


def initializer_dims_that_differ_from_the_data(model: ModelProto) -> None:
    model.graph.initializer[1].dims[0] = 5


def recursive_function(model: ModelProto) -> None:
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    body = [helper.make_node("f", ["a"], ["b"], domain="local")]
    model.functions.append(helper.make_function("local", "f", ["a"], ["b"], body, opsets))
    model.opset_import.extend(opsets[1:])
    model.graph.node[0].CopyFrom(helper.make_node("f", ["x"], ["stem"], domain="local"))


def matmul_shape_mismatch(model: ModelProto) -> None:
    model.graph.node[0].CopyFrom(helper.make_node("MatMul", ["x", "head_w"], ["stem"]))


def unknown_data_type(model: ModelProto) -> None:
    model.graph.initializer[1].data_type = 99


def short_raw_data(model: ModelProto) -> None:
    model.graph.initializer[1].raw_data = model.graph.initializer[1].raw_data[:-1]


def negative_dims(model: ModelProto) -> None:
    model.graph.initializer[1].dims[0] = -4


def node_without_operator(model: ModelProto) -> None:
    model.graph.node[0].op_type = ""


def unnamed_initializer(model: ModelProto) -> None:
    model.graph.initializer[1].name = ""


def duplicate_initializer(model: ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[1])


def duplicate_attribute(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(model.graph.node[0].attribute[0])


def attribute_without_type(model: ModelProto) -> None:
    model.graph.node[0].attribute[0].type = AttributeProto.UNDEFINED


def unknown_operator_of_onnx(model: ModelProto) -> None:
    model.graph.node[0].op_type = "Nonsense"


def values_in_two_fields(model: ModelProto) -> None:
    model.graph.initializer[1].float_data.append(1.0)


def a_segment_of_a_tensor(model: ModelProto) -> None:
    model.graph.initializer[1].segment.end = 7


BROKEN: dict[Callable[[ModelProto], None], str] = {
    dangling_input: "nowhere",
    cycle: "mean",
    duplicate_output_name: "stem",
    initializer_dims_that_differ_from_the_data: "dims [5, 3, 3, 3] of float take 540 bytes, it has 432",
    recursive_function: "local function 'local::f' calls itself, directly or through others",
    matmul_shape_mismatch: "onnx's checker refuses the model",
    unknown_data_type: "initializer 'stem_w': type 99 is unknown",
    short_raw_data: "take 432 bytes, it has 431",
    negative_dims: "initializer 'stem_w': dims [-4, 3, 3, 3] are negative",
    node_without_operator: "node 'stem' has no operator type",
    unnamed_initializer: "an initializer has no name",
    duplicate_initializer: "stem_w",
    duplicate_attribute: "node 'stem': attribute 'pads' is given twice",
    attribute_without_type: "node 'stem': attribute 'pads' has no type",
    unknown_operator_of_onnx: "Nonsense",
    a_segment_of_a_tensor: "initializer 'stem_w': its values are split into segments, which nothing reads",
    values_in_two_fields: "its values stand in raw_data and float_data, expected float_data",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_a_malformed_model_is_one_line_and_nothing_is_written(
    change: Callable[[ModelProto], None], verb: str, tmp_path: Path
) -> None:
    model = marked.flat()
    stem = next(i for i, tensor in enumerate(model.graph.initializer) if tensor.name == "stem_w")
    assert stem == 1
    change(model)
    assert BROKEN[change] in refused(verb, model.SerializeToString(), tmp_path)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("content", [b"", b"Not a model.\n", b"\x80" * 4096, marked.flat().SerializeToString()[:-9]])
def test_an_empty_truncated_random_or_text_file_is_refused(content: bytes, verb: str, tmp_path: Path) -> None:
    assert "an ONNX model" in refused(verb, content, tmp_path) or content


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("text", [b"stem", b"Conv", b"pool.weights", b"batch"])
def test_a_name_that_is_not_utf8_is_refused(text: bytes, verb: str, tmp_path: Path) -> None:
    content = marked.flat().SerializeToString().replace(text, b"\xff" + text[1:])
    assert "is not UTF-8" in refused(verb, content, tmp_path)


def test_a_shape_that_is_declared_falsely_is_no_reason_to_refuse(tmp_path: Path) -> None:
    model = graphs.marked(f"a = Neg (x)  y = {graphs.pool('p', 'A B', 'a', 'x')}")
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7
    path = marked.write(model, tmp_path / "model.onnx")
    assert len(read(path).pools) == 1
