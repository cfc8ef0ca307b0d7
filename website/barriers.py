"""The built site in a real browser: nothing that keeps people out, nothing in its console.

    python website/barriers.py [PAGE ...]

Every page is opened at the width of a desk and of a phone, one width beside the other, and looked
at in light and in dark. In the second theme a page has the same elements in other colours, so of
axe-core's rules those of colours are tried there; the first page, whose frame the others share, is
also opened in dark, and tried by all rules. It needs Chromium, and the packages `playwright` and
`axe-playwright-python`; the exit code is 1 where anything is found: what axe-core calls serious or
critical, an error or warning in the console, a request to another host, a page wider than its
window.
"""

from __future__ import annotations

import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    sync_playwright,
)
from playwright.sync_api import (
    TimeoutError as TooLate,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.barriers import hard_to_see, kept_out  # noqa: E402

SITE = ROOT / "website" / ".site"
WIDTHS = (1280, 390)
# What is pressed, seen, and smaller than 24 pixels either way; links within a line of text may be.
SMALL = """() => [...document.querySelectorAll("a[href], button, select, summary, [role=button]")]
  .filter((one) => one.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
  .filter((one) => one.tagName !== "A" || getComputedStyle(one).display !== "inline")
  .filter((one) => { const box = one.getBoundingClientRect();
    return box.width && box.height && Math.min(box.width, box.height) < 23.5; })
  .slice(0, 4).map((one) => one.outerHTML.slice(0, 160))"""
SWITCH = "[data-md-component=palette] label"
SCHEME = "document.body.dataset.mdColorScheme"
# The rules whose answer depends on colours.
COLOURS = ("color-contrast", "link-in-text-block")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are not told."""


def barriers(home: str, names: list[str], width: int) -> list[str]:
    """What is found at one width, a line each, in a browser of its own."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        found = _seen(browser, home, names, width, "light") + _seen(
            browser, home, names[:1], width, "dark"
        )
        browser.close()
    return [f"{name} at {width}, {theme}: {one}" for name, theme, one in found]


def _seen(
    browser: Browser, home: str, names: list[str], width: int, theme: Literal["light", "dark"]
) -> list[tuple[str, str, str]]:
    """What is found at one width, first in one theme: the page, the theme, and what."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    found: list[tuple[str, str, str]] = []
    heard: list[str] = []

    def request(asked: Request) -> None:
        if not asked.url.startswith((home, "data:", "blob:")):
            heard.append(f"asks {asked.url}")

    def console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            heard.append(f"console: {message.text}")

    page.on("request", request)
    page.on("console", console)
    page.on("pageerror", lambda error: heard.append(f"script: {error}"))
    for name in names:
        page.goto(f"{home}/{name}")
        page.wait_for_timeout(100)
        across = page.evaluate("document.documentElement.scrollWidth")
        if across > width:
            heard.append(f"is {across} pixels wide")
        heard += [f"smaller than 24 pixels: {one}" for one in page.evaluate(SMALL)]
        heard += told(kept_out(page))
        found += [(name, theme, one) for one in heard]
        heard.clear()
        if pressed(page):
            heard += told(hard_to_see(page, *COLOURS))
        else:
            heard.append("the theme has no switch")
        heard += turned(page)  # last: the switch leaves a tooltip that fades
        found += [(name, f"turned from {theme}", one) for one in heard]
        heard.clear()
        page.evaluate("localStorage.clear()")  # the next page starts in the theme asked for
    page.close()
    return found


def told(found: list[tuple[str, list[str]]]) -> list[str]:
    """What keeps people out, a line for each of the first places."""
    return [f"{rule}: {place[:160]}" for rule, places in found for place in places[:4]]


def pressed(page: Page) -> bool:
    """Turns the theme by the switch that is seen, where there is one, and waits for its colours."""
    was = page.evaluate(SCHEME)
    seen = f"[...document.querySelectorAll('{SWITCH}')].find((one) => one.checkVisibility())"
    if not page.evaluate(f"() => {{ const seen = {seen}; seen?.click(); return Boolean(seen); }}"):
        return False
    page.wait_for_function(f"was => {SCHEME} !== was", arg=was, timeout=5_000)
    page.wait_for_timeout(300)
    return True


def turned(page: Page) -> list[str]:
    """Whether Tab reaches the switch of the theme, named, and Space and Enter turn it and back."""
    before = page.evaluate(SCHEME)
    page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate(f"document.activeElement.matches('{SWITCH}')"):
            break
    else:
        return ["Tab does not reach the switch of the theme"]
    if not page.evaluate("document.activeElement.ariaLabel"):
        return ["the switch of the theme has no name"]
    seen = f"was => {SCHEME} !== was && document.activeElement.matches('{SWITCH}')"
    for key in ("Space", "Enter"):
        was = page.evaluate(SCHEME)
        page.keyboard.press(key)
        try:
            page.wait_for_function(seen, arg=was, timeout=5_000)
        except TooLate:
            return [f"{key} does not turn the theme, or takes the focus from its switch"]
    return [] if page.evaluate(SCHEME) == before else ["the theme does not turn back"]


def main(names: list[str]) -> int:
    """The exit code."""
    names = names or sorted(page.name for page in SITE.glob("*.html"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    look = partial(barriers, f"http://127.0.0.1:{server.server_port}", names)
    with ThreadPoolExecutor() as pool:
        found = [one for some in pool.map(look, WIDTHS) for one in some]
    server.shutdown()
    print("\n".join(found) or f"{len(names)} pages, two widths, two themes: no barrier")  # noqa: T201
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
