"""The verb ``verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.output import progress, show
from supernet_onnx.errors import CheckFailedError
from supernet_onnx.report import explain

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["verify"]


@click.command()
@click.argument("supernet", type=options.PATH)
@click.argument("subnet", type=options.PATH)
@options.selecting
@options.inputs
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random inputs.")
@click.option("--atol", type=options.Finite(min=0), metavar="X", help="Absolute tolerance; 1e-5 if left out.")
@click.option("--rtol", type=options.Finite(min=0), metavar="X", help="Relative tolerance; 1e-4 if left out.")
@options.dims
@options.common
@click.pass_context
def verify(
    context: click.Context,
    supernet: Path,
    subnet: Path,
    *,
    pairs: tuple[str, ...],
    selection_file: Path | None,
    inputs_file: Path | None,
    seed: int,
    atol: float | None,
    rtol: float | None,
    dims: dict[str, int],
    as_json: bool,
) -> None:
    """Compare SUBNET with SUPERNET in onnxruntime.

    The supernet runs with one-hot weights on the selection. Every output is compared on random inputs; an element
    passes if |subnet - supernet| <= atol + rtol * |supernet|. The exit code is 1 if one does not.
    """
    from supernet_onnx import admission, report, runtime

    with progress("verifying"):
        graph = options.read(supernet)
        options.check_dims([graph], dims)
        admission.load(subnet, options.limits(), allow_links=options.allow_links())
        chosen = options.choose(graph, pairs, selection_file)
        comparison = runtime.verify(
            graph,
            chosen,
            subnet,
            seed=seed,
            atol=runtime.ATOL if atol is None else atol,
            rtol=runtime.RTOL if rtol is None else rtol,
            inputs=None if inputs_file is None else runtime.load_inputs(inputs_file, graph.graph),
            dims=dims,
        )
    show(report.Verification(comparison, chosen), as_json=as_json)
    if not comparison.passed and as_json:
        context.exit(CheckFailedError.exit_code)
    if not comparison.passed:
        raise CheckFailedError(f"'{subnet}' does not compute what '{supernet}' does: {explain(comparison)}")
