"""A real browser: Debian's Chromium, through Playwright; without them these tests are skipped."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tests.processes import CHROMIUM


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def spare():
    """Tabs that no visit is in, each in a context of its own, with the scripts it has loaded."""
    return []


@pytest.fixture
def visit(browser, spare):
    """Opens a page in a tab where nothing of an earlier one is left; its console stays empty."""

    @contextmanager
    def opened(address, width=1280, theme="light"):
        page = spare.pop() if spare else browser.new_context().new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(media="null", color_scheme=theme)
        page.set_default_timeout(30_000)
        said = []
        heard = {
            "console": lambda m: said.append(m.text) if m.type in ("error", "warning") else None,
            "pageerror": lambda error: said.append(str(error)),
            "request": lambda r: said.append(r.url) if not _near(r.url, address) else None,
        }
        for event, hear in heard.items():
            page.on(event, hear)
        try:
            page.goto(address)
            yield page
            assert said == []
        except BaseException:
            page.context.close()
            raise
        for event, hear in heard.items():
            page.remove_listener(event, hear)
        _leave(page)
        spare.append(page)

    return opened


def _leave(page):
    """Forgets what a page may have kept."""
    page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
    page.context.clear_cookies()
    page.goto("about:blank")


def _near(url, address):
    """Whether a request stays with what was opened: a file is all that its page asks for."""
    if address.startswith("file:"):
        return url == address or url.startswith(("data:", "blob:"))
    return url.startswith(("data:", "blob:", address.partition("?")[0].rsplit("/", 1)[0]))


@pytest.fixture(scope="session")
def serious():
    """What keeps people out, by all of axe-core's rules or by those of colours that are named."""
    pytest.importorskip("axe_playwright_python")
    from tests.barriers import hard_to_see, kept_out

    def found(page, *rules):
        return hard_to_see(page, *rules) if rules else kept_out(page)

    return found
