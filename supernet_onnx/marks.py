"""The mark: how a pool stands in an ONNX graph (format version 1).

A pool is one node of the domain ``supernet_onnx`` and the type ``Pool{n}``. Its inputs are the mixing weights
(``float[n]``) and the n branch outputs; its string attributes name the pool and its branches. A model-local
function of the same name computes ``sum_i weights[i] * branch_i``, so that every ONNX runtime executes the
supernet as a mixture.

Only onnx is imported here; nothing is known of graphs or files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from supernet_onnx.errors import MarkError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DOMAIN",
    "FORMAT",
    "FORMAT_KEY",
    "MIN_OPSET",
    "OPSET",
    "POOLS_KEY",
    "VERSION_KEY",
    "Mark",
    "decode",
    "dtype_name",
    "encode",
    "is_pool",
    "op_type",
    "pool_function",
    "set_scores",
    "weights_name",
    "weights_values",
]

DOMAIN: Final = "supernet_onnx"
OPSET: Final = 1
MIN_OPSET: Final = 15
"""The first version of the standard domain that has the operators of the pool functions."""
FORMAT: Final = "1"
FORMAT_KEY: Final = "supernet_onnx.format"
VERSION_KEY: Final = "supernet_onnx.version"
POOLS_KEY: Final = "supernet_onnx.pools"

_OP_TYPE: Final = re.compile(r"Pool([1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class Mark:
    """What a pool's node says of itself.

    Attributes:
        pool: The pool's name; nodes that share it are uses of one pool and take one selection.
        branches: The branch names, unique in the pool, in the order of the node's inputs.
        call: 0 for the pool's first use in the graph, 1 for the next, ...
        scores: How much each branch helps the task, higher is better; None where nobody measured it.
    """

    pool: str
    branches: tuple[str, ...]
    call: int = 0
    scores: tuple[float, ...] | None = None


def op_type(num_branches: int) -> str:
    """Return the operator type of a pool of ``num_branches`` branches: ``Pool3`` for three."""
    return f"Pool{num_branches}"


def weights_name(pool: str) -> str:
    """Return the name of the initializer that holds a pool's weights."""
    return f"{pool}.weights"


def dtype_name(dtype: int) -> str:
    """Return what messages call an element type: ``float``, ``int64``, or its number where onnx knows no name."""
    return TensorProto.DataType.Name(dtype).lower() if dtype in TensorProto.DataType.values() else f"type {dtype}"


def is_pool(node: NodeProto) -> bool:
    """Tell whether a node is a pool's mark. Every operator of our domain is one."""
    return node.domain == DOMAIN


def encode(mark: Mark, branch_outputs: Sequence[str], output: str, *, name: str = "") -> NodeProto:
    """Write a mark as a node.

    Args:
        mark: What to write.
        branch_outputs: The tensors that the branches compute, one for each branch name.
        output: The tensor that the pool gives.
        name: The node's own name.
    """
    assert len(branch_outputs) == len(mark.branches)
    node = helper.make_node(
        op_type(len(mark.branches)),
        [weights_name(mark.pool), *branch_outputs],
        [output],
        name=name,
        domain=DOMAIN,
        pool=mark.pool,
        branches=list(mark.branches),
        call=mark.call,
    )
    if mark.scores is not None:
        set_scores(node, mark.scores)
    return node


def set_scores(node: NodeProto, scores: Sequence[float]) -> None:
    """Give a pool's node a score for each branch, in place of those that it has."""
    for attribute in [attribute for attribute in node.attribute if attribute.name == "scores"]:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute("scores", [float(score) for score in scores]))


def decode(node: NodeProto) -> Mark:
    """Read a pool's node.

    Raises:
        MarkError: The node's type, attributes, inputs or outputs are not those of a pool.
    """
    where = f"node '{node.name or (node.output[0] if node.output else '')}'"
    matched = _OP_TYPE.fullmatch(node.op_type)
    if matched is None:
        raise MarkError(
            f"{where}: '{DOMAIN}::{node.op_type}' is no pool; expected Pool1, Pool2, ...; "
            "the file was written by another version or damaged: export it again"
        )
    num_branches = int(matched[1])
    attributes = {attribute.name: attribute for attribute in node.attribute}
    pool = _string(attributes.get("pool"), where, "pool")
    where = f"pool '{pool}', {where}"
    branches = _strings(attributes.get("branches"), where, "branches")
    if len(branches) != num_branches:
        raise MarkError(f"{where}: {node.op_type} names {len(branches)} branches, expected {num_branches}")
    if len(set(branches)) != len(branches):
        twice = sorted({branch for branch in branches if branches.count(branch) > 1})
        raise MarkError(f"{where}: branch names must be unique, these are not: {', '.join(twice)}")
    if not all(branches):
        raise MarkError(f"{where}: branch {branches.index('')} has no name; a branch needs one to be selected by")
    if len(node.input) != num_branches + 1:
        raise MarkError(
            f"{where}: {len(node.input)} inputs, expected {num_branches + 1}: "
            f"the weights and {num_branches} branch outputs"
        )
    if not all(node.input):
        raise MarkError(f"{where}: input {list(node.input).index('')} is missing, a pool has no optional inputs")
    if len(node.output) != 1 or not node.output[0]:
        raise MarkError(f"{where}: {sum(map(bool, node.output))} outputs, expected 1")
    return Mark(pool, branches, _call(attributes.get("call"), where), _scores(attributes, where, num_branches))


def pool_function(num_branches: int, *, opset: int) -> FunctionProto:
    """Build the function ``Pool{n}``: ``sum_i weights[i] * branch_i``.

    A branch of weight 0 does not reach the sum, whatever it computed: 0 * inf is nan, and one-hot weights
    must give exactly the selected branch. The weights are cast to the branches' type, so half, bfloat16
    and double branches work.

    Args:
        num_branches: n.
        opset: The version of the standard domain that the body imports: the model's, and at least ``MIN_OPSET``.

    Returns:
        A function of ``n + 1`` inputs, ``weights`` and ``branch_0`` to ``branch_{n-1}``, and the output ``mixture``.
    """
    names = [f"branch_{i}" for i in range(num_branches)]
    nodes = [
        helper.make_node("CastLike", ["weights", names[0]], ["cast"]),
        _constant("zero_f", np.array(0, np.float32)),
        helper.make_node("CastLike", ["zero_f", names[0]], ["zero"]),
    ]
    for i, name in enumerate(names):
        nodes += [
            _constant(f"i{i}", np.array(i, np.int64)),
            helper.make_node("Gather", ["cast", f"i{i}"], [f"w{i}"]),
            helper.make_node("Equal", [f"w{i}", "zero"], [f"off{i}"]),
            helper.make_node("Where", [f"off{i}", "zero", name], [f"kept{i}"]),
            helper.make_node("Mul", [f"kept{i}", f"w{i}"], [f"term{i}"]),
        ]
    nodes.append(helper.make_node("Sum", [f"term{i}" for i in range(num_branches)], ["mixture"]))
    return helper.make_function(
        DOMAIN,
        op_type(num_branches),
        ["weights", *names],
        ["mixture"],
        nodes,
        [helper.make_opsetid("", opset)],
    )


def _constant(name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _string(attribute: AttributeProto | None, where: str, name: str) -> str:
    if attribute is None or attribute.type != AttributeProto.STRING:
        raise MarkError(f"{where}: attribute '{name}' must be a string; the mark is damaged: export the model again")
    text = _text(attribute.s, where, name)
    if not text:
        raise MarkError(f"{where}: attribute '{name}' is empty; a pool needs a name to be selected by")
    return text


def _strings(attribute: AttributeProto | None, where: str, name: str) -> tuple[str, ...]:
    if attribute is None or attribute.type != AttributeProto.STRINGS:
        raise MarkError(f"{where}: attribute '{name}' must be strings; the mark is damaged: export the model again")
    return tuple(_text(item, where, name) for item in attribute.strings)


def _text(raw: bytes, where: str, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MarkError(f"{where}: attribute '{name}' is not UTF-8: {raw!r}") from error


def _call(attribute: AttributeProto | None, where: str) -> int:
    if attribute is None:
        return 0
    if attribute.type != AttributeProto.INT or attribute.i < 0:
        raise MarkError(f"{where}: attribute 'call' must be an int of at least 0")
    return int(attribute.i)


def _scores(attributes: dict[str, AttributeProto], where: str, num_branches: int) -> tuple[float, ...] | None:
    attribute = attributes.get("scores")
    if attribute is None:
        return None
    if attribute.type != AttributeProto.FLOATS or len(attribute.floats) != num_branches:
        raise MarkError(f"{where}: attribute 'scores' must be {num_branches} floats, one for each branch")
    return tuple(float(score) for score in attribute.floats)


def weights_values(tensor: TensorProto, where: str, num_branches: int) -> tuple[float, ...]:
    """Read a pool's weights from its initializer.

    Raises:
        MarkError: They are not ``float[n]``, or not all of them are finite.
    """
    if tensor.data_location == TensorProto.EXTERNAL:
        raise MarkError(f"{where}: weights '{tensor.name}' stand in another file; a pool's weights are stored inline")
    if tensor.data_type != TensorProto.FLOAT or list(tensor.dims) != [num_branches]:
        kind = f"{dtype_name(tensor.data_type)}[{','.join(map(str, tensor.dims))}]"
        raise MarkError(f"{where}: weights '{tensor.name}' are {kind}, expected float[{num_branches}]")
    try:
        values = numpy_helper.to_array(tensor)
    except ValueError as error:
        raise MarkError(f"{where}: weights '{tensor.name}' cannot be read: {error}") from error
    if not np.isfinite(values).all():
        raise MarkError(f"{where}: weights '{tensor.name}' are not finite: {values.tolist()}")
    return tuple(float(value) for value in values)
