"""What a choice maximizes: scores of the file, or the logs of its weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from supernet_onnx import search, supergraph
from supernet_onnx.errors import BudgetError
from tests.cost.supergraphs import model, pool

TEXT = (
    f"g (float[4] x) => (float[4] y) {{ a = Relu (x)  p = {pool('p', 'a skip')} a, x)"
    f"  b = Neg (p)  y = {pool('q', 'b skip')} b, p) }}"
)


def scored(**scores: list[float]) -> ModelProto:
    made = model(TEXT)
    for node in made.graph.node:
        name = next((attribute.s.decode() for attribute in node.attribute if attribute.name == "pool"), "")
        if name in scores:
            node.attribute.append(helper.make_attribute("scores", scores[name]))
    return made


def weighted(**weights: list[float]) -> ModelProto:
    made = model(TEXT, {f"{name}_theta": np.array(values, np.float32) for name, values in weights.items()})
    assert numpy_helper.to_array(made.graph.initializer[0]).tolist() == weights["p"]
    return made


def test_the_scores_of_a_file_come_before_its_weights() -> None:
    choice = search.choose(supergraph.read(scored(p=[0.5, 2.0], q=[1.0, -1.0])), budgets={})
    assert (choice.source, choice.objective) == ("the scores in the file", 3.0)
    assert choice.selection.as_dict() == {"p": "skip", "q": "b"}


def test_scores_that_are_not_finite_or_of_some_pools_only_are_errors() -> None:
    with pytest.raises(BudgetError, match="pool 'q', branch 'skip': its score is nan, expected a finite number"):
        search.choose(supergraph.read(scored(p=[0.5, 2.0], q=[1.0, math.nan])), budgets={})
    partly = supergraph.read(scored(p=[0.5, 2.0]))
    with pytest.raises(BudgetError, match="pool 'q' has no scores in the file, other pools have; score the supernet"):
        search.choose(partly, budgets={})
    assert search.choose(partly, budgets={}, pins={"q": "skip"}).objective == 2.0


def test_a_weight_of_zero_is_the_last_resort_and_no_infinity() -> None:
    graph = supergraph.read(weighted(p=[1.0, 0.0], q=[0.25, 0.75]))
    assert search.choose(graph, budgets={}).selection.as_dict() == {"p": "a", "q": "skip"}
    forced = search.choose(graph, budgets={}, pins={"p": "skip"})
    assert forced.objective == pytest.approx(-149 * math.log(2))
