"""The chosen network is a copy without pools, whatever the model keeps and whoever refers to whom."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from supernet_onnx import SuperNetModule
from supernet_onnx.train.extract import extract


class Keeps(nn.Module):
    """A module that keeps what it computed last, as many do for a second loss or to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.last: Tensor | None = None
        self.all: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.linear(x)
        self.all.append(self.last)
        return self.last


def test_a_model_that_keeps_its_activations_is_copied_with_their_values() -> None:
    branch = Keeps()
    model = nn.Sequential(SuperNetModule([branch, nn.Identity()]))
    model(torch.ones(2, 4))
    (chosen,) = extract(model, {model[0]: 0})
    assert isinstance(chosen, Keeps)
    assert chosen.last is not None
    assert chosen.last is chosen.all[0]
    assert torch.equal(chosen.last, branch.last)
    assert not chosen.last.requires_grad
    assert branch.last.requires_grad


def test_a_pruned_layer_whose_weight_is_recomputed_in_each_forward_is_copied() -> None:
    layer = nn.Linear(4, 4)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    model = nn.Sequential(SuperNetModule([layer, nn.Identity()]))
    x = torch.ones(2, 4)
    model(x)
    chosen = extract(model, {model[0]: 0})
    assert torch.equal(chosen(x), layer(x))
    chosen(x).sum().backward()
    assert chosen[0].weight_orig.grad is not None
    assert layer.weight_orig.grad is None


class Parent(nn.Module):
    """A model that a branch refers to, by a hook that is the model's method."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SuperNetModule([nn.Linear(4, 4), nn.Identity()])
        self.pool[0].register_forward_hook(self.count)
        self.pools = [self.pool]
        self.calls = 0

    def count(self, *_: object) -> None:
        self.calls += 1

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)


def test_a_branch_that_refers_to_its_model_refers_to_the_copy() -> None:
    model = Parent()
    chosen = extract(model, {model.pool: 0})
    assert isinstance(chosen.pool, nn.Linear)
    assert chosen.pools == [chosen.pool]
    chosen(torch.ones(2, 4))
    assert (chosen.calls, model.calls) == (1, 0)


def test_nothing_of_a_branch_that_is_not_chosen_is_copied() -> None:
    class Uncopied(nn.Identity):
        def __deepcopy__(self, memo: dict[int, object]) -> nn.Module:
            raise AssertionError("copied")

    inner = SuperNetModule([Uncopied(), nn.ReLU()])
    outer = SuperNetModule({"deep": nn.Sequential(inner, Uncopied()), "flat": nn.Tanh()})
    assert isinstance(extract(outer, {outer: 1, inner: 0}), nn.Tanh)


def test_a_copy_of_a_pool_is_a_pool() -> None:
    pool = SuperNetModule([nn.Linear(4, 4), nn.Identity()])
    same, twice = copy.deepcopy([pool, pool])
    assert same is twice
    assert type(same) is SuperNetModule
    assert same.branch_names == pool.branch_names
    assert same[0].weight is not pool[0].weight
