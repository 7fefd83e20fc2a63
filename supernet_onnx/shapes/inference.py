"""Shape inference, in the order of what is sure: onnx's own, constants folded, loop bodies, symbolic inference."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx
from onnx import GraphProto, ModelProto

from supernet_onnx.errors import ModelError
from supernet_onnx.graph import has_subgraphs, standard_opset, subgraphs
from supernet_onnx.shapes.bindings import Bindings
from supernet_onnx.shapes.filling import fill
from supernet_onnx.shapes.skeleton import skeleton_of
from supernet_onnx.shapes.types import TensorType, declared_dims, tensor_type, types_in, values_of
from supernet_onnx.storage import external_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Inference", "contradiction", "infer", "infer_graph"]

_CONFUSED: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_HIDDEN: Final = "supernet_onnx.hidden"
_LONG: Final = 1 << 20
_MAX_ROUNDS: Final = 64  # each round resolves a link of a chain of computed shapes, all chains at once


@dataclass(frozen=True, slots=True)
class Inference:
    """What is known of the tensors of a model.

    Attributes:
        graph: A copy of the main graph without its weights; node ``i`` of a graph in it stands for node ``i`` of the
            model's. Types stand in its value infos and in those of the graphs nested in it, and nodes whose small
            output can be computed are Constant nodes.
        dims: The names of dims that somebody can bind.
        types: The type of every tensor of the main graph, initializers included. One that inference gives up on is
            absent or has unknown dims.
    """

    graph: GraphProto
    dims: frozenset[str]
    types: dict[str, TensorType]


def infer(model: ModelProto, *, dims: Mapping[str, int] | None = None) -> dict[str, TensorType]:
    """Infer the type of every tensor in the main graph: the ``types`` of ``infer_graph``."""
    return dict(infer_graph(model, Bindings(dims or {})).types)


def infer_graph(model: ModelProto, bindings: Bindings) -> Inference:
    """Infer the type of every tensor, those of nested graphs included.

    A symbolic or unknown first dim of a graph input is the batch and is bound to 1, unless the caller binds it. For
    onnxruntime's own operators standard ones stand in. The package ``onnx-shape-inference`` adds shapes that are
    computed from open dims; it is loaded only where onnx leaves something open.

    Args:
        model: Not changed; its external data are not read.
        bindings: What is said about its inputs.

    Raises:
        ShapeError: What is said contradicts what the model declares.
        ModelError: onnx refuses the graph: an operator set is not imported, a local function calls itself.
        MarkError: A mark is malformed.
    """
    skeleton = skeleton_of(model, bindings)
    names = frozenset(declared_dims(model.graph))
    opset = standard_opset(model)
    inferred = _infer(skeleton, propagate=False)
    propagate = not _has_long_vectors(inferred.graph)
    if propagate:
        inferred = _infer(inferred)
    was_symbolic = False
    has_conditions = any(map(has_subgraphs, model.graph.node))  # it matters whether these are known, too
    for _ in range(_MAX_ROUNDS):
        if not has_conditions and not _has_gaps(inferred.graph):
            break
        has_conditions = False
        if fill(inferred.graph, opset):
            inferred = _infer(inferred, propagate=propagate)
        elif not was_symbolic:
            was_symbolic = True
            inferred = _infer_symbolically(inferred, propagate=propagate)
        else:
            break
    types = types_in(inferred.graph, names)
    types.update((tensor.name, tensor_type(tensor)) for tensor in model.graph.initializer)
    return Inference(inferred.graph, names, types)


def contradiction(model: ModelProto, bindings: Bindings) -> str | None:
    """Return what onnx says about the first node whose operands do not fit together, or None if there is none.

    Raises:
        SuperNetError: As ``infer_graph`` raises.
    """
    skeleton = skeleton_of(model, bindings)
    for node in skeleton.graph.node:
        node.name = node.name or next(filter(None, node.output), "")  # onnx names the node that it complains about
    propagate = not _has_long_vectors(_infer(skeleton, propagate=False).graph)
    try:
        onnx.shape_inference.infer_shapes(skeleton, check_type=False, strict_mode=True, data_prop=propagate)
    except onnx.shape_inference.InferenceError as error:
        return str(error).splitlines()[0].rpartition("Inference error(s): ")[2].strip()
    return None


def _infer(model: ModelProto, *, propagate: bool = True) -> ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=propagate)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise ModelError(f"shapes cannot be inferred: {' '.join(str(error).split())}") from error


def _has_long_vectors(graph: GraphProto) -> bool:
    """Tell whether a tensor of one dim is too long to be a shape.

    Where onnx propagates the values of shapes, it keeps an object for each element of every such tensor.
    """
    for value in (*graph.input, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 1 and dims[0].dim_value > _LONG:
            return True
    return False


def _infer_symbolically(model: ModelProto, *, propagate: bool) -> ModelProto:
    """Let the symbolic package fill what it can of standard operators, if what it says holds together.

    It raises where onnx, not strict, passes over a node. What it knows of other domains is not asked for.
    """
    if next(external_tensors(model), None) is not None:
        return model  # it reads the values of constants
    import onnx_ir
    import onnx_shape_inference

    hidden = ModelProto()
    hidden.CopyFrom(model)
    _rename_domain(hidden.graph, "com.microsoft", _HIDDEN)
    hidden.opset_import.add(domain=_HIDDEN, version=1)
    logger = logging.getLogger(onnx_ir.__name__)
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns about what is no concern of shapes
    try:
        refined = onnx_shape_inference.infer_symbolic_shapes(onnx_ir.from_proto(hidden), warn_on_missing=False)
        proto: ModelProto = onnx_ir.to_proto(refined)
    except (onnx_ir.serde.SerdeError, onnx_shape_inference.OpUsageError, *_CONFUSED):  # it gives up, or is confused
        return model
    finally:
        logger.setLevel(level)
    _rename_domain(proto.graph, _HIDDEN, "com.microsoft")
    try:
        onnx.shape_inference.infer_shapes(proto, check_type=False, strict_mode=True, data_prop=propagate)
    except onnx.shape_inference.InferenceError:
        return model
    return proto


def _rename_domain(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        if node.domain == old:
            node.domain = new
        for body in subgraphs(node):
            _rename_domain(body, old, new)


def _has_gaps(graph: GraphProto) -> bool:
    """Tell whether the shape of anything that a node makes, at any depth, is not fully known."""
    known = {
        value.name
        for value in values_of(graph)
        if value.type.tensor_type.HasField("shape")
        and all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }
    for node in graph.node:
        if any(name and name not in known for name in node.output):
            return True
        if any(map(_has_gaps, subgraphs(node))):
            return True
    return False
