"""A real browser: Debian's Chromium, through Playwright; without them these tests are skipped."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser):
    """Opens a page, and sees to it that its console stays empty."""

    @contextmanager
    def opened(address, width=1280, theme="light", **options):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, **options
        )
        page = context.new_page()
        page.set_default_timeout(30_000)
        said = []
        page.on(
            "console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: said.append(r.url) if not _near(r.url, address) else None)
        page.goto(address)
        yield page
        assert said == []
        context.close()

    return opened


def _near(url, address):
    """Whether a request stays with what was opened."""
    return url.startswith(("data:", "blob:", address.partition("?")[0].rsplit("/", 1)[0]))


@pytest.fixture(scope="session")
def serious():
    """What axe-core finds that keeps people out: violations that it calls serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")

    def found(page):
        violations = axe.Axe().run(page).response["violations"]
        return [
            (v["id"], [node["html"][:200] for node in v["nodes"]])
            for v in violations
            if v["impact"] in ("serious", "critical")
        ]

    return found
