"""A measured cost table: read from and written to a file, and a metric like any other once it is read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from supernet_onnx import storage
from supernet_onnx.cost.calls import resolve_calls
from supernet_onnx.cost.spec import Bill, Entry
from supernet_onnx.cost.structure import Structure, structure_of
from supernet_onnx.cost.table import decompose
from supernet_onnx.diagram import ways
from supernet_onnx.errors import CostError, ModelError, ShapeError, in_one_line
from supernet_onnx.shapes import Bindings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from supernet_onnx.cost.calls import CallGraph
    from supernet_onnx.cost.spec import Unknown
    from supernet_onnx.cost.table import Amounts
    from supernet_onnx.supergraph import Condition, Pool, SuperGraph

__all__ = ["FORMAT", "VERSION", "Joint", "MeasuredCost", "amounts_record", "latency"]

FORMAT: Final = "supernet-onnx cost table"
VERSION: Final = 1
_MAX_WAYS: Final = 10_000
_UNITS: Final = {"ms": "milliseconds"}

Ways = tuple["Mapping[str, tuple[str, ...]]", ...]
"""A condition in names: ways that exclude each other, each with the branches that some pools may take in it."""


@dataclass(frozen=True, slots=True)
class Joint:
    """An amount that depends on several pools.

    Attributes:
        when: The ways in which it is due.
        amount: In the table's unit.
    """

    when: Ways
    amount: float


@dataclass(frozen=True, slots=True)
class MeasuredCost:
    """What was measured for a supernet: a metric for every supergraph of its structure.

    Attributes:
        name: The metric's name.
        unit: The unit of its amounts.
        structure: What the supergraph is made of that it was measured for.
        batch: The batch size that it was measured with: amounts are for a run of so many samples.
        dims: The sizes of other symbolic dims.
        shapes: The shapes that were given for inputs.
        trunk: What every selection pays.
        branches: What branches cost wherever nothing but their pool decides, ``{pool: {branch: amount}}``.
        joint: What depends on several pools.
        where: What error messages call it.
    """

    name: str
    unit: str
    structure: Structure
    batch: int
    dims: Mapping[str, int]
    shapes: Mapping[str, Sequence[int]]
    trunk: float
    branches: Mapping[str, Mapping[str, float]]
    joint: tuple[Joint, ...]
    where: str = field(default="the cost table", compare=False)

    def bill(self, graph: CallGraph, *, unknown: Unknown) -> Bill:
        """Price a supergraph of the structure that was measured.

        Raises:
            CostError: It has another structure, or its dims are bound to other sizes than the measured ones.
        """
        self._check(graph)
        supergraph = graph.supergraph
        levels = {pool.name: level for level, pool in enumerate(supergraph.pools)}
        diagrams = supergraph.diagrams
        entries = [Entry(None, diagrams.true, self.trunk)] if self.trunk else []
        for pool, branches in self.branches.items():
            for i, amount in enumerate(branches.values()):
                if amount:
                    entries.append(Entry(None, diagrams.literal(levels[pool], i), amount))
        for part in self.joint:
            entries.append(Entry(None, _condition(part.when, supergraph), part.amount))
        return Bill(tuple(entries), ())

    def _check(self, graph: CallGraph) -> None:
        measured = {**self.dims}
        for name, size in graph.bindings.dims.items():
            fixed = measured.get(name, self.batch)
            if size != fixed:
                raise CostError(
                    f"{self.where}: was measured with {name}={fixed}, not {size}; profile the model with that size"
                )
        for name, shape in graph.bindings.shapes.items():
            if tuple(shape) != tuple(self.shapes.get(name, shape)):
                raise CostError(f"{self.where}: was measured with another shape of '{name}'; profile the model with it")
        try:
            own = structure_of(resolve_calls(graph.supergraph, Bindings(self.dims, self.shapes)))
        except (ShapeError, ModelError) as error:
            raise CostError(f"{self.where}: does not fit the model: {error}") from error
        difference = self.structure.difference(own)
        if difference is not None:
            raise CostError(
                f"{self.where}: was measured for a supernet of another structure: {difference}; "
                "profile this model with supernet-onnx profile"
            )


def latency(path: Path | str) -> MeasuredCost:
    """Read a cost table that ``supernet-onnx profile`` wrote, as a metric: ``SuperNet(..., cost=latency(path))``.

    Raises:
        CostError: The file cannot be read, or is no cost table.
    """
    where = f"'{path}'"
    try:
        record = json.loads(storage.read_text(path))
    except OSError as error:
        raise CostError(f"{where} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CostError(f"{where} is no JSON: {' '.join(str(error).split())}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CostError(f"{where} is no cost table; expected a file that supernet-onnx profile wrote")
    if record.get("version") != VERSION:
        raise CostError(
            f"{where}: cost tables of version {record.get('version')!r} are unknown, this release reads version "
            f"{VERSION}; update supernet-onnx or profile again"
        )
    try:
        return _from_record(record, where)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CostError(f"{where} is a damaged cost table ({in_one_line(error)}); profile again") from error


def amounts_record(pools: Sequence[Pool], amounts: Amounts) -> dict[str, object]:
    """Return amounts under conditions as a file has them: ``trunk``, ``branches`` and ``joint``.

    Raises:
        CostError: A condition has more ways to hold than can be written down.
    """
    parts = decompose(pools, amounts)
    return {
        "trunk": parts.trunk,
        "branches": {
            pool.name: dict(zip((branch.name for branch in pool.branches), parts.branches[pool.name], strict=True))
            for pool in pools
        },
        "joint": [{"when": _ways(condition, pools), "amount": amount} for condition, amount in parts.joint.items()],
    }


def _ways(condition: Condition, pools: Sequence[Pool]) -> list[dict[str, list[str]]]:
    found = ways(condition, most=_MAX_WAYS)
    if found is None:
        raise CostError(
            f"a part of the model is live in more than {_MAX_WAYS:,} ways, which no cost table can hold; "
            "nest fewer pools, or let fewer branches share parts"
        )
    return [
        {pools[level].name: [pools[level].branches[i].name for i in taken] for level, taken in way.items()}
        for way in found
    ]


def _condition(when: Ways, supergraph: SuperGraph) -> Condition:
    diagrams = supergraph.diagrams
    levels = {pool.name: level for level, pool in enumerate(supergraph.pools)}
    conditions = []
    for way in when:
        holds = diagrams.true
        for name, branches in way.items():
            level = levels[name]
            names = [branch.name for branch in supergraph.pools[level].branches]
            holds = diagrams.both(
                holds, diagrams.any_of(diagrams.literal(level, names.index(branch)) for branch in branches)
            )
        conditions.append(holds)
    return diagrams.any_of(conditions)


def _from_record(record: Mapping[str, Any], where: str) -> MeasuredCost:
    """Read a table; what is missing or of another type raises what Python does."""
    structure = record["structure"]
    pools = {str(pool): {str(b): str(h) for b, h in of.items()} for pool, of in structure["pools"].items()}
    branches = {str(pool): {str(b): _finite(x) for b, x in of.items()} for pool, of in record["branches"].items()}
    if {pool: list(of) for pool, of in pools.items()} != {pool: list(of) for pool, of in sorted(branches.items())}:
        raise ValueError("its branches are not those of its structure")
    joint = tuple(Joint(_read_ways(part["when"], branches), _finite(part["amount"])) for part in record["joint"])
    return MeasuredCost(
        str(record["metric"]),
        _UNITS.get(record["unit"], str(record["unit"])),
        Structure(str(structure["trunk"]), pools, str(structure["mixed"])),
        int(record["batch"]),
        {str(name): int(size) for name, size in record["dims"].items()},
        {str(name): tuple(map(int, shape)) for name, shape in record["shapes"].items()},
        _finite(record["trunk"]),
        branches,
        joint,
        where,
    )


def _read_ways(listed: Sequence[Mapping[str, Sequence[str]]], branches: Mapping[str, Mapping[str, float]]) -> Ways:
    read = tuple({pool: tuple(taken) for pool, taken in way.items()} for way in listed)
    for way in read:
        for pool, taken in way.items():
            if not taken or not set(taken) <= set(branches[pool]):
                raise ValueError(f"pool '{pool}' has no branches {', '.join(taken)}")
    return read


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no amount")
    return float(value)
