"""The verb ``cost``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.counting import counting
from supernet_onnx.cli.output import progress, show

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cost"]


@click.command()
@click.argument("file", type=options.PATH)
@counting
@options.selecting
@options.sizes
@click.option("--by-node", is_flag=True, help="Also price every node.")
@click.option("--symbolic", is_flag=True, help="Print the total as a formula in the dims that nothing binds.")
@click.option("--by-op", is_flag=True, help="Also price every operator, under the selection.")
@options.common
def cost(
    file: Path,
    *,
    names: tuple[str, ...],
    modules: tuple[Path, ...],
    tables: tuple[Path, ...],
    pairs: tuple[str, ...],
    selection_file: Path | None,
    dims: dict[str, int],
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float],
    trip_counts: dict[str, int],
    unknown: Literal["error", "free"],
    by_node: bool,
    by_op: bool,
    symbolic: bool,
    as_json: bool,
) -> None:
    """Price the trunk and every branch of FILE.

    The total is that of the selection; minimum and maximum are those of all selections. Works on any ONNX model,
    with pools or without. Counts are for one sample unless --dim binds the batch, or --symbolic leaves it open.
    """
    from supernet_onnx import cost as costs
    from supernet_onnx import report

    metrics = options.metrics(names, modules, tables)
    if (by_node or by_op) and any(isinstance(metric, costs.MeasuredCost) for metric in metrics):
        raise click.UsageError(
            "what was measured is known for branches, not for nodes; leave out --by-node and --by-op"
        )
    with progress("pricing the model"):
        graph = options.read(file)
        options.check_dims([graph], dims)
        chosen, is_chosen = options.choose_or_first(graph, pairs, selection_file)
        given = costs.Given(dims=dims, shapes=shapes, values=values, trip_counts=trip_counts, unknown=unknown)
        if symbolic:
            formulas = costs.symbolic(graph, metrics, chosen, given)
            result: report.Report = report.Formulas({metric.name: metric.unit for metric in metrics}, formulas)
            show(result, as_json=as_json)
            return
        priced = costs.measure(graph, metrics, **given)
        nodes = costs.by_node(graph, metrics, **given) if by_node else None
        operators = costs.by_operator(graph, metrics, chosen, **given) if by_op else None
        pricing = report.Pricing(graph.pools, priced, chosen, is_chosen, nodes, operators)
    show(pricing, as_json=as_json)
