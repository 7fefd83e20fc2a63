"""Random supergraphs, and an independent counter for them: plain loops over one subnet, no conditions, no registry.

The counter knows the few operators that ``supergraphs`` draws, on activations of ``(1, 4, 4, 4)``.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from supernet_onnx import marks, supergraph
from supernet_onnx.cost import macs, ops, ops_no_bias, params, params_no_bias, size
from tests.cost.supergraphs import add_pool_weights

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from supernet_onnx.supergraph import SuperGraph

COUNTED = (params, params_no_bias, macs, ops, ops_no_bias, size)
"""The metrics that ``count`` counts."""

SHAPE = (1, 4, 4, 4)
KERNELS = {"w1": (4, 4, 1, 1), "w3": (4, 4, 3, 3), "v3": (4, 4, 3, 3), "depthwise": (4, 1, 3, 3)}
ROWS = ("row", "other_row")
CONSTANTS = {
    **KERNELS,
    "bias": (4,),
    "m": (4, 4),
    **dict.fromkeys(ROWS, (4,)),
    "position": SHAPE,
    "half": (),
    "one": (1,),
    **{f"{vector}_{i}": (4,) for vector in ("scale", "shift", "mean", "var") for i in (0, 1)},
}


class _Drawing:
    """Draws a supergraph node by node: pools are nested, chained, tied, and choose among constants too."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.sizes = [self.random.randint(1, 3) for _ in range(self.random.randint(1, 4))]
        self.calls = [0] * len(self.sizes)
        self.tensors = ["x", "position", "x"]
        self.nodes: list[NodeProto] = []

    def pick(self) -> str:
        return self.random.choice(self.tensors[-3:])

    def pool(self, choices: list[str], output: str) -> str:
        p = self.random.randrange(len(self.sizes))
        names = tuple(f"b{i}" for i in range(self.sizes[p]))
        mark = marks.Mark(f"p{p}", names, self.calls[p])
        self.calls[p] += 1
        self.nodes.append(marks.encode(mark, [self.random.choice(choices) for _ in names], output))
        return output

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: object) -> None:
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))

    def add(self, output: str) -> None:
        kind = self.random.choice(["conv", "conv", "batchnorm", "linear", "bias", "other", "add", *["pool"] * 4])
        if kind == "conv":
            weight = self.random.choice([*KERNELS, "chosen"])
            group = 4 if weight == "depthwise" else 1
            kernel = self.pool(["w3", "v3"], f"{output}.weight") if weight == "chosen" else weight
            bias = self.random.choice([[], [], ["bias"]])
            self.node("Conv", [self.pick(), kernel, *bias], output, group=group, auto_pad="SAME_UPPER")
        elif kind == "batchnorm":
            i = self.random.randint(0, 1)
            vectors = [f"{vector}_{i}" for vector in ("scale", "shift", "mean", "var")]
            self.node("BatchNormalization", [self.tensors[-1], *vectors], output)
        elif kind == "linear":
            self.node("MatMul", [self.pick(), "m"], output)
        elif kind == "bias":
            row = self.random.choice([*ROWS, "chosen", "position", "half", "one"])
            row = self.pool([*ROWS], f"{output}.row") if row == "chosen" else row
            self.node("Add", self.random.sample([self.tensors[-1], row], 2), output)
        elif kind == "add":
            self.node("Add", [self.pick(), self.pick()], output)
        elif kind == "pool":
            self.pool(self.tensors[-5:], output)
        else:
            self.node(self.random.choice(["Relu", "Identity"]), [self.pick()], output)
        self.tensors.append(output)


def random_supergraph(seed: int) -> SuperGraph:
    """Draw a supergraph of up to four pools and sixteen operators, some of them dead."""
    drawing = _Drawing(seed)
    for i in range(drawing.random.randint(4, 16)):
        drawing.add(f"t{i}")
    made = drawing.tensors[3:]
    outputs = dict.fromkeys([made[-1], drawing.random.choice(made)])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        drawing.nodes,
        "random",
        [value("x", TensorProto.FLOAT, SHAPE)],
        [value(name, TensorProto.FLOAT, SHAPE) for name in outputs],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in CONSTANTS.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(marks.DOMAIN, marks.OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    add_pool_weights(model)
    return supergraph.read(model)


def supergraphs() -> st.SearchStrategy[SuperGraph]:
    return st.integers(0, 2**32).map(random_supergraph)


class _Subnet:
    """One model without pools, all of whose nodes are live."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.maker = {node.output[0]: node for node in self.nodes}
        self.constant = set(CONSTANTS)
        for node in self.nodes:
            if self.constant.issuperset(node.input):
                self.constant.add(node.output[0])
        self.outputs = {value.name for value in model.graph.output}
        self.reads = [name for node in self.nodes for name in node.input]

    def conv_before(self, batchnorm: NodeProto) -> NodeProto | None:
        """Return the convolution that a BatchNormalization folds into."""
        name = batchnorm.input[0]
        maker = self.maker.get(name)
        if maker is None or maker.op_type != "Conv" or self.reads.count(name) + (name in self.outputs) > 1:
            return None
        return maker

    def linear_bias(self, add: NodeProto) -> str | None:
        """Return the operand of an Add that is the bias of a linear layer."""
        for name, other in (add.input, reversed(add.input)):
            maker = self.maker.get(other)
            if name in ROWS and maker is not None and maker.op_type == "MatMul":
                return name
        return None

    def roles(self, tensor: str) -> set[str]:
        """Follow a constant forward to everything that takes it."""
        found = {"other"} if tensor in self.outputs else set()
        for node in self.nodes:
            for slot, name in enumerate(node.input):
                if name != tensor:
                    continue
                if node.op_type == "BatchNormalization" and slot and self.conv_before(node) is not None:
                    continue
                if (node.op_type in ("Conv", "BatchNormalization") and slot == 2) or (
                    node.op_type == "Add" and self.linear_bias(node) == name
                ):
                    found.add("bias")
                elif node.output[0] in self.constant and node.op_type in ("Add", "Relu", "Identity"):
                    found |= self.roles(node.output[0])
                else:
                    found.add("other")
        return found


def count(model: ModelProto) -> dict[str, int]:
    """Count a model without pools, all of whose nodes are live."""
    subnet = _Subnet(model)
    numel = math.prod(SHAPE)
    macs = additions = 0
    folded: set[tuple[str, ...]] = set()
    for node in subnet.nodes:
        if node.op_type == "Conv":
            macs += numel * math.prod(KERNELS[node.input[1]][1:])
            additions += numel if len(node.input) == 3 else 0
        elif node.op_type == "MatMul":
            macs += numel * 4
        elif node.op_type == "Add":
            additions += numel if subnet.linear_bias(node) is not None else 0
        elif node.op_type == "BatchNormalization":
            conv = subnet.conv_before(node)
            if conv is not None and len(conv.input) == 2:
                additions += numel
                folded.add((conv.input[1], *node.input[1:]))
    roles = {name: subnet.roles(name) for name, shape in CONSTANTS.items() if math.prod(shape) > 1}
    return {
        "macs": macs,
        "ops": macs + additions,
        "ops_no_bias": macs,
        "params": sum(math.prod(CONSTANTS[name]) for name in roles if roles[name]) + 4 * len(folded),
        "params_no_bias": sum(math.prod(CONSTANTS[name]) for name in roles if "other" in roles[name]),
        "size": sum(4 * math.prod(shape) for name, shape in CONSTANTS.items() if name in subnet.reads),
    }


def measure_memory(model: ModelProto) -> dict[str, int]:
    """Count what a model without pools moves and holds, all of whose nodes are live."""
    subnet = _Subnet(model)
    alias: dict[str, str] = {}
    runs: list[NodeProto] = []
    moved = 0
    for node in subnet.nodes:
        folded = node.op_type == "BatchNormalization" and subnet.conv_before(node) is not None
        if node.output[0] in subnet.constant:
            continue
        if node.op_type == "Identity" or folded:
            alias[node.output[0]] = alias.get(node.input[0], node.input[0])
            conv = subnet.maker.get(node.input[0])
            moved += 4 * 4 if folded and len(conv.input) == 2 else 0  # the bias that it gets
        else:
            runs.append(node)
    reads = [[alias.get(name, name) for name in node.input] for node in runs]
    for names in reads:
        moved += sum(4 * math.prod(CONSTANTS.get(name, SHAPE)) for name in {*names, "the output"})
    kept = {alias.get(name, name) for name in subnet.outputs} - subnet.constant
    activation = 4 * math.prod(SHAPE)
    peak = activation * len({"x"} & {*kept, *(name for names in reads for name in names)})
    for i, node in enumerate(runs):
        behind = {name for names in reads[i + 1 :] for name in names} | kept
        made = {"x", *(other.output[0] for other in runs[:i])}
        live = len(made & {*reads[i], *behind}) + 1
        spare = [name for name in reads[i] if name in made - {"x"} - behind and reads[i].count(name) == 1]
        if node.op_type == "Relu" and spare and node.output[0] not in subnet.outputs:
            live -= 1
        peak = max(peak, activation * live)
    return {"peak_memory": peak, "traffic": moved}
