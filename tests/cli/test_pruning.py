from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx
import pytest

from supernet_onnx import pruning, selection, supergraph
from tests import marked
from tests.cli.calling import COMPUTED, UNKNOWN, call, error, record

if TYPE_CHECKING:
    from pathlib import Path


def test_prune_writes_the_default_choice_beside_the_input(flat: Path) -> None:
    found = record("prune", flat)
    output = flat.with_name("flat.pruned.onnx")
    keys = "output written selection metrics nodes size_bytes verified notes choice batchnorm"
    assert set(found) == set(keys.split())
    assert (found["output"], found["written"], found["verified"]) == (str(output), True, None)
    assert found["selection"] == {"pool": "separable"}
    assert found["metrics"]["params"] == {"unit": "elements", "total": 133 + 52}
    assert found["nodes"] == {"supernet": 9, "subnet": 7}
    assert found["size_bytes"] == {"supernet": flat.stat().st_size, "subnet": output.stat().st_size}
    graph = supergraph.read(flat)
    assert onnx.load(output) == pruning.prune(graph, selection.argmax(graph))


def test_prune_prices_the_subnet_as_cost_prices_the_selection(flat: Path) -> None:
    for branch in ("conv3", "separable", "skip"):
        of_subnet = record("prune", flat, "--dry-run", "--select", f"pool={branch}")["metrics"]
        of_selection = record("cost", flat, "--select", f"pool={branch}")["metrics"]
        assert {name: metric["total"] for name, metric in of_subnet.items()} == {
            name: metric["total"] for name, metric in of_selection.items()
        }


def test_prune_tells_what_it_did(flat: Path, tmp_path: Path) -> None:
    result = call("prune", flat, "-o", tmp_path / "out.onnx", "--select", "pool=skip", "--verify")
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["pool", "skip", "3", "0.3000"]
    assert "nodes: 9 -> 4" in lines
    assert "params: 133 elements" in lines
    assert lines[-2].startswith("verification passed: largest difference ")
    assert lines[-1] == f"wrote {tmp_path / 'out.onnx'}"
    assert result.stderr == ""


def test_prune_saves_a_selection_that_it_can_read(flat: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.json"
    first = record("prune", flat, "-o", tmp_path / "a.onnx", "--select", "pool=conv3", "--save-selection", chosen)
    assert json.loads(chosen.read_text()) == first["selection"] == {"pool": "conv3"}
    record("prune", flat, "-o", tmp_path / "b.onnx", "--selection", chosen)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_dry_run_writes_nothing(flat: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    found = record("prune", flat, "--dry-run", "--verify", "--save-selection", tmp_path / "chosen.json")
    assert (found["written"], found["verified"], found["size_bytes"]) == (False, True, None)
    assert "dry run, would write" in call("prune", flat, "--dry-run").stdout
    assert sorted(tmp_path.iterdir()) == before


def test_a_failed_check_writes_nothing_and_exits_with_1(
    flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = supergraph.read(flat)
    wrong = pruning.prune(graph, selection.resolve(graph, {"pool": "skip"}))
    monkeypatch.setattr(pruning, "prune", lambda graph, chosen: wrong)
    before = sorted(tmp_path.iterdir())
    message = error("prune", flat, "--verify", "--save-selection", tmp_path / "chosen.json", exit_code=1)
    assert message.startswith("error: verification failed, nothing was written: output 'y': differs by up to ")
    assert record("prune", flat, "--verify", exit_code=1)["error"]["code"] == "check_failed"
    assert sorted(tmp_path.iterdir()) == before


def test_a_subnet_that_cannot_be_priced_is_pruned_and_the_reason_told(tmp_path: Path) -> None:
    path = marked.write(marked.build(UNKNOWN), tmp_path / "unknown.onnx")
    found = record("prune", path)
    assert {name: metric["total"] for name, metric in found["metrics"].items()} == {
        "params": 0,
        "macs": None,
        "size": 0,
    }
    (note,) = found["notes"]
    assert note.startswith("no macs: ")
    assert "Inverse" in note
    lines = call("prune", path).stdout.splitlines()
    assert "macs: - multiply-accumulates" in lines
    assert any(line.startswith("no macs: ") for line in lines)


def test_prune_with_computed_weights_needs_a_choice(tmp_path: Path) -> None:
    path = marked.write(marked.build(COMPUTED), tmp_path / "computed.onnx")
    assert "choose a branch: --select p=plus" in error("prune", path)
    assert record("prune", path, "--select", "p=minus", "--verify")["selection"] == {"p": "minus", "q": "plain"}


def test_options_of_what_is_not_asked_for_are_refused(flat: Path) -> None:
    assert "--inputs is what --verify runs on; give both" in error("prune", flat, "--inputs", "x.npz")
    assert "--batch-size is that of the data of --recalibrate; give both" in error("prune", flat, "--batch-size", 8)
    for flag in ("--cost-table", "--cost-module"):
        assert "define what --budget may name; give a budget" in error("prune", flat, flag, "x")


def test_an_output_that_is_an_input_is_refused_unless_forced(flat: Path, tmp_path: Path) -> None:
    content = flat.read_bytes()
    assert "is also an input; choose another name, or pass --force" in error("prune", flat, "-o", flat)
    link = tmp_path / "link.onnx"
    link.symlink_to(flat)
    assert "is also an input" in error("prune", flat, "-o", link)
    assert "is also an input" in error("prune", flat, "--save-selection", flat)
    chosen = tmp_path / "chosen.json"
    chosen.write_text('{"pool": "skip"}')
    assert "is also an input" in error("prune", flat, "--selection", chosen, "-o", chosen)
    assert flat.read_bytes() == content
    assert record("prune", flat, "-o", flat, "--force")["written"] is True
    assert record("inspect", flat)["pools"] == []


def test_external_data_of_the_input_are_inputs(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(marked.flat(), path, save_as_external_data=True, location="out.onnx.data", size_threshold=64)
    assert "is also an input" in error("prune", path, "-o", tmp_path / "out.onnx.data")
    assert "out.onnx.data' is also an input" in error("prune", path, "-o", tmp_path / "out.onnx")
    found = record("prune", path, "-o", tmp_path / "other.onnx", "--verify")
    assert found["size_bytes"] == {
        "supernet": path.stat().st_size + (tmp_path / "out.onnx.data").stat().st_size,
        "subnet": sum((tmp_path / name).stat().st_size for name in ("other.onnx", "other.onnx.data")),
    }


@pytest.mark.parametrize("option", ["-o", "--save-selection"])
def test_an_output_that_cannot_be_written_is_an_error_before_any_work(option: str, flat: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert "its folder does not exist; create it first" in error("prune", flat, option, tmp_path / "none" / "x")
    assert "is a folder; give a file name" in error("prune", flat, option, tmp_path)
    assert "is named twice" in error("prune", flat, "-o", tmp_path / "x", "--save-selection", tmp_path / "x")
    assert sorted(tmp_path.iterdir()) == before


def test_missing_external_data_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(marked.flat(), path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    (tmp_path / "weights.bin").unlink()
    message = error("prune", path, "--save-selection", tmp_path / "chosen.json")
    assert "external data 'weights.bin' cannot be read: No such file or directory" in message
    assert list(tmp_path.iterdir()) == [path]
    assert "onnxruntime" in error("prune", path, "--verify")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--select", "poll=skip"], "pool 'poll' is not in the model; its pools are: 'pool'"),
        (
            ["--select", "pool=skp"],
            "pool 'pool' has no branch 'skp'; its branches are: 0 'conv3', 1 'separable', 2 'skip'",
        ),
        (["--select", "pool=3"], "pool 'pool' has no branch '3'"),
        (["--select", "pool"], "'pool' is no selection; expected POOL=BRANCH"),
        (["--select", "pool=0", "--select", "pool=1"], "pool 'pool' is selected twice: '0' and '1'"),
    ],
)
def test_a_selection_that_does_not_fit_is_an_error(arguments: list[str], message: str, flat: Path) -> None:
    for verb in ("prune", "cost"):
        assert message in error(verb, flat, *arguments)
    assert record("prune", flat, *arguments, exit_code=2)["error"]["code"] == "selection"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "a selection must be JSON"),
        (b"[]", "a selection must be a JSON object"),
        (b'{"pool": true}', "true is no branch"),
        (b'{"poll": "skip"}', "pool 'poll' is not in the model"),
        (b"\xff\xfe", "it is no UTF-8 text"),
    ],
)
def test_a_selection_file_that_is_none_is_an_error_that_names_it(
    content: bytes, message: str, flat: Path, tmp_path: Path
) -> None:
    path = tmp_path / "chosen.json"
    path.write_bytes(content)
    found = error("prune", flat, "--selection", path)
    assert found.startswith(f"error: '{path}'")
    assert message in found
    assert "cannot be read: No such file or directory" in error("prune", flat, "--selection", tmp_path / "none.json")
