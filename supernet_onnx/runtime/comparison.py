"""A subnet against its supernet: do they compute the same?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import ModelProto, numpy_helper

from supernet_onnx import marks
from supernet_onnx.errors import RunError
from supernet_onnx.graph import standard_opset
from supernet_onnx.runtime.feeds import random_inputs
from supernet_onnx.runtime.session import open_session
from supernet_onnx.selection import check

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from supernet_onnx.runtime.session import Array, Value
    from supernet_onnx.selection import Selection
    from supernet_onnx.supergraph import SuperGraph

__all__ = ["ATOL", "NUM_INPUTS", "RTOL", "Comparison", "OutputComparison", "compare", "one_hot", "verify"]

ATOL: Final = 1e-5
RTOL: Final = 1e-4
NUM_INPUTS: Final = 3

_FUNCTION_OPSET: Final = 15  # the first with CastLike, which a pool's function needs


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """How far one output of a subnet is from what was expected.

    Attributes:
        name: The output.
        max_abs: The largest difference; infinite where NaN or infinity stands on one side only, or where the two
            cannot be compared at all.
        max_rel: The largest difference in units of what was expected, over the elements that should not be 0.
        passed: Whether it is within the tolerance everywhere.
        problem: What is wrong if it is more than a difference; empty otherwise.
    """

    name: str
    max_abs: float
    max_rel: float
    passed: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a subnet is from its supernet, over all inputs that were tried.

    Attributes:
        outputs: One entry for each output, in the supernet's order.
        num_inputs: How many inputs were tried.
        atol: The absolute tolerance.
        rtol: The relative tolerance.
    """

    outputs: tuple[OutputComparison, ...]
    num_inputs: int
    atol: float
    rtol: float

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(output.passed for output in self.outputs)


def verify(
    supergraph: SuperGraph,
    selection: Selection,
    subnet: ModelProto | Path,
    *,
    seed: int = 0,
    num_inputs: int = NUM_INPUTS,
    atol: float = ATOL,
    rtol: float = RTOL,
    inputs: Mapping[str, Array] | None = None,
    dims: Mapping[str, int] | None = None,
) -> Comparison:
    """Run a subnet and its supernet, with one-hot weights on a selection, on equal inputs and compare every output.

    onnxruntime's own rewriting of graphs is turned off, for it is the two graphs that are compared.

    Args:
        supergraph: The supernet. It is not changed.
        selection: Which subnet of it is meant.
        subnet: A model, whose external data are relative to the supernet's folder, or the path of one.
        seed: Of the random inputs; equal seeds give equal inputs.
        num_inputs: How many random inputs, of batch 2 where the batch is free.
        atol: The absolute tolerance, see ``compare``.
        rtol: The relative tolerance, see ``compare``.
        inputs: A value for each input, instead of random ones.
        dims: Sizes of the inputs' symbolic dims, by name.

    Raises:
        RunError: onnxruntime refuses a model or an input, or the two models take different inputs.
        ValueError: The selection was made for another supergraph, or ``num_inputs`` is below 1.
    """
    if num_inputs < 1:
        raise ValueError(f"num_inputs must be at least 1, not {num_inputs}: no comparison is no check")
    supernet_session = open_session(
        one_hot(supergraph, selection), directory=supergraph.directory, optimize=False, where="the supernet"
    )
    subnet_session = open_session(subnet, directory=supergraph.directory, optimize=False, where="the subnet")
    if set(subnet_session.inputs) != set(supernet_session.inputs):
        raise RunError(
            f"{subnet_session.where} takes the inputs {', '.join(subnet_session.inputs) or 'none'}, the supernet "
            f"{', '.join(supernet_session.inputs) or 'none'}; give the subnet that was pruned from this supernet"
        )
    if inputs is not None:
        feeds = [inputs]
    else:
        feeds = [random_inputs(supergraph.graph, seed=(seed, i), dims=dims) for i in range(num_inputs)]
    try:
        runs = [(supernet_session.run(feed), subnet_session.run(feed)) for feed in feeds]
    except RunError as error:
        if inputs is not None:
            raise
        raise RunError(f"{error}; if random values do not suit its inputs, give some with --inputs FILE.npz") from error
    compared = [compare(expected, actual, atol=atol, rtol=rtol) for expected, actual in runs]
    outputs = tuple(reduce(_worse, same) for same in zip(*compared, strict=True))
    return Comparison(outputs, len(feeds), atol, rtol)


def one_hot(supergraph: SuperGraph, selection: Selection) -> ModelProto:
    """Return a copy of a supernet whose pools have the weight 1 on the selected branch and 0 on the others.

    Stored and computed weights alike are replaced; what else reads them reads them still. A pool function that
    another tool has removed is put back.

    Raises:
        ValueError: The selection was made for another supergraph.
    """
    check(supergraph, selection)
    model = ModelProto()
    model.CopyFrom(supergraph.model)
    taken = {name for node in model.graph.node for name in node.output}
    taken.update(tensor.name for tensor in model.graph.initializer)
    taken.update(value.name for value in model.graph.input)
    for pool, index in zip(supergraph.pools, selection.indices, strict=True):
        name = f"{pool.name}.one_hot"
        while name in taken:
            name += "_"
        taken.add(name)
        values = np.eye(len(pool.branches), dtype=np.float32)[index]
        model.graph.initializer.append(numpy_helper.from_array(values, name))
        for node in pool.nodes:
            model.graph.node[node].input[0] = name
    _restore_functions(model, {len(pool.branches) for pool in supergraph.pools})
    return model


def _restore_functions(model: ModelProto, sizes: set[int]) -> None:
    present = {function.name for function in model.functions if function.domain == marks.DOMAIN}
    opset = standard_opset(model)
    for size in sorted(sizes):
        if marks.op_type(size) not in present:
            model.functions.append(marks.pool_function(size, opset=max(opset, _FUNCTION_OPSET)))
    if sizes and all(entry.domain != marks.DOMAIN for entry in model.opset_import):
        model.opset_import.add(domain=marks.DOMAIN, version=marks.OPSET)


def compare(
    expected: Mapping[str, Value], actual: Mapping[str, Value], *, atol: float, rtol: float
) -> list[OutputComparison]:
    """Compare the outputs of two runs by name.

    An element passes if ``|actual - expected| <= atol + rtol * |expected|``. NaN equals NaN, and an infinity one of
    its own sign. For half precision ``rtol`` is at least four units in the last place; for integers, booleans and
    strings it is 0. Shape and type must agree. A sequence is compared element by element.

    Raises:
        RunError: An output is neither a tensor nor a sequence of tensors.
    """
    results = []
    for name, value in expected.items():
        if name not in actual:
            results.append(_unequal(name, "the subnet has no such output"))
            continue
        results.append(_compare_values(name, value, actual[name], atol, rtol))
    results.extend(_unequal(name, "the supernet has no such output") for name in actual if name not in expected)
    return results


def _compare_values(name: str, expected: Value, actual: Value, atol: float, rtol: float) -> OutputComparison:
    for value in (expected, actual):
        if not all(isinstance(part, np.ndarray) for part in (value if isinstance(value, list) else [value])):
            raise RunError(f"output '{name}' is neither a tensor nor a sequence of tensors, and cannot be compared")
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return _unequal(name, f"a sequence of {len(actual)}, expected {len(expected)}")
        pairs = zip(expected, actual, strict=True)
        parts = [_compare_arrays(name, *pair, atol=atol, rtol=rtol) for pair in pairs]
        return reduce(_worse, parts, OutputComparison(name, 0.0, 0.0, passed=True))
    if isinstance(expected, list) or isinstance(actual, list):
        return _unequal(name, "a sequence on one side only")
    return _compare_arrays(name, expected, actual, atol=atol, rtol=rtol)


def _compare_arrays(name: str, expected: Array, actual: Array, *, atol: float, rtol: float) -> OutputComparison:
    if (expected.dtype, expected.shape) != (actual.dtype, actual.shape):
        return _unequal(name, f"{_kind(actual)}, expected {_kind(expected)}")
    if expected.dtype.kind not in "fiub":
        same = bool(np.array_equal(expected, actual))
        return OutputComparison(name, 0.0, 0.0, passed=True) if same else _unequal(name, "other texts than expected")
    wanted, got = expected.astype(np.float64), actual.astype(np.float64)
    equal = (expected == actual) | (np.isnan(wanted) & np.isnan(got))
    finite = np.isfinite(wanted) & np.isfinite(got)
    strange = int(np.count_nonzero(~equal & ~finite))
    if strange:
        return _unequal(name, f"NaN or infinity on one side only in {strange} of {expected.size} elements")
    is_float = expected.dtype.kind == "f"
    rtol = max(rtol, 4 * float(np.finfo(expected.dtype.name).eps)) if is_float else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        size, difference = np.abs(wanted), np.where(equal, 0.0, np.abs(got - wanted))
        if not is_float:  # float64 rounds large integers: what differs, differs by 1 at least
            difference = np.where(equal, 0.0, np.maximum(difference, 1.0))
        allowed = atol + rtol * size
        relative = np.divide(difference, size, out=np.zeros_like(size), where=finite & (size > 0))
    passed = bool(np.all(equal | (difference <= allowed)))
    return OutputComparison(name, float(difference.max(initial=0.0)), float(relative.max(initial=0.0)), passed)


def _kind(array: Array) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _unequal(name: str, problem: str) -> OutputComparison:
    return OutputComparison(name, math.inf, math.inf, passed=False, problem=problem)


def _worse(a: OutputComparison, b: OutputComparison) -> OutputComparison:
    """Merge two comparisons of one output."""
    return OutputComparison(
        a.name,
        max(a.max_abs, b.max_abs),
        max(a.max_rel, b.max_rel),
        passed=a.passed and b.passed,
        problem=a.problem or b.problem,
    )
