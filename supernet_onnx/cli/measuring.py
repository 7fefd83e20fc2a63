"""The options of a verb that measures selections on data, and what they ask for."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import click

from supernet_onnx.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from supernet_onnx.search.evaluator import Evaluation

__all__ = ["Data", "measuring"]

R = TypeVar("R")

_PER_CORE: Final = 8


@dataclass(frozen=True, slots=True)
class Data:
    """What selections are measured on, and by how many processes.

    Attributes:
        file: The inputs and targets.
        target: The name of the targets; None for the one array that is no input.
        calibration: The inputs for the BatchNorm statistics; None for those in ``file``.
        batch_size: The samples of a batch.
        jobs: How many processes.
    """

    file: Path
    target: str | None
    calibration: Path | None
    batch_size: int
    jobs: int

    def evaluation(self, model: Path, measure: str) -> Evaluation:
        """Return what is to be measured, of a model's selections."""
        from supernet_onnx.search.evaluator import Evaluation

        return Evaluation(
            model,
            self.file,
            measure,
            target=self.target,
            calibration=self.calibration,
            batch_size=self.batch_size,
            limits=options.limits(),
            allow_links=options.allow_links(),
        )


def _jobs(context: click.Context, parameter: click.Parameter, number: int) -> int:
    """Refuse processes that do nothing but take up the memory of the machine."""
    cores = os.cpu_count() or 1
    if number > _PER_CORE * cores:
        raise click.BadParameter(
            f"{number} processes would take down a machine of {cores} cores; give at most {_PER_CORE * cores}",
            context,
            parameter,
        )
    return number


def measuring(command: Callable[..., R]) -> Callable[..., R]:
    """Add ``--data``, ``--target``, ``--calibrate``, ``--batch-size`` and ``--jobs``; the command takes ``data``."""

    @functools.wraps(command)
    def bundled(
        *args: object,
        data_file: Path,
        target: str | None,
        calibration: Path | None,
        batch_size: int,
        jobs: int,
        **kwargs: object,
    ) -> R:
        return command(*args, data=Data(data_file, target, calibration, batch_size, jobs), **kwargs)

    count = click.IntRange(min=1)
    for option in (
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            callback=_jobs,
            help=f"Processes that measure, at once; at most {_PER_CORE} for each core.",
        ),
        click.option("--batch-size", type=count, default=64, show_default=True, help="Samples of a batch."),
        click.option(
            "--calibrate",
            "calibration",
            type=options.PATH,
            metavar="F.npz",
            help="Estimate BatchNorm statistics on these inputs; on those of --data if left out.",
        ),
        click.option(
            "--target", metavar="NAME", help="The array of the targets; the one that is no input if left out."
        ),
        click.option(
            "--data",
            "data_file",
            type=options.PATH,
            required=True,
            metavar="F.npz",
            help="Measure on these arrays, named like the inputs, and the targets.",
        ),
    ):
        bundled = option(bundled)
    return bundled
