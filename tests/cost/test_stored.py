"""The constants of a model: how many bytes they take, and that those in nested graphs are found."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from supernet_onnx.cost.stored import Stored, lay_out
from supernet_onnx.errors import ModelError


def constants(*tensors: TensorProto) -> list[Stored]:
    return list(lay_out(helper.make_graph([], "g", [], [], list(tensors))).constants)


@pytest.mark.parametrize(
    ("dtype", "size_bytes"),
    [
        ("FLOAT", 28),
        ("DOUBLE", 56),
        ("FLOAT16", 14),
        ("BFLOAT16", 14),
        ("FLOAT8E4M3FN", 7),
        ("INT64", 56),
        ("INT8", 7),
        ("BOOL", 7),
        ("COMPLEX128", 112),
        ("INT4", 4),  # 28 bits
        ("UINT4", 4),
        ("FLOAT4E2M1", 4),
        ("UINT2", 2),  # 14 bits
        ("INT2", 2),
    ],
)
def test_seven_elements_take_whole_bytes_and_small_types_are_packed(dtype: str, size_bytes: int) -> None:
    tensor = TensorProto(name="t", data_type=TensorProto.DataType.Value(dtype), dims=[7])
    (stored,) = constants(tensor)
    assert (stored.elements, stored.size_bytes) == (7, size_bytes)


def test_what_is_stored_is_what_onnx_stores() -> None:
    for array in (np.zeros((3, 5), ml_dtypes.int4), np.zeros((3, 5), np.float32), np.zeros((), np.float16)):
        tensor = numpy_helper.from_array(array, "t")
        (stored,) = constants(tensor)
        assert stored.size_bytes == len(tensor.raw_data)


def test_strings_take_their_bytes() -> None:
    (stored,) = constants(helper.make_tensor("t", TensorProto.STRING, [2], ["ab", "é"]))
    assert (stored.elements, stored.size_bytes) == (2, 4)


def test_external_data_are_not_read() -> None:
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1000, 1000])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="nowhere.bin")
    (stored,) = constants(tensor)
    assert stored.size_bytes == 4_000_000


def test_sparse_tensors_store_values_and_indices() -> None:
    values = helper.make_tensor("s", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [3], [0, 5, 9])
    graph = helper.make_graph([], "g", [], [], sparse_initializer=[helper.make_sparse_tensor(values, indices, [4, 4])])
    (stored,) = lay_out(graph).constants
    assert (stored.name, stored.rank, stored.elements, stored.size_bytes) == ("s", 2, 3, 3 * 4 + 3 * 8)


@pytest.mark.parametrize(
    ("attribute", "rank", "elements", "size_bytes"),
    [
        ("value = float[2,2] {1, 2, 3, 4}", 2, 4, 16),
        ("value_float = 1.5", 0, 1, 4),
        ("value_floats = [1.5, 2.5]", 1, 2, 8),
        ("value_int = 7", 0, 1, 8),
        ("value_ints = [7, 8, 9]", 1, 3, 24),
        ('value_string = "abc"', 0, 1, 3),
        ('value_strings = ["abc", "d"]', 1, 2, 4),
    ],
)
def test_constant_nodes_store_too(attribute: str, rank: int, elements: int, size_bytes: int) -> None:
    graph = parser.parse_graph(f"g () => (float y) {{ y = Constant <{attribute}> () }}")
    (stored,) = lay_out(graph).constants
    assert (stored.name, stored.rank, stored.elements, stored.size_bytes) == ("y", rank, elements, size_bytes)


def test_an_undefined_element_type_is_an_error_that_names_the_tensor() -> None:
    with pytest.raises(ModelError, match="tensor 't' has the element type 99, which onnx does not define"):
        constants(TensorProto(name="t", data_type=99, dims=[1]))


NESTED = """
g (float[2] x, bool flag) => (float[2] y)
<float[2] outer = {1, 2}>
{
    y = If (flag) <
        then_branch = t () => (float[2] r) <float[2] w = {1, 2}> { r = Add (x, w) },
        else_branch = e () => (float[2] r) {
            w = Constant <value = float[2] {3, 4}> ()  m = Mul (x, w)  r = Add (m, outer)
        }
    >
}
"""


def test_a_name_inside_of_a_nested_graph_is_not_the_same_name_outside() -> None:
    text = NESTED.replace("y = If", "i = If").rstrip("}\n") + "    y = Add (w, i) }"
    *_, add = lay_out(parser.parse_graph(text.replace("outer", "w"))).steps
    assert add.inputs == ("w", "i")


def test_nested_graphs_are_laid_out_before_their_node_under_names_of_their_own() -> None:
    layout = lay_out(parser.parse_graph(NESTED))
    assert [(step.node.op_type, step.home, step.is_nested) for step in layout.steps] == [
        ("Add", 0, True),
        ("Constant", 0, True),
        ("Mul", 0, True),
        ("Add", 0, True),
        ("If", 0, False),
    ]
    assert [stored.home for stored in layout.constants] == [None, 0, 0]
    names = [stored.name for stored in layout.constants]
    assert len(set(names)) == 3
    first, *_, last, branch = layout.steps
    assert first.inputs == ("x", names[1])
    assert last.inputs[1] == "outer"
    assert branch.inputs == ("flag", *first.outputs, *last.outputs)
