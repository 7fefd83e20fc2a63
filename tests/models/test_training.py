"""Training on data: plain networks, supernets in two ways, and the program that does it all."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

import models
from models import digits, training
from models.__main__ import DATA, main
from models.data import Data, noise
from supernet_onnx import SuperNet, read
from supernet_onnx.cost import params

Call = Callable[..., Result]

ONCE: training.Training = {"epochs": 1, "lr": 1e-2, "batch_size": 16}


@pytest.fixture(scope="module")
def data() -> Data:
    return noise((1, 8, 8), samples=96)


@pytest.fixture(scope="module")
def built() -> SuperNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cost = {"params": params}
        return SuperNet(digits.build(), cost=cost, input_example=digits.example_input(), full_cost=True, seed=0)


@pytest.fixture
def net(built: SuperNet) -> SuperNet:
    return copy.deepcopy(built)


def test_fitting_learns_what_can_be_learned() -> None:
    inputs = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    part = (inputs, inputs[:, :2].argmax(1))
    data = Data("larger of two", part, part, part, 2)
    model = nn.Linear(4, 2)
    said: list[str] = []
    training.fit(model, data, epochs=4, lr=0.3, batch_size=32, report=said.append)
    assert training.accuracy(model, data, part) > 0.9
    assert len(said) == 4


def test_accuracy_leaves_the_mode(data: Data) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout())
    model.train()
    assert 0 <= training.accuracy(model, data, data.test) <= 1
    assert all(module.training for module in model.modules())


def test_a_reset_is_that_of_its_seed_and_draws_nothing_else() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    state = torch.get_rng_state()
    values = []
    for seed in (0, 0, 1):
        nn.init.constant_(model[1].running_mean, 5)
        training.reset(model, seed)
        assert model[1].running_mean.tolist() == [0, 0]
        values.append(model[0].weight.detach().clone())
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_paths_train_every_branch_and_no_logit(net: SuperNet, data: Data) -> None:
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    training.train_paths(net, data, **ONCE)
    unmoved = {name for name, parameter in net.named_parameters() if torch.equal(parameter, before[name])}
    assert unmoved == {name for name, _ in net.named_nas_parameters()}


def test_weights_are_trained_after_a_warm_up_and_pulled_to_the_budget(net: SuperNet, data: Data) -> None:
    before = net.get_cost("params").item()
    said: list[str] = []
    training.train_weights(
        net, data, epochs=6, lr=1e-2, batch_size=16, budgets={"params": 0.3 * before}, report=said.append
    )
    costs = [float(line.rpartition(" ")[2].replace(",", "")) for line in said]
    assert before == pytest.approx(costs[0], abs=1), "the logits wait for an epoch"
    assert costs[-1] < 0.9 * before
    assert all(pool.temperature == pytest.approx(0.05) for pool in net.pools.values())


def test_a_plain_network_is_written_as_it_computes(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))
    training.export_plain(model, torch.zeros(2, 1, 8, 8), tmp_path / "plain.onnx")
    inputs = torch.randn(5, 1, 8, 8)
    session = onnxruntime.InferenceSession(tmp_path / "plain.onnx")
    (output,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    assert np.allclose(output, model.eval()(inputs).detach().numpy(), atol=1e-5)


def program(*words: object) -> Result:
    with torch.random.fork_rng():
        return CliRunner().invoke(main, list(map(str, words)))


@pytest.mark.parametrize("sampling", ["uniform", "softmax"])
def test_the_program_chooses_under_the_budget_and_writes_both_networks(
    sampling: str, tmp_path: Path, built: SuperNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sampling != "uniform":  # tracing takes a second, once is enough
        monkeypatch.setattr("models.__main__.build", lambda *_: copy.deepcopy(built))
    output = tmp_path / "new" / "net.onnx"
    short = ["--epochs", 1, "--samples", 64, "--fine-tuning", 1, "--selections", 12, "--data", "noise"]
    done = program("digits", *short, "--sampling", sampling, "--budget", "params=40%", "--output", output)
    assert done.exit_code == 0, done.output
    assert f"supernet: {output}" in done.stdout
    (found,) = re.findall(r"params: ([\d,]+) of at most ([\d,]+)", done.stdout)
    spent, limit = (int(number.replace(",", "")) for number in found)
    assert spent <= limit
    assert len(re.findall(r"\d+\.\d% ", done.stdout)) == 3, "as cut, recalibrated, fine-tuned"
    supergraph = read(output)
    assert len(supergraph.pools) == 4
    assert "BatchNormalization" in {node.op_type for node in supergraph.model.graph.node}
    assert all(
        (branch.score is not None) == (sampling == "uniform") for pool in supergraph.pools for branch in pool.branches
    )
    chosen = onnxruntime.InferenceSession(output.with_suffix(".chosen.onnx"))
    (logits,) = chosen.run(None, {chosen.get_inputs()[0].name: np.zeros((3, 1, 8, 8), np.float32)})
    assert logits.shape == (3, 10)


def test_the_program_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    missing = program("resnet8", "--folder", tmp_path)
    assert missing.exit_code == 1
    assert missing.stderr.startswith("Error: fashion-mnist: no file")
    for words, message in (
        (["--budget", "weight=3"], "the metrics are: params"),
        (["--budget", "params=3k", "--budget", "params=4k"], "is the second budget of params"),
        (["--seed", -1], "-1 is not in the range"),
        (["--output", tmp_path], "is a directory"),
    ):
        wrong = program("resnet8", *words)
        assert wrong.exit_code == 2
        assert message in " ".join(wrong.stderr.split())


@pytest.fixture(params=["uniform", "softmax"])
def on_noise(request: pytest.FixtureRequest, tmp_path: Path, built: SuperNet, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return the program for the digits supernet, untrained, on data that need no file."""
    monkeypatch.setattr("models.__main__.build", lambda *_: copy.deepcopy(built))
    place = ["--data", "noise", "--sampling", request.param, "--output", tmp_path / "net.onnx"]
    return lambda *words: program("digits", *place, *words)


def test_a_budget_that_nothing_meets_is_said_before_the_training(on_noise: Call, tmp_path: Path) -> None:
    done = on_noise("--budget", "params=5")
    assert done.exit_code == 1
    assert done.stderr == (
        "Error: no selection meets params <= 5 elements; the least that is reachable is 3,946 elements of params; "
        "raise the budget\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_diverged_ends_with_what_to_do(on_noise: Call, tmp_path: Path) -> None:
    done = on_noise("--epochs", 2, "--lr", 1e20)
    assert done.exit_code == 1
    assert "Error: " in done.stderr
    assert "nan" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_reference_supernet_has_data_and_takes_their_classes() -> None:
    folder = Path(models.__file__).parent
    architectures = {path.stem for path in folder.glob("*.py") if "def build(" in path.read_text(encoding="utf-8")}
    assert set(DATA) == architectures - {"__main__"}
