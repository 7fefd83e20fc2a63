"""The arguments and options that verbs share, and what they mean."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from supernet_onnx.admission import Limits
    from supernet_onnx.cost import Metric, Metrics
    from supernet_onnx.errors import SuperNetError
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = [
    "METRICS",
    "PATH",
    "THREADS",
    "Finite",
    "allow_links",
    "check_dims",
    "check_targets",
    "choices",
    "choose",
    "choose_or_first",
    "common",
    "cost_sources",
    "dims",
    "find_metrics",
    "gate",
    "inputs",
    "limits",
    "metrics",
    "read",
    "read_supernet",
    "reading",
    "selecting",
    "shapes",
    "sizes",
]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

METRICS: Final = ("params", "macs", "size")
"""What is counted unless the user says otherwise."""

_LIMITS: Final = "supernet_onnx.limits"  # keys of the context's meta
_LINKS: Final = "supernet_onnx.allow_links"

PATH: Final = click.Path(path_type=Path)

THREADS: Final = click.IntRange(1, 1024)
"""How many threads; far more than any machine has use for would take it down."""


class Finite(click.FloatRange):
    """A number in a range, neither infinite nor NaN, which compares with nothing."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not finite.", param, ctx)
        return number


def common(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--json`` and ``--debug``, and what every model passes: ``gate``."""
    command = gate(command)
    command = click.option("--debug", is_flag=True, expose_value=False, help="Print tracebacks and onnxruntime's log.")(
        command
    )
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")(command)


def gate(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--limit`` and ``--allow-links``, for ``read``."""
    command = click.option(
        "--allow-links",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Read external data through links out of the model's folder.",
    )(command)
    return click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="NAME=VALUE",
        expose_value=False,
        callback=_remember,
        help="Take a model of more bytes, nodes, depth, inputs, rank, elements, names, pools or branches than usual.",
    )(command)


def read(file: Path) -> SuperGraph:
    """Read a model through the gate, with the limits that the command line sets.

    Raises:
        ModelError: The file is missing, no ONNX model, or does not pass.
    """
    from supernet_onnx import supergraph

    return supergraph.read(file, limits=limits(), allow_links=allow_links())


def read_supernet(file: Path) -> SuperGraph:
    """Read a model, as ``read`` does, that must have pools.

    Raises:
        ModelError: As for ``read``.
        MarkError: It has none, or a tool has hidden one.
    """
    from supernet_onnx import supergraph
    from supernet_onnx.errors import MarkError

    graph = read(file)
    with reading(file, MarkError):
        supergraph.check_pools(graph)
    return graph


def limits() -> Limits:
    """Return the limits that ``--limit`` sets.

    Raises:
        click.BadParameter: There is no such limit.
    """
    from supernet_onnx.admission import Limits

    found = Limits()
    for name, value in click.get_current_context().meta.get(_LIMITS, {}).items():
        if name not in Limits.names_of_all():
            raise click.BadParameter(
                f"there is no limit '{name}'; the limits are: {', '.join(Limits.names_of_all())}",
                click.get_current_context(),
                param_hint="--limit",
            )
        found = found.with_limit(name, value)
    return found


def allow_links() -> bool:
    """Tell whether ``--allow-links`` was given."""
    return bool(click.get_current_context().meta.get(_LINKS, False))


def _remember(context: click.Context, parameter: click.Parameter, value: bool | Sequence[str]) -> None:
    if isinstance(value, bool):
        context.meta[_LINKS] = value
    else:
        context.meta[_LIMITS] = _pairs(context, parameter, value, _size, "NAME=VALUE with a value of at least 1")


def selecting(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--select`` and ``--selection``, for ``choose``."""
    command = click.option(
        "--selection", "selection_file", type=PATH, metavar="F.json", help="Read the selection from a file."
    )(command)
    return click.option(
        "--select",
        "pairs",
        multiple=True,
        metavar="POOL=BRANCH",
        help="Choose a branch by name or index; over --selection, which is over the largest weight. Repeatable.",
    )(command)


def dims(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--dim``."""
    return click.option(
        "--dim",
        "dims",
        multiple=True,
        metavar="NAME=SIZE",
        callback=_dims,
        help="Bind a symbolic dim of the inputs. Repeatable.",
    )(command)


def shapes(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--shape``."""
    return click.option(
        "--shape",
        "shapes",
        multiple=True,
        metavar="INPUT=1,3,224,224",
        callback=_shapes,
        help="Give the shape of an input. Repeatable.",
    )(command)


def sizes(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--dim``, ``--shape``, ``--value`` and ``--trip-count``."""
    for flag, name, metavar, callback, text in (
        (
            "--trip-count",
            "trip_counts",
            "NODE=COUNT",
            _counts,
            "Say how often the body of a Loop, Scan or SequenceMap runs.",
        ),
        (
            "--value",
            "values",
            "INPUT=NUMBER",
            _values,
            "Give the value of an input of one element that steers control flow.",
        ),
    ):
        command = click.option(
            flag, name, multiple=True, metavar=metavar, callback=callback, help=f"{text} Repeatable."
        )(command)
    return dims(shapes(command))


def cost_sources(command: Callable[P, R], *, flag: str) -> Callable[P, R]:
    """Add ``--cost-module`` and ``--cost-table``, where ``flag`` finds more metrics than those of the package."""
    command = click.option(
        "--cost-table",
        "tables",
        type=PATH,
        multiple=True,
        metavar="F.json",
        help="Take what profile measured for this model as a metric, too: latency. Repeatable.",
    )(command)
    return click.option(
        "--cost-module",
        "modules",
        type=PATH,
        multiple=True,
        metavar="FILE.py",
        help=f"Run a Python file; {flag} then knows each CostSpec in it. Repeatable.",
    )(command)


def inputs(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--inputs``."""
    return click.option(
        "--inputs",
        "inputs_file",
        type=PATH,
        metavar="F.npz",
        help="Run on these arrays, named like the inputs, instead of on random ones.",
    )(command)


def choose(
    supergraph: SuperGraph,
    pairs: Sequence[str],
    selection_file: Path | None,
    *,
    defaults: Mapping[str, int | str] | None = None,
) -> Selection:
    """Make the selection that ``--select`` and ``--selection`` ask for, over the defaults.

    Raises:
        SelectionError: The file cannot be read or is no selection, or a pool or branch is not there.
    """
    from supernet_onnx.selection import resolve

    return resolve(supergraph, {**(defaults or {}), **choices(supergraph, pairs, selection_file)})


def choose_or_first(
    supergraph: SuperGraph, pairs: Sequence[str], selection_file: Path | None
) -> tuple[Selection, bool]:
    """Make a selection also where pools have computed weights, of which no branch was asked for: the first then.

    Returns:
        The selection, and whether it was all asked for or follows from weights.

    Raises:
        SelectionError: As for ``choose``.
    """
    from supernet_onnx.errors import SelectionError

    computed = {pool.name: 0 for pool in supergraph.pools if pool.branches[0].weight is None}
    try:
        return choose(supergraph, pairs, selection_file), True
    except SelectionError:
        if not computed:
            raise
        return choose(supergraph, pairs, selection_file, defaults=computed), False


def choices(supergraph: SuperGraph, pairs: Sequence[str], selection_file: Path | None) -> dict[str, int | str]:
    """Return the branches that ``--select`` and ``--selection`` ask for, checked; other pools are not in it.

    Raises:
        SelectionError: The file cannot be read or is no selection, or a pool or branch is not there.
    """
    from supernet_onnx import selection, storage
    from supernet_onnx.errors import SelectionError

    chosen = selection.choices(supergraph, pairs)
    if selection_file is None:
        selection.find(supergraph, chosen)
        return chosen
    with reading(selection_file, SelectionError):
        chosen = {**selection.from_json(storage.read_text(selection_file)), **chosen}
        selection.find(supergraph, chosen)
    return chosen


@contextlib.contextmanager
def reading(file: Path, kind: type[SuperNetError]) -> Iterator[None]:
    """Name a text file in the errors of reading it: those of the system, and those of a kind that say what is wrong.

    Raises:
        SuperNetError: Of that kind.
    """
    try:
        yield
    except OSError as error:
        raise kind(f"'{file}' cannot be read: {error.strerror}") from error
    except kind as error:
        raise kind(f"'{file}': {error}") from error


def metrics(
    texts: Iterable[str], modules: Iterable[Path] = (), tables: Iterable[Path] = (), *, flag: str = "--metric"
) -> list[Metric]:
    """Find the metrics that a flag asks for, each once; as ``find_metrics``."""
    return list({metric.name: metric for metric in find_metrics(texts, modules, tables, flag=flag)}.values())


def find_metrics(
    texts: Iterable[str], modules: Iterable[Path] = (), tables: Iterable[Path] = (), *, flag: str = "--metric"
) -> list[Metric]:
    """Find the metric of each text: ``NAME``, or ``NAME:SETTING=BITS,...`` for bit widths.

    Args:
        texts: What was asked for.
        modules: The files of ``--cost-module``.
        tables: The files of ``--cost-table``.
        flag: Where it was asked for.

    Raises:
        click.BadParameter: There is no such metric, or it has no such setting.
        CostError: A file or package cannot give its metrics.
    """
    from supernet_onnx import cost

    known = cost.Metrics(modules, tables)
    return [_metric(text, known, flag) for text in texts]


def _metric(text: str, known: Metrics, flag: str) -> Metric:
    from supernet_onnx import cost

    name, colon, settings = text.partition(":")
    metric = known.find(name)
    if metric is None and name == "latency":
        raise _bad(flag, "'latency' is measured; give the table that supernet-onnx profile wrote with --cost-table")
    if metric is None:
        raise _bad(flag, f"'{name}' is no metric; the metrics are: {', '.join(known.names)}")
    if not colon:
        return metric
    if not isinstance(metric, cost.HardwareModel):
        raise _bad(flag, f"'{text}': {name} has no settings; give its name alone")
    bits: dict[str, int] = {}
    for setting in settings.split(","):
        key, _, value = setting.partition("=")
        if key not in ("weight_bits", "act_bits"):
            raise _bad(
                flag, f"'{text}': '{setting}' is no setting of {name}; it has weight_bits=BITS and act_bits=BITS"
            )
        if not (value.isascii() and value.isdigit()) or int(value) < 1:
            raise _bad(flag, f"'{text}': '{value}' is no number of bits for {key}; expected for example {key}=8")
        if bits.setdefault(key, int(value)) != int(value):
            raise _bad(flag, f"'{text}': {key} is given twice, {bits[key]} and {value}")
    return metric(weight_bits=bits.get("weight_bits"), act_bits=bits.get("act_bits"))


def _bad(flag: str, message: str) -> click.BadParameter:
    return click.BadParameter(message, click.get_current_context(), param_hint=flag)


def check_dims(supergraphs: Iterable[SuperGraph], sizes: Mapping[str, int]) -> None:
    """Refuse a ``--dim`` that no model states, such as a misspelt one.

    Raises:
        click.BadParameter: There is one.
    """
    from supernet_onnx.shapes import type_of

    known: dict[str, None] = {}
    for supergraph in supergraphs:
        graph = supergraph.graph
        for values in (graph.input, graph.output, graph.value_info):
            for value in values:
                shape = type_of(value.type).shape if value.type.HasField("tensor_type") else None
                known.update((dim, None) for dim in shape or () if isinstance(dim, str))
    for name in sizes:
        if name not in known:
            raise click.BadParameter(
                f"no dim is named '{name}'; the model's are: {', '.join(known) or 'none'}",
                click.get_current_context(),
                param_hint="--dim",
            )


def check_targets(
    targets: Sequence[Path], *, inputs: Sequence[Path | None], supergraph: SuperGraph, force: bool
) -> None:
    """Refuse outputs that cannot be written or are also inputs, before any work is done.

    Args:
        targets: The files to be written.
        inputs: The files that are read.
        supergraph: The model that is read; the files of its external data are inputs too.
        force: Whether an input may be replaced.

    Raises:
        OutputError: A target is a folder, its folder is missing, it is another target, or it is an input.
    """
    from supernet_onnx import storage
    from supernet_onnx.errors import OutputError

    taken = [path for path in inputs if path is not None]
    if supergraph.directory is not None:
        taken += storage.data_files(supergraph.model, supergraph.directory)
    for path in targets:
        storage.check_target(path)
        if not path.parent.is_dir():
            raise OutputError(f"output '{path}': its folder does not exist; create it first")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"output '{path}': its folder may not be written to; choose another one")
        if not force:
            storage.refuse_overwrite(path, taken)
    if len({path.resolve() for path in targets}) < len(targets):
        raise OutputError(f"output '{targets[0]}' is named twice; give each output a file of its own")


def _dims(context: click.Context, parameter: click.Parameter, pairs: Sequence[str]) -> dict[str, int]:
    return _pairs(context, parameter, pairs, _size, "NAME=SIZE with a size of at least 1")


def _counts(context: click.Context, parameter: click.Parameter, pairs: Sequence[str]) -> dict[str, int]:
    return _pairs(context, parameter, pairs, _size, "NODE=COUNT with a count of at least 1")


def _shapes(context: click.Context, parameter: click.Parameter, pairs: Sequence[str]) -> dict[str, tuple[int, ...]]:
    expected = "INPUT=SIZE,SIZE,... with sizes of at least 1"
    return _pairs(context, parameter, pairs, lambda text: tuple(map(_size, text.split(","))), expected)


def _values(context: click.Context, parameter: click.Parameter, pairs: Sequence[str]) -> dict[str, float]:
    return _pairs(context, parameter, pairs, _number, "INPUT=NUMBER")


def _pairs(
    context: click.Context, parameter: click.Parameter, pairs: Sequence[str], read: Callable[[str], T], expected: str
) -> dict[str, T]:
    """Read what is given as ``NAME=VALUE``, each name once."""
    found: dict[str, T] = {}
    for pair in pairs:
        name, _, text = pair.rpartition("=")
        try:
            value = read(text)
        except ValueError as error:
            raise click.BadParameter(f"'{pair}' is not {expected}", context, parameter) from error
        if not name:
            raise click.BadParameter(f"'{pair}' is not {expected}", context, parameter)
        if found.setdefault(name, value) != value:
            kind = parameter.opts[0].removeprefix("--").replace("-", " ")
            problem = f"'{name}' is given two values, {found[name]} and {value}"
            if kind == "dim":
                problem = f"dim '{name}' is given two sizes, {found[name]} and {value}"
            raise click.BadParameter(problem, context, parameter)
    return found


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ValueError(text)
    return int(text)


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)
