"""The exact choice: the selection of the best scores that meets its budgets, proved by integer programming.

And fronts of such choices. The only package that solves programs; scipy is imported when one is solved. No torch.
"""

from supernet_onnx.search.budgets import Budget, parse_limit
from supernet_onnx.search.chooser import Choice, Chooser, choose
from supernet_onnx.search.front import Front, FrontMetric, Point, front_from_json, nondominated, selection_of
from supernet_onnx.search.scoring import Scores, scores_from_json, scores_to_json, with_scores
from supernet_onnx.search.sweep import sweep

__all__ = [
    "Budget",
    "Choice",
    "Chooser",
    "Front",
    "FrontMetric",
    "Point",
    "Scores",
    "choose",
    "front_from_json",
    "nondominated",
    "parse_limit",
    "scores_from_json",
    "scores_to_json",
    "selection_of",
    "sweep",
    "with_scores",
]
