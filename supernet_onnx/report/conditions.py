"""How reports tell when something is live: the ways in which a condition holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from supernet_onnx import diagram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supernet_onnx.supergraph import Condition, Pool

__all__ = ["Ways", "in_words", "ways"]

_MAX_WAYS: Final = 64

Ways: TypeAlias = list[dict[str, list[str]]]
"""Each way is ``{pool: [branch, ...]}``: the branches that pools may take. An empty one is always."""


def ways(condition: Condition, pools: Sequence[Pool]) -> Ways | None:
    """Return the ways in which a condition holds; None for more than one can read.

    Args:
        condition: When something is live.
        pools: Those of its levels.
    """
    found = diagram.ways(condition, most=_MAX_WAYS)
    if found is None:
        return None
    return [
        {pools[level].name: [pools[level].branches[i].name for i in taken] for level, taken in way.items()}
        for way in found
    ]


def in_words(found: Ways | None) -> str:
    """Write ways as ``conv=Conv2d|Identity and act=ReLU or ...``; nothing for always."""
    if found is None:
        return "it depends"
    return " or ".join(" and ".join(f"{pool}={'|'.join(taken)}" for pool, taken in way.items()) for way in found)
