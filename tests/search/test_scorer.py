"""Scores from a file and data: those of the torch half, whatever the number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import toys
from torch import nn

import supernet_onnx
from supernet_onnx.errors import MarkError, RunError
from supernet_onnx.search.evaluator import Evaluation, Evaluator, evaluate_all
from supernet_onnx.search.scorer import score
from supernet_onnx.selection import argmax, every
from supernet_onnx.train import score as score_net
from tests import marked

if TYPE_CHECKING:
    from pathlib import Path

    from supernet_onnx import SuperNet

BATCHES = toys.batches(3, 16, seed=4)


def save(path: Path, batches: list[tuple[torch.Tensor, torch.Tensor]], **more: np.ndarray) -> Path:
    images, labels = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    np.savez(path, images=images, labels=labels, **more)
    return path


@pytest.fixture(scope="module")
def net() -> SuperNet:
    net = toys.toy(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2, generator=torch.Generator().manual_seed(1))
    return net


@pytest.fixture(scope="module")
def evaluation(net: SuperNet, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("scorer")
    net.export_onnx(folder / "toy.onnx", fold_batchnorm=False)
    return Evaluation(folder / "toy.onnx", save(folder / "data.npz", BATCHES), batch_size=16)


def test_a_file_is_scored_as_the_net_that_it_was_exported_from(net: SuperNet, evaluation: Evaluation) -> None:
    expected = score_net(net, BATCHES, 12, seed=5)
    done = []
    found = score(evaluation, selections=12, seed=5, progress=lambda *counts: done.append(counts))
    assert found.selections == expected.selections
    assert found.losses == pytest.approx(expected.losses, abs=1e-4)
    for pool, scores in expected.scores.items():
        assert found.scores[pool] == pytest.approx(scores, abs=1e-3)
        assert found.standard_errors[pool] == pytest.approx(expected.standard_errors[pool], abs=1e-3)
    assert found.rank_correlation == pytest.approx(expected.rank_correlation, abs=0.1)
    assert (found.measure, found.num_samples, found.recalibrated) == ("cross_entropy", 48, True)
    assert done[-1][0] == done[-1][1] == len(done) == len(set(found.selections))


def test_two_processes_find_what_one_does(evaluation: Evaluation) -> None:
    evaluator = Evaluator(evaluation)
    chosen = list(every(evaluator.supergraph))[:5] * 2
    one, two = evaluate_all(evaluator, chosen), evaluate_all(evaluator, chosen, jobs=2)
    assert one == pytest.approx(two, rel=1e-6)
    assert one[:5] == one[5:]


def test_other_data_calibrate(evaluation: Evaluation, net: SuperNet, tmp_path: Path) -> None:
    other = toys.batches(2, 16, seed=9)
    calibrating = Evaluation(
        evaluation.model, evaluation.data, calibration=save(tmp_path / "c.npz", other), batch_size=16
    )
    expected = score_net(net, BATCHES, 6, calibration=other)
    assert score(calibrating, selections=6).losses == pytest.approx(expected.losses, abs=1e-4)


def test_accuracy_is_turned_round_so_that_higher_scores_are_better(evaluation: Evaluation) -> None:
    accuracy = Evaluation(evaluation.model, evaluation.data, "accuracy")
    found = score(accuracy, selections=6)
    assert found.losses == tuple(-Evaluator(accuracy).value(selection) for selection in found.selections)
    assert all(-1 <= loss <= 0 for loss in found.losses)


def test_replacing_one_branch_tells_of_one_network(evaluation: Evaluation) -> None:
    evaluator = Evaluator(evaluation)
    graph = evaluator.supergraph
    base = argmax(graph)
    found = score(evaluation, method="replace-one")
    assert base in found.selections
    assert (found.standard_errors, found.rank_correlation) == (None, None)
    assert sum(found.scores["first"]) == pytest.approx(0)
    first = [supernet_onnx.resolve(graph, {**base.as_dict(), "first": i}) for i in range(2)]
    one, other = (evaluator.value(selection) for selection in first)
    assert found.scores["first"] == pytest.approx(((other - one) / 2, (one - other) / 2), abs=1e-6)
    skips = score(evaluation, method="replace-one", base=lambda graph: supernet_onnx.resolve(graph, {"second": "skip"}))
    of_inner = [s for s in skips.selections if s["second"] == "deep"]  # where the inner pool is reached
    assert len(of_inner) == 3


def test_what_does_not_fit_is_an_error(evaluation: Evaluation, tmp_path: Path) -> None:
    plain = marked.write(marked.build(marked.PLAIN), tmp_path / "plain.onnx")
    with pytest.raises(MarkError, match="the model has no pool"):
        Evaluator(Evaluation(plain, evaluation.data))
    with pytest.raises(ValueError, match="at least 3"):
        score(evaluation, selections=2)
    (tmp_path / "loss.py").write_text("def dies(outputs, targets):\n    import os\n    os._exit(3)\n")
    dying = Evaluator(Evaluation(evaluation.model, evaluation.data, f"{tmp_path / 'loss.py'}:dies"))
    with pytest.raises(RunError, match="a process that measures selections died"):
        evaluate_all(dying, list(every(dying.supergraph))[:2], jobs=2)
