"""What a model's metadata keep of its marks, for tools that inline the pool functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from supernet_onnx import marks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import ModelProto

    from supernet_onnx.marks import Mark

__all__ = ["keep", "kept", "read", "write"]


def keep(model: ModelProto) -> None:
    """Let a model's metadata keep, in place, what its marks say, by the outputs of their nodes.

    Nodes and their attributes go where a tool inlines the pool functions; a model's metadata stay.
    """
    found = {node.output[0]: marks.decode(node) for node in model.graph.node if marks.is_pool(node)}
    for entry in [entry for entry in model.metadata_props if entry.key == marks.POOLS_KEY]:
        model.metadata_props.remove(entry)
    model.metadata_props.add(key=marks.POOLS_KEY, value=write(found))


def write(found: Mapping[str, Mark]) -> str:
    """Write what marks say, by the outputs of their nodes, as ``read`` reads it."""
    entries = [
        {"output": output, "pool": mark.pool, "branches": mark.branches, "call": mark.call, "scores": mark.scores}
        for output, mark in found.items()
    ]
    return json.dumps(entries, separators=(",", ":"))


def read(text: str) -> dict[str, Mark]:
    """Read what ``write`` wrote. Entries that it cannot have written are left out: nothing depends on them."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, Mark] = {}
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case {"output": str(output), "pool": str(pool), "branches": [*names], "call": int(call)}:
                scores = entry.get("scores")
                if pool and names and all(isinstance(name, str) and name for name in names):
                    is_scored = isinstance(scores, list) and all(isinstance(score, float) for score in scores)
                    found[output] = marks.Mark(pool, tuple(names), max(call, 0), tuple(scores) if is_scored else None)
    return found


def kept(model: ModelProto) -> dict[str, Mark]:
    """Return what a model's metadata keep of its marks, by the outputs of their nodes."""
    texts = (entry.value for entry in model.metadata_props if entry.key == marks.POOLS_KEY)
    return read(next(texts, ""))
