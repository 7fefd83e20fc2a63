"""The verb ``score``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.measuring import measuring
from supernet_onnx.cli.output import progress, show

if TYPE_CHECKING:
    from pathlib import Path

    from supernet_onnx.cli.measuring import Data
    from supernet_onnx.search.scorer import Method, Scored

__all__ = ["score"]

_SELECTIONS: Final = 48


@click.command()
@click.argument("file", type=options.PATH)
@measuring
@click.option(
    "--loss",
    "measure",
    default="cross_entropy",
    show_default=True,
    metavar="NAME",
    help="What is measured: cross_entropy, accuracy, or FILE.py:FUNCTION, a loss of your own.",
)
@click.option(
    "--selections",
    "number",
    type=click.IntRange(min=3),
    metavar="N",
    help=f"How many random selections to measure, {_SELECTIONS} if left out.",
)
@click.option(
    "--method",
    type=click.Choice(["ridge", "replace-one"]),
    default="ridge",
    show_default=True,
    help="Effects of branches in random selections, or of each branch in the selected network alone.",
)
@options.selecting
@click.option("--seed", type=click.IntRange(min=0), help="Of the random selections, 0 if left out.")
@click.option(
    "-o", "--output", type=options.PATH, metavar="OUT", help="Write .json, or another .onnx; FILE itself if left out."
)
@click.option("--force", is_flag=True, help="Replace a file that is also read.")
@options.common
def score(
    file: Path,
    *,
    data: Data,
    measure: str,
    number: int | None,
    method: Method,
    pairs: tuple[str, ...],
    selection_file: Path | None,
    seed: int | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Score the branches of FILE: how much each helps, measured on data in onnxruntime.

    Random selections are cut out, get BatchNorm statistics of their own, and are measured. The scores, which prune
    --budget and pareto maximize, are written into FILE, or to OUT.
    """
    if method == "ridge" and (pairs or selection_file):
        raise click.UsageError("--select and --selection say in which network --method replace-one replaces; give it")
    if method == "replace-one" and (number is not None or seed is not None):
        raise click.UsageError("--selections and --seed are about random selections; --method replace-one has none")
    from supernet_onnx import report
    from supernet_onnx.search.scorer import score as score_branches

    with progress("reading the model"):
        graph = options.read_supernet(file)
    if output is not None and output.suffix not in (".json", ".onnx"):
        raise click.BadParameter(
            f"'{output}' ends neither in .json nor in .onnx, which says what is written",
            click.get_current_context(),
            param_hint="--output",
        )
    read = [data.file, data.calibration, selection_file, *([] if output is None else [file])]
    options.check_targets([output or file], inputs=read, supergraph=graph, force=force)
    with progress("measuring selections") as tell:
        scored = score_branches(
            data.evaluation(file, measure),
            selections=_SELECTIONS if number is None else number,
            method=method,
            base=lambda supergraph: options.choose(supergraph, pairs, selection_file),
            seed=seed or 0,
            jobs=data.jobs,
            progress=tell,
        )
    _write(scored, file, output)
    show(report.Scorecard(scored, method, output or file), as_json=as_json)


def _write(scored: Scored, file: Path, output: Path | None) -> None:
    """Write the scores; into the file itself whole or not at all, and its external data stay where they are."""
    from supernet_onnx import search, storage

    if output is not None and output.suffix == ".json":
        storage.write(output, search.scores_to_json(scored.supergraph, scored.scores).encode())
        return
    model = search.with_scores(scored.supergraph, scored.scores)
    if output is None or (output.exists() and output.samefile(file)):
        storage.write(file, storage.serialize(model))
    else:
        links = options.allow_links()
        storage.save(model, output, directory=scored.supergraph.directory, allow_links=links)
