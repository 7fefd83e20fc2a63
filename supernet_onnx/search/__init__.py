"""The exact choice: the selection of the best scores that meets its budgets, proved by integer programming.

The only package that solves programs; scipy is imported when one is solved. It takes no torch.
"""

from supernet_onnx.search.budgets import Budget, parse_limit
from supernet_onnx.search.chooser import Choice, Chooser, choose
from supernet_onnx.search.scoring import Scores, scores_from_json

__all__ = ["Budget", "Choice", "Chooser", "Scores", "choose", "parse_limit", "scores_from_json"]
