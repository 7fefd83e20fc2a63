import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from supernet_onnx import SuperNet, SuperNetModule, argmax, prune, read
from supernet_onnx.errors import ExportError, PoolError
from supernet_onnx.train import AuxiliarySkip, Constant, EntropyGuard, Linear, ZeroOneGuard, entropy


class Toy(nn.Module):
    """A pool that keeps the shape, one that does not, and one of a single branch."""

    def __init__(self) -> None:
        super().__init__()
        self.same = SuperNetModule([nn.Linear(4, 4), nn.Tanh(), nn.Identity(), nn.Linear(4, 4, bias=False)])
        self.wider = SuperNetModule([nn.Linear(4, 6), nn.Linear(4, 6, bias=False)])
        self.only = SuperNetModule([nn.ReLU()])

    def forward(self, x: Tensor) -> Tensor:
        wider: Tensor = self.only(self.wider(self.same(x)))
        return wider


@pytest.fixture(scope="module")
def built() -> SuperNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SuperNet(Toy(), input_shape=(4,))


@pytest.fixture
def net(built: SuperNet) -> SuperNet:
    return copy.deepcopy(built)


def set_weights(net: SuperNet, *weights: list[float]) -> None:
    with torch.no_grad():
        for alpha, theta in zip(net.nas_parameters(), weights, strict=True):
            alpha.copy_(torch.tensor(theta).log())


X = torch.linspace(-1, 1, 8).view(2, 4)


def test_entropy_is_one_where_all_weights_are_equal_and_zero_where_all_is_decided(net: SuperNet) -> None:
    set_weights(net, [0.25] * 4, [0.5] * 2, [1.0])
    assert entropy(net).item() == pytest.approx(2 / 3)  # the pool of one branch has nothing to decide
    set_weights(net, [0.0, 1.0, 0.0, 0.0], [1.0, 0.0], [1.0])
    assert entropy(net).item() == 0
    set_weights(net, [0.5, 0.5, 0.0, 0.0], [1.0, 0.0], [1.0])
    assert entropy(net).item() == pytest.approx(math.log(2) / math.log(4) / 3)


def test_the_entropy_of_a_decided_pool_has_a_finite_gradient(net: SuperNet) -> None:
    set_weights(net, [0.0, 1.0, 0.0, 0.0], [1.0, 0.0], [1.0])
    with torch.no_grad():
        for alpha in net.nas_parameters():
            alpha.clamp_(min=-1e4)
    entropy(net).backward()
    assert all(alpha.grad is not None and alpha.grad.isfinite().all() for alpha in net.nas_parameters())


def test_the_zero_one_loss_is_the_mean_square_of_what_is_missing_to_a_half(net: SuperNet) -> None:
    set_weights(net, [0.25] * 4, [0.5] * 2, [1.0])
    assert ZeroOneGuard(2.0)(net).item() == pytest.approx(2.0 * -(4 * 0.25**2 + 0 + 0.5**2) / 7)
    set_weights(net, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0], [1.0])
    assert ZeroOneGuard(2.0)(net).item() == pytest.approx(2.0 * -0.25)


@pytest.mark.parametrize("guard", [EntropyGuard(1.0), ZeroOneGuard(1.0)])
def test_a_guard_alone_brings_pools_to_the_decision_they_lean_to(net: SuperNet, guard: EntropyGuard) -> None:
    set_weights(net, [0.2, 0.2, 0.4, 0.2], [0.4, 0.6], [1.0])
    optimizer = torch.optim.Adam(net.nas_parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        guard(net).backward()
        optimizer.step()
    assert net.summary()["same"]["weights"]["Identity"] > 0.99
    assert net.summary()["wider"]["weights"]["Linear_1"] > 0.99


def test_a_guard_without_strength_changes_nothing(net: SuperNet) -> None:
    assert EntropyGuard(0.0)(net).item() == 0
    with pytest.raises(ValueError, match="strength must be at least 0, not -1"):
        ZeroOneGuard(-1.0)


def test_the_skip_adds_beta_times_the_input_where_shapes_allow_it_and_fades(net: SuperNet) -> None:
    plain = net.model.same(X).detach()
    wider = net.model.wider(X).detach()
    skip = AuxiliarySkip(net, Linear(1.0, 0.0, steps=4))
    for beta in (1.0, 0.75, 0.5, 0.25):
        assert skip.beta == beta
        assert torch.allclose(net.model.same(X), plain + beta * X)
        assert torch.equal(net.model.wider(X), wider)
        skip.step()
    assert torch.equal(net.model.same(X), plain)


def test_a_gradient_goes_through_the_skip_past_a_pool(net: SuperNet) -> None:
    AuxiliarySkip(net, Constant(0.5), pools=["same"])
    with torch.no_grad():
        for parameter in net.model.same.branches.parameters():
            parameter.zero_()
        net.model.same.alpha.copy_(torch.tensor([50.0, 0.0, 0.0, 0.0]))
    x = X.clone().requires_grad_()
    net.model.same(x).sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, torch.full_like(x, 0.5))


def test_a_skip_that_cannot_be_added_where_it_was_asked_for_is_an_error(net: SuperNet) -> None:
    AuxiliarySkip(net, Constant(1.0), pools=["wider"])
    with pytest.raises(PoolError, match="pool 'wider': its output has not the shape of its first input"):
        net(X)
    with pytest.raises(ValueError, match="no pool is named 'narrow'; the pools are: same, wider, only"):
        AuxiliarySkip(net, Constant(1.0), pools=["narrow"])


def test_beta_may_not_be_negative(net: SuperNet) -> None:
    with pytest.raises(ValueError, match=r"beta would be -1\.0 after 0 steps"):
        AuxiliarySkip(net, Constant(-1.0))


def test_a_file_is_refused_while_the_skip_lasts_and_has_nothing_of_it_then(net: SuperNet, tmp_path: object) -> None:
    net.export_onnx(f"{tmp_path}/before.onnx")
    skip = AuxiliarySkip(net, Linear(1.0, 0.0, steps=1))
    with pytest.raises(ExportError, match=r"'same': its auxiliary skip has a beta of 1, .* step it to 0, or remove"):
        net.export_onnx(f"{tmp_path}/during.onnx")
    skip.step()
    net.export_onnx(f"{tmp_path}/after.onnx")
    before, after = read(f"{tmp_path}/before.onnx"), read(f"{tmp_path}/after.onnx")
    assert after.model.graph.SerializeToString(deterministic=True) == before.model.graph.SerializeToString(
        deterministic=True
    )
    assert prune(after, argmax(after)).graph.node


def test_the_chosen_network_and_the_costs_never_have_the_skip(net: SuperNet) -> None:
    cost = net.cost.item()
    plain = net.export()(X)
    AuxiliarySkip(net, Constant(1.0))
    assert torch.equal(net.export()(X), plain)
    assert net.cost.item() == cost


def test_a_copy_of_the_net_follows_the_same_beta(net: SuperNet) -> None:
    skip = AuxiliarySkip(net, Linear(1.0, 0.0, steps=1))
    average = copy.deepcopy(net)
    plain = net.model.same(X) - X
    assert torch.allclose(average.model.same(X), plain + X)
    skip.step()
    assert torch.allclose(average.model.same(X), plain)


def test_removed_skips_are_gone_and_resumed_ones_have_their_beta(net: SuperNet) -> None:
    plain = net.model.same(X).detach()
    skip = AuxiliarySkip(net, Linear(1.0, 0.0, steps=4))
    skip.step()
    state = skip.state_dict()
    skip.remove()
    assert torch.equal(net.model.same(X), plain)
    resumed = AuxiliarySkip(net, Linear(1.0, 0.0, steps=4))
    resumed.load_state_dict(state)
    assert resumed.beta == 0.75
    assert torch.allclose(net.model.same(X), plain + 0.75 * X)


def test_compiled_code_is_not_compiled_anew_when_beta_changes(net: SuperNet) -> None:
    skip = AuxiliarySkip(net, Linear(1.0, 0.0, steps=100))
    counter = CompileCounter()
    compiled = torch.compile(net.model, backend=counter)
    for _ in range(4):
        compiled(X)
        skip.step()
    assert torch.allclose(compiled(X), net.model(X))
    assert counter.frame_count == 1
