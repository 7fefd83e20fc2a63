"""Everything that onnx.proto can hold, by reflection: fields of a later onnx are filled and compared too.

A string field holds the name of a tensor or it does not; which one is decided here for each, and a test fails for
a field that nobody has decided.
"""

from __future__ import annotations

import collections
import random
from typing import TYPE_CHECKING

import onnx
from google.protobuf.descriptor import FieldDescriptor
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from supernet_onnx import marks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message

TENSOR_NAMES = {
    "NodeProto.input", "NodeProto.output", "ShardingSpecProto.tensor_name", "TensorAnnotation.tensor_name",
    "ValueInfoProto.name", "TensorProto.name",
}  # fmt: skip
"""The fields that hold a tensor's name, besides the values of a quantization annotation's entries, the entries of a
training step's bindings, and strings in the attributes of Gradient."""

OTHER_STRINGS = {
    "AttributeProto.name", "AttributeProto.ref_attr_name", "AttributeProto.doc_string", "ValueInfoProto.doc_string",
    "NodeProto.name", "NodeProto.op_type", "NodeProto.domain", "NodeProto.overload", "NodeProto.doc_string",
    "NodeDeviceConfigurationProto.configuration_id", "SimpleShardedDimProto.dim_param", "ModelProto.producer_name",
    "ModelProto.producer_version", "ModelProto.domain", "ModelProto.doc_string", "DeviceConfigurationProto.name",
    "DeviceConfigurationProto.device", "StringStringEntryProto.key", "StringStringEntryProto.value",
    "GraphProto.name", "GraphProto.doc_string", "TensorProto.doc_string", "Dimension.dim_param",
    "Dimension.denotation", "Opaque.domain", "Opaque.name", "TypeProto.denotation", "OperatorSetIdProto.domain",
    "FunctionProto.name", "FunctionProto.input", "FunctionProto.output", "FunctionProto.attribute",
    "FunctionProto.doc_string", "FunctionProto.domain", "FunctionProto.overload",
}  # fmt: skip
"""Entries are names only where ``TENSOR_NAMES`` says so; a function's tensors are its own."""


def key(field: FieldDescriptor) -> str:
    """Name a field: ``NodeProto.input``."""
    return f"{field.containing_type.name}.{field.name}"


def all_fields() -> Iterator[FieldDescriptor]:
    """Iterate over every field of every message that a model can hold."""
    waiting, seen = [ModelProto.DESCRIPTOR], set()
    while waiting:
        message = waiting.pop()
        if message.full_name not in seen:
            seen.add(message.full_name)
            yield from message.fields
            waiting.extend(field.message_type for field in message.fields if field.message_type)


def messages(message: Message) -> Iterator[Message]:
    """Iterate over a message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type:
            for item in value if field.is_repeated else [value]:
                yield from messages(item)


def set_fields(message: Message) -> set[str]:
    """Return the names of the fields that are set anywhere in a message."""
    return {key(field) for item in messages(message) for field, _ in item.ListFields()}


def unknown(item: Message, text: str) -> None:
    """Add fields that no onnx knows, one of each wire type."""
    content = text.encode()
    added = b"\xf8\x7f\x96\x01" + b"\xf9\x7f" + b"8 bytes." + b"\xfa\x7f" + bytes([len(content)]) + content
    item.MergeFromString(added + b"\xfb\x7f\xf8\x7f\x05\xfc\x7f" + b"\xfd\x7f" + b"four")


class Filler:
    """Fills messages, each field with something of its own.

    Args:
        tensor: What nodes in nested graphs read from outside.
        seed: For the numbers.
    """

    def __init__(self, tensor: str, seed: int = 0) -> None:
        self.tensor = tensor
        self.count = 0
        self.random = random.Random(seed)
        self.turns: collections.Counter[str] = collections.Counter()

    def fresh(self, text: str) -> str:
        """Return a name that nothing has."""
        self.count += 1
        return f"{text} {self.count}"

    def fill(self, message: Message, depth: int = 0) -> None:
        """Fill every field; of those that exclude each other the next one, and no graphs from the fourth level on."""
        chosen = {}
        for group in message.DESCRIPTOR.oneofs:
            self.turns[group.full_name] += 1
            chosen[group.full_name] = group.fields[self.turns[group.full_name] % len(group.fields)]
        for field in message.DESCRIPTOR.fields:
            group = field.containing_oneof
            is_graph = field.message_type in (GraphProto.DESCRIPTOR, NodeProto.DESCRIPTOR)
            if (group is None or chosen[group.full_name] is field) and not (is_graph and depth > 3) and depth < 7:
                self._fill_field(message, field, depth)
        if isinstance(message, GraphProto):
            self._close(message)
        if isinstance(message, AttributeProto):
            self._choose(message)
        unknown(message, self.fresh("unknown"))

    def _fill_field(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type:
            if field.is_repeated:
                self.fill(getattr(message, field.name).add(), depth + 1)
            else:
                getattr(message, field.name).SetInParent()
                self.fill(getattr(message, field.name), depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(self._scalar(field) for _ in range(2))
        else:
            setattr(message, field.name, self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> object:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_STRING:
            text = self.fresh(field.name)
            return b"\xff\xfe" + text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
            return self.random.uniform(-1, 1)
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return 0
        return self.random.randrange(1, 100)

    def _close(self, graph: GraphProto) -> None:
        """Make a nested graph hold together: its node reads ``tensor`` and makes the output."""
        for node in graph.node:
            node.input[:] = [self.tensor, ""]
            node.domain, node.op_type, node.overload = "foreign", "Odd", ""
            for configuration in node.device_configurations:
                for spec in configuration.sharding_spec:
                    spec.tensor_name = self.tensor
        for value in graph.output:
            value.name = graph.node[0].output[0] if graph.node else self.tensor

    def _choose(self, attribute: AttributeProto) -> None:
        """Keep all values of an attribute, which onnx forbids but protobuf can hold; its type says whether graphs."""
        attribute.type = AttributeProto.GRAPHS if attribute.graphs else AttributeProto.STRINGS
        attribute.ClearField("g")


def attributes(tensor: str, seed: int) -> list[AttributeProto]:
    """Return an attribute of every kind, filled, that reads ``tensor`` in its graphs."""
    filler = Filler(tensor, seed)
    found = []
    for name, kind in AttributeProto.AttributeType.items():
        attribute = AttributeProto(name=f"of kind {name}", type=kind, doc_string=filler.fresh("doc"))
        value = {"FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "GRAPH": "g", "TYPE_PROTO": "tp"}
        field = AttributeProto.DESCRIPTOR.fields_by_name.get(value.get(name, name.lower()))
        if field is not None:
            filler._fill_field(attribute, field, 1)
        attribute.ref_attr_name = filler.fresh("reference") if field is None else ""
        unknown(attribute, filler.fresh("unknown"))
        found.append(attribute)
    return found


def adorn(model: ModelProto, seed: int) -> None:
    """Fill whatever of a marked model says nothing of its topology: for each node, value, tensor, function, and above."""
    numbers = random.Random(seed)
    filler = Filler("x", seed)
    graph = model.graph
    fixed = {"ModelProto.graph", "ModelProto.functions", "ModelProto.opset_import", "ModelProto.training_info"}
    fixed |= {f"GraphProto.{field.name}" for field in GraphProto.DESCRIPTOR.fields if field.message_type}
    for message in (model, graph):
        for field in message.DESCRIPTOR.fields:
            if key(field) not in fixed:
                message.ClearField(field.name) if field.name != "metadata_props" else None
                filler._fill_field(message, field, 1)
        unknown(message, filler.fresh("unknown"))
    graph.metadata_props.add(key="of", value="the graph")
    for node in graph.node:
        if not marks.is_pool(node):
            node.attribute.extend(attributes(node.input[0], seed) if node.input and numbers.random() < 0.2 else [])
            shards = node.device_configurations.add(configuration_id=filler.fresh("device"), pipeline_stage=3)
            for name in {*node.input, *node.output} - {""}:
                filler.fill(shards.sharding_spec.add(), 2)
                shards.sharding_spec[-1].tensor_name = name
            unknown(node, filler.fresh("unknown"))
    for value in (*graph.input, *graph.output, *graph.value_info):
        filler.fill(value.metadata_props.add(), 2)
        value.type.ClearField("value")
        filler.fill(value.type, 1)
        unknown(value, filler.fresh("unknown"))
    for tensor in graph.initializer:
        filler.fill(tensor.metadata_props.add(), 2)
        tensor.doc_string = filler.fresh("doc")
        unknown(tensor, filler.fresh("unknown"))
    for function in model.functions:
        if function.domain != marks.DOMAIN:
            filler.fill(function.value_info.add(), 2)
            filler.fill(function.metadata_props.add(), 2)
            function.doc_string = filler.fresh("doc")
            unknown(function, filler.fresh("unknown"))


def everything(mark: NodeProto) -> ModelProto:
    """Return a marked model that holds everything in its trunk, in branch ``a`` and in branch ``b`` of one pool.

    Args:
        mark: The pool's node; it reads ``a``, ``b`` and makes ``met``.
    """
    model = ModelProto(ir_version=onnx.IR_VERSION)
    filler = Filler("met")
    graph = model.graph
    for part, tensor in (("trunk", "met"), ("a", "x"), ("b", "x")):
        dtypes = [f"{part} {name}" for name in TensorProto.DataType.keys()]
        for name, dtype in zip(dtypes, TensorProto.DataType.values(), strict=True):
            filler.fill(graph.initializer.add(), 2)
            graph.initializer[-1].name, graph.initializer[-1].data_type = name, dtype
            graph.initializer[-1].data_location = dtype % 2
        filler.fill(graph.sparse_initializer.add(), 2)
        graph.sparse_initializer[-1].values.name = f"{part} sparse"
        graph.input.add(name=dtypes[1]).type.CopyFrom(helper.make_tensor_type_proto(1, [2]))
        filler.tensor = tensor
        node = graph.node.add()
        filler.fill(node, 1)
        node.input[:] = [tensor, *dtypes, f"{part} sparse"]
        node.output[:] = ["y" if part == "trunk" else part]
        node.op_type, node.domain, node.overload = f"Odd {part}", f"domain of {part}", "overload"
        del node.attribute[:]
        node.attribute.extend(attributes(tensor, 5))
        node.attribute.add(name="all", type=AttributeProto.STRINGS)
        filler.fill(node.attribute[-1], 1)
        for configuration in node.device_configurations:
            configuration.sharding_spec[0].tensor_name = tensor
            filler.fill(configuration.sharding_spec.add(), 3)
            configuration.sharding_spec[1].tensor_name = node.output[0]
        for choice in range(8):  # one for each kind of type
            filler.fill(graph.value_info.add(), 1)
            graph.value_info[-1].name = node.output[0] if choice == 0 else dtypes[choice + 1]
        filler.fill(graph.quantization_annotation.add(), 1)
        graph.quantization_annotation[-1].tensor_name = node.output[0]
        graph.quantization_annotation[-1].quant_parameter_tensor_names[0].value = dtypes[0]
        function = model.functions.add()
        filler.fill(function, 1)
        function.name, function.domain, function.overload = node.op_type, node.domain, node.overload
        for inner in function.node:
            inner.domain, inner.op_type = "foreign", "Odd"
        function.opset_import[0].domain = f"only in the function of {part}"
        model.opset_import.add(domain=function.opset_import[0].domain, version=4)
        model.opset_import.add(domain=node.domain, version=3)
        unknown(model.opset_import[-1], f"of {part}")
    for domain in ("", "foreign", marks.DOMAIN):
        model.opset_import.add(domain=domain, version=1 if domain else 20)
    nodes = [graph.node[1], graph.node[2], mark, graph.node[0]]
    copies = [node.SerializeToString() for node in nodes]
    del graph.node[:]
    graph.node.extend(map(NodeProto.FromString, copies))
    for values, name in ((graph.input, "x"), (graph.output, "y")):
        filler.fill(values.add(), 1)
        values[-1].name = name
    training = model.training_info.add()
    filler.fill(training, 1)
    training.initialization.node[0].input[:] = []
    _bind(training.initialization, "x")
    _bind(training.algorithm, "y")
    training.initialization_binding[0].key = training.update_binding[0].key = "trunk FLOAT"
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        filler._fill_field(model, ModelProto.DESCRIPTOR.fields_by_name[field], 1)
    for repeated in (model.metadata_props, model.configuration, graph.metadata_props):
        filler.fill(repeated.add(), 1)
    graph.name, graph.doc_string = "a graph", "of everything"
    unknown(model, "of the model")
    unknown(graph, "of the graph")
    return model


def _bind(graph: GraphProto, tensor: str) -> None:
    """Let a training graph read nothing of the main graph but ``tensor``."""
    for message in messages(graph):
        if isinstance(message, NodeProto):
            message.input[:] = [tensor if name else "" for name in message.input]
        if isinstance(message, GraphProto):
            for value in message.output:
                value.name = tensor if value.name not in message.node[0].output else value.name


def renamed(message: Message, names: Mapping[str, str]) -> bytes:
    """Return the bytes of a message in which tensors have other names, wherever ``TENSOR_NAMES`` says one stands."""
    copy = type(message)()
    copy.CopyFrom(message)
    for item in messages(copy):
        for field, value in item.ListFields():
            if key(field) in TENSOR_NAMES and field.is_repeated:
                value[:] = [names.get(name, name) for name in value]
            elif key(field) in TENSOR_NAMES:
                setattr(item, field.name, names.get(value, value))
            elif field.name == "quant_parameter_tensor_names":
                for entry in value:
                    entry.value = names.get(entry.value, entry.value)
    return copy.SerializeToString(deterministic=True)
