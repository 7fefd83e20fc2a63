import copy
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import macs, params
from supernet_onnx.train import TrainingLog, log


class Writer:
    """Keeps what it is given, as SummaryWriter takes it."""

    def __init__(self) -> None:
        self.written: dict[str, tuple[float, int]] = {}

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.written[tag] = scalar_value, global_step


def make(cost: object) -> SuperNet:
    pool = SuperNetModule({"map": nn.Linear(4, 4, bias=False), "skip": nn.Identity()})
    return SuperNet(nn.Sequential(pool, nn.Linear(4, 2, bias=False)), cost, input_shape=(4,))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def built() -> SuperNet:
    return make({"params": params, "macs": macs})


@pytest.fixture
def net(built: SuperNet) -> SuperNet:
    net = copy.deepcopy(built)
    with torch.no_grad():
        next(net.nas_parameters()).copy_(torch.tensor([0.0, math.log(3.0)]))
    return net


ENTROPY = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)


def test_weights_entropy_and_costs_are_written_under_their_tags(net: SuperNet) -> None:
    writer = Writer()
    log(net, writer, 7)
    assert {step for _, step in writer.written.values()} == {7}
    assert {tag: value for tag, (value, _) in writer.written.items()} == pytest.approx(
        {
            "temperature": 1.0,
            "entropy": ENTROPY,
            "entropy/0": ENTROPY,
            "weights/0/map": 0.25,
            "weights/0/skip": 0.75,
            "expected/params": 4.0,
            "expected/macs": 4.0,
            "selected/params": 0.0,
            "selected/macs": 0.0,
        }
    )


def test_a_single_cost_is_called_cost() -> None:
    writer = Writer()
    single = make(params)
    single.full_cost = True
    single.log(writer, 0)
    assert writer.written["expected/cost"] == (16 / 2 + 8, 0)
    assert writer.written["selected/cost"] == (16 + 8, 0)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_log_has_a_line_about_the_net_and_one_for_each_step(net: SuperNet, tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    written = TrainingLog(path, net)
    written.write(0, loss=0.5)
    net.update_softmax_options(temperature=0.5)
    written.write(1, loss=math.nan, accuracy=0.9)
    header, first, second = lines(path)
    span = {"minimum": 0.0, "maximum": 16.0}
    assert header == {"format": 1, "pools": {"0": ["map", "skip"]}, "costs": {"params": span, "macs": span}}
    assert first["pools"] == {
        "0": {
            "weights": {"map": pytest.approx(0.25), "skip": pytest.approx(0.75)},
            "entropy": pytest.approx(ENTROPY),
            "selected": "skip",
        }
    }
    assert first["costs"]["macs"] == {"expected": pytest.approx(4.0), "selected": 0.0}  # type: ignore[index]
    assert [(line["step"], line["temperature"]) for line in (first, second)] == [(0, 1.0), (1, 0.5)]
    assert second["values"] == {"loss": None, "accuracy": 0.9}  # JSON has no nan


def test_a_resumed_log_goes_on_and_another_replaces_it(net: SuperNet, tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    TrainingLog(path, net, resume=True).write(0)
    TrainingLog(path, net, resume=True).write(1)
    assert [line.get("step") for line in lines(path)] == [None, 0, 1]
    TrainingLog(path, net)
    assert len(lines(path)) == 1


def test_half_a_line_of_a_killed_search_is_dropped_wherever_it_ends(net: SuperNet, tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    written = TrainingLog(path, net)
    header = path.read_bytes()
    written.write(0, **{"Verlust, größter": 0.5})
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        TrainingLog(path, net, resume=True).write(1)
        assert [line.get("step") for line in lines(path)] == [None, 1]
        assert path.read_bytes().startswith(header)


def test_values_may_be_tensors_of_one_number(net: SuperNet, tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    written = TrainingLog(path, net)
    written.write(0, loss=torch.tensor(0.5))
    with pytest.raises(ValueError, match="one element"):
        written.write(1, loss=torch.zeros(2))
    assert [line.get("values") for line in lines(path)] == [None, {"loss": 0.5}]


def test_a_log_of_another_net_is_not_continued(net: SuperNet, tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    TrainingLog(path, net)
    net.cost_specification = params
    for content in (path.read_bytes(), b"\xff\n", b"{}\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"search\.jsonl: is no log of this net"):
            TrainingLog(path, net, resume=True)
        assert path.read_bytes() == content
