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
    from collections.abc import Iterator, Mapping

    from onnx import ModelProto

__all__ = ["Array", "Session", "Value", "open_session"]

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


def open_session(
    source: ModelProto | Path,
    *,
    directory: Path | None = None,
    threads: int | None = None,
    optimize: bool = True,
    where: str = "the model",
) -> Session:
    """Load a model into onnxruntime, on the CPU.

    Args:
        source: A model, or the path of one.
        directory: The folder that a given model's external data are relative to.
        threads: How many an operator may use; None leaves it to onnxruntime. Between runs they sleep, so that
            the threads of one session take no time from another's.
        optimize: Whether onnxruntime may rewrite the graph. What it computes then differs in the last digits.
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
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # falling back prints
        )
    inputs, outputs = session.get_inputs(), session.get_outputs()
    run_options = onnxruntime.RunOptions()
    run_options.log_severity_level = _severity()
    return Session(
        where, tuple(value.name for value in inputs), tuple(value.name for value in outputs), session, run_options
    )


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
