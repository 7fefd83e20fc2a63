"""What fuzzing found, a test for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnxruntime
import pytest

from supernet_onnx import read
from supernet_onnx.admission import load
from supernet_onnx.errors import ModelError
from tests import graphs, marked, mutations
from tests.cli.calling import call, record

if TYPE_CHECKING:
    from pathlib import Path

    import onnx


def test_memory_by_operator_passes_over_the_nodes_of_other_branches(tmp_path: Path) -> None:
    model = graphs.marked(f"a = Neg (x)  b = Abs (x)  y = {graphs.pool('p', 'A B', 'a', 'b')}")
    path = marked.write(model, tmp_path / "model.onnx")
    found = record("cost", path, "--by-op", "--metric", "peak_memory")["operators"]
    assert [operator["operator"] for operator in found] == ["Neg"]
    assert found[0]["amounts"]["peak_memory"] == 16  # x and a, of two floats each


def test_dims_whose_names_are_no_formulas_are_left_open(tmp_path: Path) -> None:
    model = parsed_shapes()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "\u202e+ (("
    path = marked.write(model, tmp_path / "model.onnx")
    for arguments in (["cost", path, "--by-node"], ["prune", path]):
        result = call(*arguments)
        assert result.exit_code == 0, result.stderr
        assert "\u202e" not in result.output


def parsed_shapes() -> onnx.ModelProto:
    return mutations.seeds()[3]


@pytest.mark.parametrize("text", [b"location", b"weights.bin", b"offset"])
def test_places_of_external_data_that_are_no_text_are_refused(text: bytes, tmp_path: Path) -> None:
    content = mutations.outside().SerializeToString().replace(text, b"\xff" + text[1:], 1)
    path = mutations.write(content, tmp_path / "model")
    with pytest.raises(ModelError, match="the place of its external data is not UTF-8"):
        read(path)


def test_external_tensors_that_also_hold_values_are_refused(tmp_path: Path) -> None:
    model = mutations.outside()
    next(item for item in model.graph.initializer if item.external_data).int32_data.append(1)
    with pytest.raises(ModelError, match="stands in another file, and has values in int32_data, too"):
        read(mutations.write(model.SerializeToString(), tmp_path / "model"))


def test_the_symbolic_package_says_nothing_on_stderr(tmp_path: Path) -> None:
    model = parsed_shapes()
    model.graph.node[1].domain = "local"
    path = marked.write(model, tmp_path / "model.onnx")
    lines = [line for line in call("cost", path, "--symbolic").stderr.splitlines() if not line.endswith(" ...")]
    assert len(lines) == 1
    assert "cannot count this operator" in lines[0]


def test_what_onnxruntime_makes_of_a_model_passes(tmp_path: Path) -> None:
    text = marked.PLAIN.replace("y = Relu (x)", "h = Gemm (x, w) y = Relu (h)")
    model = marked.build(text, {"w": (4, 4)})
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimized, _ = load(tmp_path / "optimized.onnx")
    assert any(node.domain == "com.microsoft" for node in optimized.graph.node)


@pytest.mark.parametrize("subnets", [0, 2])
def test_a_profile_of_no_whole_subnets_and_of_an_input_of_any_name_is_measured(subnets: int, tmp_path: Path) -> None:
    path = marked.write(marked.flat(), tmp_path / "model.onnx")  # its input is x
    result = call("profile", path, "-o", tmp_path / "table.json", "--rounds", "1", "--subnets", subnets)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "table.json").exists()
