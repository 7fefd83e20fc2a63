import copy
import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import macs, params, peak_memory
from supernet_onnx.train import DUCCIO, Exponential, Strength, TemperatureSchedule


def toy() -> nn.Module:
    """Two pools of 0, 64 or 192 parameters: Identity, one map without bias, and a wide detour."""
    return nn.Sequential(
        *(
            SuperNetModule(
                {
                    "skip": nn.Identity(),
                    "one": nn.Linear(8, 8, bias=False),
                    "wide": nn.Sequential(nn.Linear(8, 12, bias=False), nn.Linear(12, 8, bias=False)),
                }
            )
            for _ in range(2)
        ),
        nn.Linear(8, 4, bias=False),
    )


@pytest.fixture(scope="module")
def built() -> SuperNet:
    return SuperNet(toy(), {"params": params, "macs": macs, "peak": peak_memory}, input_shape=(8,))


@pytest.fixture
def net(built: SuperNet) -> SuperNet:
    return copy.deepcopy(built)


def decide(net: SuperNet, branch: int) -> None:
    """Make all pools one-hot."""
    with torch.no_grad():
        for alpha in net.nas_parameters():
            alpha.zero_()
            alpha[branch] = 200.0


MEAN = 2 * (0 + 64 + 192) / 3


def test_strength_multiplies_the_cost_and_has_its_gradient(net: SuperNet) -> None:
    term = Strength("params", 0.5)(net)
    assert term.item() == pytest.approx(0.5 * MEAN)
    (by_strength,) = torch.autograd.grad(term, [next(net.nas_parameters())])
    (by_cost,) = torch.autograd.grad(net.get_cost("params"), [next(net.nas_parameters())])
    assert torch.allclose(by_strength, 0.5 * by_cost)


def test_a_single_cost_needs_no_name() -> None:
    single = SuperNet(toy(), params, input_shape=(8,))
    assert Strength(None, 1.0)(single).item() == pytest.approx(MEAN)
    assert Strength(None, 1.0, normalize=True)(single).item() == pytest.approx(MEAN / 384)


@pytest.mark.parametrize("full_cost", [False, True])
@pytest.mark.parametrize("cost", ["params", "macs"])
def test_a_normalized_cost_is_zero_for_the_smallest_subnet_and_one_for_the_largest(
    net: SuperNet, cost: str, full_cost: bool
) -> None:
    net.full_cost = full_cost
    assert net.cost_range(cost) == ((32, 416) if full_cost else (0, 384))
    term = Strength(cost, 3.0, normalize=True)
    for branch, expected in ((0, 0.0), (1, 128 / 384), (2, 1.0)):
        decide(net, branch)
        assert term(net).item() == pytest.approx(3.0 * expected)


@pytest.mark.parametrize("full_cost", [False, True])
@pytest.mark.parametrize("cost", ["params", "macs", "peak"])
def test_the_range_is_that_of_all_selections(net: SuperNet, cost: str, full_cost: bool) -> None:
    net.full_cost = full_cost
    costs = []
    for branches in itertools.product(range(3), repeat=2):
        with torch.no_grad():
            for alpha, branch in zip(net.nas_parameters(), branches, strict=True):
                alpha.copy_(200.0 * torch.eye(3)[branch])
        costs.append(net.get_cost(cost).item())
        assert net.selected_cost(cost) == pytest.approx(costs[-1])
    assert net.cost_range(cost) == (pytest.approx(min(costs)), pytest.approx(max(costs)))


def test_the_range_follows_the_cost_specification(net: SuperNet) -> None:
    assert net.cost_range("params") == (0, 384)
    net.cost_specification = {"params": peak_memory}
    assert net.cost_range("params")[1] == (8 + 12) * 4
    with pytest.raises(ValueError, match="there is no cost 'macs'"):
        net.cost_range("macs")


def test_what_nothing_changes_cannot_be_normalized() -> None:
    same = SuperNet(nn.Sequential(SuperNetModule([nn.Linear(4, 4), nn.Linear(4, 4)])), params, input_shape=(4,))
    with pytest.raises(ValueError, match=r"the cost is 20\.0 under every selection"):
        Strength(None, 1.0, normalize=True)(same)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_strength_is_a_number_of_at_least_zero(value: float) -> None:
    with pytest.raises(ValueError, match="strength must be"):
        Strength("params", value)


def test_duccio_is_the_hinge_of_the_paper(net: SuperNet) -> None:
    targets, finals = {"params": 100.0, "macs": 120.0}, {"params": 0.5, "macs": 0.25}
    duccio = DUCCIO(targets, final_strengths=finals, epochs=8)
    over = (MEAN - 100) * 0.5 + (MEAN - 120) * 0.25
    seen = []
    for _ in range(7):
        seen.append(duccio(net).item() / over)
        duccio.step()
    linear = [0.01 + 0.99 * epoch / 4 for epoch in range(5)]
    assert seen == pytest.approx([*linear, 1.0, 1.0])
    assert linear[-1] == 1.0
    decide(net, 0)
    assert duccio(net).item() == 0


def test_strengths_follow_from_the_task_loss(net: SuperNet) -> None:
    duccio = DUCCIO({"params": 100.0}, task_loss=0.7, epochs=2)
    assert duccio.strengths == {}
    assert duccio(net).item() == pytest.approx(0.01 * 0.7)
    duccio.step()
    assert duccio(net).item() == pytest.approx(0.7)  # an overshoot as at the first call costs as much as the task
    decide(net, 2)
    assert duccio(net).item() == pytest.approx(0.7 * (384 - 100) / (MEAN - 100))


@pytest.mark.parametrize("below", [0.0, 50.0])
def test_a_cost_at_or_below_its_target_at_first_still_gets_a_strength(net: SuperNet, below: float) -> None:
    decide(net, 1)
    duccio = DUCCIO({"params": 128.0 + below}, task_loss=0.7, epochs=2)
    assert duccio(net).item() == 0
    duccio.step()
    assert duccio.strengths == {"params": pytest.approx(0.7 / (0.1 * 384))}
    decide(net, 2)
    assert duccio(net).item() == pytest.approx(0.7 * (384 - 128 - below) / 38.4)


def test_a_cost_just_above_its_target_does_not_get_an_enormous_strength(net: SuperNet) -> None:
    duccio = DUCCIO({"params": MEAN - 1e-9}, task_loss=0.7, epochs=2)
    duccio(net)
    duccio.step()
    assert duccio.strengths == {"params": pytest.approx(0.7 / 38.4)}


def test_a_target_that_no_selection_meets_is_an_error_that_says_what_is_reachable(net: SuperNet) -> None:
    net.full_cost = True
    with pytest.raises(ValueError, match=r"no selection meets the target of 31 for the cost 'params': .* has 32;"):
        DUCCIO({"params": 31}, task_loss=1.0, epochs=2)(net)


def test_a_resumed_duccio_has_the_strengths_that_the_first_call_gave(net: SuperNet) -> None:
    duccio = DUCCIO({"params": 100.0}, task_loss=0.7, epochs=6)
    duccio(net)
    duccio.step()
    decide(net, 2)
    resumed = DUCCIO({"params": 100.0}, task_loss=0.7, epochs=6)
    resumed.load_state_dict(duccio.state_dict())
    assert resumed(net).item() == duccio(net).item()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": {}, "task_loss": 1.0}, "at least one target"),
        ({"targets": {"params": math.nan}, "task_loss": 1.0}, "params must be a finite number"),
        ({"targets": {"params": 1}}, "give either task_loss"),
        ({"targets": {"params": 1}, "task_loss": 1.0, "final_strengths": {"params": 1}}, "give either task_loss"),
        ({"targets": {"params": 1}, "final_strengths": {"macs": 1}}, "are of 'macs', the targets of 'params'"),
        ({"targets": {"params": 1}, "final_strengths": {"params": 0}}, "params must be above 0"),
        ({"targets": {"params": 1}, "task_loss": -0.1}, "task_loss must be above 0"),
        ({"targets": {"params": 1}, "task_loss": 1.0, "epochs": 0}, "epochs must be a whole number"),
    ],
)
def test_bad_arguments_of_duccio_are_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DUCCIO(**{"epochs": 4, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_duccio_meets_two_targets_at_once_against_a_task_that_wants_the_largest(net: SuperNet, seed: int) -> None:
    torch.manual_seed(seed)
    targets = {"params": 130.0, "macs": 200.0}

    def task(net: SuperNet) -> Tensor:
        return sum((1 - pool.theta()[2] for pool in net.pools.values()), start=torch.zeros(()))

    with torch.no_grad():
        for alpha in net.nas_parameters():
            alpha.add_(torch.randn_like(alpha))
    epochs = 60
    duccio = DUCCIO(targets, task_loss=2.0, epochs=epochs)
    schedule = TemperatureSchedule(net, Exponential(1.0, 0.05, steps=epochs))
    optimizer = torch.optim.Adam(net.nas_parameters(), lr=0.05)
    for _ in range(epochs):
        for _ in range(5):
            loss = task(net) + duccio(net)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        duccio.step()
        schedule.step()
    for name, target in targets.items():
        assert net.selected_cost(name) <= target, name
