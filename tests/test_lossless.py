"""Nothing lost: what survives a prune is, byte for byte, what it was."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import GraphProto, ModelProto

from supernet_onnx import marks
from supernet_onnx.pruning import prune
from supernet_onnx.selection import Selection, every, resolve, sample
from supernet_onnx.supergraph import read
from tests import everything, graphs

if TYPE_CHECKING:
    from pathlib import Path

TABLES = ("initializer", "sparse_initializer", "input", "output", "value_info")


def name_of(item: object) -> str:
    return item.values.name if hasattr(item, "values") else item.name


def shell(message: ModelProto | GraphProto, *fields: str) -> bytes:
    """Return the bytes of a message without some of its fields."""
    copy = type(message)()
    copy.CopyFrom(message)
    for field in fields:
        copy.ClearField(field)
    return copy.SerializeToString(deterministic=True)


def new_names(old: GraphProto, new: GraphProto, survivors: list[int]) -> dict[str, str]:
    """Tell from the places of the surviving nodes which tensors have other names; each has one name everywhere."""
    left = [node for node in new.node if node.metadata_props]  # all but the Identities that stand for pools
    assert len(left) == len(survivors)
    names: dict[str, str] = {}
    for index, node in zip(survivors, left, strict=True):
        before = old.node[index]
        for was, now in (*zip(before.input, node.input, strict=True), *zip(before.output, node.output, strict=True)):
            assert names.setdefault(was, now) == now
    for index, node in zip(survivors, left, strict=True):  # nested graphs read a renamed tensor, too
        for was, now in zip(everything.messages(old.node[index]), everything.messages(node), strict=True):
            if hasattr(was, "op_type"):
                for own, other in zip(was.input, now.input, strict=True):
                    assert names.setdefault(own, other) == other
    return names


def assert_lossless(model: ModelProto, selection: Selection, subnet: ModelProto) -> None:
    chosen = dict(zip(selection.pools, selection.indices, strict=True))
    live, tensors = graphs.live(model, chosen)
    old, new = model.graph, subnet.graph
    pools = {i for i in live if marks.is_pool(old.node[i])}
    survivors = sorted(live - pools)
    names = new_names(old, new, survivors)
    met = {name for i in pools for name in (*old.node[i].input, *old.node[i].output)}
    assert {was for was, now in names.items() if was != now} <= met
    left = [node for node in new.node if node.metadata_props]
    assert [everything.renamed(old.node[i], names) for i in survivors] == [
        node.SerializeToString(deterministic=True) for node in left
    ]
    for table in TABLES:
        items = {name_of(item): item.SerializeToString(deterministic=True) for item in getattr(old, table)}
        kept = [item.SerializeToString(deterministic=True) for item in getattr(new, table)]
        order = [items[name_of(item)] for item in getattr(new, table)]
        assert kept == order
        assert [name for name in items if items[name] in kept] == [name_of(item) for item in getattr(new, table)]
    assert {name_of(item) for item in (*old.initializer, *old.sparse_initializer)} & tensors <= {
        name_of(item) for item in (*new.initializer, *new.sparse_initializer)
    }
    for function in subnet.functions:
        assert function.SerializeToString() in [own.SerializeToString() for own in model.functions]
    parts = ("node", "quantization_annotation", *TABLES)
    assert shell(old, *parts) == shell(new, *parts)
    assert [entry for entry in model.metadata_props if not entry.key.startswith("supernet_onnx.")] == list(
        subnet.metadata_props
    )
    parts = ("graph", "functions", "opset_import", "metadata_props", "training_info")
    assert shell(model, *parts) == shell(subnet, *parts)
    annotated = [everything.renamed(item, names) for item in old.quantization_annotation]
    assert all(item.SerializeToString(deterministic=True) in annotated for item in new.quantization_annotation)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(graphs.supergraphs(), st.integers(0, 1 << 20))
def test_what_survives_in_any_model_is_byte_for_byte_what_it_was(model: ModelProto, seed: int) -> None:
    everything.adorn(model, seed)
    written = model.SerializeToString(deterministic=True)
    supergraph = read(model)
    for selection in itertools.islice(sample(supergraph, seed=seed), 2):
        subnet = prune(supergraph, selection)
        assert_lossless(model, selection, subnet)
    assert prune(read(ModelProto.FromString(written)), selection).SerializeToString() == subnet.SerializeToString()
    assert model.SerializeToString(deterministic=True) == written


def whole() -> ModelProto:
    return everything.everything(marks.encode(marks.Mark("p", ("A", "B")), ["a", "b"], "met"))


def with_weights(model: ModelProto) -> ModelProto:
    tensor = model.graph.initializer.add(name="p.weights", data_type=1, dims=[2])
    tensor.float_data.extend([0.5, 0.5])
    return model


def test_a_model_that_holds_every_field_of_onnx_keeps_them_all() -> None:
    model = with_weights(whole())
    fields = {everything.key(field) for field in everything.all_fields()}
    assert everything.set_fields(model) == fields
    supergraph = read(model)
    for selection, dead in zip(every(supergraph), ("b", "a"), strict=True):
        subnet = prune(supergraph, selection)
        assert_lossless(model, selection, subnet)
        assert everything.set_fields(subnet) == fields
        assert list(subnet.training_info) == list(model.training_info)
        assert [node.op_type for node in subnet.graph.node] == [f"Odd {selection['p'].lower()}", "Odd trunk"]
        written = subnet.SerializeToString()
        for trace in (f"Odd {dead}", f"domain of {dead}", f"{dead} sparse", f"the function of {dead}", "supernet_onnx"):
            assert trace.encode() not in written


def test_every_string_of_onnx_is_known_to_name_a_tensor_or_not() -> None:
    strings = {everything.key(field) for field in everything.all_fields() if field.type == FieldDescriptor.TYPE_STRING}
    assert strings == everything.TENSOR_NAMES | everything.OTHER_STRINGS


SCRIPT = """
import hashlib, pathlib, sys
from onnx import ModelProto
from supernet_onnx import prune, read
from supernet_onnx.selection import every
supergraph = read(ModelProto.FromString(pathlib.Path(sys.argv[1]).read_bytes()))  # the gate would refuse so odd a file
print([hashlib.sha256(prune(supergraph, selection).SerializeToString()).hexdigest() for selection in every(supergraph)])
"""


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_other_processes_that_hash_differently_give_equal_bytes(seed: str, tmp_path: Path) -> None:
    model = with_weights(whole())
    supergraph = read(model)
    here = [hashlib.sha256(prune(supergraph, own).SerializeToString()).hexdigest() for own in every(supergraph)]
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    command = [sys.executable, "-c", SCRIPT, str(path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(here)


def test_shards_of_a_renamed_tensor_name_it_anew() -> None:
    model = graphs.marked(f"a = Neg (x)  b = Abs (x)  y = {graphs.pool('p', 'A B', 'a', 'b')}")
    spec = model.graph.node[0].device_configurations.add(configuration_id="two").sharding_spec.add(tensor_name="a")
    assert spec.tensor_name == "a"
    subnet = prune(read(model), resolve(read(model), {"p": "A"}))
    assert subnet.graph.node[0].output[0] == "y"
    assert subnet.graph.node[0].device_configurations[0].sharding_spec[0].tensor_name == "y"


@pytest.mark.parametrize("text", [b"a model", b"a graph", b"a.domain", b"tests"])
def test_texts_that_are_no_utf8_stay_what_they_are(text: bytes) -> None:
    model = graphs.marked(f"a = Neg (x)  y = {graphs.pool('p', 'A B', 'a', 'x')}")
    odd = b"\xff" + text[1:]
    broken = ModelProto.FromString(model.SerializeToString().replace(text, odd))
    subnet = prune(read(broken), resolve(read(broken), {"p": "A"}))
    assert odd in subnet.SerializeToString()
    assert text not in subnet.SerializeToString()
