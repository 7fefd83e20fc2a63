import math

import pytest
import torch
import toys
from torch import Tensor, nn

from supernet_onnx.train import discretization_gap, distillation_loss, recalibrate_batchnorm
from supernet_onnx.train.evaluation import accuracy, evaluate


def test_the_mean_is_over_samples_not_over_batches() -> None:
    data = [(torch.zeros(3, 2), torch.tensor([0, 0, 1])), (torch.ones(1, 2), torch.tensor([1]))]
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    net = nn.Identity()
    data = [(logits[:3], data[0][1]), (logits[3:], data[1][1])]
    assert evaluate(net, data, loss=accuracy) == 3 / 4
    expected = -(2 * math.log(math.exp(2) / (math.exp(2) + 1)) + math.log(1 / (math.exp(2) + 1)))
    expected -= math.log(math.e / (math.e + 1))
    assert evaluate(net, data) == pytest.approx(expected / 4, rel=1e-6)
    with pytest.raises(ValueError, match="the loader gives no batch"):
        evaluate(net, [])


class Named(nn.Module):
    def forward(self, x: Tensor, *, factor: Tensor) -> Tensor:
        return x * factor


class Gathering(nn.Module):
    def forward(self, both: dict[str, Tensor]) -> Tensor:
        return both["x"] * both["factor"]


@pytest.mark.parametrize("model", [Named(), Gathering()])
def test_a_mapping_holds_keyword_inputs_unless_the_model_takes_it_whole(model: nn.Module) -> None:
    inputs = {"x": torch.tensor([[1.0, 2.0]]), "factor": torch.tensor([[1.0, -1.0]])}
    assert evaluate(model, [(inputs, torch.tensor([0]))], loss=accuracy) == 1


def test_what_is_no_batch_or_no_mean_is_an_error() -> None:
    x, y = torch.zeros(3, 2), torch.tensor([0, 0, 1])
    for wrong, named in ({"x": x, "y": y}, "a dict"), (x, "a Tensor"), ((x,), "a tuple of 1"):
        with pytest.raises(TypeError, match=f"a batch must be a tuple or list of inputs and targets, not {named}"):
            evaluate(nn.Identity(), [wrong])
    with pytest.raises(TypeError, match="a batch must be a tensor, or a tuple, list or mapping of inputs, not a int"):
        recalibrate_batchnorm(nn.BatchNorm1d(2), [3], has_targets=False)
    with pytest.raises(TypeError, match="the targets of a batch must be a tensor, not a list"):
        evaluate(nn.Identity(), [(x, y.tolist())])
    for loss, given in (nn.CrossEntropyLoss(reduction="none"), r"a tensor \[3\]"), (lambda *_: None, "None"):
        with pytest.raises(ValueError, match=f"a mean over the samples of a batch, one number, not {given}"):
            evaluate(nn.Identity(), [(x, y)], loss=loss)


def test_the_gap_is_that_of_mixture_choice_and_recalibrated_choice_and_the_supernet_is_left_alone() -> None:
    net, data, calibration = toys.toy(), toys.batches(), toys.batches(2, seed=1)
    before = toys.snapshot(net)
    gap = discretization_gap(net, data, calibration=calibration)
    assert toys.equal(toys.snapshot(net), before)
    net.eval()
    assert gap.mixture == pytest.approx(
        sum(float(nn.functional.cross_entropy(net(x), y).detach()) for x, y in data) / 3, rel=1e-6
    )
    chosen = net.export()
    assert gap.chosen == pytest.approx(evaluate(chosen, data), rel=1e-6)
    recalibrate_batchnorm(chosen, calibration)
    assert gap.recalibrated == pytest.approx(evaluate(chosen, data), rel=1e-6)
    assert len({gap.mixture, gap.chosen, gap.recalibrated}) == 3
    other = discretization_gap(net, data, loss=accuracy, selection={"second": "skip"})
    assert other.chosen == evaluate(net.export({"second": "skip"}), data, loss=accuracy)


def test_distillation_compares_softened_classes_with_the_gradient_of_temperature_one() -> None:
    student = torch.tensor([[1.0, -1.0]], requires_grad=True)
    teacher = torch.tensor([[3.0, 0.0]], requires_grad=True)
    p = 1 / (1 + math.exp(-3 / 2))
    q = 1 / (1 + math.exp(-2 / 2))
    loss = distillation_loss(student, teacher, 2.0)
    assert float(loss.detach()) == pytest.approx(
        4 * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))), rel=1e-5
    )
    loss.backward()
    assert student.grad[0].tolist() == pytest.approx([2 * (q - p), 2 * (p - q)], rel=1e-5)  # (q - p) / T, times T^2
    assert teacher.grad is None
    assert float(distillation_loss(teacher.detach(), teacher)) == 0
    for wrong in (0, math.inf):
        with pytest.raises(ValueError, match=f"temperature must be a positive number, not {wrong}"):
            distillation_loss(student, teacher, wrong)
    with pytest.raises(ValueError, match=r"the student gives \[1, 2\], the teacher \[2, 1\]"):
        distillation_loss(student, teacher.T)
