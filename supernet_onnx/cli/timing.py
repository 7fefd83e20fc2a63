"""The verb ``bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.output import progress, show

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bench"]


@click.command()
@click.argument("files", type=options.PATH, nargs=-1, required=True, metavar="FILE...")
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Size of a free first dim; 1 if left out.")
@click.option(
    "--threads", type=options.THREADS, metavar="N", help="For one operator; onnxruntime's choice if left out."
)
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="How often to run each model.")
@click.option(
    "--seconds", type=options.Finite(min=0, min_open=True), metavar="S", help="How long instead; 5 if left out."
)
@options.inputs
@options.dims
@options.common
def bench(
    files: tuple[Path, ...],
    *,
    batch: int | None,
    threads: int | None,
    rounds: int | None,
    seconds: float | None,
    inputs_file: Path | None,
    dims: dict[str, int],
    as_json: bool,
) -> None:
    """Time models in onnxruntime, in turn.

    The ratio is that of the median latency to the first FILE's. A model with pools runs all of its branches.
    """
    if rounds is not None and seconds is not None:
        raise click.UsageError("--rounds and --seconds exclude each other; give one")
    from supernet_onnx import bench as benchmark
    from supernet_onnx import report

    with progress("measuring") as done:
        if dims:
            options.check_dims([options.read(file) for file in files], dims)
        found = benchmark.time_models(
            files,
            limits=options.limits(),
            allow_links=options.allow_links(),
            batch=batch,
            threads=threads,
            rounds=rounds,
            seconds=benchmark.SECONDS if seconds is None else seconds,
            dims=dims,
            inputs=inputs_file,
            progress=done,
        )
    show(report.Timings(found), as_json=as_json)
