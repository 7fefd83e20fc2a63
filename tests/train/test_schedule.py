import copy

import pytest
import torch
import zoo

from supernet_onnx import SuperNet
from supernet_onnx.train import Constant, Cosine, Exponential, Linear, StableSelection, TemperatureSchedule, WarmUp


@pytest.fixture(scope="module")
def built() -> SuperNet:
    case = zoo.CASES["nested"]
    return SuperNet(case.model(), input_example=case.inputs())


@pytest.fixture
def net(built: SuperNet) -> SuperNet:
    net = copy.deepcopy(built)
    with torch.no_grad():
        for alpha in net.nas_parameters():
            alpha.zero_()
    return net


def temperatures(net: SuperNet) -> set[float]:
    return {pool.temperature for pool in net.pools.values()}


def test_every_pool_has_the_temperature_of_the_curve_from_the_start_and_after_each_step(net: SuperNet) -> None:
    schedule = TemperatureSchedule(net, Exponential(4.0, 0.25, steps=4))
    seen = [temperatures(net)]
    for _ in range(5):
        schedule.step()
        seen.append(temperatures(net))
        assert seen[-1] == {schedule.temperature}
    assert seen == [{4.0}, {2.0}, {1.0}, {0.5}, {0.25}, {0.25}]


def test_a_delayed_schedule_waits_at_its_first_value(net: SuperNet) -> None:
    schedule = TemperatureSchedule(net, Linear(1.0, 0.5, steps=2), delay=2)
    seen = []
    for _ in range(5):
        schedule.step()
        seen.append(schedule.temperature)
    assert seen == [1.0, 1.0, 0.75, 0.5, 0.5]


def test_a_restored_schedule_sets_its_temperature_and_goes_on(net: SuperNet) -> None:
    schedule = TemperatureSchedule(net, Cosine(1.0, 0.1, steps=6))
    for _ in range(3):
        schedule.step()
    state = schedule.state_dict()
    schedule.step()
    after = schedule.temperature
    resumed = TemperatureSchedule(net, Cosine(1.0, 0.1, steps=6))
    assert temperatures(net) == {1.0}
    resumed.load_state_dict(state)
    assert next(iter(temperatures(net))) == pytest.approx(0.55)
    resumed.step()
    assert temperatures(net) == {after}


def test_a_curve_of_ones_own_will_do(net: SuperNet) -> None:
    schedule = TemperatureSchedule(net, lambda step: 1 / (1 + step))
    schedule.step()
    assert temperatures(net) == {0.5}


@pytest.mark.parametrize("curve", [Linear(1.0, 0.0, steps=3), Cosine(1.0, 0.0, steps=3), Constant(0.0)])
def test_a_temperature_of_zero_is_refused_when_the_schedule_is_made(net: SuperNet, curve: Linear) -> None:
    with pytest.raises(ValueError, match=r"the temperature would be 0\.0 after .* steps; it divides the logits"):
        TemperatureSchedule(net, curve)


def test_numbers_of_epochs_are_checked(net: SuperNet) -> None:
    with pytest.raises(ValueError, match="delay must be a whole number of at least 0, not -1"):
        TemperatureSchedule(net, Constant(1.0), delay=-1)
    with pytest.raises(ValueError, match=r"epochs must be a whole number of at least 0, not 0\.5"):
        WarmUp(net, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1, not 0"):
        StableSelection(net, epochs=0)


def test_logits_wait_for_the_end_of_the_warm_up_and_layers_do_not(net: SuperNet) -> None:
    warm_up = WarmUp(net, 2)
    seen = [net.train_selection]
    for _ in range(3):
        warm_up.step()
        seen.append(net.train_selection)
    assert seen == [False, False, True, True]
    assert all(parameter.requires_grad for parameter in net.net_parameters())
    assert WarmUp(net, 0).is_over


def test_what_is_trained_after_the_warm_up_is_left_to_the_user(net: SuperNet) -> None:
    warm_up = WarmUp(net, 1)
    warm_up.step()
    net.train_selection = False
    warm_up.step()
    assert not net.train_selection


@pytest.mark.parametrize("steps", [1, 2])
def test_a_restored_warm_up_freezes_the_logits_or_trains_them_as_then(net: SuperNet, steps: int) -> None:
    warm_up = WarmUp(net, 2)
    for _ in range(steps):
        warm_up.step()
    net.train_selection = steps == 1  # the wrong way round, as a fresh process may have it
    resumed = WarmUp(net, 2)
    resumed.load_state_dict(warm_up.state_dict())
    assert net.train_selection == (steps == 2) == resumed.is_over


def move(net: SuperNet, branch: int, by: float) -> None:
    with torch.no_grad():
        next(net.nas_parameters())[branch] += by


def test_a_selection_is_stable_after_so_many_epochs_without_a_change(net: SuperNet) -> None:
    stable = StableSelection(net, epochs=2)
    seen = []
    for branch, by in ((1, 1.0), (1, 0.1), (2, 2.0), (2, 0.1), (0, 0.1)):
        move(net, branch, by)
        seen.append(stable.step())
    #        changed  same   changed  same  same again
    assert seen == [False, False, False, False, True]
    assert stable.is_stable


def test_epochs_in_which_no_logit_moved_do_not_count(net: SuperNet) -> None:
    stable = StableSelection(net, epochs=1)
    assert [stable.step() for _ in range(5)] == [False] * 5
    move(net, 0, 0.5)
    assert stable.step()


def test_a_resumed_count_goes_on(net: SuperNet) -> None:
    stable = StableSelection(net, epochs=2)
    move(net, 0, 0.5)
    stable.step()
    resumed = StableSelection(net, epochs=2)
    resumed.load_state_dict(stable.state_dict())
    move(net, 0, 0.5)
    assert resumed.step()
