"""What a profile found, as the file that it becomes: a cost table, and how it was made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from supernet_onnx.cost import SumTable
from supernet_onnx.cost.measured import FORMAT, VERSION, amounts_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supernet_onnx.bench import Environment
    from supernet_onnx.cost.structure import Structure
    from supernet_onnx.cost.table import Amounts
    from supernet_onnx.profiling.fitting import Correction
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["MeasuredOn", "PieceTime", "Profile", "SubnetTime"]


@dataclass(frozen=True, slots=True)
class MeasuredOn:
    """Where and how runs were timed.

    Attributes:
        environment: Processor, threads and versions.
        providers: The execution providers.
        clock: ``processor time`` or ``wall clock``.
        rounds: How often each model ran.
    """

    environment: Environment
    providers: tuple[str, ...]
    clock: str
    rounds: int


@dataclass(frozen=True, slots=True)
class PieceTime:
    """What was measured of equal pieces.

    Attributes:
        operators: Their operators.
        places: In how many places such a piece stands.
        isolated_ms: What one takes alone, in milliseconds; None where it cannot run alone.
        corrected_ms: What it takes in a subnet.
    """

    operators: tuple[str, ...]
    places: int
    isolated_ms: float | None
    corrected_ms: float


@dataclass(frozen=True, slots=True)
class SubnetTime:
    """What was measured of a subnet.

    Attributes:
        selection: Which.
        measured_ms: Its latency, in milliseconds.
        predicted_ms: What the table says.
        fitted: Whether the correction was fitted to it.
    """

    selection: Selection
    measured_ms: float
    predicted_ms: float
    fitted: bool

    @property
    def error(self) -> float:
        """The absolute relative error of the prediction."""
        return abs(self.predicted_ms / self.measured_ms - 1)


@dataclass(frozen=True, slots=True)
class Profile:
    """A measured supernet.

    Attributes:
        model: The name of its file.
        supergraph: What was measured.
        structure: What the table fits.
        batch: The batch size of all runs.
        dims: The sizes of other symbolic dims.
        shapes: The shapes that were given for inputs.
        measured_on: Where and how.
        amounts: What is due under each condition, in milliseconds.
        correction: What was fitted.
        pieces: What was measured alone.
        subnets: What was measured as a whole.
    """

    model: str
    supergraph: SuperGraph
    structure: Structure
    batch: int
    dims: Mapping[str, int]
    shapes: Mapping[str, Sequence[int]]
    measured_on: MeasuredOn
    amounts: Amounts
    correction: Correction
    pieces: tuple[PieceTime, ...]
    subnets: tuple[SubnetTime, ...]

    def table(self) -> SumTable:
        """Return the latencies as a cost table."""
        supergraph = self.supergraph
        live = tuple(supergraph.live(pool) for pool in supergraph.pools)
        amounts = {condition: amount for condition, amount in self.amounts.items() if amount}
        return SumTable("latency", "milliseconds", supergraph.pools, live, (), amounts)

    def record(self) -> dict[str, object]:
        """Return it as a JSON object, which ``supernet_onnx.cost.latency`` reads."""
        fitted = self.correction
        return {
            "format": FORMAT,
            "version": VERSION,
            "metric": "latency",
            "unit": "ms",
            "model": self.model,
            "fingerprint": self.structure.fingerprint,
            "batch": self.batch,
            "dims": dict(self.dims),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "measured_on": {
                **asdict(self.measured_on.environment),
                "providers": list(self.measured_on.providers),
                "clock": self.measured_on.clock,
                "rounds": self.measured_on.rounds,
            },
            **amounts_record(self.supergraph.pools, self.amounts),
            "correction": {
                "intercept": fitted.intercept_ms,
                "slope": fitted.slope,
                "beside": fitted.beside_ms,
                "source": fitted.source,
                "strength": fitted.strength if fitted.strength < float("inf") else None,
                "errors": fitted.errors,
            },
            "pieces": [asdict(piece) for piece in self.pieces],
            "subnets": [
                {
                    "selection": subnet.selection.as_dict(),
                    "measured": subnet.measured_ms,
                    "predicted": subnet.predicted_ms,
                    "fitted": subnet.fitted,
                }
                for subnet in self.subnets
            ],
            "structure": asdict(self.structure),
        }

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps(self.record(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
