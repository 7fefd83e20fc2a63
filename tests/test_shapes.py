from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from supernet_onnx import shapes
from supernet_onnx.errors import MarkError, ModelError
from supernet_onnx.shapes import TensorType
from tests import graphs

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = '<ir_version: {ir}, opset_import: ["" : {opset}, "supernet_onnx" : 1, "com.microsoft" : 1, "local" : 1]>'


def model(text: str, *, ir: int = 10, opset: int = 20, **initializers: tuple[int, ...]) -> ModelProto:
    """Parse a graph and give it float initializers of these shapes."""
    parsed = parser.parse_model(HEADER.format(ir=ir, opset=opset) + text)
    for name, shape in initializers.items():
        parsed.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
    return parsed


def inferred(parsed: ModelProto, dims: Mapping[str, int] | None = None) -> dict[str, str]:
    before = parsed.SerializeToString(deterministic=True)
    types = shapes.infer(parsed, dims=dims)
    assert parsed.SerializeToString(deterministic=True) == before
    return {name: str(kind) for name, kind in types.items()}


def test_types_say_their_shape_and_size() -> None:
    assert str(TensorType(TensorProto.FLOAT, (1, "n", None))) == "float[1,n,?]"
    assert str(TensorType(TensorProto.INT64, ())) == "int64[]"
    assert str(TensorType(TensorProto.BFLOAT16, None)) == "bfloat16[...]"
    assert str(TensorType(999, (2,))) == "type 999[2]"
    assert TensorType(1, (2, 3, 4)).numel == 24
    assert TensorType(1, ()).numel == 1
    assert TensorType(1, (0, 3)).numel == 0
    assert TensorType(1, (2, "n")).numel is TensorType(1, (2, None)).numel is TensorType(1, None).numel is None


def test_every_tensor_of_the_main_graph_gets_its_type() -> None:
    parsed = model(
        """g (float[1, 3, 8, 8] x) => (float y) {
            a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
            y = Flatten (a)
        }""",
        w=(4, 3, 3, 3),
    )
    assert inferred(parsed) == {
        "x": "float[1,3,8,8]",
        "w": "float[4,3,3,3]",
        "a": "float[1,4,4,4]",
        "y": "float[1,64]",
    }


@pytest.mark.parametrize(
    ("signature", "dims", "result"),
    [
        ("float[batch, 3]", {}, "float[1,3]"),
        ("float[batch, 3]", {"batch": 8}, "float[8,3]"),
        ("float[-1, 3]", {}, "float[1,3]"),
        ("float[?, 3]", {}, "float[1,3]"),
        ("float[2, time]", {}, "float[2,time]"),
        ("float[2, time]", {"time": 5}, "float[2,5]"),
        ("float[2, -1]", {}, "float[2,?]"),
        ("float[2, batch]", {"batch": 4}, "float[2,4]"),
    ],
)
def test_the_batch_is_one_and_other_dims_are_what_the_caller_binds(
    signature: str, dims: dict[str, int], result: str
) -> None:
    parsed = model(f"g ({signature.replace('-1', '?')} x) => (float y) {{ y = Relu (x) }}")
    for dim, text in zip(
        parsed.graph.input[0].type.tensor_type.shape.dim, signature.split("[")[1].split(","), strict=True
    ):
        if "-1" in text:
            dim.dim_value = -1
    assert inferred(parsed, dims) == {"x": result, "y": result}


def test_the_name_of_the_batch_is_bound_wherever_it_stands() -> None:
    parsed = model("g (float[n, 3] x, float[3, n] z, float[m] v) => (float y) { y = MatMul (z, x) }")
    assert inferred(parsed) == {"x": "float[1,3]", "z": "float[3,1]", "v": "float[1]", "y": "float[3,3]"}
    assert inferred(parsed, {"n": 4})["y"] == "float[3,3]"


@pytest.mark.parametrize("name", ["?", "None", "-1"])
def test_a_name_that_several_dims_bear_for_want_of_one_binds_nothing(name: str) -> None:
    parsed = model("g (float[b, 3, h, w] x) => (float y) { y = Relu (x) }")
    for dim in parsed.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = name
    assert inferred(parsed)["y"] == "float[1,3,?,?]"
    bound = shapes.infer_graph(parsed, shapes.Bindings(shapes={"x": (1, 3, 48, 192)}))
    assert str(bound.types["y"]) == "float[1,3,48,192]"


def test_an_input_of_unknown_rank_stays_unknown() -> None:
    parsed = model("g (float x) => (float y) { y = Relu (x) }")
    parsed.graph.input[0].type.tensor_type.ClearField("shape")
    assert inferred(parsed)["x"] == "float[...]"


def test_shapes_that_are_computed_in_the_graph_are_known() -> None:
    parsed = model(
        """g (float[n, 4, 6] x) => (float y) <int64[1] minus = {-1}, int64[1] zero = {0}> {
            shape = Shape (x)
            batch = Gather (shape, zero)
            target = Concat <axis = 0> (batch, minus)
            y = Reshape (x, target)
        }"""
    )
    assert inferred(parsed, {"n": 5})["y"] == "float[5,24]"


def test_declared_shapes_that_are_false_are_not_believed() -> None:
    parsed = model("g (float[2, 3] x) => (float[7, 7] y) <float[9] a> { a = Relu (x)  y = Transpose (a) }")
    assert inferred(parsed) == {"x": "float[2,3]", "a": "float[2,3]", "y": "float[3,2]"}


def test_declared_shapes_behind_operators_that_onnx_does_not_know_are_all_there_is() -> None:
    parsed = model(
        """g (float[n, 3] x) => (float[n, 5] y) <float[n, 4] a> {
            a = com.microsoft.Mystery (x)
            b = Relu (a)
            y = com.microsoft.Mystery (b)
        }"""
    )
    assert inferred(parsed) == {"x": "float[1,3]", "a": "float[1,4]", "b": "float[1,4]", "y": "float[1,5]"}


def test_local_functions_are_inferred_and_false_declarations_of_what_they_make_are_not_believed() -> None:
    parsed = model(
        """g (float[2, 3] x) => (float[9] y) <float[9] a> { a = local.turn (x)  y = Relu (a) }
        <domain: "local", opset_import: ["" : 20]> turn (a) => (b) { b = Transpose (a) }"""
    )
    assert inferred(parsed) == {"x": "float[2,3]", "a": "float[3,2]", "y": "float[3,2]"}


def test_declared_shapes_of_a_function_around_an_unknown_operator_are_all_there_is() -> None:
    parsed = model(
        """g (float[2, 3] x) => (float y) <float[9] a> { a = local.outer (x)  y = Relu (a) }
        <domain: "local", opset_import: ["local" : 1]> outer (a) => (b) { b = local.inner (a) }
        <domain: "local", opset_import: ["com.microsoft" : 1]> inner (a) => (b) { b = com.microsoft.Mystery (a) }"""
    )
    assert inferred(parsed) == {"x": "float[2,3]", "a": "float[9]", "y": "float[9]"}


POOL = """g (float[n, 3] x) => (float y) <float[2] "p.weights" = {1, 0}> {
    a = Relu (x)  b = Neg (x)
    met = supernet_onnx.Pool2 <pool = "p", branches = ["A", "B"]> ("p.weights", a, b)
    y = Transpose (met)
}"""


@pytest.mark.parametrize("opset", [13, 15, 20, 24])
def test_a_pool_has_the_shape_of_its_branches_even_if_its_function_was_removed(opset: int) -> None:
    parsed = model(POOL, opset=opset)
    assert not parsed.functions
    types = inferred(parsed)
    assert (types["met"], types["y"]) == ("float[1,3]", "float[3,1]")


@pytest.mark.parametrize("kind", ["float16", "double", "bfloat16"])
def test_pools_of_other_types_have_a_shape_too(kind: str) -> None:
    assert inferred(model(POOL.replace("float[n", f"{kind}[n")))["met"] == f"{kind}[1,3]"


def test_a_damaged_mark_is_refused() -> None:
    with pytest.raises(MarkError, match="node 'met': 'supernet_onnx::Pool' is no pool"):
        shapes.infer(model(POOL.replace("Pool2", "Pool")))


def test_initializers_that_are_inputs_keep_their_own_shape() -> None:
    parsed = model(
        "g (float[n, 3] x, float[k, 3] w) => (float y) { y = Gemm <transB = 1> (x, w) }", ir=3, opset=11, w=(5, 3)
    )
    assert inferred(parsed) == {"x": "float[1,3]", "w": "float[5,3]", "y": "float[1,5]"}


def test_sparse_initializers_have_their_dense_shape() -> None:
    parsed = model("g (float[2, 3] x) => (float y) { y = MatMul (x, s) }")
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("", TensorProto.INT64, [1, 2], [0, 0])
    parsed.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3, 4]))
    assert inferred(parsed) == {"x": "float[2,3]", "s": "float[3,4]", "y": "float[2,4]"}


def test_weights_on_disk_are_not_read() -> None:
    parsed = model("g (float[2, 3] x) => (float y) { c = Constant ()  z = MatMul (x, w)  y = Add (z, c) }")
    absent = TensorProto(name="w", data_type=1, dims=[3, 4], data_location=TensorProto.EXTERNAL)
    absent.external_data.add(key="location", value="not there.bin")
    parsed.graph.initializer.append(absent)
    parsed.graph.node[0].attribute.append(helper.make_attribute("value", absent))
    parsed.graph.node[0].attribute[0].t.dims[:] = [2, 4]
    assert inferred(parsed) == {
        "x": "float[2,3]",
        "w": "float[3,4]",
        "z": "float[2,4]",
        "c": "float[2,4]",
        "y": "float[2,4]",
    }


def test_inference_gets_a_copy_without_large_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    infer_shapes = onnx.shape_inference.infer_shapes

    def weigh(skeleton: ModelProto, **options: bool) -> ModelProto:
        sizes.append(skeleton.ByteSize())
        return infer_shapes(skeleton, **options)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", weigh)
    parsed = model("g (float[n, 512] x) => (float y) { y = MatMul (x, w) }", w=(512, 512))
    assert inferred(parsed)["y"] == "float[1,512]"
    assert sizes[0] < 1000 < 4 * 512 * 512 < parsed.ByteSize()


def test_a_shape_on_disk_is_not_read_and_what_it_gives_is_unknown() -> None:
    parsed = model("g (float[2, 3] x) => (float y) { y = Reshape (x, shape) }")
    absent = TensorProto(name="shape", data_type=7, dims=[1], data_location=TensorProto.EXTERNAL)
    absent.external_data.add(key="location", value="not there.bin")
    parsed.graph.initializer.append(absent)
    assert inferred(parsed)["y"] == "float[?]"


def test_outputs_of_control_flow_are_inferred() -> None:
    body = graphs.if_else(("i", "i = Neg (x)"), ("j", "j = Abs (x)"))
    assert inferred(model(f"g (float[2] x, bool flag) => (float y) {{ y = {body} }}"))["y"] == "float[2]"


def test_sequences_and_optionals_are_no_tensors() -> None:
    parsed = model("g (float[2] x, seq(float[2]) z) => (int64 y) { s = SequenceInsert (z, x)  y = SequenceLength (s) }")
    assert inferred(parsed) == {"x": "float[2]", "y": "int64[]"}


def test_a_dim_that_onnx_made_up_is_unknown_unless_an_input_has_it() -> None:
    parsed = model("g (float[2, unk__0] x, int64[1] s) => (float y, float z) { y = Relu (x)  z = Reshape (x, s) }")
    assert inferred(parsed) == {"x": "float[2,unk__0]", "s": "int64[1]", "y": "float[2,unk__0]", "z": "float[?]"}
    assert inferred(parsed, {"unk__0": 3})["y"] == "float[2,3]"


def test_shapes_that_contradict_each_other_are_unknown() -> None:
    assert inferred(model("g (float[2, 3] x, float[4, 5] z) => (float y) { y = MatMul (x, z) }"))["y"] == "float[...]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ y = other.Op (x) }", "shapes cannot be inferred: .* No opset import for domain other optype Op"),
        (
            """{ y = local.again (x) }
            <domain: "local", opset_import: ["local" : 1]> again (a) => (b) { b = local.again (a) }""",
            "shapes cannot be inferred: .*functions must not be recursive",
        ),
    ],
)
def test_graphs_that_onnx_refuses_are_an_error(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        shapes.infer(model(f"g (float[2] x) => (float y) {text}"))


def test_an_input_that_is_also_an_output_has_its_shape() -> None:
    parsed = model("g (float[2] x, float[3] z) => (float y, float z) { y = Relu (x) }")
    assert inferred(parsed) == {"x": "float[2]", "y": "float[2]", "z": "float[3]"}
