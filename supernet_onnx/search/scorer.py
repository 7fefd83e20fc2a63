"""Scores of branches from a file and data, without torch: additive effects on a loss, or single replacements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from supernet_onnx.search.effects import balanced_selections, fit_effects
from supernet_onnx.search.evaluator import Evaluator, evaluate_all
from supernet_onnx.search.replacing import replacements, scores_of_replacements
from supernet_onnx.selection import argmax

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supernet_onnx.search.evaluator import Evaluation
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["Method", "Scored", "score"]

Method: TypeAlias = Literal["ridge", "replace-one"]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of all branches, and how they were found.

    Attributes:
        supergraph: Whose branches.
        scores: For each pool, that of each branch: higher is better, adding up to 0.
        standard_errors: Of each score, nan where too few selections were measured; None where the method knows none.
        rank_correlation: Spearman's, of losses and predictions by fits that did not see them; nan if either are all
            equal, None where the method predicts none.
        measure: What was measured.
        selections: Which were measured.
        losses: Of each: the measure, or minus it where higher is better.
        num_samples: On how many samples.
        recalibrated: Whether each had BatchNorm statistics of its own.
    """

    supergraph: SuperGraph
    scores: Mapping[str, tuple[float, ...]]
    standard_errors: Mapping[str, tuple[float, ...]] | None
    rank_correlation: float | None
    measure: str
    selections: tuple[Selection, ...]
    losses: tuple[float, ...]
    num_samples: int
    recalibrated: bool


def score(
    evaluation: Evaluation,
    *,
    selections: int = 48,
    method: Method = "ridge",
    base: Callable[[SuperGraph], Selection] | None = None,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> Scored:
    """Score the branches of a trained supernet in onnxruntime.

    It does what ``supernet_onnx.train.score`` does with the torch model: random selections, of which each pool takes
    each branch equally often, are cut out, get BatchNorm statistics of their own where the file keeps BatchNorms
    (``export_onnx(fold_batchnorm=False)``), and are measured with the weights that they inherit. The scores are minus
    the additive effects of branches on the loss, by ridge regression (``supernet_onnx.search.effects``).

    Args:
        evaluation: The file, the data and the loss.
        selections: How many; 24 to 48 do for a few pools, and no fewer than branches in all should be taken.
        method: ``"replace-one"`` takes the losses of one network with one branch replaced, for all branches.
        base: Gives that network; the branches of largest weight if left out.
        seed: Of the selections, and of the parts for the rank correlation.
        jobs: How many processes, as for ``evaluate_all``.
        progress: Called after each selection with how many are done, and how many there are.

    Raises:
        ValueError: There are fewer than three selections.
        SuperNetError: As for ``Evaluator``.
    """
    if selections < 3:
        raise ValueError(f"selections must be at least 3, not {selections}")
    evaluator = Evaluator(evaluation)
    graph, sign = evaluator.supergraph, 1 if evaluator.measure.goal == "minimize" else -1

    def losses_of(chosen: list[Selection]) -> list[float]:
        return [sign * value for value in evaluate_all(evaluator, chosen, jobs=jobs, progress=progress)]

    if method == "replace-one":
        replaced = replacements(graph, (base or argmax)(graph))
        chosen = list(dict.fromkeys(selection for of_pool in replaced.values() for selection in of_pool))
        losses = losses_of(chosen)
        scores: Mapping[str, tuple[float, ...]]
        scores = scores_of_replacements(replaced, dict(zip(chosen, losses, strict=True)))
        errors, correlation = None, None
    else:
        chosen = balanced_selections(graph, selections, seed=seed)
        losses = losses_of(chosen)
        effects = fit_effects(graph, chosen, losses, seed=seed)
        scores, errors, correlation = effects.scores, effects.standard_errors, effects.rank_correlation
    told = evaluator.measure.name, tuple(chosen), tuple(losses), evaluator.num_samples, evaluator.recalibrates
    return Scored(graph, scores, errors, correlation, *told)
