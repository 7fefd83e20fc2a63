"""The verb ``search``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.budgeting import budgeting
from supernet_onnx.cli.fronts import check_outputs, render, writing
from supernet_onnx.cli.measuring import measuring
from supernet_onnx.cli.output import muted, progress, show

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from supernet_onnx.cli.budgeting import Demands
    from supernet_onnx.cli.measuring import Data
    from supernet_onnx.search.studies import Sampler

__all__ = ["search"]


@click.command()
@click.argument("file", type=options.PATH)
@measuring
@click.option(
    "--objective",
    default="accuracy",
    show_default=True,
    metavar="NAME",
    help="What is measured: accuracy, cross_entropy, or FILE.py:FUNCTION, a loss of your own.",
)
@click.option(
    "--metric",
    "names",
    multiple=True,
    metavar="NAME",
    help="A cost, to be traded for the objective; params if left out. Repeatable.",
)
@options.selecting
@budgeting
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="How many selections to measure, with those that the study has already.",
)
@click.option(
    "--storage",
    metavar="PLACE",
    help="Where to keep the study: a journal file, or the URL of a database; in memory if left out.",
)
@click.option("--study", metavar="NAME", help="The study to begin, or to go on with; FILE's name if left out.")
@click.option(
    "--sampler",
    type=click.Choice(["nsga2", "random"]),
    default="nsga2",
    show_default=True,
    help="What proposes selections.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the sampler.")
@writing
@options.dims
@click.option("--force", is_flag=True, help="Replace a file that is also read.")
@options.common
def search(
    file: Path,
    *,
    data: Data,
    objective: str,
    names: tuple[str, ...],
    pairs: tuple[str, ...],
    selection_file: Path | None,
    demands: Demands,
    trials: int,
    storage: str | None,
    study: str | None,
    sampler: Sampler,
    seed: int,
    outputs: tuple[Path, ...],
    dims: dict[str, int],
    force: bool,
    as_json: bool,
) -> None:
    """Search FILE for selections that trade costs for what they measure on data.

    Each selection is cut out, gets BatchNorm statistics of its own, and is measured in onnxruntime; Optuna proposes
    the next. Runs of one study share what they measured: at once, from other machines, or one after the other.
    """
    if study is not None and storage is None:
        raise click.UsageError("--study is a name in what --storage keeps; give both")
    from supernet_onnx import report
    from supernet_onnx import storage as files
    from supernet_onnx.search.explorer import Exploration
    from supernet_onnx.search.processes import explore

    with progress("reading the model"):
        graph = options.read_supernet(file)
    options.check_dims([graph], dims)
    budgets, _ = demands.parsed()
    metrics = _metrics(names or ("params",), demands)
    read = [file, data.file, data.calibration, selection_file, demands.scores_file, *demands.tables]
    check_outputs(outputs, inputs=read, supergraph=graph, force=force, metrics=len(metrics) + 1)
    _keep_study(storage, outputs)
    exploration = Exploration(
        data.evaluation(file, objective),
        metrics=metrics,
        budgets=budgets,
        pins=options.choices(graph, pairs, selection_file),
        modules=demands.modules,
        tables=demands.tables,
        dims=dims,
        scores=demands.scores(),
        storage=storage,
        study=study or file.stem,
        sampler=sampler,
        seed=seed,
    )
    with progress("measuring selections") as tell, muted():
        found = explore(exploration, trials=trials, jobs=data.jobs, progress=tell)
    for path, content in render(found.front, outputs):
        files.write(path, content)
    facts = {"trials": found.trials, "measured": found.measured, "lost": found.lost}
    show(report.Tradeoffs(found.front, outputs, facts=facts), as_json=as_json)


def _keep_study(place: str | None, outputs: Sequence[Path]) -> None:
    """Refuse an output that would replace the file of the study, which nothing makes good.

    Raises:
        OutputError: It is the one that is there, or that would be made.
    """
    from supernet_onnx.errors import OutputError
    from supernet_onnx.search.studies import file_of

    kept = file_of(place)
    for path in outputs:
        if kept is not None and path.resolve() == kept.resolve():
            raise OutputError(f"output '{path}' is where --storage keeps the study; choose another name")


def _metrics(texts: Sequence[str], demands: Demands) -> tuple[str, ...]:
    """Return the names of metrics, by which other processes find them."""
    for text in (*texts, *demands.budgets):
        if ":" in text.partition("=")[0]:
            raise click.BadParameter(
                f"'{text}' has settings, which a search does not take; give the name of a metric alone",
                click.get_current_context(),
            )
    return tuple(metric.name for metric in options.metrics(texts, demands.modules, demands.tables))
