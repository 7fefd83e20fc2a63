"""Metrics by name: those of the package, of installed packages, of a file, and what goes wrong with each."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from supernet_onnx.cost import METRICS, CostSpec, Metrics, macs, measure
from supernet_onnx.errors import CostError
from tests.cost.supergraphs import graph

if TYPE_CHECKING:
    from pathlib import Path

CYCLES = """
    from supernet_onnx.cost import CostSpec, OpCall, macs

    dsp_cycles = CostSpec("dsp_cycles", "cycles", default="zero")
    alias = dsp_cycles

    @dsp_cycles.counts("Relu")
    def relu(call: OpCall) -> int:
        return 2 * call.output().numel
"""


def write(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """Make a package with entry points that looks installed."""
    info = folder / "my_costs-1.0.dist-info"
    info.mkdir()
    write(info / "METADATA", "Metadata-Version: 2.1\nName: my-costs\nVersion: 1.0\n")
    write(info / "entry_points.txt", "[supernet_onnx.costs]\n" + "\n".join(lines))
    monkeypatch.syspath_prepend(str(folder))


def test_the_metrics_of_the_package_are_known() -> None:
    assert Metrics().names == tuple(METRICS)
    assert Metrics().find("macs") is macs
    assert Metrics().find("flops") is None


def test_a_file_gives_the_metrics_that_it_defines_not_those_that_it_imports(tmp_path: Path) -> None:
    metrics = Metrics([write(tmp_path / "costs.py", CYCLES)])
    assert metrics.names == (*METRICS, "dsp_cycles")
    found = metrics.find("dsp_cycles")
    assert isinstance(found, CostSpec)
    supergraph = graph("g (float[4] x) => (float[4] y) { a = Relu (x)  y = other.Magic (a) }")
    assert measure(supergraph, [found])["dsp_cycles"].trunk == 8


def test_an_installed_package_gives_metrics_through_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "my_costs_module.py", CYCLES)
    install(monkeypatch, tmp_path, "dsp_cycles = my_costs_module:dsp_cycles", "other = my_costs_module:dsp_cycles",
            "absent = my_costs_absent:metric", "nothing = my_costs_module:OpCall")  # fmt: skip
    metrics = Metrics()
    assert metrics.names == (*METRICS, "dsp_cycles", "other", "absent", "nothing")
    assert "my_costs_module" not in sys.modules  # nothing is imported before it is asked for
    found = metrics.find("dsp_cycles")
    assert found is not None
    assert found.unit == "cycles"
    with pytest.raises(CostError, match=r"^metric 'other', entry point 'my_costs_module:dsp_cycles': is CostSpec"):
        metrics.find("other")
    with pytest.raises(CostError, match=r"'my_costs_absent:metric': cannot be imported: ModuleNotFoundError: No modu"):
        metrics.find("absent")
    with pytest.raises(CostError, match=r"'my_costs_module:OpCall': is <class .*>, expected a metric of that name"):
        metrics.find("nothing")
    del sys.modules["my_costs_module"]


def test_two_metrics_of_one_name_are_an_error_whoever_defines_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "costs.py", CYCLES)
    with pytest.raises(CostError, match=r"^metric 'dsp_cycles' is defined by '.*costs.py' and by '.*again.py'; rename"):
        Metrics([path, write(tmp_path / "again.py", CYCLES)])
    install(monkeypatch, tmp_path, "dsp_cycles = my_costs_module:dsp_cycles")
    with pytest.raises(
        CostError, match=r"^metric 'dsp_cycles' is defined by the package 'my-costs' and by '.*costs.py"
    ):
        Metrics([path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"costs.py' defines no metric; assign a CostSpec to a name in it$"),
        ("import absent_package", r"costs.py' cannot be run: ModuleNotFoundError: No module named 'absent_package'"),
        ("x = (", r"costs.py' cannot be run: SyntaxError: '\(' was never closed"),
        ("1 / 0", r"costs.py' cannot be run: ZeroDivisionError: division by zero; mend it$"),
        ("from supernet_onnx.cost import CostSpec\nmine = CostSpec('macs', 'u')",
         r"^metric 'macs' is defined by supernet_onnx itself and by '.*costs.py'; rename one$"),
        ("from supernet_onnx.cost import CostSpec\na, b = CostSpec('m', 'u'), CostSpec('m', 'u')",
         r"costs.py' defines two metrics named 'm'; rename one$"),
        ("from supernet_onnx.cost import CostSpec\nmine = CostSpec('m', 'u', default='free')",
         r"costs.py' cannot be run: ValueError: metric 'm': default is 'free', expected 'fail' or 'zero'"),
    ],
)  # fmt: skip
def test_a_file_that_gives_no_metric_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CostError, match=message):
        Metrics([write(tmp_path / "costs.py", text)])


def test_a_file_that_is_not_there_or_no_python_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CostError, match=r"^cost module '.*none.py' is not there; give the path of a Python file$"):
        Metrics([tmp_path / "none.py"])
    with pytest.raises(CostError, match=r"costs.txt' is no Python file; expected a name that ends in .py$"):
        Metrics([write(tmp_path / "costs.txt", CYCLES)])
