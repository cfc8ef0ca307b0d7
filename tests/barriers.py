"""What axe-core finds that keeps people out of a page: what it calls serious or critical.

Contrast takes most of its time, an element after the other. Of elements that are alike, as a
reference has them by the thousand, three are tried: up to the page's body they agree in tag, in
class, and in what their words and what lies behind them are painted by.
"""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

__all__ = ["hard_to_see", "kept_out"]

CONTRAST = "color-contrast"
ALIKE = """() => {
  const numbers = new Map(), known = new Map(), times = new Map();
  for (const one of document.querySelectorAll("body, body *")) {
    const style = getComputedStyle(one);
    const said = JSON.stringify([known.get(one.parentElement), one.tagName,
      one.getAttribute("class"), style.color, style.fill, style.backgroundColor,
      style.backgroundImage, style.opacity, style.filter, style.mixBlendMode, style.position,
      style.textShadow, style.fontSize, style.fontWeight]);
    if (!numbers.has(said)) numbers.set(said, numbers.size);
    const number = numbers.get(said);
    known.set(one, number);
    one.removeAttribute("data-tried");
    const words = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!(words || one.matches("input, select, textarea")) || !one.checkVisibility()) continue;
    times.set(number, (times.get(number) ?? 0) + 1);
    if (times.get(number) <= 3) one.setAttribute("data-tried", "");
  }
}"""


def kept_out(page: Page) -> list[tuple[str, list[str]]]:
    """By all of axe-core's rules: each that is broken, and the beginnings of what breaks it."""
    rest = {"rules": {CONTRAST: {"enabled": False}}}
    return _called(page, None, rest) + hard_to_see(page, CONTRAST)


def hard_to_see(page: Page, *rules: str) -> list[tuple[str, list[str]]]:
    """By rules whose answer depends on colours."""
    page.evaluate(ALIKE)
    return _called(page, "[data-tried]", {"runOnly": [*(rules or (CONTRAST,))]})


def _called(page: Page, where: str | None, options: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """What is found on the page, or in parts of it."""
    # Without this, axe also writes down where each element is that passes, for a second or two.
    told = Axe().run(page, where, options | {"resultTypes": ["violations"]}).response
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in told["violations"]
        if one["impact"] in ("serious", "critical")
    ]
