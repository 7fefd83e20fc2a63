"""What a handler sees of a node: shapes that are concrete or an error, and operands that are there or an error."""

import pytest
from onnx import TensorProto

from supernet_onnx.cost import OpCall, Operand
from supernet_onnx.errors import CostError, UnknownShapeError


def call(*inputs: Operand | None) -> OpCall:
    return OpCall("Conv", "", 20, "Conv node 'c'", {}, inputs, (None,))


def test_a_known_shape_is_concrete() -> None:
    operand = Operand("x", TensorProto.FLOAT, (2, 3, 4))
    assert operand.shape == (2, 3, 4)
    assert operand.numel == 24
    assert Operand("scalar", TensorProto.FLOAT, ()).numel == 1
    assert Operand("empty", TensorProto.FLOAT, (0, 3)).numel == 0


def test_an_open_dim_is_named_with_the_flag_that_binds_it() -> None:
    with pytest.raises(UnknownShapeError) as error:
        Operand("tokens", TensorProto.FLOAT, (1, "seq", 8)).shape
    assert str(error.value) == (
        "tensor 'tokens' is float[1,seq,8]: dim 1 'seq' must be a number; bind it with --dim seq=VALUE"
    )


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ((1, None), "tensor 't' is int64[1,?]: dim 1 is not known"),
        (None, "tensor 't' is int64[...]: its rank is not known"),
    ],
)
def test_a_dim_without_a_name_is_an_error_too(dims: tuple[int | None, ...] | None, message: str) -> None:
    with pytest.raises(UnknownShapeError) as error:
        Operand("t", TensorProto.INT64, dims).numel
    assert str(error.value) == message


def test_an_omitted_operand_is_an_error_that_names_the_node() -> None:
    x = Operand("x", TensorProto.FLOAT, (1,))
    assert call(x, None).has_input(0)
    assert not call(x, None).has_input(1)
    assert not call(x).has_input(1)
    for given in (call(x, None), call(x)):
        with pytest.raises(CostError, match=r"^Conv node 'c': input 1 is missing, its cost depends on it"):
            given.input(1)
    with pytest.raises(CostError, match=r"^Conv node 'c': output 0 is missing"):
        call(x).output()
