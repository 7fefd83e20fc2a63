"""The exact choice: the selection of the best scores that meets its budgets, proved by integer programming.

And fronts of such choices, and what is measured: scores of branches, and searches over whole selections. What
measures is loaded on first use, for it needs onnxruntime, and a search Optuna. The only package that solves programs;
scipy is imported when one is solved. No torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from supernet_onnx.search.budgets import Budget, parse_limit
from supernet_onnx.search.chooser import Choice, Chooser, choose
from supernet_onnx.search.front import Front, FrontMetric, Point, front_from_json, nondominated, selection_of
from supernet_onnx.search.scoring import Scores, scores_from_json, scores_to_json, with_scores
from supernet_onnx.search.sweep import sweep

if TYPE_CHECKING:
    from supernet_onnx.search.evaluator import Evaluation
    from supernet_onnx.search.explorer import Exploration, Explored
    from supernet_onnx.search.processes import explore
    from supernet_onnx.search.scorer import Scored, score

__all__ = [
    "Budget",
    "Choice",
    "Chooser",
    "Evaluation",
    "Exploration",
    "Explored",
    "Front",
    "FrontMetric",
    "Point",
    "Scored",
    "Scores",
    "choose",
    "explore",
    "front_from_json",
    "nondominated",
    "parse_limit",
    "score",
    "scores_from_json",
    "scores_to_json",
    "selection_of",
    "sweep",
    "with_scores",
]

_HOMES: Final = {
    "Evaluation": "evaluator",
    "Exploration": "explorer",
    "Explored": "explorer",
    "Scored": "scorer",
    "explore": "processes",
    "score": "scorer",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
