"""Times pages in a real browser: from an edit to the picture, and a large report to its first use.

    python bench/explore/run.py [--turns N] [--pyodide FOLDER]

Needs `pip install ".[test]"` and Chromium. An edit is a rate in the middle, 2 to 18 in turn;
the picture is there when the dots, the footprint and the table are those of the new stack, seen by
the browser itself, so that the way to the server and back is in it. Prints medians and the worst.
With --pyodide, the unpacked npm package, the exported page is timed too, which has no server.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from playwright.sync_api import sync_playwright

import atrous
from atrous.explore.export import export
from tests.processes import CHROMIUM
from tests.servers import explorer

EDIT = """
async (value) => {
    const field = document.querySelector("input[aria-label=Dilation]");
    const dots = document.getElementById("dots"), before = dots.dataset.version;
    const table = document.querySelector("table[aria-label=Layers]"), rows = table.dataset.version;
    const picture = document.querySelector("#footprint svg");
    const watched = () => dots.dataset.version !== before && table.dataset.version !== rows
        && document.querySelector("#footprint svg") !== picture;
    const start = performance.now();
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    while (!watched()) await new Promise(requestAnimationFrame);
    // Until it is on the screen.
    await new Promise(requestAnimationFrame);
    return performance.now() - start;
}
"""


def edits(page, address, layers, turns):
    """Milliseconds of each edit of a stack with so many layers."""
    stack = "+".join(["k3"] * layers)
    page.goto(f"{address}/?stack={stack}&input=1,8,64,64")
    page.wait_for_selector("#lines .chosen", state="attached")
    page.get_by_role("button", name=f"conv{layers // 2}: k3", exact=True).click()
    page.wait_for_timeout(500)
    found = []
    for turn in range(turns + 2):
        found.append(page.evaluate(EDIT, str(2 + turn % 17)))
        page.wait_for_timeout(200)
    return found[2:]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def hosted(pyodide):
    """The exported page on a plain web host; its address."""
    with tempfile.TemporaryDirectory() as folder:
        size = export(Path(folder, "page"), pyodide=pyodide)
        print(f"exported: {size / 2**20:.1f} MiB")
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/page"
        server.shutdown()
        server.server_close()


def started(page, address):
    """Seconds to the first picture of the exported page, and until Python answers."""
    start = time.perf_counter()
    page.goto(address + "/")
    page.wait_for_selector("#lines .chosen", state="attached")
    drawn = time.perf_counter() - start
    page.wait_for_selector("body[data-python=yes]", state="attached")
    return drawn, time.perf_counter() - start


def first_use(page, path):
    """Milliseconds until all of the page answers; its charts are then being drawn."""
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
    page.wait_for_selector("html[data-drawn=yes]", state="attached")
    return ready


def main() -> None:
    """Prints what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--pyodide", type=Path)
    given = parser.parse_args()
    turns = given.turns
    print("load:", *(f"{one:.1f}" for one in os.getloadavg()))
    with sync_playwright() as running, explorer("--port", "0") as address:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        for layers in (5, 20, 200):
            times = edits(page, address, layers, turns)
            print(
                f"{layers} layers: {statistics.median(times):.0f} ms from an edit to the picture, "
                f"{max(times):.0f} ms at most of {turns}"
            )
        if given.pyodide is not None:
            with hosted(given.pyodide) as home:
                drawn, answers = started(page, home)
                print(f"exported: {drawn:.1f} s to the first picture, {answers:.1f} s to answers")
                for layers in (5, 20):
                    times = edits(page, home, layers, turns)
                    print(
                        f"exported, {layers} layers: {statistics.median(times):.0f} ms from an "
                        f"edit to the picture, {max(times):.0f} ms at most of {turns}"
                    )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "report.html")
            atrous.inspect("zoo:resnet152").to_html(path)
            times = [first_use(page, path) for _ in range(5)]
            size = path.stat().st_size / 2**20
            middle = statistics.median(times)
            print(f"report of ResNet-152: {size:.2f} MiB, {middle:.0f} ms to first use")
        browser.close()


if __name__ == "__main__":
    main()
