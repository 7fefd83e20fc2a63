"""How large a model may be before it is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from supernet_onnx.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model may not exceed; far above what honest models have, and any of them may be raised.

    Attributes:
        bytes: Of the model file, without external data; protobuf itself reads no more than the default.
        nodes: In all graphs, with the local functions expanded at every call.
        depth: Of graphs in graphs, and of local functions that call each other.
        inputs: Of a node, or its outputs.
        rank: Dims of a tensor.
        elements: The product of the dims that a tensor states.
        names: Characters of a name.
        pools: Nodes that are pools.
        branches: Of a pool.
    """

    bytes: int = 2**31 - 1
    nodes: int = 2_000_000
    depth: int = 64
    inputs: int = 100_000
    rank: int = 64
    elements: int = 2**40
    names: int = 4_096
    pools: int = 20_000
    branches: int = 1_000

    @classmethod
    def names_of_all(cls) -> list[str]:
        """Return what can be limited."""
        return [field.name for field in fields(cls)]

    def with_limit(self, name: str, value: int) -> Limits:
        """Return these limits with another value for one of them."""
        return replace(self, **{name: value})

    def check(self, name: str, value: int, what: str) -> None:
        """Refuse what is over a limit.

        Args:
            name: Which limit.
            value: What was found.
            what: Where, for the message.

        Raises:
            ModelError: It is.
        """
        limit: int = getattr(self, name)
        if value > limit:
            raise ModelError(
                f"{what}: {_written(value)} {name}, the limit is {limit}; "
                f"pass --limit {name}={_written(value)} if you trust the model"
            )

    def check_dims(self, dims: Sequence[int], where: str) -> None:
        """Refuse dims that are too many, or whose product is too large.

        Raises:
            ModelError: They are.
        """
        self.check("rank", len(dims), where)
        self.check("elements", math.prod(dims), where)


def _written(value: int) -> str:
    return str(value) if value < 10**30 else "1" + "0" * 30  # a number of a million digits helps nobody
