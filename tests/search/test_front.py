"""Fronts: which points stay, and the files that they are written to."""

from __future__ import annotations

import csv
import io
import json
import random

import pytest

from supernet_onnx.errors import ModelError
from supernet_onnx.search import Front, FrontMetric, Point, front_from_json, nondominated

COST = FrontMetric("params", "elements", "minimize")
ACCURACY = FrontMetric("accuracy", "", "maximize")


def point(branch: str, cost: float, accuracy: float) -> Point:
    return Point({"pool": branch}, {"params": cost, "accuracy": accuracy})


def test_points_that_another_beats_are_left_out_and_of_equal_ones_the_first_stays() -> None:
    points = [point("a", 3, 0.5), point("b", 1, 0.2), point("c", 3, 0.4), point("d", 1, 0.2), point("e", 2, 0.2)]
    front = nondominated("m.onnx", [COST, ACCURACY], points)
    assert [p.selection["pool"] for p in front.points] == ["b", "a"]
    assert nondominated("m.onnx", [COST, ACCURACY], []).points == ()


def test_what_stays_of_many_points_is_what_no_other_point_beats() -> None:
    draw = random.Random(0)
    points = [point(str(i), draw.randint(0, 30), draw.randint(0, 30)) for i in range(300)]
    kept = nondominated("m", [COST, ACCURACY], points).points
    rows = {(p.values["params"], p.values["accuracy"]) for p in points}
    expected = {(c, a) for c, a in rows if not any((d, b) != (c, a) and d <= c and b >= a for d, b in rows)}
    assert {(p.values["params"], p.values["accuracy"]) for p in kept} == expected
    assert len(kept) == len(expected)


def test_the_best_are_those_of_the_last_metric() -> None:
    front = nondominated("m", [COST, ACCURACY], [point("a", 1, 0.1), point("b", 2, 0.2), point("c", 3, 0.3)])
    assert [p.selection["pool"] for p in front.best(2)] == ["c", "b"]
    assert len(front.best(9)) == 3
    turned = Front("m", (ACCURACY, COST), front.points)
    assert [p.selection["pool"] for p in turned.best(1)] == ["a"]


def test_a_front_is_read_as_it_was_written() -> None:
    front = nondominated("m.onnx", [COST, ACCURACY], [point("a, b", 1, 0.5), point("ü", 2.5, 0.75)], complete=True)
    assert front_from_json(front.to_json()) == front
    record = json.loads(front.to_json())
    assert record["format"] == "supernet-onnx front"
    assert record["version"] == 1
    assert record["points"][0] == {"selection": {"pool": "a, b"}, "values": {"params": 1, "accuracy": 0.5}}
    assert front.to_csv() == 'params,accuracy,pool\r\n1,0.5,"a, b"\r\n2.5,0.75,ü\r\n'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "this is no front"),
        ({"version": 2}, "a front of version 2; this release reads version 1"),
        ({"points": None}, 'has "model", "metrics"'),
        ({"metrics": []}, 'has "model", "metrics"'),
        ({"metrics": [{"name": "a", "goal": "guess"}]}, "is no metric of a front"),
        ({"metrics": [{"name": "a", "goal": "minimize"}] * 2}, "named twice"),
        ({"points": [{"values": {}}]}, "point 0 of the front has no selection"),
        ({"points": [{"selection": {"p": 1}, "values": {}}]}, "point 0 of the front has no selection"),
        ({"points": [{"selection": {}, "values": {"params": "1"}}]}, "point 0 of the front lacks a number"),
        ({"points": [{"selection": {}, "values": {"params": True, "accuracy": 1}}]}, "lacks a number"),
    ],
)
def test_what_is_no_front_is_an_error(change: dict[str, object], message: str) -> None:
    record = {**nondominated("m", [COST, ACCURACY], [point("a", 1, 0.5)]).record(), **change}
    with pytest.raises(ModelError, match=message):
        front_from_json(json.dumps(record))
    with pytest.raises(ModelError, match="must be JSON"):
        front_from_json("{")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_name_is_a_formula_in_a_spreadsheet(name: str) -> None:
    point = Point({name: name, "plain": "a=b"}, {"params": -1})
    text = Front("m.onnx", (FrontMetric("params", "", "minimize"),), (point,)).to_csv()
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["params", f"'{name}", "plain"],
        ["-1", f"'{name}", "a=b"],
    ]
