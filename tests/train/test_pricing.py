from pathlib import Path

import pytest
import torch
import zoo
from torch import nn

from supernet_onnx import SuperNet, SuperNetModule


def test_a_supernet_made_in_inference_mode_trains_and_exports(tmp_path: Path) -> None:
    model = nn.Sequential(SuperNetModule([nn.Linear(4, 4), nn.Identity()]))
    with torch.inference_mode():
        net = SuperNet(model, input_shape=(4,))
        assert float(net.cost) == 20 / 2
    (net(torch.ones(2, 4)).sum() + net.cost).backward()
    assert net.model[0].alpha.grad is not None
    net.export_onnx(tmp_path / "supernet.onnx")


@pytest.mark.parametrize("name", ["flat", "nested"])
def test_a_cost_that_moved_its_numbers_in_inference_mode_still_trains(name: str) -> None:
    case = zoo.CASES[name]
    net = SuperNet(case.model(), input_example=case.inputs()).to("meta")
    with torch.inference_mode():
        net.cost
    net.cost.backward()
    assert all(parameter.grad is not None for parameter in net.nas_parameters())
