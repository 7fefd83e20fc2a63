from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from supernet_onnx import supergraph
from supernet_onnx.cli import main
from tests import marked
from tests.cli.calling import call, error, record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("verb", ["inspect", "cost", "prune", "bench", "report"])
def test_a_file_that_is_no_model_is_one_line_for_every_verb(verb: str, tmp_path: Path) -> None:
    files = {"empty": b"", "text": b"Not a model.\n", "cut": marked.flat().SerializeToString()[:-40]}
    messages = {
        "empty": "empty' is empty; expected an ONNX model",
        "text": "text' is no ONNX model",
        "cut": "cut' is no ONNX model, or is cut short",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert messages[name] in error(verb, tmp_path / name)
    assert "none' does not exist; check the path" in error(verb, tmp_path / "none")
    assert "is a folder; expected an .onnx file" in error(verb, tmp_path)
    assert record(verb, tmp_path, exit_code=2)["error"]["code"] == "model"


def test_both_files_of_verify_are_checked(flat: Path, tmp_path: Path) -> None:
    assert "none' does not exist" in error("verify", flat, tmp_path / "none")
    assert "none' does not exist" in error("verify", tmp_path / "none", flat)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune"], "Missing argument 'FILE'; see 'supernet-onnx prune --help'"),
        (["prune", "x", "--nonsense"], "No such option"),
        (["nonsense"], "No such command 'nonsense'; see 'supernet-onnx --help'"),
        (["--nonsense"], "No such option"),
        (["cost", "x", "--dim", "batch"], "'batch' is not NAME=SIZE with a size of at least 1"),
        (["cost", "x", "--dim", "batch=0"], "'batch=0' is not NAME=SIZE with a size of at least 1"),
        (["cost", "x", "--dim", "n=1", "--dim", "n=2"], "dim 'n' is given two sizes, 1 and 2"),
        (["cost", "x", "--metric", "flops"], "'flops' is no metric; the metrics are: params, params_no_bias, macs"),
        (["bench", "x", "--batch", "0"], "0 is not in the range x>=1"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, arguments, prog_name="supernet-onnx")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    as_json = CliRunner().invoke(main, [*arguments, "--json"])
    assert json.loads(as_json.stdout)["error"]["code"] == "usage"
    assert (as_json.exit_code, as_json.stderr) == (2, "")


def test_a_dim_that_no_input_has_is_an_error(flat: Path) -> None:
    assert "no dim is named 'bach'; the model's are: batch" in error("cost", flat, "--dim", "bach=2")
    assert "no dim is named 'bach'; the model's are: batch" in error("bench", flat, "--dim", "bach=2")


def test_without_a_verb_the_help_is_shown() -> None:
    result = call()
    assert (result.exit_code, result.stdout) == (2, "")
    verbs = [line.split()[0] for line in result.stderr.partition("Commands:\n")[2].splitlines()]
    assert verbs == ["inspect", "cost", "profile", "score", "pareto", "search", "prune", "verify", "bench", "report"]


def test_a_bug_is_one_line_that_says_what_to_do(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, **_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(supergraph, "read", fail)
    assert error("inspect", flat, exit_code=70) == (
        "error: KeyError: 'oops'; this is a bug in supernet-onnx: "
        "run it again with --debug, and report what that prints\n"
    )
    assert record("inspect", flat, exit_code=70)["error"]["code"] == "internal"
    result = call("inspect", flat, "--debug")
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert result.stderr.endswith("error: KeyError: 'oops'; this is a bug in supernet-onnx: report it\n")


def test_an_error_has_a_traceback_with_debug_only(tmp_path: Path) -> None:
    result = call("inspect", tmp_path / "none", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: '")


def test_a_folder_by_its_shortest_name_is_no_bug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert error("prune", ".") == "error: '.' is a folder; expected an .onnx file\n"


def test_an_interruption_is_one_line(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(supergraph, "read", interrupt)
    assert error("inspect", flat, exit_code=130) == "error: interrupted; no file was left half written\n"


def test_escape_sequences_of_the_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    evil = "conv\x1b]0;owned\x07\n\u202e"
    text = marked.FLAT.replace('pool = "pool"', f'pool = "{evil}"')
    path = marked.write(marked.build(text, marked.FLAT_WEIGHTS), tmp_path / "evil.onnx")
    for arguments in (["inspect"], ["cost", "--by-node"], ["prune", "--dry-run"], ["prune", "--select", "x=y"]):
        for flags in ([], ["--json"]):
            result = call(arguments[0], path, *arguments[1:], *flags)
            assert result.exit_code in (0, 2)
            assert not {"\x1b", "\x07", "\u202e"} & set(result.output)
            assert "conv" in result.output
    assert record("inspect", path)["pools"][0]["name"] == evil


def test_markup_in_names_is_shown_as_it_is(tmp_path: Path) -> None:
    text = marked.FLAT.replace('"skip"', '"[bold]skip[/bold]"')
    path = marked.write(marked.build(text, marked.FLAT_WEIGHTS), tmp_path / "markup.onnx")
    assert "[bold]skip[/bold]" in call("inspect", path).stdout


@pytest.mark.parametrize("flag", ["--selection", "--scores"])
@pytest.mark.parametrize(
    ("kind", "problem"),
    [("device", "it is no regular file"), ("pipe", "it is no regular file"), ("bytes", "it is no UTF-8 text")],
)
def test_a_text_file_that_is_none_is_refused_at_once(
    kind: str, problem: str, flag: str, flat: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    path = "/dev/zero" if kind == "device" else tmp_path / kind
    budget = ["--budget", "params=1k"] if flag == "--scores" else []
    assert f"'{path}' cannot be read: {problem}" in error("prune", flat, flag, path, *budget)


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize(("verb", "flag"), [("verify", "--atol"), ("verify", "--rtol"), ("bench", "--seconds")])
def test_a_number_that_compares_with_nothing_is_bad_usage(verb: str, flag: str, number: str, flat: Path) -> None:
    files = [flat, flat] if verb == "verify" else [flat]
    assert "is not finite" in error(verb, *files, flag, number)


@pytest.mark.parametrize("verb", ["bench", "profile"])
def test_more_threads_than_any_machine_has_use_for_are_bad_usage(verb: str, flat: Path) -> None:
    assert "is not in the range 1<=x<=1024" in error(verb, flat, "--threads", 99999999999)


def test_a_file_that_is_no_npz_is_told_without_advice_to_trust_it(flat: Path) -> None:
    line = error("verify", flat, flat, "--inputs", flat)
    assert "cannot be read as .npz: it is none, or holds Python objects, which are not read" in line
