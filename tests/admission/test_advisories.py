"""Each security advisory of recent years about ONNX files, by its number: what it did elsewhere does nothing here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from onnx import TensorProto, helper

from supernet_onnx import read, storage
from supernet_onnx.admission import load
from supernet_onnx.errors import ModelError
from supernet_onnx.storage import locate
from tests import mutations
from tests.cli.calling import call, error
from tests.files import names

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

VERBS = ["inspect", "cost", "prune", "verify", "bench"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with its weights, beside a secret."""
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(4096))
    return folder


def naming(location: str, **entries: str) -> ModelProto:
    """Return a model whose first external tensor stands elsewhere."""
    model = mutations.outside()
    tensor = next(item for item in model.graph.initializer if item.data_location == TensorProto.EXTERNAL)
    tensor.external_data[0].value = location
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model


def refused(verb: str, model: ModelProto, folder: Path) -> str:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    before = names(folder), names(folder.parent)
    line = error(verb, path, path) if verb == "verify" else error(verb, path)
    assert (names(folder), names(folder.parent)) == before
    return line


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin",
        "..\\secret.bin",
        "/etc/passwd",
        "\\etc\\passwd",
        "C:\\secret.bin",
        "\\\\host\\secret.bin",
        "x:y",
    ],
)
def test_cve_2022_25882_a_path_out_of_the_folder(location: str, verb: str, folder: Path) -> None:
    assert "must be a path inside of the model's folder" in refused(verb, naming(location), folder)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("location", ["a/../../secret.bin", "./../secret.bin", "weights.bin/../../secret.bin"])
def test_cve_2024_27318_a_path_that_leads_out_by_a_detour(location: str, verb: str, folder: Path) -> None:
    assert "must be a path inside of the model's folder" in refused(verb, naming(location), folder)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("offset", "length"), [("4090", "432"), ("-1", "8"), ("0", "-1"), ("9" * 19, "432"), ("x", "1")]
)
def test_cve_2024_27319_bytes_out_of_range(offset: str, length: str, verb: str, folder: Path) -> None:
    model = mutations.outside()
    tensor = next(item for item in model.graph.initializer if item.data_location == TensorProto.EXTERNAL)
    tensor.external_data[1].value, tensor.external_data[2].value = offset, length
    line = refused(verb, model, folder)
    assert "expected numbers of at least 0" in line or "the file has 4096" in line


def test_cve_2025_51480_a_save_writes_nowhere_but_beside_the_output(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ModelError, match="must be a path inside of the model's folder"):
        storage.save(naming("../secret.bin"), target / "out.onnx", directory=folder)
    storage.save(mutations.outside(), target / "out.onnx", directory=folder)
    assert names(target) == ["out.onnx", "out.onnx.data"]
    assert (tmp_path / "secret.bin").read_bytes() == bytes(4096)


@pytest.mark.parametrize("verb", VERBS)
def test_cve_2026_27489_a_symbolic_link_out_of_the_folder(verb: str, folder: Path) -> None:
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    line = refused(verb, naming("link.bin"), folder)
    assert "is a link to" in line
    assert "pass --allow-links if you trust the model" in line


@pytest.mark.parametrize("verb", VERBS)
def test_cve_2026_34447_a_folder_that_is_a_symbolic_link(verb: str, folder: Path) -> None:
    (folder / "data").symlink_to(folder.parent)
    assert "is a link to" in refused(verb, naming("data/secret.bin"), folder)


@pytest.mark.parametrize("verb", VERBS)
def test_cve_2026_34446_a_hard_link(verb: str, folder: Path) -> None:
    (folder / "hard.bin").hardlink_to(folder.parent / "secret.bin")
    assert "has several hard links" in refused(verb, naming("hard.bin"), folder)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("key", ["__class__", "info", "tensor_name", "basepath", ""])
def test_cve_2026_34445_a_key_that_would_set_an_attribute(key: str, verb: str, folder: Path) -> None:
    line = refused(verb, naming("weights.bin", **{key: "x"}), folder)
    assert f"has the key '{key}', expected location, offset, length or checksum" in line


def test_ghsa_q56x_g2fj_4rj6_a_file_that_is_exchanged_after_it_was_checked(folder: Path) -> None:
    tensor = next(item for item in mutations.outside().graph.initializer if item.external_data)
    extent = locate(tensor, folder)
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to(folder.parent / "secret.bin")
    with pytest.raises(OSError, match="symbolic links"):
        extent.file.open()
    (folder / "weights.bin").unlink()
    (folder.parent / "secret.bin").rename(folder / "weights.bin")
    with pytest.raises(ModelError, match="were replaced while the model was read; try again"):
        extent.file.open()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("length", [1, 2, 5])
def test_ghsa_7w46_vvrh_m8q5_functions_that_call_each_other_in_a_circle(length: int, verb: str, folder: Path) -> None:
    model = mutations.outside()
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("round", 1)]
    for index in range(length):
        body = [helper.make_node(f"f{(index + 1) % length}", ["a"], ["b"], domain="round")]
        model.functions.append(helper.make_function("round", f"f{index}", ["a"], ["b"], body, opsets))
    model.opset_import.append(opsets[1])
    assert "calls itself, directly or through others" in refused(verb, model, folder)


def test_links_are_followed_where_they_are_allowed(folder: Path) -> None:
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    path = folder / "model.onnx"
    path.write_bytes(naming("link.bin").SerializeToString())
    assert call("prune", path, "--allow-links").exit_code == 0
    assert read(path, allow_links=True).pools
    with pytest.raises(ModelError, match="is a link to"):
        load(path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket"])
def test_data_that_are_no_regular_file_are_refused_at_once(kind: str, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    os.mknod(folder / "socket", 0o140644)
    assert "must be a regular file inside of the model's folder" in refused("inspect", naming(kind), folder)


def test_data_that_are_missing_hurt_only_those_who_read_them(folder: Path) -> None:
    (folder / "weights.bin").unlink()
    path = folder / "model.onnx"
    path.write_bytes(mutations.outside().SerializeToString())
    assert call("inspect", path).exit_code == 0
    assert call("cost", path).exit_code == 0
    assert "No such file or directory" in error("prune", path)


def test_equal_ranges_are_shared_but_partial_overlaps_are_errors(folder: Path) -> None:
    model = mutations.outside()
    first, second = [item for item in model.graph.initializer if item.external_data][:2]
    for start, message in (
        ("0", None),
        ("4", "their external data overlap in 'weights.bin': bytes 0 to 432 and 4 to 436"),
    ):
        second.external_data[1].value, second.external_data[2].value = start, first.external_data[2].value
        second.dims[:] = first.dims
        if message is None:
            storage.check_extents([first, second], folder)
        else:
            with pytest.raises(ModelError, match=message):
                storage.check_extents([first, second], folder)
