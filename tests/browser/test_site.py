"""The site's switches by keyboard: the theme's markup, and the site's own script beside it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# As the theme writes it: hidden inputs, their labels, and a navigation beside the page.
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Site</title><style>{css}
.md-option, .md-toggle {{ position: absolute; opacity: 0; width: 0; height: 0; }}
.md-toggle {{ display: none; }} .md-option:not(:checked) + label {{ display: none; }}
label {{ display: inline-block; width: 36px; height: 36px; }}</style>
<body><input class="md-toggle" type="checkbox" id="__drawer" data-md-toggle="drawer">
<header><label class="md-header__button" for="__drawer">N</label>
<form data-md-component="palette">
<input class="md-option" type="radio" name="p" id="p0" checked aria-label="Switch to dark">
<label for="p1" title="Switch to dark">D</label>
<input class="md-option" type="radio" name="p" id="p1" aria-label="Switch to light">
<label for="p0" title="Switch to light">L</label></form></header>
<div class="md-container"><div class="md-sidebar--primary"><nav class="md-nav md-nav--primary">
<a href="#a">First</a> <a href="#b">Second</a></nav></div>
<main><h1 id="a">Heading<a class="headerlink" href="#a" title="Permanent link">&para;</a></h1>
<pre><button class="md-code__button" title="Copy to clipboard"></button><code>1</code></pre>
</main></div><script>{js}</script></body></html>"""


@pytest.fixture
def site(tmp_path):
    if not (ROOT / "website").is_dir():
        pytest.skip("the site is made from a checkout")
    read = [
        (ROOT / "website" / name).read_text(encoding="utf-8") for name in ("look.css", "keys.js")
    ]
    path = tmp_path / "index.html"
    path.write_text(PAGE.format(css=read[0], js=read[1]), encoding="utf-8")
    return path.as_uri()


def focused(page):
    return page.evaluate(
        "[document.activeElement.ariaLabel || document.activeElement.textContent, "
        "document.activeElement.getAttribute('aria-expanded')]"
    )


def test_the_theme_is_switched_and_the_navigation_opened_by_keyboard(visit, serious, site):
    with visit(site, width=390) as page:
        page.keyboard.press("Tab")
        assert focused(page) == ["Navigation", "false"]
        page.keyboard.press("Tab")
        for key, name in (("Space", "Switch to light"), ("Enter", "Switch to dark")):
            page.keyboard.press(key)
            page.wait_for_function("name => document.activeElement.ariaLabel === name", arg=name)
            assert page.locator("#p1").is_checked() is (key == "Space")
        page.keyboard.press("Tab")
        assert focused(page)[0] == "Link to “Heading”"  # not what is folded away
        page.keyboard.press("Tab")
        assert focused(page)[0] == "Copy to clipboard"
        small = "e => Math.min(e.offsetWidth, e.offsetHeight) < 24"
        for one in page.locator("[role=button]:visible, button, .headerlink").all():
            assert not one.evaluate(small), one.evaluate("e => e.outerHTML")
        page.get_by_role("button", name="Navigation").focus()
        page.keyboard.press("Enter")
        assert focused(page)[0] == "First"
        page.keyboard.press("Escape")
        assert focused(page) == ["Navigation", "false"]
        assert serious(page) == []
