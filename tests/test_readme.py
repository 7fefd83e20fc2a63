"""The README's code runs as it stands, and what it names exists."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from onnx import load

import supernet_onnx
from supernet_onnx import cost
from supernet_onnx.cli import main
from tests import marked

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", README, re.DOTALL))


def test_the_examples_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(BLOCKS) == ["train", "choose", "prune", "latency", "costs"]
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(BLOCKS["train"], "README.md", "exec"), names)
    exec(compile(BLOCKS["choose"], "README.md", "exec"), names)
    assert all(budget.slack >= 0 for budget in names["choice"].budgets)
    assert supernet_onnx.read("model.onnx").pools[0].name == "conv"
    exec(compile(BLOCKS["prune"], "README.md", "exec"), {})
    biggest = 32 * 32 * 25 * 16 * 16
    assert capsys.readouterr().out == f"0 of at most {biggest} multiply-accumulates\n"
    assert [node.op_type for node in load("pruned.onnx").graph.node] == ["Identity"]
    exec(compile(BLOCKS["latency"], "README.md", "exec"), names)
    assert 0 < names["net"].cost.item() < names["measured"].table().maximum()


def test_the_cost_of_ones_own_works_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "costs.py").write_text(BLOCKS["costs"])
    model = marked.write(marked.flat(), tmp_path / "flat.onnx")
    command = ["cost", str(model), "--cost-module", str(tmp_path / "costs.py"), "--metric", "dsp_cycles", "--json"]
    found = json.loads(CliRunner().invoke(main, command).stdout)["metrics"]["dsp_cycles"]
    assert found["trunk"] == 64 * 108 / 4
    assert found["pools"] == {"pool": {"conv3": 64 * 144 / 4, "separable": 64 * 36 + 64 * 16 / 4, "skip": 0}}


def test_every_verb_and_flag_that_the_readme_names_is_there() -> None:
    helps = {verb: CliRunner().invoke(main, [verb, "--help"]).output for verb in main.commands}
    assert set(re.findall(r"^\| `(\w+)` \| (?:`|keys)", README, re.MULTILINE)) >= set(main.commands)
    for line in re.findall(r"^\$ supernet-onnx (.*)$", README, re.MULTILINE):
        verb, *words = line.split()
        for flag in (word for word in words if word.startswith("--")):
            assert flag in helps[verb], line
    for flag in set(re.findall(r"`(--[a-z-]+)", README)):
        assert any(flag in text for text in helps.values()), flag


def test_every_metric_is_described() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w-]+) \| ", README, re.MULTILINE))
    for name, metric in cost.METRICS.items():
        assert rows.get(name) == metric.unit, name


def test_the_package_has_at_most_twelve_public_names_and_all_of_them_load() -> None:
    assert len(supernet_onnx.__all__) <= 12
    for name in supernet_onnx.__all__:
        assert getattr(supernet_onnx, name) is not None
    assert dir(supernet_onnx) == sorted(supernet_onnx.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        supernet_onnx.nothing
