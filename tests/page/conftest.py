"""A browser for the tests of pages: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.page import specimens
from tests.page.visiting import Visit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.page.specimens import Files


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if shutil.which("chromium") is None:
        subprocess.run(["apt-get", "install", "-y", "chromium"], check=True, capture_output=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A supernet of eight pools with everything that a page can show."""
    return specimens.write(tmp_path_factory.mktemp("chain"), specimens.chain(8))


@pytest.fixture(scope="session")
def page_file(files: Files) -> Path:
    return specimens.publish(files)


@pytest.fixture(scope="module")
def shared(browser: Browser, page_file: Path) -> Iterator[Visit]:
    with Visit.to(page_file, browser) as visit:
        yield visit


@pytest.fixture
def visit(shared: Visit) -> Visit:
    """The page as it is when it was just opened."""
    shared.reset()
    return shared
