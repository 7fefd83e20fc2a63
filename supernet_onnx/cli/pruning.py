"""The verb ``prune``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.budgeting import budgeting
from supernet_onnx.cli.output import progress, show
from supernet_onnx.cli.recalibrating import recalibrating
from supernet_onnx.errors import CheckFailedError, CostError, ModelError
from supernet_onnx.report import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from onnx import ModelProto

    from supernet_onnx.cli.budgeting import Demands
    from supernet_onnx.cli.recalibrating import Calibration
    from supernet_onnx.diagram import Number
    from supernet_onnx.runtime import Comparison
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["prune"]


@click.command()
@click.argument("file", type=options.PATH)
@click.option(
    "-o", "--output", type=options.PATH, metavar="OUT", help="Where to; NAME.pruned.onnx beside FILE if left out."
)
@options.selecting
@budgeting
@click.option("--save-selection", type=options.PATH, metavar="F.json", help="Write the selection to a file.")
@click.option("--verify", "verifies", is_flag=True, help="Compare with FILE in onnxruntime before anything is written.")
@options.inputs
@recalibrating
@options.dims
@click.option("--dry-run", is_flag=True, help="Do everything but write.")
@click.option("--force", is_flag=True, help="Replace a file that is also read.")
@options.common
def prune(
    file: Path,
    *,
    output: Path | None,
    pairs: tuple[str, ...],
    selection_file: Path | None,
    demands: Demands,
    save_selection: Path | None,
    verifies: bool,
    inputs_file: Path | None,
    calibration: Calibration,
    dims: dict[str, int],
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Cut FILE down to one branch for each pool.

    That is the branch of largest weight, unless another is selected, or the best branches within budgets.
    """
    if inputs_file is not None and not verifies:
        raise click.UsageError("--inputs is what --verify runs on; give both")
    if (demands.modules or demands.tables) and not demands.budgets:
        raise click.UsageError("--cost-module and --cost-table define what --budget may name; give a budget")
    from supernet_onnx import admission, pruning, report

    with progress("pruning"):
        graph = options.read_supernet(file)
        output = output or file.with_name(f"{file.stem}.pruned.onnx")
        options.check_dims([graph], dims)
        targets = _targets(graph.model, output) + ([] if save_selection is None else [save_selection])
        inputs = [file, selection_file, inputs_file, demands.scores_file, calibration.file]
        options.check_targets(targets, inputs=inputs, supergraph=graph, force=force)
        choice = demands.choose(graph, pairs, selection_file, dims) if demands else None
        chosen = choice.selection if choice else options.choose(graph, pairs, selection_file)
        subnet = pruning.prune(graph, chosen)
        admission.admit(subnet, None, options.limits())  # nothing is written that the checker would refuse
    comparison = _verified(graph, chosen, subnet, inputs_file, dims) if verifies else None
    subnet, batchnorms = calibration.apply(subnet, directory=graph.directory)
    with progress("pricing the subnet"):
        metrics, notes = _priced(subnet, dims)
    sizes = None if dry_run else _write(graph, chosen, subnet, file, output, save_selection)
    nodes = len(subnet.graph.node)
    notes = [*graph.recovery.notes, *notes]
    found = report.Pruning(graph, chosen, output, nodes, metrics, notes, sizes, comparison, choice, batchnorms)
    show(found, as_json=as_json)


def _verified(
    graph: SuperGraph, chosen: Selection, subnet: ModelProto, inputs_file: Path | None, dims: Mapping[str, int]
) -> Comparison:
    """Compare before anything is written; a failed check ends the command."""
    from supernet_onnx import runtime

    with progress("verifying"):
        inputs = None if inputs_file is None else runtime.load_inputs(inputs_file, graph.graph)
        comparison = runtime.verify(graph, chosen, subnet, inputs=inputs, dims=dims)
    if not comparison.passed:
        raise CheckFailedError(f"verification failed, nothing was written: {explain(comparison)}")
    return comparison


def _priced(subnet: ModelProto, dims: Mapping[str, int]) -> tuple[dict[str, tuple[str, Number | None]], list[str]]:
    """Price a subnet by the usual metrics; one that cannot price it fails no prune, but is noted."""
    from supernet_onnx import cost as costs
    from supernet_onnx import supergraph

    graph = supergraph.read(subnet)
    metrics = [costs.METRICS[name] for name in options.METRICS]
    priced: dict[str, tuple[str, Number | None]] = {}
    with contextlib.suppress(CostError, ModelError):  # the usual case: one inference of shapes for all
        priced = {name: (table.unit, table.trunk) for name, table in costs.measure(graph, metrics, dims=dims).items()}
    notes = []
    for metric in metrics if not priced else ():
        try:
            priced[metric.name] = (metric.unit, costs.measure(graph, [metric], dims=dims)[metric.name].trunk)
        except (CostError, ModelError) as error:
            priced[metric.name] = (metric.unit, None)
            notes.append(f"no {metric.name}: {error}")
    return priced, notes


def _write(
    graph: SuperGraph, chosen: Selection, subnet: ModelProto, file: Path, output: Path, save_selection: Path | None
) -> tuple[int, int]:
    """Write the subnet, and the selection if asked to; return the bytes of the supernet's and the subnet's files."""
    from supernet_onnx import storage

    before = _size_bytes([file, *storage.data_files(graph.model, file.parent)])
    with progress("writing", in_bytes=True) as tell:
        written = storage.save(
            subnet, output, directory=graph.directory, allow_links=options.allow_links(), progress=tell
        )
        if save_selection is not None:
            storage.write(save_selection, chosen.to_json().encode())
    return before, _size_bytes(written)


def _targets(model: ModelProto, output: Path) -> list[Path]:
    """Return the files that a model is saved to."""
    from supernet_onnx import storage

    has_data = next(storage.external_tensors(model), None) is not None
    return [output, output.with_name(f"{output.name}.data")] if has_data else [output]


def _size_bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.exists())
