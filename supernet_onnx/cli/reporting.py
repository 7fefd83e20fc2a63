"""The verb ``report``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.counting import counting
from supernet_onnx.cli.fronts import read_front
from supernet_onnx.cli.output import progress, show
from supernet_onnx.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from supernet_onnx.cost import Given, Metric
    from supernet_onnx.page import Space
    from supernet_onnx.search import Front
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["report"]

T = TypeVar("T")


@click.command()
@click.argument("file", type=options.PATH)
@click.option(
    "-o", "--output", type=options.PATH, metavar="OUT", help="Where to; NAME.report.html beside FILE if left out."
)
@click.option(
    "--front", "front_file", type=options.PATH, metavar="F.json", help="Show a front to pick from: pareto writes it."
)
@click.option(
    "--log",
    "log_file",
    type=options.PATH,
    metavar="F.jsonl",
    help="Show the search: TrainingLog of supernet_onnx.train writes it.",
)
@counting
@options.selecting
@options.sizes
@click.option("--force", is_flag=True, help="Replace a file that is also read.")
@options.common
def report(
    file: Path,
    *,
    output: Path | None,
    front_file: Path | None,
    log_file: Path | None,
    names: tuple[str, ...],
    modules: tuple[Path, ...],
    tables: tuple[Path, ...],
    unknown: Literal["error", "free"],
    pairs: tuple[str, ...],
    selection_file: Path | None,
    dims: dict[str, int],
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, float],
    trip_counts: dict[str, int],
    force: bool,
    as_json: bool,
) -> None:
    """Write what there is to know of FILE as one HTML page, which opens without a network.

    It shows the pools, what branches and operators cost, and, where their files are given, a front to pick from,
    predicted against measured latency (of a cost table), and the search. What is chosen at first is the branch of
    largest weight of each pool, unless another is selected.
    """
    from supernet_onnx import cost as costs
    from supernet_onnx import page, storage
    from supernet_onnx import report as reports

    metrics = options.metrics(names, modules, tables)
    measured = [costs.latency(path) for path in tables]  # what was measured is shown without being asked for
    metrics += [metric for metric in measured if metric.name not in {own.name for own in metrics}]
    with progress("pricing the model"):
        graph = options.read_supernet(file)
        output = output or file.with_name(f"{file.stem}.report.html")
        options.check_dims([graph], dims)
        inputs = [file, selection_file, front_file, log_file, *tables, *modules]
        options.check_targets([output], inputs=inputs, supergraph=graph, force=force)
        front = None if front_file is None else _front(front_file, graph)
        latency = _read(tables[0] if tables else None, page.latency_from_json)
        history = _read(log_file, lambda text: page.history_from_log(text, graph))
        given = costs.Given(dims=dims, shapes=shapes, values=values, trip_counts=trip_counts, unknown=unknown)
        space = _space(file, graph, metrics, given, _selections(graph, pairs, selection_file, front))
    with progress("writing the page"):
        html = page.render(space, front=front, latency=latency, history=history)
        storage.write(output, html)
    points = len(front.points) if front else 0
    show(reports.Publishing(output, len(html), len(graph.pools), points), as_json=as_json)


def _selections(
    graph: SuperGraph, pairs: Sequence[str], selection_file: Path | None, front: Front | None
) -> dict[str, Selection]:
    """Return what is to be seen, by its title: the selection that is asked for, then the points of the front."""
    from supernet_onnx import search

    chosen, is_chosen = options.choose_or_first(graph, pairs, selection_file)
    title = "as selected" if pairs or selection_file else "largest weights" if is_chosen else "first branches"
    points = enumerate(front.points if front else (), start=1)
    return {title: chosen} | {f"point {i} of the front": search.selection_of(graph, point) for i, point in points}


def _space(
    file: Path, graph: SuperGraph, metrics: Sequence[Metric], given: Given, selections: Mapping[str, Selection]
) -> Space:
    """Price the supergraph, and the operators under each selection."""
    from supernet_onnx import cost as costs
    from supernet_onnx import page, selection, supergraph
    from supernet_onnx import report as reports

    operators = costs.by_operators(graph, metrics, selections.values(), **given)
    views = [page.View(*view, priced) for view, priced in zip(selections.items(), operators, strict=True)]
    inspection = reports.Inspection(file, graph, supergraph.format_version(graph.model), selection.count(graph))
    return page.Space(inspection, costs.measure(graph, metrics, **given), views)


def _front(file: Path, graph: SuperGraph) -> Front:
    """Read a front that has something to pick from."""
    front = read_front(file, graph)
    if len(front.metrics) < 2 or not front.points:
        raise ReportError(
            f"'{file}': a front of {len(front.metrics)} metrics and {len(front.points)} points has nothing to pick "
            "from; make one with supernet-onnx pareto"
        )
    return front


def _read(file: Path | None, read: Callable[[str], T]) -> T | None:
    """Read a file, if one is given.

    Raises:
        ReportError: It cannot be read.
    """
    from supernet_onnx import storage

    if file is None:
        return None
    with options.reading(file, ReportError):
        return read(storage.read_text(file))
