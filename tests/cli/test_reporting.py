from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.calling import call, error, record
from tests.page import specimens

if TYPE_CHECKING:
    from pathlib import Path

    from tests.page.specimens import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return specimens.write(tmp_path, specimens.chain(2), points=3, subnets=2, steps=2)


def test_report_writes_one_page_and_says_where(files: Files) -> None:
    output = files.model.with_name("out.html")
    line = call(*files.arguments(), "-o", output).stdout
    size = output.stat().st_size
    assert line == f"wrote {output}: 2 pools, 3 points of a front, {size / 1e6:.1f} MB\n"
    assert size < 2.1e6  # of which plotly.js 1.96e6
    found = record(*files.arguments(), "-o", output)
    assert found == {"output": str(output), "size_bytes": size, "pools": 2, "points": 3}


def test_without_an_output_the_page_stands_beside_the_model(files: Files) -> None:
    assert record("report", files.model)["output"] == str(files.model.with_name("chain.report.html"))


def test_the_selection_and_the_metrics_are_those_that_are_asked_for(files: Files) -> None:
    output = files.model.with_name("out.html")
    call("report", files.model, "--select", "stages.0.0.conv=skip", "--metric", "ops", "-o", output)
    block = output.read_text().split('id="data">')[1].split("</script>")[0]
    data = json.loads(block)
    assert [metric["name"] for metric in data["metrics"]] == ["ops"]
    assert [(view["title"], view["choices"]) for view in data["views"]] == [("as selected", [3, 1])]
    assert data["views"][0]["totals"] == [64 * (3 * 4 + 16 * 9)]


def test_what_was_measured_is_a_metric_without_being_asked_for(files: Files) -> None:
    output = files.model.with_name("out.html")
    call("report", files.model, "--cost-table", files.latency, "-o", output)
    data = json.loads(output.read_text().split('id="data">')[1].split("</script>")[0])
    assert [metric["name"] for metric in data["metrics"]] == ["params", "macs", "size", "latency"]
    assert data["views"][0]["totals"][3] == pytest.approx(0.05 + 0 + 0.01)  # branch 0 of the first pool, then branch 1


def test_a_file_of_another_kind_or_model_is_one_line_and_nothing_is_written(files: Files, tmp_path: Path) -> None:
    other = specimens.write(tmp_path / "other", specimens.chain(3))
    assert f"'{files.latency}': this is no front" in error("report", files.model, "--front", files.latency)
    assert f"'{other.front}': pool 'stages.0.2.conv' is not in the model" in error(
        "report", files.model, "--front", other.front
    )
    assert "that of another model" in error("report", other.model, "--front", files.front)
    assert "other pools or branches" in error("report", files.model, "--log", other.log)
    assert "cannot be read: No such file" in error("report", files.model, "--log", tmp_path / "none.jsonl")
    assert "another structure" in error("report", files.model, "--cost-table", other.latency)
    files.log.write_bytes(b"\xff")
    assert f"'{files.log}' cannot be read: it is no UTF-8 text" in error("report", files.model, "--log", files.log)
    assert list(tmp_path.glob("*.html")) == []


def test_a_front_of_one_metric_or_no_point_has_nothing_to_pick_from(files: Files) -> None:
    front = json.loads(files.front.read_text())
    for changes in ({"points": []}, {"metrics": front["metrics"][:1]}):
        files.front.write_text(json.dumps(front | changes))
        assert "has nothing to pick from" in error("report", files.model, "--front", files.front)


def test_the_front_that_pareto_writes_is_shown(files: Files) -> None:
    assert call("pareto", files.model, "-o", files.front).exit_code == 0
    points = len(json.loads(files.front.read_text())["points"])
    assert record("report", files.model, "--front", files.front)["points"] == points > 1


def test_an_output_that_is_an_input_is_refused(files: Files) -> None:
    assert "is also an input" in error("report", files.model, "--front", files.front, "-o", files.front)
