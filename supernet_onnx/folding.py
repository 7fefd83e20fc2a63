"""BatchNormalization in a subnet: other statistics for it, and folding it into the convolution before it.

Statistics are numbers here; ``supernet_onnx.runtime`` estimates them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.checker import ValidationError

from supernet_onnx.errors import ModelError
from supernet_onnx.graph import defined, describe, is_standard, reads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FOLDS_INTO", "Floats", "Statistics", "fold", "layers", "with_statistics"]

Floats = NDArray[np.float64]

FOLDS_INTO: Final = ("Conv", "ConvTranspose", "Gemm")
"""What a BatchNormalization right behind can be folded into, and is priced as if it were."""


class Statistics(NamedTuple):
    """What a BatchNormalization normalises by.

    Attributes:
        mean: Of each channel, ``(C,)``.
        variance: Likewise.
    """

    mean: Floats
    variance: Floats


def layers(model: ModelProto) -> dict[tuple[str, ...], list[NodeProto]]:
    """Return the BatchNormalizations of the main graph that normalise by stored statistics.

    Returns:
        For each layer, known by the names of its scale, bias, mean and variance, the nodes that use it, in graph order.
        Those that compute statistics of their own (``training_mode``) are none of them.
    """
    found: dict[tuple[str, ...], list[NodeProto]] = {}
    for node in model.graph.node:
        training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
        if (
            is_standard(node)
            and node.op_type == "BatchNormalization"
            and len(node.input) == 5
            and not training
            and not any(node.output[1:])
        ):
            found.setdefault(tuple(node.input[1:]), []).append(node)
    return found


def with_statistics(model: ModelProto, statistics: Mapping[tuple[str, ...], Statistics]) -> ModelProto:
    """Return a copy of a model whose BatchNormalizations normalise by other statistics, under new names.

    Args:
        model: Not changed.
        statistics: For each layer, as ``layers`` names it; others keep theirs.

    Raises:
        ModelError: The mean or variance of a layer is no initializer.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    constants = _Constants(changed, None)
    for layer, nodes in layers(changed).items():
        if layer not in statistics:
            continue
        new = []
        for name, values in zip(layer[2:], statistics[layer], strict=True):
            if name not in constants.tensors:
                raise ModelError(
                    f"{describe(nodes[0])}: its statistics '{name}' are no initializer, so there is nothing to "
                    "replace; fold the constants of the model first"
                )
            new.append(constants.add(f"{name}.recalibrated", values, like=name))
        for node in nodes:
            node.input[3:] = new
    constants.drop_unread()
    return changed


def fold(model: ModelProto, *, directory: Path | None = None) -> ModelProto:
    """Return a copy of a model whose BatchNormalizations are folded into what makes their input, where they can be.

    Weight W and bias b of a Conv, ConvTranspose or Gemm whose output nothing else reads become ``W * s`` and
    ``(b - mean) * s + bias`` with ``s = scale / sqrt(variance + epsilon)`` (B. Jacob et al., arXiv 1712.05877,
    section 3.2), worked out in float64. What is used several times stays one. Others stay as they are.

    Args:
        model: Not changed.
        directory: The folder that the model's external data are relative to.

    Raises:
        ModelError: External data cannot be read.
    """
    folded = ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    constants = _Constants(folded, directory)
    makers = {node.output[0]: node for node in graph.node if is_standard(node) and node.op_type in FOLDS_INTO}
    readers = Counter(name for node in graph.node for name in reads(node))
    readers.update(value.name for value in graph.output)
    gone: dict[str, NodeProto] = {}
    for node in (node for nodes in layers(folded).values() for node in nodes):
        maker = makers.get(node.input[0])
        if maker is not None and readers[node.input[0]] == 1 and constants.fold(maker, node):
            gone[node.input[0]] = node
            maker.output[0] = node.output[0]
    for node in gone.values():
        graph.node.remove(node)
    for value in [value for value in graph.value_info if value.name in gone]:
        graph.value_info.remove(value)
    constants.drop_unread()
    return folded


class _Constants:
    """The initializers of a model that is being changed.

    Attributes:
        tensors: Those that are no graph inputs, by name.
    """

    def __init__(self, model: ModelProto, directory: Path | None) -> None:
        self._graph = model.graph
        self._directory = directory
        inputs = {value.name for value in model.graph.input}
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in inputs}
        self._before = set(self.tensors) & {name for node in model.graph.node for name in reads(node)}
        self._taken = defined(model.graph) | {value.name for value in model.graph.output}
        self._folded: dict[tuple[object, ...], list[str]] = {}

    def add(self, name: str, values: Floats, *, like: str) -> str:
        """Add an initializer of the type of another one, under this name or one like it that is free."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        dtype = helper.tensor_dtype_to_np_dtype(self.tensors[like].data_type)
        self._graph.initializer.append(numpy_helper.from_array(values.astype(dtype), name))
        return name

    def fold(self, maker: NodeProto, batchnorm: NodeProto) -> bool:
        """Give a node the weight and bias that do a BatchNormalization's work, if they are constants."""
        names = [*filter(None, maker.input[1:]), *batchnorm.input[1:]]
        if not self.tensors.keys() >= set(names):
            return False
        epsilon = _attribute(batchnorm, "epsilon", 1e-5)
        settings = {name: _attribute(maker, name, 0) for name in ("group", "transB")}
        settings["beta"] = _attribute(maker, "beta", 1.0) if maker.op_type == "Gemm" else 1.0
        key = (maker.op_type, *settings.values(), epsilon, *maker.input[1:], *batchnorm.input[1:])
        if key not in self._folded:
            scale, shift, mean, variance = (self._values(name) for name in batchnorm.input[1:])
            factor = scale / np.sqrt(variance + epsilon)
            old = self._values(maker.input[2]) if len(maker.input) > 2 and maker.input[2] else np.zeros(1)
            if old.size not in (1, len(factor)):  # a Gemm may add a whole matrix
                return False
            bias = (settings["beta"] * old.reshape(-1) - mean) * factor + shift
            weight = _scaled(maker.op_type, self._values(maker.input[1]), factor, settings)
            weight_name = self.add(f"{maker.input[1]}.folded", weight, like=maker.input[1])
            self._folded[key] = [weight_name, self.add(f"{weight_name}.bias", bias, like=maker.input[1])]
        maker.input[1:] = self._folded[key]
        for attribute in [attribute for attribute in maker.attribute if attribute.name == "beta"]:
            maker.attribute.remove(attribute)
        return True

    def drop_unread(self) -> None:
        """Remove the initializers that were read before, and are no more."""
        read = {name for node in self._graph.node for name in reads(node)}
        read.update(value.name for value in self._graph.output)
        for name in self._before - read:
            self._graph.initializer.remove(self.tensors[name])

    def _values(self, name: str) -> Floats:
        tensor = self.tensors[name]
        try:
            if tensor.data_location == TensorProto.EXTERNAL:
                loaded = TensorProto()  # to_array leaves the values that it loads in the tensor
                loaded.CopyFrom(tensor)
                return numpy_helper.to_array(loaded, str(self._directory or "")).astype(np.float64)
            return numpy_helper.to_array(tensor).astype(np.float64)
        except (OSError, ValueError, ValidationError) as error:
            raise ModelError(f"initializer '{name}' cannot be read: {' '.join(str(error).split())}") from error


def _scaled(op_type: str, weight: Floats, factor: Floats, settings: Mapping[str, float]) -> Floats:
    """Multiply what each output channel is made with by its factor."""
    if op_type == "Gemm":  # (C_out, C_in) if transB, else (C_in, C_out)
        return weight * (factor[:, None] if settings["transB"] else factor)
    if op_type == "Conv":  # (C_out, C_in / group, *kernel)
        return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    groups = int(settings["group"]) or 1  # (C_in, C_out / group, *kernel)
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    return (grouped * factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)


def _attribute(node: NodeProto, name: str, default: float) -> float:
    found = next((attribute for attribute in node.attribute if attribute.name == name), None)
    return default if found is None else float(helper.get_attribute_value(found))
