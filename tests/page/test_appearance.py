"""How the page looks: in the dark, on a phone, to those who want no motion, and with names that mean harm."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from supernet_onnx import supergraph
from supernet_onnx.cost import METRICS, measure
from tests.page import specimens
from tests.page.test_picking import run
from tests.page.visiting import PHONE, Visit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.page.specimens import Files

COLOURS = """Object.fromEntries(["paper", "panel", "wash", "ink", "soft", "accent", "bar"]
    .map((name) => [name, colour(name)]))"""


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it_in_both_schemes(visit: Visit, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    colours = visit.page.evaluate(COLOURS)
    for ground in ("paper", "panel", "wash"):
        assert contrast(colours["ink"], colours[ground]) >= 7  # WCAG AAA
        assert contrast(colours["soft"], colours[ground]) >= 4.5  # AA
    assert contrast(colours["accent"], colours["paper"]) >= 4.5
    assert contrast(colours["bar"], colours["paper"]) >= 3  # of graphical objects
    brightness = luminance(colours["paper"])
    assert brightness > 0.9 if scheme == "light" else brightness < 0.02


def test_charts_follow_when_the_scheme_changes(visit: Visit) -> None:
    visit.page.emulate_media(color_scheme="light")
    inks = []
    for scheme in ("light", "dark", "light"):
        visit.page.emulate_media(color_scheme=scheme)
        visit.until("get('front-chart').layout.font.color === colour('soft')")
        inks.append(visit.page.evaluate("get('front-chart').layout.font.color"))
    assert inks[0] == inks[2] != inks[1]


def test_nothing_moves_for_those_who_want_no_motion(visit: Visit) -> None:
    style = """[getComputedStyle(document.documentElement).scrollBehavior,
        getComputedStyle(document.querySelector(".range i")).transitionDuration]"""
    visit.page.emulate_media(reduced_motion="reduce")
    assert visit.page.evaluate(style) == ["auto", "0s"]
    visit.page.emulate_media(reduced_motion="no-preference")
    assert visit.page.evaluate(style) == ["smooth", "0.2s"]


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, page_file: Path) -> None:
    with Visit.to(page_file, browser, **PHONE) as visit:
        visit.page.click("#unfold")
        visit.draw_all()
        visit.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 375
        wide = """[...document.querySelectorAll("main *, header *, .bar *")]
            .filter((one) => !one.closest(".branches, .scroll, .scroll-x, nav, svg, .js-plotly-plot, .unseen, .skip")
                && one.getBoundingClientRect().right > 375.5).map((one) => one.className || one.tagName)"""
        assert visit.page.evaluate(wide) == []
        assert visit.said == []


NAMES = [
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(2)">',
    "\"quoted\" 'twice' `touch pwned` $(touch pwned) \\",
    "line\nbreak\ttab\x1b[2J\x03",
    "right\u202eto left\u2028",
    "<!--",
    "a=b",
    "-o",
]
BRANCHES = ["--force", "'; touch pwned; '", "<b>bold</b> %{x} &lt;", "{{script}}"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return specimens.write(
        tmp_path_factory.mktemp("hostile"), specimens.chain(len(NAMES), names=NAMES, branches=BRANCHES), points=4
    )


@pytest.fixture(scope="module")
def harmful(browser: Browser, hostile: Files) -> Iterator[Visit]:
    with Visit.to(specimens.publish(hostile), browser) as visit:
        yield visit


def test_names_that_mean_harm_are_only_shown(harmful: Visit) -> None:
    harmful.draw_all()
    harmful.page.hover("#pools-chart")
    for pool in range(len(NAMES)):
        harmful.page.select_option("#history-pool", str(pool))
    shown = harmful.page.locator(".pool > summary > .name:first-child").all_text_contents()
    scripts = harmful.page.evaluate("[...document.scripts].map((script) => script.type)")
    images = harmful.page.locator("img").count()
    ticks = harmful.page.locator("#pools-chart .xtick").all_text_contents()
    shortened = harmful.page.evaluate("data.pools.map(({ name }) => shortened(name, 18))")
    lines = harmful.page.locator("#weights-chart .legendtext").all_text_contents()
    bold = harmful.page.locator("b").count() - harmful.page.locator(".facts b, .total b").count()
    assert harmful.said == []
    assert len(harmful.fetched) == 1
    assert shown == [*NAMES[:3], r"line\nbreak\ttab\x1b[2J\x03", r"right\u202eto left\u2028", *NAMES[5:]]
    assert scripts == ["", "application/json", "text/plain", ""]  # plotly.js unpacked; data, plotly.js packed, ours
    assert (images, bold) == (0, 0)
    assert ticks == shortened
    assert [line.replace("\xa0", " ") for line in lines] == BRANCHES


def test_a_command_of_names_that_mean_harm_does_what_it_says_and_nothing_else(harmful: Visit, hostile: Files) -> None:
    harmful.page.select_option("#view", "3")
    command = harmful.command()
    assert re.sub(r"[^\n -~]", "", command) == command.replace("\u2028", "")  # nothing that a terminal would obey
    folder = hostile.model.parent
    before = {path.name for path in folder.iterdir()}
    run(f"{command} -o picked.onnx", folder)
    assert {path.name for path in folder.iterdir()} - before == {"picked.onnx"}
    values = json.loads(hostile.front.read_text())["points"][2]["values"]
    assert measure(supergraph.read(folder / "picked.onnx"), [METRICS["params"]])["params"].trunk == values["params"]
