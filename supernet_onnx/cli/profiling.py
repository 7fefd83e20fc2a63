"""The verb ``profile``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.output import progress, show

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["profile"]


def _split(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for text in texts for name in text.split(","))


@click.command()
@click.argument("file", type=options.PATH)
@click.option(
    "-o",
    "--output",
    type=options.PATH,
    metavar="OUT.json",
    help="Where to; NAME.latency.json beside FILE if left out. What is measured so far stands in OUT.json.partial.",
)
@click.option(
    "--providers",
    multiple=True,
    default=("cpu",),
    show_default=True,
    callback=_split,
    metavar="NAME[,NAME]",
    help="onnxruntime's execution providers, the first that can run an operator does.",
)
@click.option(
    "--threads",
    type=options.THREADS,
    default=1,
    show_default=True,
    metavar="N",
    help="For one operator.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Size of a free first dim; the latency is that of a whole run.",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), metavar="N", help="How often to run each piece and subnet; 60 if left out."
)
@click.option(
    "--subnets",
    type=click.IntRange(min=0),
    metavar="N",
    help="How many whole subnets to correct by; 64 if left out, and a quarter as many more to tell the error.",
)
@options.shapes
@options.dims
@click.option("--force", is_flag=True, help="Replace a file that is also read.")
@options.common
def profile(
    file: Path,
    *,
    output: Path | None,
    providers: tuple[str, ...],
    threads: int,
    batch: int,
    rounds: int | None,
    subnets: int | None,
    shapes: dict[str, tuple[int, ...]],
    dims: dict[str, int],
    force: bool,
    as_json: bool,
) -> None:
    """Measure the latency of FILE's trunk and branches in onnxruntime, on this machine.

    The cost table that it writes makes latency a metric: --cost-table OUT.json, for cost and for budgets. A profile
    that was stopped goes on where it was.
    """
    from supernet_onnx import profiling, report, storage

    output = output or file.with_name(f"{file.stem}.latency.json")
    if output.suffix != ".json":
        raise click.BadParameter(
            f"'{output}' does not end in .json, which is what is written",
            click.get_current_context(),
            param_hint="--output",
        )
    unfinished = output.with_name(f"{output.name}.partial")
    with progress("measuring") as done:
        graph = options.read_supernet(file)
        options.check_dims([graph], dims)
        options.check_targets([output, unfinished], inputs=[file], supergraph=graph, force=force)
        settings = profiling.Settings(
            threads=threads,
            providers=providers,
            batch=batch,
            dims=dims,
            shapes=shapes,
            rounds=profiling.ROUNDS if rounds is None else rounds,
            subnets=profiling.SUBNETS if subnets is None else subnets,
        )
        found = profiling.profile(graph, settings, name=file.name, unfinished=unfinished, progress=done)
        storage.write(output, found.to_json().encode())
    show(report.Profiling(found, output), as_json=as_json)
