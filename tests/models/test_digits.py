"""The example supernet: what it costs, that it trains, and what its program writes."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from models import digits
from supernet_onnx import SuperNet, SuperNetModule, read
from supernet_onnx.cost import params

if TYPE_CHECKING:
    from collections.abc import Iterator

POOLS = {
    "block1": ("conv3", "conv5", "separable", "identity"),
    "block2": ("conv3", "conv5", "separable"),
    "block3": ("conv3", "conv5", "separable", "identity"),
    "block4": ("conv3", "conv5", "separable"),
}


@pytest.fixture(scope="module")
def built() -> SuperNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SuperNet(digits.build(), cost=params, input_example=digits.example_input(), full_cost=True)


@pytest.fixture
def net(built: SuperNet) -> Iterator[SuperNet]:
    """The supernet, which the test may change, at a random state that is put back as well."""
    state = {name: value.clone() for name, value in built.state_dict().items()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield built
    built.load_state_dict(state)


@pytest.fixture(scope="module")
def few() -> digits.Data:
    data = digits.load_data()
    return digits.Data(*((images[:96], labels[:96]) for images, labels in (data.train, data.validation, data.test)))


def pools_of(net: SuperNet) -> dict[str, SuperNetModule]:
    return {name: module for name, module in net.model.named_modules() if isinstance(module, SuperNetModule)}


def folded_parameters(network: nn.Module) -> int:
    """Count the parameters after each BatchNorm has become its convolution's bias."""
    total = 0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            outputs, inputs, height, width = layer.weight.shape
            total += outputs * inputs * height * width + outputs
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * layer.out_features + layer.out_features
    return total


def test_the_split_uses_every_image_once_and_keeps_the_class_frequencies() -> None:
    data = digits.load_data()
    parts = [data.train, data.validation, data.test]
    assert [len(labels) for _, labels in parts] == [1077, 360, 360]
    frequencies = torch.bincount(torch.cat([labels for _, labels in parts]))
    assert frequencies.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # scikit-learn's description
    for (images, labels), share in zip(parts, (3 / 5, 1 / 5, 1 / 5), strict=True):
        assert images.shape == (len(labels), 1, 8, 8)
        assert images.min() == 0
        assert images.max() == 1
        assert (torch.bincount(labels) - share * frequencies).abs().max() <= 1


def test_another_seed_is_another_split() -> None:
    assert torch.equal(digits.load_data(1).test[0], digits.load_data(1).test[0])
    assert not torch.equal(digits.load_data(1).test[0], digits.load_data(2).test[0])


def test_accuracy_is_the_share_of_largest_logits_at_the_label() -> None:
    assert digits.accuracy(nn.Identity(), (torch.eye(4), torch.tensor([0, 1, 2, 0]))) == 0.75


def test_the_supernet_has_four_pools_that_can_be_skipped_where_shapes_allow(net: SuperNet) -> None:
    assert {name: pool.branch_names for name, pool in pools_of(net).items()} == POOLS
    assert net(digits.example_input()).shape == (2, 10)


def test_the_cost_of_every_selection_is_the_parameter_count_of_its_network(net: SuperNet) -> None:
    pools = pools_of(net)
    for branches in itertools.product(*POOLS.values()):
        selection = dict(zip(POOLS, branches, strict=True))
        with torch.no_grad():
            for name, branch in selection.items():
                pools[name].alpha.fill_(-1e3)
                pools[name].alpha[pools[name].find(branch)] = 1e3
        assert net.selection() == selection
        assert net.cost.item() == folded_parameters(net.export(selection))


def test_training_reaches_weights_and_logits_of_every_branch(net: SuperNet, few: digits.Data) -> None:
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    history = digits.train(net, few, epochs=1)
    assert math.isfinite(history[0].loss)
    assert 0 <= history[0].accuracy <= 1
    unmoved = [name for name, parameter in net.named_parameters() if torch.equal(parameter, before[name])]
    assert unmoved == []
    for name, pool in pools_of(net).items():
        assert pool.alpha.grad is not None
        assert pool.alpha.grad.count_nonzero() == len(pool), name


def test_logits_wait_for_the_warm_up(net: SuperNet, few: digits.Data) -> None:
    warm_up, trained, *_ = digits.train(net, few, epochs=5)
    for pool, branches in POOLS.items():
        uniform = pytest.approx(dict.fromkeys(branches, 1 / len(branches)))
        assert warm_up.pools[pool]["weights"] == uniform
        assert trained.pools[pool]["weights"] != uniform


def test_a_strong_cost_makes_the_network_smaller(net: SuperNet, few: digits.Data) -> None:
    before = net.cost.item()
    history = digits.train(net, few, epochs=5, strength=100.0)
    assert history[-1].cost < before


def test_a_seed_gives_the_same_training_again(built: SuperNet, few: digits.Data) -> None:
    state = {name: value.clone() for name, value in built.state_dict().items()}
    histories = []
    for _ in range(2):
        built.load_state_dict(state)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            histories.append(digits.train(built, few, epochs=2, seed=3))
    built.load_state_dict(state)
    assert histories[0] == histories[1]


def test_fine_tuning_improves_the_loss_of_a_plain_network(net: SuperNet, few: digits.Data) -> None:
    chosen = net.export(dict.fromkeys(POOLS, "conv3"))
    images, labels = few.train

    def loss() -> float:
        with torch.no_grad():
            return nn.functional.cross_entropy(chosen.eval()(images), labels).item()

    before = loss()
    digits.fine_tune(chosen, few, epochs=5)
    assert loss() < before


def test_the_program_trains_and_writes_the_marked_supernet(tmp_path: Path) -> None:
    output = tmp_path / "digits.onnx"
    line = [sys.executable, "-m", "models.digits", "--epochs", "1", "--output", str(output)]
    root = Path(digits.__file__).parents[1]
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    supernet, chosen, accuracies = done.stdout.splitlines()
    assert supernet.endswith(f"written to {output}")
    assert all(f"{pool}=" in chosen for pool in POOLS)
    assert "after fine-tuning" in accuracies
    assert "1/1" in done.stderr
    supergraph = read(output)
    assert {pool.name: tuple(branch.name for branch in pool.branches) for pool in supergraph.pools} == POOLS
