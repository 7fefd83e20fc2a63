"""Sessions of onnxruntime, and the one place where its errors become ours.

onnxruntime's own log is silent unless the logger ``supernet_onnx`` is set to DEBUG.
"""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

from supernet_onnx import storage
from supernet_onnx.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from onnx import ModelProto

__all__ = ["CPU", "Array", "Session", "Value", "check_providers", "open_session"]

CPU: Final = "CPUExecutionProvider"
"""The execution provider that every onnxruntime has."""

Array: TypeAlias = NDArray[np.generic]
"""A tensor."""

Value: TypeAlias = Array | list[Array]
"""What a graph output holds: a tensor, or a sequence of them; other kinds are refused where they are compared."""

_FOLDER_KEY: Final = "session.model_external_initializers_file_folder_path"
_WARNING: Final = 2  # onnxruntime's log severities go from 0, verbose,
_FATAL: Final = 4  # to 4; what is an error there is raised as well
_CODE: Final = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_ERRORS: Final[tuple[type[Exception], ...]] = (
    *(
        kind
        for kind in vars(onnxruntime_pybind11_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Session:
    """A model that onnxruntime has loaded.

    Attributes:
        where: What error messages call it.
        inputs: The names of the inputs that a run must feed.
        outputs: The names of its outputs.
    """

    where: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    _session: onnxruntime.InferenceSession = field(repr=False)
    _options: onnxruntime.RunOptions = field(repr=False)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Value]:
        """Run once and return every output by name.

        Raises:
            RunError: onnxruntime refuses the inputs, or cannot hand out an output.
        """
        with _translated(self.where):
            values = self._session.run(None, dict(feeds), self._options)
        return dict(zip(self.outputs, values, strict=True))

    def bind(self, feeds: Mapping[str, Array]) -> Callable[[], None]:
        """Return a run on these inputs that hands out no output, so that nothing but the model takes time.

        Raises:
            RunError: onnxruntime refuses the inputs; the function that is returned raises it, too.
        """
        with _translated(self.where):
            binding = self._session.io_binding()
            for name, array in feeds.items():
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
            for name in self.outputs:
                binding.bind_output(name)

        def run() -> None:
            with _translated(self.where):
                self._session.run_with_iobinding(binding, self._options)

        return run


def open_session(
    source: ModelProto | Path,
    *,
    directory: Path | None = None,
    threads: int | None = None,
    optimize: bool = True,
    providers: Sequence[str] = (CPU,),
    where: str = "the model",
) -> Session:
    """Load a model into onnxruntime.

    Args:
        source: A model, or the path of one.
        directory: The folder that a given model's external data are relative to.
        threads: How many an operator may use; None leaves it to onnxruntime. Between runs they sleep, so that
            the threads of one session take no time from another's.
        optimize: Whether onnxruntime may rewrite the graph. What it computes then differs in the last digits.
        providers: The execution providers, the first that can run a node does; ``check_providers`` made them.
        where: What error messages call a given model; a path speaks for itself.

    Raises:
        RunError: onnxruntime does not take the model.
        OutputError: A given model is over 2 GiB without its external data.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _severity()
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    loaded: bytes | str
    if isinstance(source, Path):
        where, loaded = f"'{source}'", str(source)
    else:
        loaded = storage.serialize(source)
        if directory is not None:
            options.add_session_config_entry(_FOLDER_KEY, str(directory))
    with _translated(where):
        session = onnxruntime.InferenceSession(
            loaded,
            options,
            providers=list(providers),
            enable_fallback=0,  # falling back prints
        )
    inputs, outputs = session.get_inputs(), session.get_outputs()
    run_options = onnxruntime.RunOptions()
    run_options.log_severity_level = _severity()
    return Session(
        where, tuple(value.name for value in inputs), tuple(value.name for value in outputs), session, run_options
    )


def check_providers(names: Sequence[str]) -> tuple[str, ...]:
    """Return the full names of execution providers: ``cuda`` is ``CUDAExecutionProvider``.

    Raises:
        RunError: This onnxruntime has no such provider.
    """
    there = onnxruntime.get_available_providers()
    known = {name.removesuffix("ExecutionProvider").lower(): name for name in there}
    found = []
    for name in names:
        full = known.get(name.strip().removesuffix("ExecutionProvider").lower())
        if full is None:
            raise RunError(
                f"onnxruntime has no execution provider '{name}' here; those present are: {', '.join(there)}; "
                "install the onnxruntime that has it, or name another"
            )
        found.append(full)
    return tuple(dict.fromkeys(found))


def _severity() -> int:
    return _WARNING if logging.getLogger("supernet_onnx").isEnabledFor(logging.DEBUG) else _FATAL


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn onnxruntime's exceptions, which share no base of their own, into ours."""
    try:
        yield
    except _ERRORS as error:
        cause = " ".join(_CODE.sub("", str(error)).split())
        raise RunError(f"{where}: onnxruntime: {cause}") from error
