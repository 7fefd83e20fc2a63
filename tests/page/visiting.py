"""Looking at a page in a browser, and writing down what it says, asks for and fetches meanwhile."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 375, "height": 740}, "is_mobile": True, "has_touch": True}


@dataclass
class Visit:
    """An open page.

    Attributes:
        page: Playwright's.
        said: Messages of the console, errors of scripts, and dialogs.
        fetched: The addresses of all requests.
    """

    page: Page
    said: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def to(cls, file: Path, browser: Browser, *, script: str = "", **options: object) -> Iterator[Visit]:
        """Open a page and wait until it is ready."""
        context = browser.new_context(**{**DESKTOP, **options})  # type: ignore[arg-type]
        if script:
            context.add_init_script(script)
        page = context.new_page()
        visit = cls(page)
        page.on("console", lambda message: visit.said.append(message.text))
        page.on("pageerror", lambda error: visit.said.append(str(error)))
        page.on("dialog", lambda dialog: (visit.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: visit.fetched.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")
        yield visit
        context.close()

    def reset(self) -> None:
        """Pick what was picked at first, and go back to the top."""
        self.page.evaluate("pick({ view: 0, metric: 0 }); scrollTo({ top: 0, behavior: 'instant' })")

    def until(self, expression: str) -> None:
        """Wait until something holds; playwright's own way needs ``eval``, which the page's policy forbids."""
        for _ in range(500):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"never came true: {expression}")

    def draw_all(self) -> None:
        self.page.evaluate("[...charts.keys()].forEach(draw)")

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def command(self) -> str:
        return self.page.text_content("#command") or ""

    def place_of(self, point: int) -> tuple[float, float]:
        """Return where in the window a point of the front is drawn."""
        return self.place_in(
            "front-chart", *self.page.evaluate("(point) => [onAxis(point, 0), onAxis(point, 1)]", point)
        )

    def place_in(self, chart: str, data_x: float, data_y: float) -> tuple[float, float]:
        """Return where in the window something is drawn in a chart."""
        x, y = self.page.evaluate(
            """([id, x, y]) => {
                const chart = get(id);
                chart.scrollIntoView({ block: "center", behavior: "instant" });
                const { _fullLayout: { xaxis, yaxis } } = chart;
                const { left, top } = chart.getBoundingClientRect();
                return [left + xaxis._offset + xaxis.d2p(x), top + yaxis._offset + yaxis.d2p(y)];
            }""",
            [chart, data_x, data_y],
        )
        return x, y
