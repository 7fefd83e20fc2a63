"""Scores by replacing one branch at a time, to compare with: what each does in one network, and in no other.

After Puzzle (A. Bercovich et al., arXiv 2411.19146, section 3.2), with a loss for its distance of outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet_onnx.cost.table import nearest
from supernet_onnx.selection import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["replacements", "scores_of_replacements"]


def replacements(supergraph: SuperGraph, base: Selection) -> dict[str, list[Selection]]:
    """Return, for each pool, the selections that differ from a base in its branch.

    Where the base does not reach a pool, as few others as possible are changed so that it is reached.
    """
    found = {}
    for level, pool in enumerate(supergraph.pools):
        around = nearest(supergraph.live(pool), base.indices)
        names = [own.name for own in supergraph.pools]
        rows = [[*around[:level], i, *around[level + 1 :]] for i in range(len(pool.branches))]
        found[pool.name] = [resolve(supergraph, dict(zip(names, row, strict=True))) for row in rows]
    return found


def scores_of_replacements(
    replaced: Mapping[str, list[Selection]], losses: Mapping[Selection, float]
) -> dict[str, tuple[float, ...]]:
    """Return, for each pool, minus the loss with each branch, less its mean over the pool: higher is better."""
    scores = {}
    for pool, selections in replaced.items():
        values = [losses[selection] for selection in selections]
        mean = sum(values) / len(values)
        scores[pool] = tuple(mean - value for value in values)
    return scores
