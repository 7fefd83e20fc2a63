"""The options of a verb that estimates BatchNorm statistics anew and folds them, and what they ask for."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.output import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from onnx import ModelProto

    from supernet_onnx.runtime import Array, Batches

__all__ = ["Calibration", "recalibrating"]

R = TypeVar("R")

_BATCH_SIZE: Final = 64


@dataclass(frozen=True, slots=True)
class Calibration:
    """What becomes of the BatchNormalizations of a subnet.

    Attributes:
        file: The data to estimate their statistics from; None to keep them.
        batch_size: The samples of a batch.
        folds: Whether they are folded into the convolutions before them.
    """

    file: Path | None
    batch_size: int
    folds: bool

    def apply(self, subnet: ModelProto, *, directory: Path | None) -> tuple[ModelProto, dict[str, int] | None]:
        """Recalibrate and fold a subnet, as far as asked for.

        Returns:
            The new subnet, and how many BatchNormalizations were ``recalibrated``, from how many ``samples``, and how
            many ``folded``; None if nothing was asked for.

        Raises:
            ModelError: There is none to recalibrate.
            RunError: The data do not fit, or onnxruntime refuses the subnet.
        """
        if self.file is None and not self.folds:
            return subnet, None
        from supernet_onnx import folding

        before = sum(map(len, folding.layers(subnet).values()))
        done = {"recalibrated": 0, "samples": 0, "folded": 0}
        if self.file is not None:
            from supernet_onnx import runtime

            batches = runtime.Batches(self.file, subnet.graph, size=self.batch_size)
            with progress("recalibrating") as tell:
                subnet = runtime.recalibrate(subnet, _told(batches, self.batch_size, tell), directory=directory)
            done.update(recalibrated=before, samples=batches.num_samples)
        if self.folds:
            subnet = folding.fold(subnet, directory=directory)
            done["folded"] = before - sum(map(len, folding.layers(subnet).values()))
        return subnet, done


def recalibrating(command: Callable[..., R]) -> Callable[..., R]:
    """Add ``--recalibrate``, ``--batch-size`` and ``--fold``; the command takes them as ``calibration``."""

    @functools.wraps(command)
    def bundled(*args: object, file_of_data: Path | None, batch_size: int | None, folds: bool, **kwargs: object) -> R:
        if batch_size is not None and file_of_data is None:
            raise click.UsageError("--batch-size is that of the data of --recalibrate; give both")
        return command(*args, calibration=Calibration(file_of_data, batch_size or _BATCH_SIZE, folds), **kwargs)

    added = click.option("--fold", "folds", is_flag=True, help="Fold BatchNorm into the convolutions before it.")(
        bundled
    )
    added = click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help=f"Samples of a batch to recalibrate on, {_BATCH_SIZE} if left out.",
    )(added)
    return click.option(
        "--recalibrate",
        "file_of_data",
        type=options.PATH,
        metavar="F.npz",
        help="Estimate the BatchNorm statistics of the subnet anew in onnxruntime, on arrays named like the inputs.",
    )(added)


def _told(batches: Batches, size: int, tell: Callable[[float], None]) -> Iterator[dict[str, Array]]:
    """Go through batches, and tell how far it is."""
    for done, batch in enumerate(batches, start=1):
        yield batch
        tell(min(1.0, done * size / batches.num_samples))
