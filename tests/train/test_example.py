import copy
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

import supernet_onnx
from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import macs
from supernet_onnx.errors import ExportError
from supernet_onnx.train.example import make_example


class Scaled(nn.Module):
    """A layer with a pool, and a second input that is no floating-point tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SuperNetModule([nn.Linear(4, 4), nn.Identity()])

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return self.pool(x).index_select(1, index)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.float64, TensorProto.DOUBLE), (torch.float16, TensorProto.FLOAT16)]
)
def test_the_example_follows_a_model_that_is_converted(dtype: torch.dtype, expected: int, tmp_path: Path) -> None:
    net = SuperNet(Scaled(), input_example=(torch.ones(3, 4), torch.tensor([0, 2])))
    net.to(dtype)
    net.export_onnx(tmp_path / "supernet.onnx")
    model = onnx.load(tmp_path / "supernet.onnx")
    assert [value.type.tensor_type.elem_type for value in model.graph.input] == [expected, TensorProto.INT64]
    onnx.checker.check_model(model, full_check=True)
    assert supernet_onnx.read(model).pools[0].name == "pool"


def test_the_example_follows_a_model_to_its_device_and_leaves_what_was_elsewhere() -> None:
    model = nn.Linear(4, 4)
    tensors = (torch.ones(2, 4), torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.float64), None, 3)
    example = make_example(model, None, (*tensors, torch.ones(2, device="meta")))
    # what is in its place already is handed on, not copied
    assert all(now is before for now, before in zip(example.on(model).args, example.args, strict=True))
    x, index, double, *rest = example.on(model.to("meta", torch.bfloat16)).args
    assert isinstance(x, Tensor)
    assert isinstance(index, Tensor)
    assert isinstance(double, Tensor)
    assert (x.device.type, x.dtype) == ("meta", torch.bfloat16)
    assert (index.device.type, index.dtype) == ("meta", torch.int64)
    assert double.dtype == torch.float64
    assert rest[:2] == [None, 3]


def test_an_example_that_was_computed_from_parameters_does_not_stand_in_the_way_of_a_copy() -> None:
    computed = torch.ones(2, 4, requires_grad=True) * 2
    net = SuperNet(nn.Sequential(SuperNetModule([nn.Linear(4, 4), nn.Identity()])), input_example={"input": computed})
    assert float(copy.deepcopy(net).cost.detach()) == 20 / 2
    assert computed.requires_grad


class Modulated(nn.Module):
    """A second input whose first dim is 1, and is no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SuperNetModule([nn.Linear(4, 4, bias=False), nn.Identity()])

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.pool(x) * scale.reshape(1, 4)


def test_a_first_dim_that_is_taken_for_a_batch_does_not_touch_the_cost_and_the_error_says_what_to_do(
    tmp_path: Path,
) -> None:
    net = SuperNet(Modulated(), macs, input_example=(torch.ones(1, 4), torch.ones(1, 4)))
    assert float(net.cost.detach()) == 4 * 4 / 2
    with pytest.raises(ExportError, match=r"if it fixes its batch size, export with dynamic_batch=False"):
        net.export_onnx(tmp_path / "supernet.onnx")
    net.export_onnx(tmp_path / "supernet.onnx", dynamic_batch=False)
    inputs = onnx.load(tmp_path / "supernet.onnx").graph.input
    assert [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in inputs] == [[1, 4], [1, 4]]
