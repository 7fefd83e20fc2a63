"""The fingerprint of a supergraph: what a measured table must fit.

It is about what runs under each selection: operators, attributes, types and shapes for a batch of 1. Left out are the
values of weights, biases, integer arithmetic on shapes, constants, and BatchNormalization that folds into a
convolution; and whether branches share equal nodes, which torch's exporter decides by values. So a supernet has the
same fingerprint before and after training, as a file and where training prices it.

Each call has a hash, a set of calls has the sum of theirs (M. Bellare and D. Micciancio, "A New Paradigm for
Collision-free Hashing", 1997: AdHash), and the sums under conditions are a cost table like any other.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from onnx import TensorProto

from supernet_onnx.cost.table import nearest, total
from supernet_onnx.shapes import TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.cost.calls import CallGraph
    from supernet_onnx.cost.opcall import OpCall, Operand
    from supernet_onnx.supergraph import Condition, SuperGraph

__all__ = ["Structure", "structure_of"]

_BITS: Final = 64
_SELECTIONS: Final = 64  # drawn at random, beside those that differ from the first in one branch
_SHAPES: Final = (TensorProto.INT32, TensorProto.INT64)
_COPIES: Final = frozenset({"Constant", "Dropout", "Identity"})


@dataclass(frozen=True, slots=True)
class Structure:
    """What a supergraph is made of, in hashes.

    Attributes:
        trunk: Of all that runs where every pool takes its first branch.
        pools: For each pool and branch, of what runs more or less than with the pool's first branch.
        mixed: Of what runs under selections drawn at random.
    """

    trunk: str
    pools: Mapping[str, Mapping[str, str]]
    mixed: str

    @property
    def fingerprint(self) -> str:
        """One hash of it all."""
        pools = sorted((pool, list(branches.items())) for pool, branches in self.pools.items())
        return hashlib.sha256(json.dumps([self.trunk, pools, self.mixed]).encode()).hexdigest()[:32]

    def difference(self, other: Structure) -> str | None:
        """Say where another supergraph differs from this one; None if it does not."""
        for pool, branches in self.pools.items():
            if pool not in other.pools:
                return f"pool '{pool}' is not in the model"
            names = list(other.pools[pool])
            if list(branches) != names:
                return f"pool '{pool}' has the branches {', '.join(names)}, not {', '.join(branches)}"
        for pool in other.pools:
            if pool not in self.pools:
                return f"pool '{pool}' is in the model only"
        for pool, branches in self.pools.items():
            for branch, value in branches.items():
                if other.pools[pool][branch] != value:
                    return f"pool '{pool}', branch '{branch}' is another one"
        if self.trunk != other.trunk:
            return "the trunk, or the first branch of every pool, is another one"
        return None if self.mixed == other.mixed else "branches of several pools share other parts"


def structure_of(graph: CallGraph) -> Structure:
    """Return the structure of a supergraph whose inputs have a batch of 1."""
    supergraph = graph.supergraph
    amounts: dict[Condition, int] = {}
    for _, condition, call in graph.calls:
        if call is not None and _counts(call):
            amounts[condition] = amounts.get(condition, 0) + _hash(call)
    base = [0] * len(supergraph.pools)
    pools: dict[str, dict[str, str]] = {}
    for level, pool in enumerate(supergraph.pools):
        choices = nearest(supergraph.live(pool), base)
        sums = []
        for i in range(len(pool.branches)):
            choices[level] = i
            sums.append(int(total(amounts, choices)))
        named = zip(pool.branches, sums, strict=True)
        pools[pool.name] = {branch.name: _short(value - sums[0]) for branch, value in named}
    return Structure(_short(int(total(amounts, base))), dict(sorted(pools.items())), _mixed(supergraph, amounts))


def _mixed(supergraph: SuperGraph, amounts: Mapping[Condition, int]) -> str:
    """Hash random selections; pools are drawn for in the order of their names, whatever their levels."""
    levels = sorted(range(len(supergraph.pools)), key=lambda level: supergraph.pools[level].name)
    generator = random.Random(0)
    totals = []
    for _ in range(_SELECTIONS):
        choices = [0] * len(levels)
        for level in levels:
            choices[level] = generator.randrange(len(supergraph.pools[level].branches))
        totals.append(_short(int(total(amounts, choices))))
    return hashlib.sha256(" ".join(totals).encode()).hexdigest()[: _BITS // 4]


def _counts(call: OpCall) -> bool:
    if call.op_type in _COPIES:
        return False
    made = [operand for operand in call.outputs if operand is not None]
    is_arithmetic_on_shapes = all(operand.dtype in _SHAPES and len(operand.dims or ()) < 2 for operand in made)
    is_bias = call.op_type == "Add" and any(operand and operand.is_bias for operand in call.inputs)
    return not is_arithmetic_on_shapes and not is_bias


def _hash(call: OpCall) -> int:
    attributes = sorted((name, _text(value)) for name, value in call.attrs.items() if value != 0)
    data = [_kind(operand) for operand in call.inputs if operand is not None and not _is_small(operand)]
    made = [_kind(operand) for operand in call.outputs if operand is not None]
    inner = [[_hash(of) for of in body.calls] for body in call.bodies]
    text = json.dumps([call.domain, call.op_type, attributes, data, made, inner])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: _BITS // 8], "big")


def _is_small(operand: Operand) -> bool:
    """Tell whether it is a bias, a scale or a shape, which the exporter may drop, fold or write in several ways."""
    return operand.is_bias or (operand.is_constant and len(operand.dims or ()) < 2) or operand.dtype in _SHAPES


def _kind(operand: Operand) -> str:
    return str(TensorType(operand.dtype, operand.dims))


def _text(value: object) -> str:
    if isinstance(value, TensorProto):
        return f"{value.data_type}{list(value.dims)}"
    return repr(value)


def _short(value: int) -> str:
    return f"{value % (1 << _BITS):0{_BITS // 4}x}"
