import pytest
import torch
import zoo
from torch import Tensor, nn

import supernet_onnx
from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import macs
from supernet_onnx.errors import ExportError, PoolError


def flat(**options: object) -> SuperNet:
    return SuperNet(zoo.CASES["flat"].model(), input_shape=(3, 8, 8), **options)  # type: ignore[arg-type]


def test_inputs_may_be_a_shape_a_tensor_a_tuple_or_keywords_of_any_batch() -> None:
    for example in (torch.ones(1, 3, 8, 8), (torch.ones(5, 3, 8, 8),), {"x": torch.ones(2, 3, 8, 8)}):
        net = SuperNet(zoo.CASES["flat"].model(), macs, input_example=example)
        assert float(net.cost.detach()) == pytest.approx(float(flat(cost=macs).cost.detach()))


@pytest.mark.parametrize("options", [{}, {"input_shape": (3, 8, 8), "input_example": torch.ones(1, 3, 8, 8)}])
def test_both_or_neither_of_shape_and_example_are_a_type_error(options: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"either input_shape .* or input_example"):
        SuperNet(zoo.CASES["flat"].model(), **options)  # type: ignore[arg-type]


def test_a_shape_that_is_none_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="sizes without the batch"):
        SuperNet(zoo.CASES["flat"].model(), input_shape=(3, -1, 8))


def test_a_model_without_pools_is_an_error() -> None:
    with pytest.raises(PoolError, match="the model has no pool; make at least one of its layers a SuperNetModule"):
        SuperNet(nn.Linear(2, 2), input_shape=(2,))


def test_a_pool_in_a_plain_list_is_an_error_that_says_what_to_do() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = SuperNetModule([nn.Identity()])
            self.hidden = [SuperNetModule([nn.Identity()])]

        def forward(self, x: Tensor) -> Tensor:
            return self.hidden[0](self.pool(x))

    with pytest.raises(PoolError, match=r"no registered submodule of the model; keep pools in attributes, nn\.Module"):
        SuperNet(Hidden(), input_shape=(2,))


def test_what_torch_export_refuses_is_an_error_that_says_so() -> None:
    class DataDependent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = SuperNetModule([nn.Linear(2, 2), nn.Identity()])

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x) if x.sum() > 0 else x

    model = DataDependent()
    with pytest.raises(ExportError, match=r"torch\.export cannot trace the model: .*data-dependent"):
        SuperNet(model, input_shape=(2,))
    assert model.training


def test_python_in_forward_that_depends_on_no_data_is_no_obstacle() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pools = nn.ModuleDict(
                {f"p{i}": SuperNetModule([nn.Linear(4, 4, bias=False), nn.Identity()]) for i in range(3)}
            )
            self.order = ["p2", "p0"]

        def forward(self, x: Tensor, *, double: bool = False) -> Tensor:
            for name in self.order:
                x = self.pools[name](x)
            while x.dim() < 4:
                x = x.unsqueeze(-1)
            return x * 2 if double else x

    net = SuperNet(Dynamic(), input_example={"x": torch.ones(3, 4), "double": True})
    assert float(net.cost.detach()) == 2 * 16 / 2  # p1 is never called
    assert set(net.selection()) == {"pools.p0", "pools.p1", "pools.p2"}


def test_a_model_that_fixes_its_batch_is_priced_and_exported_with_it(tmp_path: object) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = SuperNetModule([nn.Linear(4, 4), nn.Identity()])

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x).reshape(3, 2, 2)

    net = SuperNet(Fixed(), macs, input_example=torch.ones(3, 4))
    assert float(net.cost.detach()) == 3 * 16 / 2
    with pytest.raises(ExportError, match=r"fixes its batch size.*dynamic_batch=False"):
        net.export_onnx(f"{tmp_path}/supernet.onnx")
    net.export_onnx(f"{tmp_path}/supernet.onnx", dynamic_batch=False)
    assert supernet_onnx.read(f"{tmp_path}/supernet.onnx").pools[0].name == "pool"


def test_user_subclasses_recurrent_and_attention_modules_may_be_branches() -> None:
    class Mine(nn.Conv1d):
        pass

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x.transpose(1, 2))[0].transpose(1, 2)

    net = SuperNet(SuperNetModule([Mine(4, 4, 1), Recurrent()]), input_shape=(4, 5))
    conv, gru = 4 * 4 + 4, 3 * (4 * 4 + 4 * 4 + 2 * 4)
    assert float(net.cost.detach()) == (conv + gru) / 2


def test_double_precision_models_are_priced_and_exported_in_double(tmp_path: object) -> None:
    net = SuperNet(zoo.CASES["flat"].model().double(), input_shape=(3, 8, 8))
    assert float(net.cost.detach()) == pytest.approx(float(flat().cost.detach()))
    net.export_onnx(f"{tmp_path}/double.onnx")
    weights = [branch.weight for branch in supernet_onnx.read(f"{tmp_path}/double.onnx").pools[0].branches]
    assert weights == pytest.approx(torch.softmax(net.model.pool.alpha.detach(), 0).tolist())
