"""The command line: ``supernet-onnx VERB FILE...``.

The only package that prints. Nothing heavy is imported before a verb runs, so ``--help`` answers at once, and a
verb loads what it needs: ``inspect``, ``cost`` and ``prune`` load neither torch nor onnxruntime.
"""

from __future__ import annotations

import click

from supernet_onnx.cli.failures import Program
from supernet_onnx.cli.fronts import pareto
from supernet_onnx.cli.inspection import inspect
from supernet_onnx.cli.pricing import cost
from supernet_onnx.cli.profiling import profile
from supernet_onnx.cli.pruning import prune
from supernet_onnx.cli.reporting import report
from supernet_onnx.cli.scoring import score
from supernet_onnx.cli.searching import search
from supernet_onnx.cli.timing import bench
from supernet_onnx.cli.verification import verify

__all__ = ["main"]


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="supernet-onnx", prog_name="supernet-onnx")
@click.pass_context
def main(context: click.Context) -> None:
    """Inspect, price, prune, verify and time supernets: ONNX models with pools of alternative branches.

    Exit codes: 0 done; 1 a check failed; 2 bad usage or bad model; 70 a bug; 130 interrupted; 143 terminated.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


for _verb in (inspect, cost, profile, score, pareto, search, prune, verify, bench, report):
    main.add_command(_verb)
