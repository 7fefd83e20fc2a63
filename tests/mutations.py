"""Models that are broken on purpose: seeds that are sound, and changes to them, each drawn from a random generator."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import onnx.inliner
from google.protobuf.descriptor import FieldDescriptor
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, parser

from supernet_onnx import marks, recovery
from tests import graphs, marked

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message

Change = Callable[[ModelProto, random.Random], None]

LOOP = f"""
{graphs.HEADER}
looped (float[n, 4] x, bool flag) => (float[n, 4] y) <float[2] "p.weights" = {{0.75, 0.25}}, int64 trips = {{3}}> {{
    a = Loop (trips, flag, x) <body = step (int64 i, bool go, float[n, 4] v) => (bool more, float[n, 4] w) {{
        more = Identity (go)
        w = Relu (v)
    }}>
    b = If (flag) <then_branch = t () => (float[n, 4] c) {{ c = Neg (x) }},
                   else_branch = e () => (float[n, 4] d) {{ k = local.twice (x) d = Abs (k) }}>
    y = supernet_onnx.Pool2 <pool = "p", branches = ["loop", "if"]> ("p.weights", a, b)
}}
{graphs.FUNCTIONS}
"""

COMPUTED = f"""
{graphs.HEADER}
shapes (float[batch, 6] x) => (float[batch, 2, 3] y) <float[2] "p.weights" = {{0.25, 0.75}}, float[6, 6] w> {{
    s = Constant <value = int64[3] {{0, 2, 3}}> ()
    h = MatMul (x, w)
    r = Reshape (h, s)
    q = Softmax <axis = -1> (r)
    c = Concat <axis = 1> (q, r)
    i = Constant <value = int64[1] {{0}}> ()
    j = Constant <value = int64[1] {{2}}> ()
    t = Slice (c, i, j, j)
    u = Slice (c, i, j, "one")
    y = supernet_onnx.Pool2 <pool = "p", branches = ["a", "b"]> ("p.weights", u, r)
}}
"""


def seeds() -> list[ModelProto]:
    """Return the models that are changed."""
    nested = graphs.marked(
        f"a = Neg (x)  b = Abs (x)  {'i = ' + graphs.pool('inner', 'A B', 'a', 'b')}  c = Relu (i)"
        f"  y = {graphs.pool('outer', 'C D E', 'c', 'x', 'a')}"
    )
    looped = parser.parse_model(LOOP)
    looped.functions.append(marks.pool_function(2, opset=20))
    shapes = parser.parse_model(COMPUTED.replace(", float[6, 6] w", ""))
    shapes.graph.initializer.append(helper.make_tensor("w", 1, [6, 6], [0.5] * 36))
    shapes.graph.initializer.append(helper.make_tensor("one", 7, [1], [1]))
    shapes.functions.append(marks.pool_function(2, opset=20))
    return [marked.flat(), nested, looped, shapes, outside(), inlined(nested)]


def inlined(model: ModelProto) -> ModelProto:
    """Return a marked model as onnx's inliner leaves it, all pools as what their functions compute."""
    recorded = ModelProto()
    recorded.CopyFrom(model)
    recovery.record.keep(recorded)
    return onnx.inliner.inline_local_functions(recorded)


def outside() -> ModelProto:
    """Return a model whose weights stand in ``weights.bin``, of which ``write`` makes 4 KiB."""
    model = marked.flat()
    place = 0
    for tensor in model.graph.initializer:
        if tensor.name != "pool.weights":
            size = len(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "weights.bin"), ("offset", place), ("length", size)):
                tensor.external_data.add(key=key, value=str(value))
            place += size
    return model


def write(content: bytes, folder: Path) -> Path:
    """Write a case and what its external data may name; return the path of the model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(bytes(4096))
    (folder / "big.bin").write_bytes(b"")
    if not (folder / "link.bin").is_symlink():
        (folder / "link.bin").symlink_to("/etc/hostname")
        (folder / "loop.bin").symlink_to("loop.bin")
        (folder / "folder").mkdir()
    path = folder / "case.onnx"
    path.write_bytes(content)
    return path


def mutant(number: int, parents: list[ModelProto]) -> bytes:
    """Return the case of that number, always the same one."""
    rng = random.Random(number)
    model = ModelProto()
    model.CopyFrom(rng.choice(parents))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(CHANGES)(model, rng)
    content = model.SerializeToString()
    return rng.choice(BYTES)(content, rng) if rng.random() < 0.25 else content


ODD_TEXTS = ["", "x", "y", "p", "..", "a/../../b", "\x1b[2J", "\u202e", "n" * 300, "Pool2", "Loop", "com.microsoft"]
ODD_NUMBERS = [-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 64, 255, 2**16, 2**31 - 1, 2**40, 2**62, 2**63 - 1]
OPERATORS = [
    "Add", "MatMul", "Gemm", "Conv", "ConvTranspose", "Reshape", "Transpose", "Concat", "Split", "Slice", "Gather",
    "Cast", "Constant", "ConstantOfShape", "Range", "Tile", "Expand", "Pad", "Resize", "LSTM", "GRU", "RNN", "If",
    "Loop", "Scan", "Einsum", "Attention", "Shape", "Size", "Squeeze", "Unsqueeze", "Flatten", "MaxPool",
    "AveragePool", "GlobalAveragePool", "BatchNormalization", "LayerNormalization", "QLinearConv",
    "DequantizeLinear", "SequenceAt", "SplitToSequence", "SequenceMap", "Optional", "StringSplit", "NonZero",
    "TopK", "OneHot", "Unique", "Compress", "Dropout", "ReduceSum", "DepthToSpace", "SpaceToDepth", "GridSample",
    "RoiAlign", "Upsample", "Identity", "Pool1", "Pool2", "Pool3", "Pool99",
]  # fmt: skip


def _messages(message: Message, found: list[Message] | None = None) -> list[Message]:
    found = [] if found is None else found
    found.append(message)
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in value if field.is_repeated else [value]:
                _messages(item, found)
    return found


def _graph(model: ModelProto, rng: random.Random) -> GraphProto:
    return rng.choice([item for item in _messages(model) if isinstance(item, GraphProto)] or [model.graph])


def any_field(model: ModelProto, rng: random.Random) -> None:
    """Set, clear or repeat a field anywhere."""
    message = rng.choice(_messages(model))
    field = rng.choice(message.DESCRIPTOR.fields)
    if rng.random() < 0.3:
        message.ClearField(field.name)
        return
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if field.is_repeated:
            items = getattr(message, field.name)
            if len(items) and rng.random() < 0.7:
                items.append(rng.choice(list(items)))
            else:
                items.add()
        else:
            getattr(message, field.name).SetInParent()
        return
    value: object
    if field.type == FieldDescriptor.TYPE_STRING:
        value = rng.choice(ODD_TEXTS)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        value = rng.choice([b"", b"\xff\xfe", b"1234", bytes(64), b"x"])
    elif field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        value = rng.choice([0.0, -1.0, float("nan"), float("inf"), 1e30])
    else:
        number = rng.choice(ODD_NUMBERS)
        signed = field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM)
        limit = 2**31 - 1 if signed else 2**63 - 1
        value = max(-limit, min(number, limit)) if field.type != FieldDescriptor.TYPE_UINT64 else abs(number)
        if field.type == FieldDescriptor.TYPE_ENUM:
            value = rng.choice(field.enum_type.values).number
    if not field.is_repeated:
        setattr(message, field.name, value)
        return
    items = getattr(message, field.name)
    if len(items) and rng.random() < 0.6:
        items[rng.randrange(len(items))] = value
    else:
        items.append(value)


def swap_names(model: ModelProto, rng: random.Random) -> None:
    """Let a node read or make another tensor."""
    graph = _graph(model, rng)
    nodes = [node for node in graph.node if node.input or node.output]
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    if nodes:
        node = rng.choice(nodes)
        place = rng.choice([item for item in (node.input, node.output) if len(item)])
        place[rng.randrange(len(place))] = rng.choice([*names, *ODD_TEXTS])


def change_nodes(model: ModelProto, rng: random.Random) -> None:
    """Delete, repeat or move a node, or give it another operator."""
    graph = _graph(model, rng)
    if not graph.node:
        return
    index = rng.randrange(len(graph.node))
    choice = rng.randrange(5)
    if choice == 0:
        del graph.node[index]
    elif choice == 1:
        graph.node.append(graph.node[index])
    elif choice == 2:
        nodes = list(graph.node)
        rng.shuffle(nodes)
        copies = [node.SerializeToString() for node in nodes]
        del graph.node[:]
        for copy in copies:
            graph.node.add().ParseFromString(copy)
    elif choice == 3:
        graph.node[index].op_type = rng.choice(OPERATORS)
    else:
        graph.node[index].domain = rng.choice(["", "local", marks.DOMAIN, "com.microsoft", "ai.onnx.ml", "odd"])


def change_dims(model: ModelProto, rng: random.Random) -> None:
    """Give a tensor or value other dims."""
    tensors = [
        item for item in _messages(model) if isinstance(item, TensorProto) or "dim" in item.DESCRIPTOR.fields_by_name
    ]
    tensor = rng.choice(tensors)
    if isinstance(tensor, TensorProto):
        if len(tensor.dims) and rng.random() < 0.8:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(ODD_NUMBERS)
        else:
            tensor.dims.extend([rng.choice(ODD_NUMBERS)] * rng.choice((1, 3, 80)))
    else:
        for dim in tensor.dim:  # type: ignore[attr-defined]
            if rng.random() < 0.5:
                dim.dim_value = rng.choice(ODD_NUMBERS)


def change_attributes(model: ModelProto, rng: random.Random) -> None:
    """Give an attribute another kind or value."""
    found = [item for item in _messages(model) if isinstance(item, AttributeProto)]
    if not found:
        return
    attribute = rng.choice(found)
    choice = rng.randrange(4)
    if choice == 0:
        attribute.type = rng.choice(list(AttributeProto.AttributeType.values()))
    elif choice == 1:
        attribute.i = rng.choice(ODD_NUMBERS)
        attribute.type = AttributeProto.INT
    elif choice == 2:
        attribute.ints[:] = [rng.choice(ODD_NUMBERS) for _ in range(rng.choice((0, 1, 2, 4, 9)))]
        attribute.type = AttributeProto.INTS
    else:
        attribute.name = rng.choice(
            ["", "axis", "pads", "group", "value", "body", "pool", "branches", "to", "equation"]
        )


def change_marks(model: ModelProto, rng: random.Random) -> None:
    """Splice a pool into the graph, or damage one."""
    names = [name for node in model.graph.node for name in node.output] or ["x"]
    number = rng.choice((1, 2, 3, 40))
    mark = marks.Mark(rng.choice(["pool", "p", "q"]), tuple(f"b{i}" for i in range(number)), rng.choice((0, 1)))
    node = marks.encode(mark, [rng.choice(names) for _ in range(number)], rng.choice([*names, "new"]))
    model.graph.node.add().CopyFrom(node)
    if rng.random() < 0.5:
        model.graph.initializer.append(helper.make_tensor(f"{mark.pool}.weights", 1, [number], [1.0] * number))


def nest(model: ModelProto, rng: random.Random) -> None:
    """Hide a node in graphs in graphs, or functions in functions."""
    depth = rng.choice((1, 3, 8, 20, 30))
    if rng.random() < 0.5:
        inner = helper.make_graph(
            [helper.make_node("Neg", ["x"], ["deep"])], "g", [], [helper.make_tensor_value_info("deep", 1, None)]
        )
        for level in range(depth):
            node = (
                helper.make_node("If", ["flag"], [f"deep{level}"], then_branch=inner, else_branch=inner)
                if depth < 9
                else helper.make_node("Wrap", ["x"], [f"deep{level}"], domain="odd", body=inner)
            )
            inner = helper.make_graph([node], "g", [], [helper.make_tensor_value_info(f"deep{level}", 1, None)])
        model.graph.node.insert(0, inner.node[0])
        return
    width = rng.choice((1, 2, 10))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("deep", 1)]
    for level in range(depth * 3):
        callee = helper.make_node(f"F{(level + 1) % (depth * 3 + rng.randrange(2))}", ["a"], ["b"], domain="deep")
        calls = [
            helper.make_node(callee.op_type, ["a" if i == 0 else f"b{i - 1}"], [f"b{i}"], domain="deep")
            for i in range(width)
        ]
        model.functions.append(helper.make_function("deep", f"F{level}", ["a"], [f"b{width - 1}"], calls, opsets))
    model.functions.append(
        helper.make_function("deep", f"F{depth * 3}", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], opsets)
    )
    model.opset_import.add(domain="deep", version=1)
    model.graph.node.insert(0, helper.make_node("F0", ["x"], ["deep"], domain="deep"))


LOCATIONS = [
    "../weights.bin",
    "/etc/passwd",
    "a/../../b",
    "link.bin",
    "loop.bin",
    "folder",
    "missing.bin",
    "/dev/zero",
    "C:\\x",
    "\\\\host\\x",
    "weights.bin",
    "",
    ".",
    "big.bin",
    "folder/../../weights.bin",
    "weights.bin\x00.txt",
    "case.onnx",
    "\x1b[31m",
]


def attack_data(model: ModelProto, rng: random.Random) -> None:
    """Let a tensor read elsewhere."""
    tensors = [item for item in _messages(model) if isinstance(item, TensorProto)]
    if not tensors:
        return
    tensor = rng.choice(tensors)
    tensor.data_location = TensorProto.EXTERNAL
    if rng.random() < 0.8:
        tensor.ClearField("raw_data")
    del tensor.external_data[:]
    for key, values in (
        ("location", LOCATIONS),
        ("offset", ODD_NUMBERS),
        ("length", ODD_NUMBERS),
        ("__class__", ODD_TEXTS),
    ):
        if rng.random() < (0.9 if key == "location" else 0.4):
            tensor.external_data.add(key=key, value=str(rng.choice(values)))


def change_versions(model: ModelProto, rng: random.Random) -> None:
    """Import another version of an operator set, or claim another version of the format."""
    if rng.random() < 0.5 and model.opset_import:
        rng.choice(list(model.opset_import)).version = rng.choice([*ODD_NUMBERS[4:], 9, 11, 13, 15, 17, 21, 23, 25])
    else:
        model.ir_version = rng.choice([*ODD_NUMBERS, 3, 8, 11])


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start : start + rng.randrange(400)] * rng.choice((2, 50)) + content[start:]


def _misspell(content: bytes, rng: random.Random) -> bytes:
    """Put bytes that are no UTF-8 where a name begins."""
    place = content.find(rng.choice([b"stem", b"pool", b"conv", b"weights", b"Pool", b"batch", b"Relu"]))
    return content if place < 0 else content[:place] + b"\xff" + content[place + 1 :]


CHANGES: list[Change] = [
    any_field,
    any_field,
    any_field,
    any_field,
    swap_names,
    change_nodes,
    change_nodes,
    change_dims,
    change_attributes,
    change_marks,
    nest,
    attack_data,
    change_versions,
]
BYTES = [_flip, _flip, _cut, _repeat, _misspell]
