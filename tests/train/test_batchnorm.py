"""BatchNorm statistics estimated anew, against averages worked out by hand."""

import pytest
import torch
import toys
from torch import nn

from supernet_onnx.train import recalibrate_batchnorm


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)
    )


def test_statistics_are_the_averages_over_batches_each_layer_behind_the_layers_before() -> None:
    net, data = network(), toys.batches(4)
    net[1].weight.data.uniform_(0.5, 2)
    recalibrate_batchnorm(net, data)
    first = [net[0](x) for x, _ in data]
    assert torch.allclose(net[1].running_mean, sum(y.mean((0, 2, 3)) for y in first) / 4, atol=1e-6)
    assert torch.allclose(net[1].running_var, sum(y.var((0, 2, 3)) for y in first) / 4, atol=1e-5)
    second = []
    for y in first:
        normal = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
        second.append(net[4](torch.relu(normal * net[1].weight.view(1, -1, 1, 1) + net[1].bias.view(1, -1, 1, 1))))
    assert torch.allclose(net[5].running_mean, sum(y.mean((0, 2, 3)) for y in second) / 4, atol=1e-5)
    assert torch.allclose(net[5].running_var, sum(y.var((0, 2, 3)) for y in second) / 4, atol=1e-5)


def test_modes_momentum_parameters_and_random_state_are_left_as_they_were() -> None:
    net, data = network().train(), toys.batches()
    net[1].momentum, net[5].training = 0.25, False
    parameters = [parameter.clone() for parameter in net.parameters()]
    modes, state = [module.training for module in net.modules()], torch.get_rng_state()
    recalibrate_batchnorm(net, data)
    assert [module.training for module in net.modules()] == modes
    assert (net[1].momentum, net[5].momentum) == (0.25, 0.1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, net.parameters(), parameters))
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_same_batches_give_the_same_statistics_whatever_was_there() -> None:
    net, data = network(), toys.batches()
    recalibrate_batchnorm(net, data)
    first = {name: value.clone() for name, value in net.state_dict().items()}
    net[1].running_mean.fill_(7)
    recalibrate_batchnorm(net, data)
    assert toys.equal(net.state_dict(), first)


def test_a_number_of_batches_and_batches_without_targets() -> None:
    net, data = network(), toys.batches()
    recalibrate_batchnorm(net, [data[0]])
    first = {name: value.clone() for name, value in net.state_dict().items()}
    recalibrate_batchnorm(net, data, batches=1)
    assert toys.equal(net.state_dict(), first)
    recalibrate_batchnorm(net, [data[0][0]], has_targets=False)
    assert toys.equal(net.state_dict(), first)


def test_a_layer_that_no_batch_reaches_keeps_its_statistics() -> None:
    net = toys.toy()
    net.update_softmax_options(hard=True)  # in eval the chosen path alone runs
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(7)
    chosen = net.selection()
    recalibrate_batchnorm(net, toys.batches())
    for index, branch in enumerate(net.pools["first"].branches):
        kept = bool((branch[1].running_mean == 7).all())
        assert kept == (net.pools["first"].branch_names[index] != chosen["first"])


def test_a_loader_without_batches_is_an_error_that_changes_nothing() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match="the loader gives no batch"):
        recalibrate_batchnorm(net, iter([]))
    assert toys.equal(net.state_dict(), before)
    recalibrate_batchnorm(nn.Linear(2, 2), [])  # nothing to estimate
    with pytest.raises(ValueError, match="batches must be a whole number of at least 1, not 0"):
        recalibrate_batchnorm(net, toys.batches(), batches=0)


def test_a_batch_that_fails_changes_nothing() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x, y = toys.batches()[0]
    with pytest.raises(RuntimeError, match="channels"):
        recalibrate_batchnorm(net, [(x, y), (x[:, :1], y)])
    assert toys.equal(net.state_dict(), before)
    assert net[1].momentum == 0.1
