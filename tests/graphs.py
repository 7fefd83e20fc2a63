"""Marked models for the tests of the graph half, as ONNX text or drawn by hypothesis, and what they should do, naively.

All tensors are ``float[2]`` and hold small integers, so that every operator used is exact in float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from supernet_onnx import marks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEADER = '<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1, "local" : 1]>'

FUNCTIONS = """
<domain: "local", opset_import: ["" : 20]> negated (a) => (b) { b = Neg (a) }
<domain: "local", opset_import: ["" : 20, "local" : 1]> twice (a) => (b) { n = local.negated (a)  b = Sub (a, n) }
<domain: "local", opset_import: ["" : 20]> pair (a) => (b, c) { b = Neg (a)  c = Relu (a) }
"""

FEEDS = {"x": np.array([3, -2], np.float32), "z": np.array([-1, 5], np.float32), "flag": np.array(True)}


def pool(name: str, branches: str, *inputs: str, call: int = 0, weights: str = "") -> str:
    """Write a pool node as ONNX text: ``pool("p", "A B", "a", "b")``."""
    names = branches.split()
    quoted = ", ".join(f'"{branch}"' for branch in names)
    attributes = f'pool = "{name}", branches = [{quoted}], call = {call}'
    return f'supernet_onnx.Pool{len(names)} <{attributes}> ("{weights or name + ".weights"}", {", ".join(inputs)})'


def if_else(then: tuple[str, str], other: tuple[str, str]) -> str:
    """Write an If over ``flag`` as ONNX text, from the output and the nodes of its two bodies."""
    bodies = [f"g () => (float[2] {output}) {{ {body} }}" for output, body in (then, other)]
    return f"If (flag) <then_branch = {bodies[0]}, else_branch = {bodies[1]}>"


def marked(body: str, *, signature: str = "(float[2] x) => (float[2] y)", initializers: str = "") -> ModelProto:
    """Parse the nodes of a graph; add the weights that its pools miss (the first is heaviest) and all functions."""
    text = f"{HEADER} g {signature} <{initializers}> {{ {body} }} {FUNCTIONS}"
    model = parser.parse_model(text if initializers else text.replace("<>", ""))
    made = {tensor.name for tensor in model.graph.initializer} | {n for node in model.graph.node for n in node.output}
    sizes = set()
    for node in model.graph.node:
        if marks.is_pool(node):
            size = len(node.input) - 1
            sizes.add(size)
            if node.input[0] not in made:
                made.add(node.input[0])
                weights = np.arange(size, 0, -1).astype(np.float32) / (size * (size + 1) / 2)
                model.graph.initializer.append(numpy_helper.from_array(weights, node.input[0]))
    model.functions.extend(marks.pool_function(size, opset=20) for size in sorted(sizes))
    decorate(model)
    return model


def decorate(model: ModelProto) -> None:
    """Write something into every field that a tool could lose; half of the tensors get a quantization annotation."""
    graph = model.graph
    model.producer_name, model.domain, model.model_version, model.doc_string = "tests", "a.domain", 3, "a model"
    helper.set_model_props(model, {"author": "somebody", marks.FORMAT_KEY: marks.FORMAT, marks.VERSION_KEY: "0"})
    graph.doc_string = "a graph"
    graph.metadata_props.add(key="of", value="graph")
    for index, node in enumerate(graph.node):
        node.name, node.doc_string = node.name or f"n{index}", f"node {index}"
        node.metadata_props.add(key="index", value=str(index))
    outputs = {value.name for value in graph.output}
    for index, name in enumerate(name for node in graph.node for name in node.output if name):
        if name not in outputs:
            graph.value_info.append(helper.make_tensor_value_info(name, 1, [2], doc_string=f"value {name}"))
            graph.value_info[-1].metadata_props.add(key="value", value=name)
        if index % 2:
            graph.initializer.append(numpy_helper.from_array(np.float32(0.5), f"scale of {name}"))
            annotation = graph.quantization_annotation.add(tensor_name=name)
            annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=f"scale of {name}")


def one_hot(model: ModelProto, chosen: Mapping[str, int]) -> ModelProto:
    """Give every pool node weights of its own: 1 for the chosen branch and 0 for the others."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    for index, node in enumerate(fixed.graph.node):
        if marks.is_pool(node):
            weights = np.zeros(len(node.input) - 1, np.float32)
            weights[chosen[marks.decode(node).pool]] = 1
            node.input[0] = f"one hot {index}"
            fixed.graph.initializer.append(numpy_helper.from_array(weights, node.input[0]))
    return fixed


def evaluate(model: ModelProto) -> list[np.ndarray]:
    """Run a model on ``FEEDS`` in the reference evaluator."""
    names = {value.name for value in model.graph.input}
    return ReferenceEvaluator(model).run(None, {name: value for name, value in FEEDS.items() if name in names})


def nested_graphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs


def needs(node: NodeProto, chosen: Mapping[str, int]) -> set[str]:
    """Return what a node needs under a selection: all that it reads, but of a pool's inputs only the chosen one."""
    if marks.is_pool(node):
        return {node.input[1 + chosen[marks.decode(node).pool]]}
    names = {name for name in node.input if name}
    for graph in nested_graphs(node):
        inner = [needs(inner, chosen) for inner in graph.node]
        read = set().union(*inner) | {value.name for value in graph.output}
        made = {name for inner in graph.node for name in inner.output}
        names |= read - made - {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    return names


def live(model: ModelProto, chosen: Mapping[str, int]) -> tuple[set[int], set[str]]:
    """Return the nodes and the tensors that the outputs need under a selection, by repeating until nothing is new."""
    nodes: set[int] = set()
    tensors = {value.name for value in model.graph.output}
    while True:
        new = {i for i, node in enumerate(model.graph.node) if tensors & set(node.output)} - nodes
        if not new:
            return nodes, tensors
        nodes |= new
        for index in new:
            tensors |= needs(model.graph.node[index], chosen)


@dataclass
class Sketch:
    """A graph while it is drawn."""

    tensors: list[str] = field(default_factory=lambda: ["x", "z", "c", "d"])
    lines: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)

    def add(self, expression: str, outputs: int = 1) -> None:
        names = [f"t{len(self.tensors) + i}" for i in range(outputs)]
        self.tensors += names
        self.lines.append(f"{', '.join(names)} = {expression}")


POOLS = {"p": "A B", "q": "A B C", "r": "A B", "s": "A"}
KINDS = ("pool", "pool", "pool", "unary", "unary", "binary", "if", "function", "pair", "dropout")
SIGNATURE = "(float[2] x, float[2] z, bool flag, float[2] d) => ({})"
CONSTANTS = "float[2] c = {1, -4}, float[2] d = {2, 7}, float[2] unused = {0, 0}"


def draw_line(draw: st.DrawFn, sketch: Sketch) -> None:
    """Add one node to a sketch, wired to anything that exists, rather to what came last."""
    recent = st.sampled_from(sketch.tensors[-4:])
    tensors = st.one_of(recent, recent, st.sampled_from(sketch.tensors))
    kind = draw(st.sampled_from(KINDS))
    if kind == "pool":
        name = draw(st.sampled_from(sorted(POOLS)))
        inputs = [draw(tensors) for _ in POOLS[name].split()]
        call = sketch.calls[name] = sketch.calls.get(name, -1) + 1
        weights = ""
        if name == "r":  # its weights are computed
            sketch.lines.append(f'"r{call}" = Relu (c)')
            weights = f"r{call}"
        sketch.add(pool(name, POOLS[name], *inputs, call=call, weights=weights))
    elif kind == "unary":
        sketch.add(f"{draw(st.sampled_from(['Relu', 'Neg', 'Abs', 'Identity']))} ({draw(tensors)})")
    elif kind == "binary":
        sketch.add(f"{draw(st.sampled_from(['Add', 'Sub', 'Max']))} ({draw(tensors)}, {draw(tensors)})")
    elif kind == "if":
        inner = if_else(("j", f"j = Neg ({draw(tensors)})"), ("k", f"k = Relu ({draw(tensors)})"))
        sketch.add(if_else(("i", f"h = {inner} i = Abs (h)"), ("i", f"i = Identity ({draw(tensors)})")))
    elif kind == "dropout":
        sketch.lines.append(f't{len(sketch.tensors)}, "" = Dropout ({draw(tensors)})')
        sketch.tensors.append(f"t{len(sketch.tensors)}")
    else:
        function = "pair" if kind == "pair" else draw(st.sampled_from(["negated", "twice"]))
        sketch.add(f"local.{function} ({draw(tensors)})", outputs=2 if kind == "pair" else 1)


@st.composite
def supergraphs(draw: st.DrawFn) -> ModelProto:
    """Draw a marked model: pools nested, tied, sharing nodes, met by inputs, initializers, outputs; If; functions."""
    sketch = Sketch()
    sketch.add(pool("p", "A B", "x", "z"))
    sketch.calls["p"] = 0
    for _ in range(draw(st.integers(0, 14))):
        draw_line(draw, sketch)
    made = st.sampled_from(sketch.tensors[-6:])
    outputs = [*draw(st.lists(made, max_size=2, unique=True)), sketch.tensors[-1]]
    names = ", ".join(f"float[2] {name}" for name in dict.fromkeys(outputs))
    return marked("\n".join(sketch.lines), signature=SIGNATURE.format(names), initializers=CONSTANTS)
