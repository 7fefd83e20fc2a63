from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper, parser

from supernet_onnx import storage
from supernet_onnx.errors import ModelError, OutputError
from supernet_onnx.storage import Extent, copying, saving
from supernet_onnx.storage.confinement import DataFile
from tests.files import failing, names

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Neg (x) }'


def plain() -> ModelProto:
    return parser.parse_model(PLAIN)


def external(name: str, offset: int | str | None, length: int | str | None, file: str = "weights.bin") -> TensorProto:
    """Return a float tensor whose values stand in a file."""
    tensor = TensorProto(name=name, data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", file), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return tensor


def stored(tensor: TensorProto, directory: Path) -> bytes:
    """Read a tensor's external bytes, independently."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    content = (directory / entries["location"]).read_bytes()
    return content[int(entries["offset"]) : int(entries["offset"]) + int(entries["length"])]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a file of external data: bytes 0, 1, ... 255."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    return folder


def test_only_the_byte_ranges_that_the_model_names_are_copied_each_once(source: Path, tmp_path: Path) -> None:
    model = plain()
    model.graph.initializer.extend(
        [external("a", 16, 8), external("b", 100, 4), external("a again", 16, 8), external("rest", 250, None)]
    )
    before = model.SerializeToString()
    target = tmp_path / "target"
    target.mkdir()
    storage.save(model, target / "model.onnx", directory=source)
    assert model.SerializeToString() == before
    saved = storage.load(target / "model.onnx")
    content = bytes(range(256))
    assert [stored(tensor, target) for tensor in saved.graph.initializer] == [
        content[16:24],
        content[100:104],
        content[16:24],
        content[250:],
    ]
    offsets = [
        int(entry.value) for item in saved.graph.initializer for entry in item.external_data if entry.key == "offset"
    ]
    assert offsets == [0, 64, 0, 128]  # at least as aligned as they were
    assert names(target) == ["model.onnx", "model.onnx.data"]
    assert (target / "model.onnx.data").stat().st_size == 128 + 6
    assert names(source) == ["weights.bin"]


def test_a_model_with_external_data_is_saved_in_place_and_again(source: Path) -> None:
    values = np.arange(2, dtype=np.float32)
    (source / "weights.bin").write_bytes(values.tobytes() * 2)
    path = source / "model.onnx"
    model = parser.parse_model(PLAIN.replace("Neg (x)", "Add (x, w)"))
    model.graph.initializer.append(external("w", 8, 8))
    for _ in range(3):
        storage.save(model, path, directory=source)
        model = storage.load(path)
        assert [entry.value for entry in model.graph.initializer[0].external_data] == ["model.onnx.data", "0", "8"]
        onnx.checker.check_model(path, full_check=True)
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]), values)
    assert (source / "model.onnx.data").stat().st_size == 8
    assert names(source) == ["model.onnx", "model.onnx.data", "weights.bin"]


def test_external_data_are_found_wherever_a_model_keeps_tensors(source: Path, tmp_path: Path) -> None:
    model = plain()
    body = GraphProto(name="body")
    body.initializer.append(external("nested", 1, 1))
    node = model.graph.node[0]
    node.attribute.append(helper.make_attribute("tensor", external("tensor", 2, 1)))
    node.attribute.append(helper.make_attribute("tensors", [external("tensors", 3, 1)]))
    node.attribute.append(helper.make_attribute("graph", body))
    body.initializer[0].external_data[1].value = "4"
    node.attribute.append(helper.make_attribute("graphs", [body]))
    sparse = onnx.SparseTensorProto(values=external("sparse", 5, 1), indices=external("indices", 6, 1))
    node.attribute.append(helper.make_attribute("sparse", sparse))
    node.attribute.append(helper.make_attribute("sparses", [sparse]))
    model.graph.sparse_initializer.append(sparse)
    function = model.functions.add(name="f", domain="local")
    function.node.add(op_type="Constant").attribute.append(helper.make_attribute("value", external("function", 7, 1)))
    function.attribute_proto.append(helper.make_attribute("default", external("default", 10, 1)))
    training = model.training_info.add()
    training.initialization.initializer.append(external("initialization", 8, 1))
    training.algorithm.initializer.append(external("algorithm", 9, 1))
    storage.save(model, tmp_path / "model.onnx", directory=source)
    found = list(storage.external_tensors(storage.load(tmp_path / "model.onnx")))
    assert sorted({stored(tensor, tmp_path)[0] for tensor in found}) == list(range(1, 11))
    assert {entry.value for tensor in found for entry in tensor.external_data if entry.key == "location"} == {
        "model.onnx.data"
    }


def test_empty_tensors_may_stand_at_the_end_of_the_data(source: Path, tmp_path: Path) -> None:
    model = plain()
    model.graph.initializer.extend([external("a", 0, 3), external("empty", 256, 0)])
    for _ in range(2):
        storage.save(model, tmp_path / "model.onnx", directory=source)
        model, source = storage.load(tmp_path / "model.onnx"), tmp_path
    assert [stored(tensor, tmp_path) for tensor in model.graph.initializer] == [b"\0\1\2", b""]


def test_external_data_of_a_model_that_never_was_a_file_are_refused(tmp_path: Path) -> None:
    model = plain()
    model.graph.initializer.append(external("a", 0, 8))
    with pytest.raises(
        ModelError, match="has external data but was never a file; load their values into the model first"
    ):
        storage.save(model, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "location", ["../secret.bin", "a/../../secret.bin", "/etc/hostname", "..\\secret.bin", "C:x", ""]
)
def test_external_data_outside_of_the_model_s_folder_are_refused(source: Path, location: str) -> None:
    (source.parent / "secret.bin").write_bytes(b"secret")
    assert_refused(external("w", 0, 1, location), source, "must be a path inside of the model's folder")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("missing.bin", "cannot be read: No such file or directory; it belongs beside the model"),
        ("soft.bin", "must be a regular file inside of the model's folder"),
        ("folder", "must be a regular file inside of the model's folder"),
        ("hard.bin", "has several hard links and may be a file from elsewhere; copy it"),
    ],
)
def test_external_data_that_are_no_file_of_the_model_s_folder_are_refused(
    source: Path, file: str, message: str
) -> None:
    secret = source.parent / "secret.bin"
    secret.write_bytes(b"secret")
    (source / "soft.bin").symlink_to(secret)
    (source / "hard.bin").hardlink_to(secret)
    (source / "folder").mkdir()
    assert_refused(external("w", 0, 1, file), source, message)


def test_external_data_behind_a_link_inside_of_the_folder_are_copied(source: Path, tmp_path: Path) -> None:
    (source / "below").mkdir()
    (source / "weights.bin").rename(source / "below" / "real.bin")
    (source / "weights.bin").symlink_to("below/real.bin")
    model = plain()
    model.graph.initializer.extend([external("w", 3, 2), external("v", 5, 1, "below/real.bin")])
    storage.save(model, tmp_path / "model.onnx", directory=source)
    found = storage.load(tmp_path / "model.onnx").graph.initializer
    assert [stored(tensor, tmp_path) for tensor in found] == [b"\3\4", b"\5"]


@pytest.mark.parametrize(
    ("offset", "length", "message"),
    [
        (250, 10, "ends at byte 260, the file has 256; it is cut short: copy it again"),
        (257, None, "starts at byte 257, the file has 256; it is cut short: copy it again"),
        (-8, 8, "has offset -8 and length 8, expected numbers of at least 0"),
        (8, -8, "has offset 8 and length -8, expected numbers of at least 0"),
        ("x", 8, "has offset x and length 8, expected numbers of at least 0"),
        (0, "1.5", "has offset 0 and length 1.5, expected numbers of at least 0"),
        ("9" * 5000, 8, "expected numbers of at least 0"),
    ],
)
def test_external_data_out_of_range_are_refused(
    source: Path, offset: int | str, length: int | str | None, message: str
) -> None:
    assert_refused(external("w", offset, length), source, message)


def assert_refused(tensor: TensorProto, source: Path, message: str) -> None:
    model = plain()
    model.graph.initializer.append(tensor)
    target = source.parent / "target"
    target.mkdir()
    with pytest.raises(ModelError, match="tensor 'w': external data '.*" + re.escape(message)):
        storage.save(model, target / "model.onnx", directory=source)
    assert names(target) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_if_either_file_cannot_be_written_both_old_ones_stay(
    source: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    model = plain()
    model.graph.initializer.append(external("w", 0, 8))
    storage.save(model, source / "model.onnx", directory=source)
    before = {name: (source / name).read_bytes() for name in names(source)}
    model.graph.initializer[0].external_data[1].value = "16"
    working, fail, calls = getattr(os, step), failing(errno.ENOSPC), []

    def full_at_the_model(*args: object) -> object:
        calls.append(args)
        return fail() if len(calls) > (step == "fsync") else working(*args)

    monkeypatch.setattr(os, step, full_at_the_model)
    with pytest.raises(OutputError, match=r"model.onnx' cannot be written: No space left on device"):
        storage.save(model, source / "model.onnx", directory=source)
    assert {name: (source / name).read_bytes() for name in names(source)} == before


def test_external_data_that_cannot_be_read_are_not_blamed_on_the_output(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = plain()
    model.graph.initializer.append(external("w", 0, 8))
    monkeypatch.setattr(DataFile, "open", failing(errno.EACCES))
    with pytest.raises(ModelError, match=r"external data 'weights.bin' cannot be read: Permission denied"):
        storage.save(model, tmp_path / "model.onnx", directory=source)
    assert names(tmp_path) == ["source"]


def test_data_that_become_shorter_while_they_are_copied_are_an_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = plain()
    model.graph.initializer.append(external("w", 0, 256))
    runs = copying.runs

    def shorten(places: dict[Extent, int]) -> list[copying.Run]:
        found = runs(places)
        (source / "weights.bin").write_bytes(b"short")
        return found

    monkeypatch.setattr(saving, "runs", shorten)
    with pytest.raises(ModelError, match=r"external data 'weights.bin' became shorter while it was copied"):
        storage.save(model, tmp_path / "model.onnx", directory=source)
    assert names(tmp_path) == ["source"]


def test_the_data_of_the_model_that_is_read_are_not_overwritten_by_those_of_a_new_one(source: Path) -> None:
    """a.onnx keeps its data in b.onnx.data; saving a new b.onnx beside it must not break a.onnx."""
    (source / "weights.bin").rename(source / "b.onnx.data")
    model = plain()
    model.graph.initializer.append(external("w", 8, 8, "b.onnx.data"))
    for _ in range(2):
        written = storage.save(model, source / "b.onnx", directory=source)
        assert written == [source / "b.onnx", source / "b.onnx.1.data"]
        assert (source / "b.onnx.data").read_bytes() == bytes(range(256))
        assert (source / "b.onnx.1.data").read_bytes() == bytes(range(8, 16))
    assert names(source) == ["b.onnx", "b.onnx.1.data", "b.onnx.data"]


def test_new_data_never_take_the_name_that_the_old_model_reads(source: Path, tmp_path: Path) -> None:
    """Between the two renames the old model stands beside the new data."""
    path = tmp_path / "out.onnx"
    model = plain()
    model.graph.initializer.append(external("w", 0, 8))
    for offset, data in ((0, "out.onnx.data"), (8, "out.onnx.1.data"), (8, "out.onnx.1.data"), (0, "out.onnx.data")):
        model.graph.initializer[0].external_data[1].value = str(offset)
        storage.save(model, path, directory=source)
        assert names(tmp_path) == sorted(["out.onnx", data, "source"])
        assert stored(storage.load(path).graph.initializer[0], tmp_path) == bytes(range(offset, offset + 8))
    storage.save(plain(), path)
    assert names(tmp_path) == ["out.onnx", "source"]


def test_only_data_that_the_old_model_reads_are_removed(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    for name in ("out.onnx.data", "out.onnx.7.data", "other.data"):
        (tmp_path / name).write_bytes(b"a neighbour's")
    for _ in range(2):
        storage.save(plain(), path)
    assert names(tmp_path) == ["other.data", "out.onnx", "out.onnx.7.data", "out.onnx.data", "source"]


def test_adjacent_data_are_copied_at_once_and_holes_stay_holes(tmp_path: Path) -> None:
    file = tmp_path / "sparse.bin"
    with file.open("wb") as target:
        target.write(b"a" * 8192)
        target.truncate(1 << 30)
    first, second, hole = Extent(file, 0, 4096), Extent(file, 4096, 4096), Extent(file, 8192, (1 << 30) - 8192)
    places = copying.lay_out([hole, second, first, second])
    assert places == {first: 0, second: 4096, hole: 8192}
    assert copying.runs(places) == [copying.Run(file, 0, 0, 8192)]
    assert copying.lay_out([Extent(file, 1 << 16, 4), Extent(file, 3 << 16, 1 << 16)]) == {
        Extent(file, 1 << 16, 4): 0,
        Extent(file, 3 << 16, 1 << 16): 1 << 16,
    }


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EOPNOTSUPP])
def test_data_are_copied_where_the_kernel_cannot(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    model = plain()
    model.graph.initializer.append(external("w", 3, 200))
    seen: list[tuple[float, float]] = []
    storage.save(model, tmp_path / "m.onnx", directory=source, progress=lambda *at: seen.append(at))
    assert (tmp_path / "m.onnx.data").read_bytes() == bytes(range(3, 203))
    assert seen == [(200, 200)]


def test_a_disk_without_room_is_an_error_before_anything_is_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*room[:4], 0, *room[5:])))
    model = plain()
    model.graph.initializer.append(external("w", 0, 8))
    with pytest.raises(OutputError, match=r"m.onnx' needs \d+ bytes, its disk has 0 free; free some"):
        storage.save(model, tmp_path / "m.onnx", directory=source)
    assert names(tmp_path) == ["source"]
