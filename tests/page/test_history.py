from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from supernet_onnx import SuperNet, SuperNetModule, supergraph
from supernet_onnx.cost import macs, params
from supernet_onnx.errors import ReportError
from supernet_onnx.page import history_from_log
from supernet_onnx.train import TrainingLog
from tests import marked
from tests.page import specimens

if TYPE_CHECKING:
    from pathlib import Path

    from supernet_onnx.supergraph import SuperGraph


EXPORTED = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
g (float[batch, 4] x) => (float[batch, 4] y) <float[2] "0.weights" = {0.5, 0.5}> {
    mapped = Neg (x)
    y = supernet_onnx.Pool2 <pool = "0", branches = ["map", "skip"]> ("0.weights", mapped, x)
}
"""
"""As the pool of the net below is named in its file."""


@pytest.fixture(scope="module")
def graph() -> SuperGraph:
    return supergraph.read(specimens.chain(2))


def test_the_log_that_training_writes_is_read(tmp_path: Path) -> None:
    pool = SuperNetModule({"map": nn.Linear(4, 4, bias=False), "skip": nn.Identity()})
    net = SuperNet(nn.Sequential(pool, nn.Linear(4, 2)), {"params": params, "macs": macs}, input_shape=(4,))
    log = TrainingLog(tmp_path / "search.jsonl", net)
    log.write(0, loss=2.0, learning_rate=float("nan"))
    with torch.no_grad():
        next(net.nas_parameters()).copy_(torch.tensor([0.0, 100.0]))
    log.write(1, loss=1.0)
    text = (tmp_path / "search.jsonl").read_text()
    record = history_from_log(text, supergraph.read(marked.build(EXPORTED))).record()
    assert (record["steps"], record["total"]) == ([0, 1], 2)
    assert record["series"] == [
        {"name": "loss", "values": [2.0, 1.0]},
        {"name": "learning_rate", "values": [None, None]},
        {"name": "temperature", "values": [1.0, 1.0]},
    ]
    assert record["pools"] == [{"entropy": [1.0, pytest.approx(0)], "weights": [[0.5, pytest.approx(0)], [0.5, 1.0]]}]
    assert record["costs"][0] == {"name": "params", "expected": [8.0, pytest.approx(0)], "selected": [16.0, 0.0]}


def test_of_a_search_that_was_resumed_the_later_lines_count(graph: SuperGraph) -> None:
    first, second = specimens.log(graph, 6), specimens.log(graph, 3)
    resumed = first + "".join(second.splitlines(keepends=True)[3:])  # step 2 again, of a search of three steps
    record = history_from_log(resumed, graph).record()
    assert (record["steps"], record["total"]) == ([0, 1, 2], 3)
    assert record["series"][0]["values"] == [2, 1.8, 1]


def test_a_line_that_was_cut_off_when_the_run_was_killed_is_left_out(graph: SuperGraph) -> None:
    text = specimens.log(graph, 4)
    assert history_from_log(text[:-20], graph).record()["steps"] == [0, 1, 2]


def test_of_many_steps_400_are_kept_with_the_first_and_the_last(graph: SuperGraph) -> None:
    header, line = specimens.log(graph, 1).splitlines()
    lines = [json.dumps(json.loads(line) | {"step": step}) for step in range(1001)]
    record = history_from_log("\n".join([header, *lines, ""]), graph).record()
    steps = record["steps"]
    assert (len(steps), steps[0], steps[-1], record["total"]) == (400, 0, 1000, 1001)
    assert {later - earlier for earlier, later in itertools.pairwise(steps)} == {2, 3}


def test_what_is_wrong_with_a_log_is_said(graph: SuperGraph) -> None:
    def broken(text: str) -> str:
        with pytest.raises(ReportError) as raised:
            history_from_log(text, graph)
        return str(raised.value)

    header, line, _ = specimens.log(graph, 2).splitlines(keepends=True)
    assert "line 1: expected JSON" in broken("events out\n")
    assert "is no training log of format 1" in broken('{"format": 2, "pools": {}}\n')
    assert "has no step yet" in broken(header)
    assert "other pools or branches than the model" in broken(header.replace("conv5", "conv7") + line)
    assert "line 2: 'step' is 'x', expected a whole number" in broken(header + '{"step": "x"}\n')
