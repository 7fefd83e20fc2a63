from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import pytest
from onnx import ModelProto, parser

from supernet_onnx import storage
from supernet_onnx.errors import ModelError, OutputError
from tests.files import failing, names

PLAIN = '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Neg (x) }'


def plain() -> ModelProto:
    return parser.parse_model(PLAIN)


def test_a_saved_model_is_loaded_again(tmp_path: Path) -> None:
    model = plain()
    storage.save(model, tmp_path / "model.onnx")
    assert storage.load(tmp_path / "model.onnx") == storage.load(str(tmp_path / "model.onnx")) == model
    assert (tmp_path / "model.onnx").read_bytes() == storage.serialize(model)
    assert names(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "model.onnx' is empty; expected an ONNX model: write it again"),
        (b"# not a model\n", "is no ONNX model, or is cut short (14 bytes): it does not parse as protobuf"),
        (plain().SerializeToString()[:-3], "is no ONNX model, or is cut short"),
        (ModelProto(ir_version=10).SerializeToString(), "is no ONNX model: it has no graph or imports no operator set"),
        (ModelProto(graph=plain().graph).SerializeToString(), "is no ONNX model: it has no graph or imports no"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(message)):
        storage.load(path)


def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"missing.onnx' does not exist; check the path"):
        storage.load(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match=r"is a folder; expected an .onnx file"):
        storage.load(tmp_path)
    (tmp_path / "model.onnx").touch()
    monkeypatch.setattr(Path, "read_bytes", failing(errno.EACCES))
    with pytest.raises(ModelError, match=r"model.onnx' cannot be read: Permission denied"):
        storage.load(tmp_path / "model.onnx")


def test_a_model_over_two_gibibytes_is_refused() -> None:
    class Huge:
        def SerializeToString(self, *, deterministic: bool) -> bytes:
            raise ValueError(f"too large, {deterministic}")

    with pytest.raises(
        OutputError, match="larger than 2 GiB, the limit of one file; keep its weights in external data"
    ):
        storage.serialize(Huge())  # type: ignore[arg-type]  two GiB would take seconds


def test_a_file_over_two_gibibytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(ModelError, match="has 2147483648 bytes; one file holds at most 2 GiB"):
        storage.load(tmp_path / "model.onnx")


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    (tmp_path / ".supernet-onnx.dead.tmp").write_bytes(b"half")
    (tmp_path / ".supernet-onnx.folder.tmp").mkdir()
    (tmp_path / ".supernet-onnx.folder.tmp" / "x").touch()
    (tmp_path / ".supernet-onnx.link.tmp").symlink_to("model.onnx")
    with storage.scratch(tmp_path) as living:
        storage.write(tmp_path / "model.onnx", b"new")
        assert names(tmp_path) == sorted([living.name, ".supernet-onnx.link.tmp", "model.onnx"])
    assert names(tmp_path) == [".supernet-onnx.link.tmp", "model.onnx"]


def test_a_file_is_replaced_whole_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"a longer old text")
    path.chmod(0o640)
    storage.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert names(tmp_path) == ["report.json"]


def test_a_new_file_gets_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        storage.write(tmp_path / "new", b"")
        assert os.umask(0o027) == 0o027  # as it was
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_relative_path_is_written_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write("here.bin", b"1")
    assert (tmp_path / "here.bin").read_bytes() == b"1"


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "original").write_bytes(b"old")
    (tmp_path / "link").symlink_to("original")
    storage.write(tmp_path / "link", b"new")
    assert (tmp_path / "original").read_bytes() == b"old"
    assert (tmp_path / "link").read_bytes() == b"new"


def test_targets_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for target, message in (
        ("folder", "folder' is a folder; give a file name"),
        ("missing/file", "missing/file' cannot be written: No such file or directory"),
        ("file/below", "file/below' cannot be written: Not a directory"),
        ("long" * 100, "cannot be written: File name too long"),
        ("pipe", "pipe' is no regular file; give a file name"),
    ):
        with pytest.raises(OutputError, match=message):
            storage.write(tmp_path / target, b"new")
    assert names(tmp_path) == ["file", "folder", "pipe"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, failing(errno.ENOSPC))
    with pytest.raises(OutputError, match=r"model.onnx' cannot be written: No space left on device"):
        storage.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.onnx"]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write(tmp_path / "model.onnx", b"new")
    assert names(tmp_path) == []


def test_an_output_that_is_an_input_is_refused_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    (tmp_path / "hard.onnx").hardlink_to(path)
    (tmp_path / "soft.onnx").symlink_to(path)
    for output in (path, tmp_path / "hard.onnx", tmp_path / "soft.onnx", tmp_path / "x" / ".." / "model.onnx"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(OutputError, match=r"is also an input; choose another name, or pass --force to replace it"):
            storage.refuse_overwrite(output, [tmp_path / "other.onnx", path])
    storage.refuse_overwrite(tmp_path / "new.onnx", [path])
    storage.refuse_overwrite(path, [tmp_path / "missing.onnx"])
    storage.refuse_overwrite(tmp_path / ("long" * 100), [path])
