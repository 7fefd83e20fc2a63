from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from supernet_onnx import supergraph
from supernet_onnx.errors import ReportError
from supernet_onnx.page import front_from_json
from tests.page import specimens

if TYPE_CHECKING:
    from collections.abc import Callable

    from supernet_onnx.supergraph import SuperGraph


@pytest.fixture(scope="module")
def graph() -> SuperGraph:
    return supergraph.read(specimens.chain(2))


def test_a_front_is_read_with_its_selections_in_the_order_of_the_pools(graph: SuperGraph) -> None:
    record = specimens.front(graph, 3)
    points = record["points"]
    points[0]["selection"] = dict(reversed(points[0]["selection"].items()))
    front = front_from_json(json.dumps(record), graph)
    assert [axis.name for axis in front.axes] == ["params", "accuracy"]
    assert front.selections[0].pools == ("stages.0.0.conv", "stages.0.1.conv")
    assert [values[0] for values in front.values] == sorted(values[0] for values in front.values)
    assert front.record()["values"] == front.values


def broken(change: Callable[[dict[str, object]], object], graph: SuperGraph) -> str:
    record = specimens.front(graph, 3)
    change(record)
    with pytest.raises(ReportError) as raised:
        front_from_json(json.dumps(record), graph)
    return str(raised.value)


def test_what_is_wrong_with_a_front_is_said(graph: SuperGraph) -> None:
    def point(record: dict[str, object]) -> dict[str, dict[str, object]]:
        return record["points"][1]

    assert "is no front; expected a file of supernet-onnx pareto" in broken(lambda r: r.update(format="x"), graph)
    assert "has version 2 of its format, this release reads 1" in broken(lambda r: r.update(version=2), graph)
    assert "a front is over two or more" in broken(lambda r: r["metrics"].pop(), graph)
    assert "expected minimize or maximize" in broken(lambda r: r["metrics"][0].update(goal="less"), graph)
    assert "has no points" in broken(lambda r: r["points"].clear(), graph)
    assert "'points' is missing, expected a list" in broken(lambda r: r.pop("points"), graph)
    assert "point 1: 'params' is missing" in broken(lambda r: point(r)["values"].pop("params"), graph)
    assert "point 1: 'params' is 'True'" in broken(lambda r: point(r)["values"].update(params=True), graph)
    assert "no branch of pool 'stages.0.1.conv'" in broken(lambda r: point(r)["selection"].popitem(), graph)
    other = broken(lambda r: point(r)["selection"].update(there="conv1"), graph)
    assert "point 1: pool 'there' is not in the model" in other
    assert "the file is one of another model" in other


@pytest.mark.parametrize(("text", "message"), [("[1]", "expected a JSON object"), ("{", "expected JSON")])
def test_a_text_that_is_no_object_is_no_front(graph: SuperGraph, text: str, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        front_from_json(text, graph)
