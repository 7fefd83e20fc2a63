"""The verb ``inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from supernet_onnx.cli import options
from supernet_onnx.cli.output import progress, show

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["inspect"]


@click.command()
@click.argument("file", type=options.PATH)
@options.common
def inspect(file: Path, *, as_json: bool) -> None:
    """Show the pools of FILE and their branches.

    For each branch its weight, its score, the nodes that only it needs, and whether it is the default choice.
    """
    from supernet_onnx import report, selection, supergraph

    with progress("reading the model"):
        graph = options.read(file)
    version, space = supergraph.format_version(graph.model), selection.count(graph)
    show(report.Inspection(file, graph, version, space), as_json=as_json)
