"""Gradients of the logits against the exact ones, and whether following them finds the best branch."""

import inspect
import math

import pytest
import torch
from modes import MODES, Scales, fresh

from supernet_onnx import SuperNet

FACTORS = ((1.0, -2.0, 0.5), (3.0, 0.25))  # of two pools
LOGITS = ((0.3, -0.4, 0.1), (-0.2, 0.5))
UNBIASED = ("softmax", "gumbel", "two_path")
BEST = 1  # of the factors below, for the target of 1
SCALES = (0.0, 0.9, -1.0)


@pytest.fixture(scope="module")
def product() -> SuperNet:
    """The output, and so the loss, is the input 1 times a factor of each pool: linear in what each pool gives."""
    net = SuperNet(Scales(*FACTORS).double(), input_shape=(1,))
    with torch.no_grad():
        for alpha, values in zip(net.nas_parameters(), LOGITS, strict=True):
            alpha.copy_(torch.tensor(values))
    return net


@pytest.fixture(scope="module")
def scales() -> SuperNet:
    return SuperNet(Scales(SCALES), input_shape=(4,))


def exact(weights: list[torch.Tensor]) -> torch.Tensor:
    """Return the product of the pools' expected factors: pools draw independently."""
    means = [w @ torch.tensor(factors, dtype=w.dtype) for w, factors in zip(weights, FACTORS, strict=True)]
    return means[0] * means[1]


def gradient_of_expectation(name: str) -> list[list[float]]:
    """Return the gradient of the expected loss: exactly, or by a sum over many quantiles of the noise."""
    alphas = [torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in LOGITS]
    if name == "gumbel":
        generator = torch.Generator().manual_seed(5)
        means = []
        for alpha in alphas:
            noise = -torch.empty(400_000, len(alpha), dtype=torch.float64).exponential_(generator=generator).log()
            means.append(torch.softmax(alpha + noise, 1).mean(0))
        loss = exact(means)
    else:
        loss = exact([torch.softmax(alpha, 0) for alpha in alphas])
    return [grad.tolist() for grad in torch.autograd.grad(loss, alphas)]


def sampled(net: SuperNet, draws: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return mean and standard error of the gradients of so many forwards."""
    alphas = list(net.nas_parameters())
    x = torch.ones(1, 1, dtype=torch.float64)
    rows: list[list[torch.Tensor]] = [[] for _ in alphas]
    for _ in range(draws):
        for row, grad in zip(rows, torch.autograd.grad(net(x).sum(), alphas), strict=True):
            row.append(grad)
    stacked = [torch.stack(row) for row in rows]
    return [row.mean(0) for row in stacked], [row.std(0) / math.sqrt(draws) for row in stacked]


@pytest.mark.parametrize("name", [name for name in MODES if name != "uniform"])
def test_every_logit_receives_a_gradient_from_the_task(product: SuperNet, name: str) -> None:
    net = fresh(product, name)
    for _ in range(30):  # two_path tells two of three at a time
        net(torch.ones(1, 1, dtype=torch.float64)).sum().backward()
    assert all((alpha.grad != 0).all() for alpha in net.nas_parameters())


@pytest.mark.parametrize("name", UNBIASED)
def test_the_mean_gradient_is_that_of_the_expected_loss(product: SuperNet, name: str) -> None:
    means, errors = sampled(fresh(product, name), 3000)
    for mean, error, expected in zip(means, errors, gradient_of_expectation(name), strict=True):
        difference = (mean - torch.tensor(expected, dtype=torch.float64)).abs()
        assert (difference <= 5 * error + 5e-3 * (name == "gumbel") + 1e-6).all(), (mean, expected)


@pytest.mark.parametrize("name", ["hard", "gumbel_hard", "single_path"])
def test_a_biased_gradient_is_called_so(product: SuperNet, name: str) -> None:
    means, errors = sampled(fresh(product, name), 3000)
    off = [
        ((mean - torch.tensor(expected, dtype=torch.float64)).abs() > 5 * error + 1e-6).any()
        for mean, error, expected in zip(means, errors, gradient_of_expectation(name), strict=True)
    ]
    assert any(off)
    assert "biased" in (inspect.getdoc(type(MODES[name])) or "")


def test_the_gradient_of_a_single_path_is_that_of_its_weight(product: SuperNet) -> None:
    net = fresh(product, "single_path")
    for _ in range(10):
        grads = torch.autograd.grad(net(torch.ones(1, 1, dtype=torch.float64)).sum(), list(net.nas_parameters()))
        drawn = [pool._draw for pool in net.model.pools]
        taken = [draw.branches[0] for draw in drawn]
        for i, (grad, draw) in enumerate(zip(grads, drawn, strict=True)):
            theta = torch.softmax(torch.tensor(LOGITS[i], dtype=torch.float64) + draw.noise, 0)
            value = FACTORS[0][taken[0]] * FACTORS[1][taken[1]]  # what the output would change by with the weight
            expected = [value * theta[taken[i]] * (float(k == taken[i]) - theta[k]) for k in range(len(theta))]
            assert grad.tolist() == pytest.approx([float(e) for e in expected], rel=1e-5)


def test_the_gradient_of_hard_is_that_of_the_mixture_at_the_choice(product: SuperNet) -> None:
    net = fresh(product, "hard")
    grads = torch.autograd.grad(net(torch.ones(1, 1, dtype=torch.float64)).sum(), list(net.nas_parameters()))
    others = [FACTORS[1][1], FACTORS[0][0]]  # the heaviest of the other pool
    for grad, logits, factors, other in zip(grads, LOGITS, FACTORS, others, strict=True):
        alpha = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(torch.softmax(alpha, 0) @ torch.tensor(factors).double() * other, alpha)
        assert grad.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_task_gives_the_logits_of_uniform_no_gradient_and_the_cost_does() -> None:
    net = SuperNet(Scales((1.0, 2.0)), input_shape=(2,), sampling="uniform")
    alpha = next(net.nas_parameters())
    loss = net(torch.ones(1, 2, requires_grad=True)).sum()
    assert torch.autograd.grad(loss, alpha, allow_unused=True) == (None,)
    net.cost.backward()
    assert alpha.grad is not None


@pytest.mark.parametrize("name", MODES)
def test_training_finds_the_branch_that_is_clearly_best_from_ten_seeds(scales: SuperNet, name: str) -> None:
    found = []
    for seed in range(10):
        net = fresh(scales, name, seed)
        alpha = next(net.nas_parameters())
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            alpha.copy_(torch.randn(3, generator=generator) / 10)
        if name == "uniform":
            losses = []
            for branch in range(3):
                with net.path({"pools.0": branch}), torch.no_grad():
                    x = torch.randn(16, 4, generator=generator)
                    losses.append(float((net(x) - x).pow(2).mean()))
            found.append(min(range(3), key=losses.__getitem__))
            continue
        optimizer = torch.optim.SGD([alpha], 0.2)
        for _ in range(150):
            x = torch.randn(16, 4, generator=generator)
            optimizer.zero_grad()
            (net(x) - x).pow(2).mean().backward()
            optimizer.step()
        found.append(net.model.pools[0].selected())
    assert found == [BEST] * 10
