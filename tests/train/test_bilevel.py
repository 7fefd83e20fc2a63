import copy
import functools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.train import Endless, LogitStep, WarmUp, optimizers


@pytest.fixture(scope="module")
def built() -> SuperNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pool = SuperNetModule({"map": nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), "skip": nn.Identity()})
        return SuperNet(nn.Sequential(pool, nn.Linear(3, 1)), input_shape=(3,))


@pytest.fixture
def net(built: SuperNet) -> SuperNet:
    return copy.deepcopy(built)


def loader(seed: int = 0, *, own: bool = True) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed) if own else None
    return DataLoader(TensorDataset(torch.arange(10.0)), batch_size=4, shuffle=True, generator=generator)


def test_each_parameter_is_in_one_group_and_logits_biases_and_norms_do_not_decay(net: SuperNet) -> None:
    layers, logits = optimizers(net, net_lr=0.1, nas_lr=0.2, weight_decay=0.3)
    groups = [*layers.param_groups, *logits.param_groups]
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in net.parameters())
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    decayed = {names[id(p)] for group in groups for p in group["params"] if group["weight_decay"]}
    assert decayed == {"model.0.branches.0.0.weight", "model.1.weight"}
    assert [group["lr"] for group in groups] == [0.1, 0.1, 0.2]


def test_the_layers_optimizer_is_of_the_users_kind(net: SuperNet) -> None:
    layers, _ = optimizers(net, net_lr=0.1, nas_lr=0.2, make=functools.partial(torch.optim.SGD, momentum=0.9))
    assert isinstance(layers, torch.optim.SGD)
    assert {group["momentum"] for group in layers.param_groups} == {0.9}


@pytest.mark.parametrize("name", ["net_lr", "nas_lr", "weight_decay"])
def test_rates_are_numbers_of_at_least_zero(net: SuperNet, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 0, not -1"):
        optimizers(net, **{"net_lr": 0.1, "nas_lr": 0.1, name: -1.0})


def test_a_loader_without_end_goes_through_all_data_in_each_pass_in_another_order() -> None:
    batches = Endless(loader())
    passes = [torch.cat([next(batches)[0] for _ in range(3)]).tolist() for _ in range(2)]
    assert [sorted(values) for values in passes] == [[float(i) for i in range(10)]] * 2
    assert passes[0] != passes[1]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("before", [0, 2, 3, 5])
def test_a_resumed_loader_goes_on_where_it_was(before: int, own: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        batches = Endless(loader(own=own))
        for _ in range(before):
            next(batches)
        state, chance = batches.state_dict(), torch.get_rng_state()
        expected = [next(batches)[0].tolist() for _ in range(7)]
        torch.manual_seed(99)
        resumed = Endless(loader(seed=98, own=own))
        resumed.load_state_dict(state)
        torch.set_rng_state(chance)
        assert [next(resumed)[0].tolist() for _ in range(7)] == expected


def test_going_to_a_place_leaves_the_global_generator_alone() -> None:
    batches = Endless(loader(own=False))
    next(batches)
    before = torch.get_rng_state()
    Endless(loader(own=False)).load_state_dict(batches.state_dict())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_that_is_empty_or_can_be_gone_through_once_is_an_error() -> None:
    with pytest.raises(ValueError, match="the loader gives no batch"):
        next(Endless([]))
    once = Endless(iter([1]))
    assert next(once) == 1
    with pytest.raises(ValueError, match="an iterator that can be gone through only once"):
        next(once)


def data() -> Iterator[Tensor]:
    return iter(torch.linspace(-1, 1, 12).view(2, 2, 3))


def test_a_step_moves_the_logits_alone_by_the_gradient_on_a_fresh_batch(net: SuperNet) -> None:
    batches = list(data())
    step = LogitStep(net, torch.optim.SGD(net.nas_parameters(), lr=0.5), batches)
    net.model[1].bias.requires_grad_(False)
    for batch in batches:
        before = copy.deepcopy(net.state_dict())
        (gradient,) = torch.autograd.grad(net(batch).square().mean(), list(net.nas_parameters()))
        loss = step.step(lambda given: net(given).square().mean())
        assert loss is not None
        assert not loss.requires_grad
        for name, value in net.state_dict().items():
            if name.endswith("alpha"):
                assert torch.allclose(value, before[name] - 0.5 * gradient)
            elif isinstance(value, Tensor):
                assert torch.equal(value, before[name]), name
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["model.1.bias"]
    assert all(parameter.grad is None for parameter in net.parameters())


def test_nothing_is_done_while_the_logits_are_frozen(net: SuperNet) -> None:
    step = LogitStep(net, torch.optim.SGD(net.nas_parameters(), lr=0.5), list(data()))
    warm_up = WarmUp(net, 1)
    assert step.step(lambda given: net(given).sum()) is None
    assert step.batches.state_dict()["taken"] == 0
    warm_up.step()
    assert step.step(lambda given: net(given).sum()) is not None


def test_a_loss_that_no_logit_has_a_part_in_is_an_error(net: SuperNet) -> None:
    net.sampling = "uniform"
    step = LogitStep(net, torch.optim.SGD(net.nas_parameters(), lr=0.5), list(data()))
    with pytest.raises(ValueError, match=r"the sampling Uniform\(\): add net.cost or a regularizer to it"):
        step.step(lambda given: net(given).sum())
    assert step.step(lambda given: net(given).sum() + net.cost) is not None


def test_what_is_trained_is_as_before_if_the_loss_fails(net: SuperNet) -> None:
    step = LogitStep(net, torch.optim.SGD(net.nas_parameters(), lr=0.5), list(data()))
    with pytest.raises(ZeroDivisionError):
        step.step(lambda given: given / (1 // 0))
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_logits_follow_the_second_loader_and_layers_the_first(net: SuperNet) -> None:
    """The first loader wants the output 1, the second that nothing be mapped."""
    layers, nas = optimizers(net, net_lr=0.05, nas_lr=0.1)
    step = LogitStep(net, nas, list(data()))
    for _ in range(60):
        step.step(lambda _: 1 - net.pools["0"].theta()[1])
        for batch in data():
            loss = (net(batch) - 1).square().mean()
            layers.zero_grad()
            loss.backward()
            layers.step()
    assert net.selection() == {"0": "skip"}
    assert loss.item() < 0.05
