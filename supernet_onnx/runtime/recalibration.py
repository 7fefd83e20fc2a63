"""BatchNorm statistics of a subnet, estimated anew in onnxruntime, in one pass over the data.

A network cut out of a supernet normalises by statistics of other paths (J. Yu and T. Huang, arXiv 1903.05134, section
3.3). Each BatchNormalization is replaced by operators that normalise by the batch, as in training, and give its
statistics as outputs; so all layers are estimated at once, each behind layers that normalise by the batch. As with
torch's ``momentum=None``, the mean is the average of the batches' means and the variance that of their unbiased
variances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from supernet_onnx.errors import ModelError, RunError
from supernet_onnx.folding import Statistics, layers, with_statistics
from supernet_onnx.graph import describe, standard_opset
from supernet_onnx.runtime.session import open_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from supernet_onnx.runtime.session import Array

__all__ = ["recalibrate"]

_AXES_ARE_INPUTS: Final = 18  # of ReduceMean, from this version of the standard operators on
_PREFIX: Final = "supernet_onnx.recalibration"


def recalibrate(
    subnet: ModelProto,
    batches: Iterable[Mapping[str, Array]],
    *,
    directory: Path | None = None,
    threads: int | None = None,
) -> ModelProto:
    """Return a copy of a subnet with the statistics of its BatchNormalizations estimated anew.

    A layer that is used several times gets the average over its uses. BatchNormalizations in nested graphs and local
    functions are left as they are.

    Args:
        subnet: Not changed.
        batches: The inputs, ``{input: array}``; the larger the batches the better.
        directory: The folder that the subnet's external data are relative to.
        threads: Of onnxruntime; its own choice if left out.

    Raises:
        ModelError: The subnet has no BatchNormalization that could be recalibrated, or statistics that are no
            initializers.
        RunError: onnxruntime refuses the model or a batch, there is none, or a channel has one value in a batch.
    """
    found = layers(subnet)
    if not found:
        raise ModelError(
            "the subnet has no BatchNormalization to recalibrate; export the supernet with "
            "net.export_onnx(path, fold_batchnorm=False)"
        )
    model, probes = _probed(subnet)
    session = open_session(model, directory=directory, where="the subnet with batch statistics", threads=threads)
    sums: dict[tuple[str, ...], Statistics] = {}
    count = 0
    for batch in batches:
        outputs = session.run(batch)
        count += 1
        for layer, nodes in found.items():
            for node in nodes:
                mean, variance = _statistics(node, *(np.asarray(outputs[name]) for name in probes[node.output[0]]))
                before = sums.get(layer) or Statistics(np.zeros_like(mean), np.zeros_like(mean))
                sums[layer] = Statistics(before.mean + mean, before.variance + variance)
    if not count:
        raise RunError("there is no batch to estimate statistics from")
    averages = {
        layer: Statistics(total.mean / (count * len(found[layer])), total.variance / (count * len(found[layer])))
        for layer, total in sums.items()
    }
    return with_statistics(subnet, averages)


def _statistics(node: NodeProto, mean: Array, variance: Array, size: Array) -> Statistics:
    """Return a batch's mean and unbiased variance of each channel, from the biased one and the number of elements."""
    values = int(size) // max(1, mean.size)
    if values < 2:
        raise RunError(f"{describe(node)}: a batch has one value of each channel, so no variance; use larger batches")
    unbiased = variance.astype(np.float64) * (values / (values - 1))
    return Statistics(mean.astype(np.float64).reshape(-1), unbiased.reshape(-1))


def _probed(subnet: ModelProto) -> tuple[ModelProto, dict[str, tuple[str, str, str]]]:
    """Return a copy that normalises by the batch, and, for each BatchNormalization, its new outputs.

    These are mean, biased variance, and the number of elements. Other outputs are left out.
    """
    model = ModelProto()
    model.CopyFrom(subnet)
    nodes = {node.output[0] for uses in layers(model).values() for node in uses}
    opset = standard_opset(model)
    kept = list(model.graph.node)
    del model.graph.node[:]
    del model.graph.output[:]
    constants = {
        f"{_PREFIX}.flat": np.array([0, 0, -1], np.int64),
        f"{_PREFIX}.axes": np.array([0, 2], np.int64),
        f"{_PREFIX}.channels": np.array([1, -1, 1], np.int64),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    probes: dict[str, tuple[str, str, str]] = {}
    for node in kept:
        if not node.output or node.output[0] not in nodes:
            model.graph.node.append(node)
            continue
        names = _replace(model, node, f"{_PREFIX}.{len(probes)}", opset)
        probes[node.output[0]] = names
        kinds = (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64)
        model.graph.output.extend(
            helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, kinds, strict=True)
        )
    return model, probes


def _replace(model: ModelProto, node: NodeProto, prefix: str, opset: int) -> tuple[str, str, str]:
    """Add operators that do what a BatchNormalization does in training; return what they give besides."""
    add = model.graph.node.append
    epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
    model.graph.initializer.append(numpy_helper.from_array(np.array(epsilon, np.float32), f"{prefix}.epsilon"))

    def make(op_type: str, inputs: list[str], output: str) -> str:
        add(helper.make_node(op_type, inputs, [output], name=output))
        return output

    def mean_of(source: str, output: str) -> str:
        if opset >= _AXES_ARE_INPUTS:
            return make("ReduceMean", [source, f"{_PREFIX}.axes"], output)
        add(helper.make_node("ReduceMean", [source], [output], name=output, axes=[0, 2]))
        return output

    def cast(source: str, output: str) -> str:
        add(helper.make_node("Cast", [source], [output], name=output, to=TensorProto.FLOAT))
        return output

    def by_channel(source: str, output: str) -> str:
        return make("Reshape", [cast(source, f"{output}.float"), f"{_PREFIX}.channels"], output)

    source = node.input[0]
    flat = make("Reshape", [cast(source, f"{prefix}.float"), f"{_PREFIX}.flat"], f"{prefix}.flat")  # (N, C, rest)
    mean = mean_of(flat, f"{prefix}.mean")
    centred = make("Sub", [flat, mean], f"{prefix}.centred")
    variance = mean_of(make("Mul", [centred, centred], f"{prefix}.squared"), f"{prefix}.variance")
    size = make("Size", [source], f"{prefix}.size")
    deviation = make("Sqrt", [make("Add", [variance, f"{prefix}.epsilon"], f"{prefix}.above")], f"{prefix}.deviation")
    normal = make("Div", [centred, deviation], f"{prefix}.normal")
    scaled = make("Mul", [normal, by_channel(node.input[1], f"{prefix}.scale")], f"{prefix}.scaled")
    shifted = make("Add", [scaled, by_channel(node.input[2], f"{prefix}.bias")], f"{prefix}.shifted")
    shaped = make("Reshape", [shifted, make("Shape", [source], f"{prefix}.shape")], f"{prefix}.shaped")
    make("CastLike", [shaped, source], node.output[0])
    return mean, variance, size
