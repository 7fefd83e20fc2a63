"""Compare the MACs of real models, operator by operator, with those of onnx-tool.

    python -m tools.check_onnx_tool

tools/setup installs the packages that ship the models. Every difference is explained by what onnx-tool counts:

- an addition for each element that gets a bias (Conv, ConvTranspose, Gemm);
- the biases, gates and activations of an LSTM or GRU, by its own weights for exp and tanh;
- comparisons, additions, exponentials and divisions of operators that multiply nothing by a weight (Relu, Softmax,
  BatchNormalization, pooling, ...), of which ours is 0.

Exit code 1 if a difference has no explanation, or onnx-tool cannot price a model without control flow.
"""

from __future__ import annotations

import math
import platform
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import onnx
import onnx_tool
from onnx_tool import node as theirs

import supernet_onnx
from supernet_onnx.cost import Given, by_operator, macs
from supernet_onnx.selection import Selection
from tools.check_real_models import CASES, FOLDER, LIGHT

PRODUCTS: Final = ("Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul")
"""The operators of these models that have MACs."""

BIASED: Final = ("Conv", "ConvTranspose", "Gemm")

RECURRENT: Final = {
    "GRU": 3 * theirs.ADD_MACS + 2 * theirs.EXP_MACS + theirs.TANH_MACS + 2 * theirs.ADD_MACS + 3 * theirs.MUL_MACS,
    "LSTM": 4 * theirs.ADD_MACS + 3 * theirs.EXP_MACS + 2 * theirs.TANH_MACS + theirs.ADD_MACS + 3 * theirs.MUL_MACS,
}
"""What onnx-tool adds for each element of the hidden states of all steps: sums of gates, activations, blending."""


class Difference(NamedTuple):
    """How two figures of one operator differ."""

    ours: int
    theirs: int
    reason: str | None


def priced(path: Path, given: Given) -> onnx_tool.Graph:
    """Return a model priced by onnx-tool, its inputs shaped as ours are."""
    model = onnx.load(path)
    shapes, values = given.get("shapes", {}), given.get("values", {})
    stored = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        if value.name not in stored:
            shape = shapes.get(value.name) or [max(dim.dim_value, 1) for dim in tensor.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            feeds[value.name] = np.full(shape, values.get(value.name, 0), dtype)
    graph = onnx_tool.Model(model).graph
    graph.shape_infer(feeds)
    graph.profile()
    return graph


def extras(graph: onnx_tool.Graph) -> dict[str, int]:
    """Return what onnx-tool adds to the products, by operator."""
    found: dict[str, int] = defaultdict(int)
    for node in graph.nodemap.values():
        if node.op_type in BIASED and len(node.input) == 3:
            found[node.op_type] += math.prod(graph.tensormap[node.output[0]].get_shape())
        elif node.op_type in RECURRENT:
            x, w, _, b = (graph.tensormap[name].get_shape() for name in node.input[:4])
            steps, gates = x[0] * x[1], 4 if node.op_type == "LSTM" else 3
            found[node.op_type] += steps * (b[0] * b[1] + w[1] // gates * RECURRENT[node.op_type])
    return found


def compare(path: Path, given: Given) -> dict[str, Difference]:
    """Return how the two differ on each operator of a model that either counts."""
    counted: dict[str, int] = defaultdict(int)
    graph = priced(path, given)
    for node in graph.nodemap.values():
        counted[node.op_type] += round(sum(node.macs))
    more = extras(graph)
    found = {}
    for line in by_operator(supernet_onnx.read(path), [macs], Selection((), (), ()), **given):
        ours, other = int(line.amounts["macs"]), counted.pop(line.operator, 0)
        reason: str | None = None
        if ours == other:
            reason = ""
        elif line.operator not in PRODUCTS and not ours:
            reason = "no products"
        elif ours + more[line.operator] == other:
            kind = "biases" if line.operator in BIASED else "biases, gates and activations"
            reason = f"{kind}: {more[line.operator]:,}"
        found[line.operator] = Difference(ours, other, reason)
    found.update(
        {name: Difference(0, other, None if name in PRODUCTS else "not live") for name, other in counted.items()}
    )
    return found


def check(path: Path, given: Given) -> bool:
    """Print the operators of one model, and tell whether every difference is explained."""
    print(path.stem)
    has_branches = any(node.op_type in ("If", "Loop", "Scan") for node in onnx.load(path).graph.node)
    try:
        found = compare(path, given)
    except NotImplementedError as error:
        print(f"    onnx-tool cannot price it: {type(error).__name__} {error}")
        return has_branches
    for name, (ours, other, reason) in found.items():
        if name in PRODUCTS and (ours or other):
            print(f"    {name:15}{ours:>16,}{other:>16,}  {'equal' if reason == '' else reason or 'UNEXPLAINED'}")
    rest = {name: other for name, (_, other, reason) in found.items() if name not in PRODUCTS and other}
    if rest:
        print(f"    {'no products':15}{0:>16,}{sum(rest.values()):>16,}  {', '.join(rest)}")
    return all(reason is not None for _, _, reason in found.values())


def main() -> int:
    """Compare every model; return the exit code."""
    print(
        f"supernet-onnx {supernet_onnx.__version__}, onnx-tool {version('onnx-tool')}, onnx {onnx.__version__}, "
        f"Python {platform.python_version()}; MACs of ours and of onnx-tool, and what the difference is"
    )
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    passed = [check(light / f"light_{name}.onnx", {}) for name in LIGHT]
    passed += [check(FOLDER / case.path, case.given) for case in CASES]
    print(f"{sum(passed)} of {len(passed)} models differ in nothing that has no explanation")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
