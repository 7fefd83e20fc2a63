import inspect
import json

import pytest
import torch
import toys

from supernet_onnx import search
from supernet_onnx.search.effects import fit_effects
from supernet_onnx.train import recalibrate_batchnorm, score
from supernet_onnx.train.evaluation import evaluate


def test_scores_are_fitted_to_recalibrated_selections_and_stored_and_nothing_else_changes() -> None:
    net, data, calibration = toys.toy(), toys.batches(), toys.batches(2, seed=1)
    before, steps = toys.snapshot(net), []
    effects = score(net, data, 12, calibration=calibration, progress=lambda *done: steps.append(done))
    assert toys.equal(toys.snapshot(net), before)
    assert steps == [(i, 12) for i in range(1, 13)]
    for selection, loss in zip(effects.selections, effects.losses, strict=True):
        network = net.export(selection)
        recalibrate_batchnorm(network, calibration)
        assert loss == evaluate(network, data)
    assert effects == fit_effects(net.supergraph, effects.selections, effects.losses)
    for name, pool in net.pools.items():
        assert torch.equal(pool.scores, torch.tensor(effects.scores[name]))
    read = search.scores_from_json(effects.to_json(net.supergraph))
    assert net.choose({}, scores=read).selection == net.choose({}).selection
    assert json.loads(effects.to_json(net.supergraph))["first"].keys() == {"conv1", "conv3"}


def test_equal_seeds_give_equal_scores_and_the_same_selections() -> None:
    first, second = (score(toys.toy(), toys.batches(1), 6, seed=3) for _ in range(2))
    assert first == second
    assert score(toys.toy(), toys.batches(1), 6, seed=4).selections != first.selections


def test_a_loss_that_is_no_number_ends_the_scoring_with_the_first_selection() -> None:
    net, measured = toys.toy(), []
    before = toys.snapshot(net)

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        measured.append(outputs)
        return outputs.sum() * float("nan")

    with pytest.raises(ValueError, match=r"the loss is nan with the selection \{'first': .*, so branches cannot"):
        score(net, toys.batches(), 12, loss=loss)
    assert len(measured) == len(toys.batches())
    assert toys.equal(toys.snapshot(net), before)


def test_scores_of_a_model_with_keyword_inputs_are_those_of_one_with_positional_ones() -> None:
    net, data = toys.toy(), toys.batches()
    (name,) = inspect.signature(net.model.forward).parameters
    named = [({name: x}, y) for x, y in data]
    assert score(net, named, 6).losses == score(net, data, 6).losses


def test_too_few_selections_and_empty_loaders_are_errors() -> None:
    with pytest.raises(ValueError, match="selections must be at least 3, not 2"):
        score(toys.toy(), toys.batches(), 2)
    with pytest.raises(ValueError, match="the loader gives no batch"):
        score(toys.toy(), iter([]), 4)
