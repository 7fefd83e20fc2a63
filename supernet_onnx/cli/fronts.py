"""The verb ``pareto``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.budgeting import budgeting
from supernet_onnx.cli.output import muted, progress, show
from supernet_onnx.cli.recalibrating import recalibrating
from supernet_onnx.errors import ModelError, SelectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from supernet_onnx.cli.budgeting import Demands
    from supernet_onnx.cli.recalibrating import Calibration
    from supernet_onnx.search import Front
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["check_outputs", "pareto", "read_front", "render", "writing"]

P = ParamSpec("P")
R = TypeVar("R")

_POINTS: Final = 20
_ALL: Final = "all"
_SUFFIXES: Final = (".json", ".csv", ".png")


def _count(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Read ``--points``: a number, or 0 for all; None if it is left out."""
    if text is None or text == _ALL:
        return None if text is None else 0
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise click.BadParameter(f"'{text}' is neither a number of at least 1 nor '{_ALL}'", context, parameter)
    return int(text)


def writing(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--output``, for ``check_outputs`` and ``render``."""
    return click.option(
        "-o",
        "--output",
        "outputs",
        type=options.PATH,
        multiple=True,
        metavar="OUT",
        help="Write the front: .json, .csv, or a picture, .png. Repeatable.",
    )(command)


@click.command()
@click.argument("file", type=options.PATH)
@click.option(
    "--metric",
    "names",
    multiple=True,
    metavar="NAME",
    help="A cost, to be traded for score; up to three, params if left out. Repeatable.",
)
@click.option(
    "--points",
    callback=_count,
    metavar="N|all",
    help=f"How many points to look for, {_POINTS} if left out; all of them takes long where there are many pools.",
)
@options.selecting
@budgeting
@click.option("--from", "source", type=options.PATH, metavar="F.json", help="Take this front instead of a sweep.")
@writing
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Write the subnets of the K points of most score.")
@click.option("--folder", type=options.PATH, metavar="DIR", help="Where to; NAME.top beside FILE if left out.")
@recalibrating
@options.dims
@click.option("--force", is_flag=True, help="Replace a file that is also read.")
@options.common
def pareto(
    file: Path,
    *,
    names: tuple[str, ...],
    points: int | None,
    pairs: tuple[str, ...],
    selection_file: Path | None,
    demands: Demands,
    source: Path | None,
    outputs: tuple[Path, ...],
    top: int | None,
    folder: Path | None,
    calibration: Calibration,
    dims: dict[str, int],
    force: bool,
    as_json: bool,
) -> None:
    """Trade costs of FILE for score: the selections that no other one beats.

    Each point is an exact choice under limits. The score is what prune --budget maximizes. With --from, the points
    are those of a front that search or pareto wrote.
    """
    demanded = demands or demands.modules or demands.tables
    if source is not None and (names or points is not None or pairs or selection_file or demanded or dims):
        raise click.UsageError(
            "--from takes a front as it is; leave out --metric, --points, --select, --dim, budgets and costs"
        )
    if folder is not None and top is None:
        raise click.UsageError("--folder is where --top K writes subnets; give both")
    if (calibration.file is not None or calibration.folds) and top is None:
        raise click.UsageError("--recalibrate and --fold are about the subnets that --top K writes; give it, too")
    from supernet_onnx import report, storage

    with progress("reading the model"):
        graph = options.read_supernet(file)
    options.check_dims([graph], dims)
    read = [file, source, selection_file, demands.scores_file, calibration.file, *demands.tables]
    folder = _folder(file, folder) if top is not None else None
    names = names or ("params",)
    known = read_front(source, graph) if source is not None else None
    shown = len(names) + 1 if known is None else len(known.metrics)
    check_outputs(outputs, inputs=read, supergraph=graph, force=force, metrics=shown)
    front = known or _sweep(graph, file, names, points, pairs, selection_file, demands, dims)
    contents = render(front, outputs)
    subnets = [] if top is None or folder is None else _write_subnets(graph, front, file, top, folder, calibration)
    for path, content in contents:
        storage.write(path, content)
    show(report.Tradeoffs(front, outputs, subnets), as_json=as_json)


def check_outputs(
    outputs: Sequence[Path], *, inputs: Sequence[Path | None], supergraph: SuperGraph, force: bool, metrics: int
) -> None:
    """Refuse files that a front cannot be written to, before any work is done.

    Raises:
        click.BadParameter: A name ends in something else than .json, .csv or .png, or a picture cannot show so many
            metrics.
        OutputError: As for ``options.check_targets``.
    """
    for path in outputs:
        if path.suffix not in _SUFFIXES:
            raise _bad_output(f"'{path}' ends in none of {', '.join(_SUFFIXES)}, which say what is written")
        if path.suffix == ".png" and metrics > 3:
            raise _bad_output(f"'{path}': a picture shows two or three metrics, not {metrics}; write .csv or .json")
    options.check_targets(outputs, inputs=inputs, supergraph=supergraph, force=force)


def render(front: Front, outputs: Sequence[Path]) -> list[tuple[Path, bytes]]:
    """Return the files that a front is written to and their contents, each in the form that its name says.

    Raises:
        MissingPackageError: A picture needs matplotlib, which is not installed.
    """
    from supernet_onnx import report

    made = {".json": front.to_json, ".csv": front.to_csv}
    return [(p, report.draw_front(front) if p.suffix == ".png" else made[p.suffix]().encode()) for p in outputs]


def _sweep(
    graph: SuperGraph,
    file: Path,
    names: Sequence[str],
    points: int | None,
    pairs: Sequence[str],
    selection_file: Path | None,
    demands: Demands,
    dims: Mapping[str, int],
) -> Front:
    from supernet_onnx import search

    budgets, bounded = demands.parsed()
    wanted = options.metrics(names, demands.modules, demands.tables)
    if len(wanted) > 3:
        raise click.BadParameter(
            f"{len(wanted)} metrics; a front has at most three, and the score",
            click.get_current_context(),
            param_hint="--metric",
        )
    pins = options.choices(graph, pairs, selection_file)
    scores = demands.scores()
    with progress("choosing") as tell, muted():
        metrics = {metric.name: metric for metric in [*wanted, *bounded]}
        chooser = search.Chooser(graph, metrics.values(), dims=dims)
        return search.sweep(
            chooser,
            [metric.name for metric in wanted],
            points=_POINTS if points is None else points or None,
            budgets=budgets,
            scores=scores,
            pins=pins,
            model=file.name,
            progress=lambda done, whole: tell(done, whole) if whole else None,
        )


def read_front(source: Path, graph: SuperGraph) -> Front:
    """Read a front whose points are selections of a supergraph; points that others beat are left out.

    Raises:
        ModelError: The file cannot be read, or is no front of this supergraph.
    """
    from supernet_onnx import search, storage

    with options.reading(source, ModelError):
        front = search.front_from_json(storage.read_text(source))
        try:
            for point in front.points:
                search.selection_of(graph, point)
        except SelectionError as error:
            raise ModelError(str(error)) from error
    return search.nondominated(front.model, front.metrics, front.points, complete=front.complete, note=front.note)


def _folder(file: Path, folder: Path | None) -> Path:
    from supernet_onnx import storage

    folder = folder or file.with_name(f"{file.stem}.top")
    storage.check_new_folder(folder)
    return folder


def _write_subnets(
    graph: SuperGraph, front: Front, file: Path, top: int, folder: Path, calibration: Calibration
) -> list[Path]:
    """Write the best subnets of a front, all of them or none."""
    from supernet_onnx import admission, pruning, search, storage

    points = front.best(top)
    names = [f"{file.stem}.{rank}.onnx" for rank in range(1, len(points) + 1)]
    with storage.new_folder(folder) as draft:
        for name, point in zip(names, points, strict=True):
            subnet = pruning.prune(graph, search.selection_of(graph, point))
            admission.admit(subnet, None, options.limits())
            subnet, _ = calibration.apply(subnet, directory=graph.directory)
            storage.save(subnet, draft / name, directory=graph.directory, allow_links=options.allow_links())
    return [folder / name for name in names]


def _bad_output(message: str) -> click.BadParameter:
    return click.BadParameter(message, click.get_current_context(), param_hint="--output")
