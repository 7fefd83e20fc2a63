"""The closed form of the cost of independent pools: equal to the operations, and a good citizen of autograd."""

import copy
import functools

import pytest
import torch
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.train.flat import FlatCost
from supernet_onnx.train.pricing import ExpectedCost


class ThreePools(nn.Module):
    """Pools of three, two and one branch; a Linear(4, 4) has 20 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.a = SuperNetModule([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Identity()])
        self.b = SuperNetModule([nn.Identity(), nn.Linear(4, 4)])
        self.c = SuperNetModule([nn.Linear(4, 4)])

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)))


LOGITS = {"a": [0.3, -1.0, 2.0], "b": [1.5, 0.5], "c": [0.7]}
AMOUNTS = {"a": [20.0, 40.0, 0.0], "b": [0.0, 20.0], "c": [20.0]}


@functools.cache
def priced() -> SuperNet:
    return SuperNet(ThreePools(), input_shape=(4,), full_cost=True)


def three_pools(dtype: torch.dtype = torch.float32) -> SuperNet:
    net = copy.deepcopy(priced()).to(dtype)
    with torch.no_grad():
        for name, pool in net.pools.items():
            pool.alpha.copy_(torch.tensor(LOGITS[name]))
    return net


def cost_of(net: SuperNet) -> ExpectedCost:
    return net._costs[None]


def both_ways(net: SuperNet) -> tuple[Tensor, Tensor]:
    """Return the cost by the closed form and by torch's operations."""
    cost = cost_of(net)
    assert cost._flat is not None
    alphas = [pool.alpha for pool in net.pools.values()]
    assert FlatCost.fits(alphas)
    return cost(), cost._formula(alphas, cost._weighings())


MODES = [{}, {"temperature": 0.3}, {"hard": True, "temperature": 2.0}, {"gumbel": True, "temperature": 0.3}]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_cost_and_gradient_are_those_of_the_operations_in_every_mode(
    mode: dict[str, float], dtype: torch.dtype
) -> None:
    net = three_pools(dtype)
    net.update_softmax_options(**mode)
    closed, operations = both_ways(net)
    assert closed.dtype == operations.dtype
    assert closed.shape == operations.shape
    assert float(closed.detach()) == pytest.approx(float(operations.detach()), rel=1e-12)
    logits = list(net.nas_parameters())
    for found, expected in zip(
        torch.autograd.grad(3 * closed, logits), torch.autograd.grad(3 * operations, logits), strict=True
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_cost_is_the_sum_of_the_means_and_the_trunk() -> None:
    net = three_pools()
    means = [
        sum(float(w) * amount for w, amount in zip(torch.tensor(LOGITS[p]).softmax(0), AMOUNTS[p], strict=True))
        for p in LOGITS
    ]
    assert float(both_ways(net)[0].detach()) == pytest.approx(sum(means), rel=1e-6)


def test_far_logits_neither_overflow_nor_vanish() -> None:
    net = three_pools()
    with torch.no_grad():
        net.pools["a"].alpha.copy_(torch.tensor([1e4, -1e4, -torch.inf]))
        net.pools["b"].alpha.copy_(torch.tensor([-1e4, -1e4]))
    net.cost.backward()
    assert float(net.cost.detach()) == 20 + 10 + 20
    assert net.pools["a"].alpha.grad.tolist() == [0, 0, 0]
    assert net.pools["b"].alpha.grad.tolist() == [-5, 5]


def test_gradients_of_gradients_are_right() -> None:
    net = three_pools(torch.float64)
    net.update_softmax_options(temperature=0.7)
    logits = tuple(net.nas_parameters())
    assert torch.autograd.gradcheck(lambda *_: net.cost, logits)
    assert torch.autograd.gradgradcheck(lambda *_: net.cost, logits)


def test_logits_changed_between_the_cost_and_a_differentiable_gradient_are_an_error() -> None:
    net = three_pools()
    cost = net.cost
    with torch.no_grad():
        net.pools["a"].alpha.add_(torch.tensor([1.0, 0.0, 0.0]))
    with pytest.raises(RuntimeError, match="changed since the cost was computed"):
        cost.backward(create_graph=True)


def test_batched_gradients_are_those_of_single_ones() -> None:
    net = three_pools()
    logits = list(net.nas_parameters())
    single = torch.autograd.grad(net.cost, logits)
    batched = torch.autograd.grad(net.cost, logits, torch.tensor([1.0, 2.0]).double(), is_grads_batched=True)
    for one, two in zip(single, batched, strict=True):
        torch.testing.assert_close(two, torch.stack([one, 2 * one]))


def test_transformed_logits_take_the_operations() -> None:
    net = three_pools()
    (expected,) = torch.autograd.grad(net.cost, [net.pools["a"].alpha])

    def cost(alpha: Tensor) -> Tensor:
        values = {f"model.{name}.alpha": pool.alpha for name, pool in net.pools.items()} | {"model.a.alpha": alpha}
        with torch.nn.utils.stateless._reparametrize_module(net, values):
            return net.cost

    torch.testing.assert_close(torch.func.grad(cost)(net.pools["a"].alpha.detach()), expected)


def test_frozen_logits_get_no_gradient() -> None:
    net = three_pools()
    net.pools["a"].alpha.requires_grad_(False)
    net.cost.backward()
    assert net.pools["a"].alpha.grad is None
    assert net.pools["b"].alpha.grad is not None
    net.cost.backward(create_graph=True)
    assert net.pools["a"].alpha.grad is None
    net.train_net_only()
    assert not net.cost.requires_grad


def test_a_copy_has_logits_of_its_own() -> None:
    net = three_pools()
    copied = copy.deepcopy(net)
    copied.cost.backward()
    assert all(alpha.grad is None for alpha in net.nas_parameters())
    assert all(alpha.grad is not None for alpha in copied.nas_parameters())


def test_a_default_device_of_the_user_does_not_move_the_cost() -> None:
    net = three_pools()
    with torch.device("meta"):
        cost = net.cost
        cost.backward()
    assert cost.device.type == "cpu"
    assert net.pools["a"].alpha.grad.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_takes_the_operations(dtype: torch.dtype) -> None:
    net = three_pools(dtype)
    assert not FlatCost.fits([pool.alpha for pool in net.pools.values()])
    net.cost.backward()
    assert all(alpha.grad.dtype == dtype for alpha in net.nas_parameters())
