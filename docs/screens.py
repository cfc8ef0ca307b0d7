"""Takes the README's pictures of pages, by Chromium: `python docs/screens.py`.

Needs `pip install ".[test]"` and Chromium. docs/report.png is the page of a report, and
docs/explorer.png that of `atrous explore`.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import atrous
from tests.processes import CHROMIUM
from tests.servers import explorer

HERE = Path(__file__).parent


def kept(page: Page, name: str, height: int) -> None:
    """The top of the page, in few colours: these are lines and letters."""
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    top = picture.convert("RGB").crop((0, 0, picture.width, min(height, picture.height)))
    top.quantize(128, dither=Image.Dither.NONE).save(HERE / name, optimize=True)


def main() -> None:
    """Takes both pictures."""
    with sync_playwright() as running, tempfile.TemporaryDirectory() as folder:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        path = Path(folder, "report.html")
        change = atrous.convert("zoo:resnet50", 8, outputs="layer4")
        assert change.after is not None
        change.after.to_html(path)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn=yes]", state="attached")
        page.locator("[data-layer]").select_option(label="layer3.1.conv2")
        kept(page, "report.png", 1520)
        with explorer("--port", "0") as address:
            page.goto(address + "/?stack=k3d2+k3d2+k3d2&input=1,8,64,64")
            page.wait_for_selector("#lines .chosen")
            page.get_by_role("button", name="Apply").first.wait_for()
            for _ in range(20):
                page.get_by_role("button", name="Step").click()
            page.mouse.move(0, 0)
            page.evaluate("window.scrollTo(0, 0)")
            page.wait_for_timeout(500)
            kept(page, "explorer.png", 900)
        browser.close()


if __name__ == "__main__":
    main()
