"""Calling the command line in this process, and the models that its tests share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from supernet_onnx.cli import main

if TYPE_CHECKING:
    from click.testing import Result

COMPUTED = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
computed (float[batch, 4] x) => (float[batch, 4] y)
<float[2] logits = {0.0, 1.0}, float[2] "q.weights" = {0.75, 0.25}> {
    w = Softmax (logits)
    minus = Neg (x)
    p = supernet_onnx.Pool2 <pool = "p", branches = ["plus", "minus"]> (w, x, minus)
    root = Abs (p)
    y = supernet_onnx.Pool2 <pool = "q", branches = ["plain", "root"]> ("q.weights", p, root)
}
"""

UNKNOWN = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1, "com.microsoft" : 1]>
unknown (float[batch, 4] x) => (float[batch, 4] y) <float[2] "p.weights" = {0.75, 0.25}> {
    odd = com.microsoft.Inverse (x)
    y = supernet_onnx.Pool2 <pool = "p", branches = ["odd", "skip"]> ("p.weights", odd, x)
}
"""


COST_MODULE = """
from supernet_onnx.cost import CostSpec

convs = CostSpec("convs", unit="convolutions", default="zero")
convs.counts("Conv")(lambda call: 1)
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def record(*arguments: object, exit_code: int = 0) -> dict[str, object]:
    result = call(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def error(*arguments: object, exit_code: int = 2) -> str:
    """Run a command that must fail; return its one line."""
    result = call(*arguments)
    assert result.exit_code == exit_code, result.output
    told = [line for line in result.stderr.splitlines() if not line.endswith(" ...")]  # what takes a busy machine long
    assert len(told) == 1
    assert told[0].startswith("error: ")
    as_json = json.loads(call(*arguments, "--json").stdout)["error"]
    assert set(as_json) == {"code", "message"}
    return f"{told[0]}\n"
