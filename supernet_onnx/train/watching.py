"""Watching a search: what the pools weigh and what the net costs, as a record, for TensorBoard, and as a log file.

The log file is JSON lines, one object a line, UTF-8. The first line describes the net, each other one an epoch:

    {"format": 1, "pools": {POOL: [BRANCH, ...]}, "costs": {COST: {"minimum", "maximum"}}}
    {"step": 3, "values": {"loss": 0.41}, "temperature": 0.5,
     "pools": {POOL: {"weights": {BRANCH: 0.7, ...}, "entropy": 0.6, "selected": BRANCH}},
     "entropy": 0.6, "costs": {COST: {"expected": 9000.0, "selected": 8000.0}}}

A single cost without a name is ``cost``. A number that is not finite is null. Where two lines have one step, the search
was resumed before it, and the later line and what follows it count.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypedDict

from supernet_onnx.train.guards import pool_entropy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.train.supernet import SuperNet

__all__ = ["CostState", "PoolState", "ScalarWriter", "Snapshot", "TrainingLog", "log", "scalars", "take"]

FORMAT: Final = 1
_UNNAMED: Final = "cost"


class PoolState(TypedDict):
    """A pool at one time.

    Attributes:
        weights: By branch name.
        entropy: From 0 (decided) to 1 (all weights equal).
        selected: The branch of largest logit.
    """

    weights: dict[str, float]
    entropy: float
    selected: str


class CostState(TypedDict):
    """A cost at one time.

    Attributes:
        expected: ``net.get_cost``.
        selected: What the branches of largest logit cost.
    """

    expected: float
    selected: float


class Snapshot(TypedDict):
    """A supernet at one time.

    Attributes:
        temperature: Of the pools, the highest if they differ.
        entropy: The mean over pools.
        pools: By name.
        costs: By name; ``cost`` if there is a single one without.
    """

    temperature: float
    entropy: float
    pools: dict[str, PoolState]
    costs: dict[str, CostState]


class ScalarWriter(Protocol):
    """What ``torch.utils.tensorboard.SummaryWriter`` does, of which nothing but this is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int, /) -> None:
        """Write a number under a tag."""


def take(net: SuperNet) -> Snapshot:
    """Return the weights, entropies and costs of a net as they are now."""
    summary = net.summary()
    pools: dict[str, PoolState] = {
        name: {
            "weights": summary[name]["weights"],
            "entropy": float(pool_entropy(pool).detach()),
            "selected": summary[name]["selected"],
        }
        for name, pool in net.pools.items()
    }
    return {
        "temperature": max(pool.temperature for pool in net.pools.values()),
        "entropy": math.fsum(pool["entropy"] for pool in pools.values()) / len(pools),
        "pools": pools,
        "costs": {
            name or _UNNAMED: {"expected": float(net.get_cost(name).detach()), "selected": net.selected_cost(name)}
            for name in net.cost_names
        },
    }


def scalars(snapshot: Snapshot) -> dict[str, float]:
    """Return a snapshot as numbers by tag.

    ``temperature``, ``entropy``, ``entropy/POOL``, ``weights/POOL/BRANCH``, ``expected/COST``, ``selected/COST``.
    """
    flat = {"temperature": snapshot["temperature"], "entropy": snapshot["entropy"]}
    for name, pool in snapshot["pools"].items():
        flat[f"entropy/{name}"] = pool["entropy"]
        flat.update({f"weights/{name}/{branch}": weight for branch, weight in pool["weights"].items()})
    for name, cost in snapshot["costs"].items():
        flat[f"expected/{name}"] = cost["expected"]
        flat[f"selected/{name}"] = cost["selected"]
    return flat


def log(net: SuperNet, writer: ScalarWriter, step: int) -> None:
    """Write the weights of every pool, the entropies, and the expected and selected costs to TensorBoard.

    Args:
        net: Not changed.
        writer: A ``SummaryWriter``, or whatever else has its ``add_scalar``.
        step: The number of the epoch or step.
    """
    for tag, value in scalars(take(net)).items():
        writer.add_scalar(tag, value, step)


class TrainingLog:
    """Writes a search to a file, epoch by epoch; each line is on disk when ``write`` returns.

        log = TrainingLog("search.jsonl", net)
        for epoch in range(epochs):
            ...
            log.write(epoch, loss=loss.item(), accuracy=accuracy)

    Args:
        path: The file; replaced, unless the search is resumed.
        net: The search's net.
        resume: Continue the file, if it is there.

    Raises:
        ValueError: The file to be continued is none of this net.
        OSError: The file cannot be written.
    """

    def __init__(self, path: str | Path, net: SuperNet, *, resume: bool = False) -> None:
        self._path = Path(path)
        self._net = net
        header = _line(_header(net)).encode()
        written = self._path.read_bytes() if resume and self._path.exists() else b""
        if header.startswith(written):  # nothing, or killed while it wrote that
            self._path.write_bytes(header)
            return
        if not written.startswith(header):
            raise ValueError(
                f"{self._path}: is no log of this net, which has other pools, branches or costs; give another file"
            )
        if not written.endswith(b"\n"):  # killed while it wrote: what is left of that line is worth nothing
            self._path.write_bytes(written[: written.rindex(b"\n") + 1])

    def write(self, step: int, **values: float) -> None:
        """Add a line: the net as it is now, with numbers of the user's own.

        Args:
            step: The number of the epoch or step.
            values: Such as ``loss=0.4``.

        Raises:
            TypeError: A value is no number.
            ValueError: A value is a tensor of several.
        """
        record = {"step": step, "values": {name: float(value) for name, value in values.items()}, **take(self._net)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))


def _header(net: SuperNet) -> dict[str, object]:
    costs = {}
    for name in net.cost_names:
        low, high = net.cost_range(name)
        costs[name or _UNNAMED] = {"minimum": low, "maximum": high}
    pools = {name: list(pool.branch_names) for name, pool in net.pools.items()}
    return {"format": FORMAT, "pools": pools, "costs": costs}


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(_finite(record), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    """Return the same with None for numbers that JSON has not."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
