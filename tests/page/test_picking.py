"""What happens on the page when somebody looks, points, clicks or types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner

from supernet_onnx import supergraph
from supernet_onnx.cli import main
from supernet_onnx.cost import METRICS, measure
from tests import marked
from tests.page import specimens
from tests.page.test_space import NESTED
from tests.page.visiting import PHONE, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.page.specimens import Files

ROOT = Path(__file__).parent.parent.parent
SHELL = f'supernet-onnx() {{ "{sys.executable}" -m supernet_onnx "$@"; }}\n'


def run(command: str, folder: Path) -> None:
    """Run a command as somebody does who pastes it into bash, in the folder of the model."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    subprocess.run(["bash", "-c", SHELL + command], cwd=folder, check=True, env=environment, capture_output=True)


def points(files: Files) -> list[dict[str, dict[str, object]]]:
    return json.loads(files.front.read_text())["points"]


def test_the_page_is_silent_and_fetches_nothing_but_itself(visit: Visit, page_file: Path) -> None:
    visit.draw_all()
    assert visit.page.locator(".js-plotly-plot").count() == visit.page.locator(".chart").count()
    assert visit.page.title() == "chain.onnx, supernet-onnx"
    assert visit.said == []
    assert visit.fetched == [page_file.as_uri()]


def test_at_first_the_branches_of_largest_weight_are_shown(visit: Visit, files: Files) -> None:
    table = measure(supergraph.read(files.model), [METRICS["params"]])["params"]
    heeded = 2 * (16 * 1 + 16 * 9 + 16 * 25) + 12  # pools heed kernel 1, 3, 5 and no convolution in turn; the stem
    assert visit.text("#selection-title") == "Selection: largest weights"
    assert set(visit.page.locator(".metric-name").all_inner_texts()) == {"params [elements]"}
    assert visit.text(".total .value >> nth=0") == f"{heeded:,}"
    assert visit.text(".total .ends >> nth=0").split() == ["least", str(table.minimum()), "most", "3.21", "k"]
    assert table.maximum() == 8 * 400 + 12
    assert visit.text(".trunk").split() == ["trunk", "in", "every", "selection", "12"]


def test_hovering_over_a_point_of_the_front_tells_its_values(visit: Visit, files: Files) -> None:
    x, y = visit.place_of(3)
    visit.page.mouse.move(x - 1, y - 1)
    visit.page.mouse.move(x, y)
    told = visit.page.locator("#front-chart .hoverlayer .hovertext").first
    told.wait_for()
    params = points(files)[2]["values"]["params"]
    assert params < 1000
    assert (told.text_content() or "").startswith("point 3 of the front")
    assert f"params {params}" in (told.text_content() or "")


def test_a_click_on_a_point_shows_its_selection_and_a_command_that_makes_it(visit: Visit, files: Files) -> None:
    visit.page.mouse.click(*visit.place_of(5))
    visit.until("state.view === 5")
    values = points(files)[4]["values"]
    assert visit.text("#selection-title") == "Selection: point 5 of the front"
    assert visit.text(".total .value >> nth=0") == f"{values['params']:,}"
    assert visit.page.locator("#points tr.picked").inner_text().split()[0] == "5"
    taken = visit.page.locator(".pool .taken.name").all_inner_texts()
    assert taken == list(points(files)[4]["selection"].values())
    run(visit.command() + " -o picked.onnx", files.model.parent)
    subnet = supergraph.read(files.model.with_name("picked.onnx"))
    assert subnet.pools == ()
    assert measure(subnet, [METRICS["params"]])["params"].trunk == values["params"]


def test_a_tap_picks_what_is_under_the_finger(browser: Browser, page_file: Path) -> None:
    with Visit.to(page_file, browser, **PHONE) as visit:
        seen = []
        for point in (5, 9, 2):
            visit.page.touchscreen.tap(*visit.place_of(point))
            seen.append(visit.page.evaluate("state.view"))
        assert seen == [5, 9, 2]


def test_arrow_keys_pick_the_points_of_the_table_one_after_another(visit: Visit) -> None:
    visit.page.locator("#points input:checked").focus()
    seen = []
    for _ in range(3):
        visit.page.keyboard.press("ArrowDown")
        seen.append(visit.text("#selection-name"))
    visit.page.keyboard.press("ArrowUp")
    assert seen == [f"point {i} of the front" for i in (1, 2, 3)]
    assert visit.page.input_value("#view") == "2"
    assert visit.page.evaluate("document.activeElement.value") == "2"
    assert visit.text("#status") == f"Shown: point 2 of the front, params {visit.text('.total .value >> nth=0')}"


def test_everything_that_can_be_used_is_reached_by_tab_and_shows_where_the_focus_is(visit: Visit) -> None:
    visit.page.evaluate("document.querySelector('.skip').focus()")
    reached, bare = {"skip"}, []
    for _ in range(200):
        visit.page.keyboard.press("Tab")
        name, outlines = visit.page.evaluate(
            """() => {
                const one = document.activeElement;
                const row = one.closest("tr") ?? one;
                const outlines = [one, row].map((each) => getComputedStyle(each).outlineStyle);
                return [one.id || one.className || one.tagName, outlines];
            }"""
        )
        if name == "BODY":
            break
        reached.add(name)
        bare += [name] if outlines == ["none", "none"] else []
    wanted = "button, select, input:not([type=radio]), pre[tabindex], a[href], summary, [role=group][tabindex]"
    visible = f"[...document.querySelectorAll('{wanted}')].filter((one) => one.checkVisibility())"
    named = visit.page.evaluate(f"{visible}.map((one) => one.id || one.className || one.tagName)")
    assert set(named) <= reached
    assert "INPUT" in reached  # the picked point, from which arrow keys go on
    assert bare == []


def test_the_metric_is_chosen_for_pools_and_operators_alike(visit: Visit) -> None:
    visit.page.select_option("#metric", label="macs")
    assert set(visit.page.locator(".metric-name").all_inner_texts()) == {"macs [multiply-accumulates]"}
    assert visit.text(".pool .figure >> nth=0") == "1.02\u202fk"  # 16 * 8 * 8
    visit.draw_all()
    assert visit.page.evaluate("get('pools-chart').data[0].y[1]") == 16 * 9 * 64
    assert visit.page.evaluate("get('operators-chart').data[0].x") == [64 * (2 * (16 + 144 + 400) + 12)]


def test_a_metric_that_no_operator_is_known_by_says_so(visit: Visit) -> None:
    visit.page.select_option("#metric", label="latency")
    assert visit.text("#operators-none") == "latency is known by branch, not by operator."
    assert not visit.page.locator("#operators-chart").is_visible()
    assert visit.text(".total .ends >> nth=3").split() == ["least", "50", "µs", "most", "290", "µs"]  # and 8 times 30


def test_buttons_copy_the_command_and_the_selection(browser: Browser, page_file: Path, files: Files) -> None:
    with Visit.to(page_file, browser, permissions=["clipboard-read", "clipboard-write"]) as visit:
        visit.page.select_option("#view", "4")
        visit.page.click("#copy-command")
        visit.until("get('copy-command').textContent === 'Copied'")
        assert visit.page.evaluate("navigator.clipboard.readText()") == visit.command()
        visit.page.click("#copy-json")
        visit.until("get('copy-json').textContent === 'Copied'")
        copied = json.loads(visit.page.evaluate("navigator.clipboard.readText()"))
    assert copied == points(files)[3]["selection"]


def test_a_pool_in_a_branch_that_is_not_taken_is_told_from_others(browser: Browser, tmp_path: Path) -> None:
    model = marked.write(marked.build(NESTED), tmp_path / "nested.onnx")
    page = tmp_path / "nested.html"
    options = ["--select", "outer=flat", "--metric", "traffic", "-o", str(page)]
    assert CliRunner().invoke(main, ["report", str(model), *options]).exit_code == 0
    with Visit.to(page, browser) as visit:
        inner, outer = visit.page.locator(".pool").all_inner_texts()
        assert inner.split("\n")[:3] == ["inner", "not reached", "–"]  # noqa: RUF001  a dash for no number
        assert "reached with outer=deep" in inner
        assert outer.split("\n")[:3] == ["outer", "flat", "0 B".replace(" ", "\u202f")]
        assert visit.said == []


def test_pools_are_found_by_their_names_and_those_of_their_branches(visit: Visit) -> None:
    shown = "entries().filter((one) => !one.hidden).map((one) => Number(one.dataset.pool))"
    visit.page.fill("#find", "stages.1")
    assert visit.page.evaluate(shown) == [6, 7]
    visit.page.fill("#find", "CONV5")
    assert visit.page.evaluate(shown) == list(range(8))
    visit.page.fill("#find", "nothing of the kind")
    assert visit.page.locator("#none-found").is_visible()
    visit.page.fill("#find", "")


def test_a_click_on_a_bar_opens_its_pool(visit: Visit) -> None:
    visit.draw_all()
    visit.page.mouse.click(*visit.place_in("pools-chart", 6, 100))
    rows = visit.page.locator(".pool[data-pool='6'] tbody tr")
    assert [row.split() for row in rows.all_inner_texts()][1:3] == [
        ["conv3", "0.100", "0.5", "144", "9.22", "k", "576", "B", "10", "µs", "1"],  # 64 positions, 4 bytes, 1 node
        ["●", "selected", "conv5", "0.700", "1", "400", "25.6", "k", "1.6", "kB", "20", "µs", "1"],
    ]
    assert visit.page.evaluate("document.activeElement.parentElement.dataset.pool") == "6"
    visit.page.evaluate("entries()[6].open = false")


def test_charts_out_of_sight_are_drawn_when_they_come_near(browser: Browser, page_file: Path) -> None:
    with Visit.to(page_file, browser) as visit:
        assert visit.page.evaluate("charts.get(get('front-chart')).drawn")
        assert not visit.page.evaluate("charts.get(get('weights-chart')).drawn")
        visit.page.evaluate("get('weights-chart').scrollIntoView({ behavior: 'instant' })")
        visit.until("charts.get(get('weights-chart')).drawn")
        visit.page.select_option("#history-pool", "2")
        assert visit.page.evaluate("get('weights-chart').data[2].y.at(-1)") == 0.7


def test_a_browser_that_cannot_unpack_the_charts_still_has_the_numbers(browser: Browser, page_file: Path) -> None:
    with Visit.to(page_file, browser, script="delete window.DecompressionStream") as visit:
        assert visit.page.locator(".too-old").count() == visit.page.locator(".chart").count()
        visit.page.check("#points input[value='2']")
        assert visit.text("#selection-name") == "point 2 of the front"
        assert visit.said == []


def test_without_further_files_the_page_says_how_to_get_them(browser: Browser, tmp_path: Path) -> None:
    files = specimens.write(tmp_path, specimens.chain(2))
    output = specimens.publish_alone(files)
    with Visit.to(output, browser, **PHONE) as visit:
        shown = [one for one in ("front", "latency", "training") if visit.page.locator(f"#{one}").is_visible()]
        assert shown == []
        assert "pareto" in visit.text("#missing")
        assert not visit.page.locator("#view").is_visible()
        assert visit.text("#facts").split("\n")[:3] == ["2 pools", "8 branches", "16 selections"]
        visit.draw_all()
        assert visit.said == []
