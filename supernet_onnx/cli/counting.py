"""The options of a verb that prices a model: what is counted, and what becomes of that which cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from supernet_onnx.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["counting"]

P = ParamSpec("P")
R = TypeVar("R")


def counting(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--metric``, ``--cost-module``, ``--cost-table``, ``--unknown``; ``options.metrics`` finds them."""
    command = options.cost_sources(command, flag="--metric")
    command = click.option(
        "--unknown",
        type=click.Choice(["error", "free"]),
        default="error",
        show_default=True,
        help="What becomes of an operator that a metric cannot count.",
    )(command)
    return click.option(
        "--metric",
        "names",
        multiple=True,
        default=options.METRICS,
        metavar="NAME[:SETTING=BITS,...]",
        show_default=True,
        help="What to count; mpic_latency:weight_bits=8,act_bits=8 says what a float model will be. Repeatable.",
    )(command)
