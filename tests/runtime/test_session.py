from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from supernet_onnx.errors import RunError
from supernet_onnx.runtime import CPU, check_providers, open_session
from tests import marked

if TYPE_CHECKING:
    from pathlib import Path

HEADER = '<ir_version: 10, opset_import: ["" : 20]>'


def test_errors_of_onnxruntime_are_one_line_with_the_cause(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    foreign = marked.build(
        '<ir_version: 10, opset_import: ["" : 20, "far" : 1]> g (float[1] x) => (float[1] y) { y = far.Op (x) }'
    )
    path = marked.write(foreign, tmp_path / "far.onnx")
    with pytest.raises(
        RunError, match=r"far\.onnx': onnxruntime: .*far:Op.* is not a registered function/op"
    ) as raised:
        open_session(path)
    assert "\n" not in str(raised.value)
    session = open_session(marked.build(marked.PLAIN), where="the subnet")
    with pytest.raises(RunError, match=r"^the subnet: onnxruntime: Got invalid dimensions for input: x") as raised:
        session.run({"x": np.zeros((2, 9), np.float32)})
    assert "\n" not in str(raised.value)
    with pytest.raises(RunError, match=r"^the subnet: onnxruntime: Required inputs \(\['x'\]\) are missing"):
        session.run({})
    assert capfd.readouterr().err == ""


def test_onnxruntime_speaks_when_we_debug(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    gather = marked.build(HEADER + "g (float[2] x, int64[1] i) => (float[1] y) { y = Gather (x, i) }")
    feeds = {"x": np.zeros(2, np.float32), "i": np.array([9])}
    with pytest.raises(RunError):
        open_session(gather).run(feeds)
    assert capfd.readouterr().err == ""
    with caplog.at_level(logging.DEBUG, logger="supernet_onnx"), pytest.raises(RunError):
        open_session(gather).run(feeds)
    assert "Gather" in capfd.readouterr().err


def test_threads_are_taken() -> None:
    session = open_session(marked.build(marked.PLAIN), threads=1)
    assert session.run({"x": np.full((1, 4), -1.0, np.float32)})["y"].tolist() == [[0.0] * 4]


def test_a_bound_run_repeats_on_its_inputs_and_errors_are_ours() -> None:
    session = open_session(marked.build(HEADER + "g (float[2] x, int64[1] i) => (float[1] y) { y = Gather (x, i) }"))
    feeds = {"x": np.zeros(2, np.float32), "i": np.array([0])}
    run = session.bind(feeds)
    for _ in range(3):
        run()
    feeds["i"][0] = 9  # in place: the run sees it
    with pytest.raises(RunError, match=r"^the model: onnxruntime: .*Gather"):
        run()
    with pytest.raises(RunError, match=r"^the model: onnxruntime: "):
        session.bind({"nothing": np.zeros(2, np.float32)})


def test_providers_are_known_by_short_names_and_absent_ones_are_an_error_that_lists_those_present() -> None:
    assert check_providers(["cpu", "CPUExecutionProvider"]) == (CPU,)
    open_session(marked.build(marked.PLAIN), providers=check_providers([" CPU"]))
    with pytest.raises(RunError, match=r"no execution provider 'quantum' here; those present are: .*CPUExecution"):
        check_providers(["cpu", "quantum"])
