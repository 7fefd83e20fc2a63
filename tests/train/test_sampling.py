import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supernet_onnx.train import sampling

logits = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=6)


@given(logits, st.floats(0.1, 10))
def test_softmax_weights_are_positive_and_sum_to_one(values: list[float], temperature: float) -> None:
    theta = sampling.softmax(torch.tensor(values, dtype=torch.float64), temperature)
    assert (theta > 0).all()
    assert math.isclose(float(theta.sum()), 1, abs_tol=1e-12)


def test_softmax_divides_by_the_temperature_after_adding_the_noise() -> None:
    alpha, noise = torch.tensor([0.0, 1.0]), torch.tensor([2.0, -1.0])
    expected = torch.softmax(torch.tensor([2.0, 0.0]) / 4, 0)
    assert torch.equal(sampling.softmax(alpha, 4.0, noise), expected)


def test_gumbel_noise_draws_each_branch_as_often_as_its_softmax_says() -> None:
    alpha = torch.tensor([0.0, 1.0, -1.0])
    generator_state = torch.get_rng_state()
    torch.manual_seed(3)
    draws = 20_000
    counts = torch.zeros(3)
    for _ in range(draws):
        counts[(alpha + sampling.gumbel_noise(alpha)).argmax()] += 1
    torch.set_rng_state(generator_state)
    expected = torch.softmax(alpha, 0)
    deviation = (expected * (1 - expected) / draws).sqrt()
    assert ((counts / draws - expected).abs() < 5 * deviation).all()


def test_straight_through_is_one_hot_and_gives_every_logit_the_gradient_of_the_softmax() -> None:
    alpha = torch.tensor([0.3, 0.7, -0.2], dtype=torch.float64, requires_grad=True)
    cost = torch.tensor([1.0, 5.0, 2.0], dtype=torch.float64)
    hard = sampling.straight_through(torch.softmax(alpha, 0))
    assert hard.tolist() == [0, 1, 0]
    (gradient,) = torch.autograd.grad(hard @ cost, alpha)
    (expected,) = torch.autograd.grad(torch.softmax(alpha, 0) @ cost, alpha)
    assert torch.allclose(gradient, expected)
    assert (gradient != 0).all()


def test_mix_is_the_weighted_sum_of_the_outputs() -> None:
    theta = torch.tensor([0.5, 0.25, 0.25])
    outputs = [torch.full((2, 3), value) for value in (4.0, 8.0, 16.0)]
    assert torch.equal(sampling.mix(theta, outputs), torch.full((2, 3), 8.0))


def test_choose_returns_the_output_itself_and_the_gradient_of_the_mixture_at_one_hot_weights() -> None:
    outputs = [torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    for tensor in outputs:
        tensor.requires_grad_()
    theta = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64, requires_grad=True)
    upstream = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    chosen = sampling.choose(theta, 1, outputs)
    assert torch.equal(chosen, outputs[1])
    chosen.backward(upstream)
    one_hot = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad((sampling.mix(one_hot, outputs) * upstream).sum(), [one_hot, outputs[1]])
    assert theta.grad is not None
    assert outputs[1].grad is not None
    assert torch.allclose(theta.grad, expected[0])
    assert torch.equal(outputs[1].grad, expected[1])
    assert outputs[0].grad is None
    assert outputs[2].grad is None


def test_choose_is_not_touched_by_what_another_branch_computed() -> None:
    finite, infinite = torch.ones(2), torch.tensor([torch.inf, torch.nan])
    theta = torch.tensor([0.9, 0.1])
    assert torch.equal(sampling.choose(theta, 0, [finite, infinite]), finite)


def test_choose_may_be_followed_by_an_in_place_operation() -> None:
    output = torch.tensor([-1.0, 2.0], requires_grad=True)
    theta = torch.tensor([0.6, 0.4], requires_grad=True)
    torch.relu_(sampling.choose(theta, 0, [output, output * 2])).sum().backward()
    assert output.tolist() == [-1, 2]
    assert output.grad is not None
    assert output.grad.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_mixing_keeps_the_dtype_of_the_branches(dtype: torch.dtype) -> None:
    theta = torch.tensor([0.5, 0.5], requires_grad=True)
    outputs = [torch.ones(4, dtype=dtype), torch.ones(4, dtype=dtype)]
    assert sampling.mix(theta, outputs).dtype == dtype
    chosen = sampling.choose(theta, 1, outputs)
    assert chosen.dtype == dtype
    chosen.sum().backward()
    assert theta.grad is not None
    assert theta.grad.tolist() == [4, 4]


def test_choose_works_under_the_function_transforms_of_torch() -> None:
    theta, outputs = torch.tensor([0.2, 0.8]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])

    def loss(theta: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        return sampling.choose(theta, 1, list(outputs)).sum()

    of_theta, of_outputs = torch.func.grad(loss, argnums=(0, 1))(theta, outputs)
    assert of_theta.tolist() == [1 + 2, 3 + 4]
    assert of_outputs.tolist() == [[0, 0], [1, 1]]
    batch = torch.stack([outputs, 2 * outputs])
    of_each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(theta, batch)
    assert of_each.tolist() == [[3, 7], [6, 14]]
