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
async ([control, value]) => {
    const one = document.querySelector(control), before = location.search;
    const start = performance.now();
    if (one.tagName === "BUTTON") one.click();
    else {
        one.value = value;
        one.dispatchEvent(new Event("input", { bubbles: true }));
    }
    // The address changes when the picture, the footprint and the table are those of the new stack.
    while (location.search === before) await new Promise(requestAnimationFrame);
    // Until it is on the screen.
    await new Promise(requestAnimationFrame);
    return performance.now() - start;
}
"""
# Where nothing is answered or drawn: what a browser takes to come to its next two frames.
NOTHING = """
async () => {
    const start = performance.now();
    await new Promise((done) => setTimeout(done));
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now() - start;
}
"""
RATES = ("input[aria-label=Dilation]", [str(rate) for rate in range(2, 19)])
KINDS = {
    "rate": RATES,
    "kernel": ("input[aria-label=Kernel]", ["5", "7", "2", "4", "9", "6", "3", "8"]),
    "padding": ("input[aria-label=Padding]", ["0", "1", "valid", "2,0", "causal", "3", "same"]),
    "stride": ("input[aria-label=Stride]", ["2", "3", "4", "1"]),
    "input": ("#shape", [f"1,8,{size},{size}" for size in range(60, 90)]),
    "layer added": ("#add", [""]),
    "layer removed": ("#remove", [""]),
    "layer moved": ("#up", [""]),
}
MIXED = ("k3x16", "k3d2", "k5", "k3", "k3d4", "maxk3", "k3d3", "dwk3", "k1x32", "k3d2")


def edits(page, address, layers, turns, kind="rate"):
    """Milliseconds of each edit of a stack with so many layers, after two that do not count."""
    parts = [MIXED[place % len(MIXED)] if kind != "rate" else "k3" for place in range(layers)]
    if kind == "layer moved":
        parts[0] = "k9x16"  # like none that it passes
    stack = "+".join(parts)
    page.goto(f"{address}/?stack={stack}&input=1,8,64,64")
    page.wait_for_selector("#lines .chosen", state="attached")
    place = {"layer removed": layers - 1, "layer moved": 0}.get(kind, layers // 2 - 1)
    page.locator(f"[data-place='{place}']").dispatch_event("click")
    page.wait_for_timeout(500)
    control, values = KINDS[kind]
    found = []
    for turn in range(turns + 2):
        found.append(page.evaluate(EDIT, [control, values[turn % len(values)]]))
        page.wait_for_timeout(200)
    return found[2:]


def told(page, address, layers, turns, where=""):
    """Prints what each kind of edit takes, beside what nothing takes."""
    page.goto("about:blank")
    idle = [page.evaluate(NOTHING) for _ in range(turns)]
    print(f"{where}nothing: {statistics.median(idle):.0f} ms, {max(idle):.0f} ms at most")
    for kind in KINDS:
        # A layer is moved and removed as often as there is one.
        times = edits(page, address, layers, min(turns, layers - 4), kind)
        print(
            f"{where}{layers} layers, {kind}: {statistics.median(times):.0f} ms from an edit to "
            f"the picture, {max(times):.0f} ms at most of {len(times)}",
            flush=True,
        )


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
                told(page, address, 20, turns)
                drawn, answers = started(page, home)
                print(f"exported: {drawn:.1f} s to the first picture, {answers:.1f} s to answers")
                for layers in (5, 20):
                    times = edits(page, home, layers, turns)
                    print(
                        f"exported, {layers} layers: {statistics.median(times):.0f} ms from an "
                        f"edit to the picture, {max(times):.0f} ms at most of {turns}"
                    )
                told(page, home, 20, turns, "exported, ")
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
