"""The exported page in a real browser: the same answers as the library's, from no server."""

from __future__ import annotations

import json
import os
import random
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from atrous.errors import AtrousError
from atrous.explore.draft import Draft
from atrous.explore.export import RUNTIME, export
from atrous.explore.hosted import replied

PYODIDE = os.environ.get("ATROUS_PYODIDE", "")
"""The unpacked npm package `pyodide`."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def home(browser, tmp_path_factory):
    if not PYODIDE:
        pytest.skip("needs ATROUS_PYODIDE, the folder of the unpacked npm package `pyodide`")
    folder = tmp_path_factory.mktemp("host")
    export(folder / "deep" / "page", pyodide=Path(PYODIDE))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/deep/page/"
    server.shutdown()
    server.server_close()


def stacks(count):
    """Stacks that can be, drawn at random, with what to do to each."""
    draw = random.Random(15)
    words = "k3 k5d2 k3s2 maxk2s2 tconvk3s2 ups2 k3valid k2causal k3d9 dwk3x8 k(1,3)"
    found = []
    while len(found) < count:
        text = " ".join(draw.choices(words.split(), k=draw.randint(1, 8)))
        shape = (1, 8, *draw.choices(range(8, 65), k=draw.choice((2, 2, 1))))
        try:
            draft = Draft.of(text, shape)
        except AtrousError:
            continue
        place = draw.randrange(len(draft.layers))
        do = draw.choice(
            [
                {"what": "show"},
                {"what": "add"},
                {"what": "remove"},
                {"what": "part", "part": "dilation", "text": "3"},
                {"what": "part", "part": "kernel", "text": "x"},
                {"what": "convert", "outputStride": 1},
            ]
        )
        found.append({"stack": draft.text, "input": draft.shape_text, "place": place, "do": do})
    return found


_ASK = """
async (bodies) => {
    const { reach } = await import("./atrous-static/transport.js");
    const found = [];
    for (const body of bodies) found.push(await (await reach("/edit", { body })).text());
    return found;
}
"""


def ready(page):
    page.wait_for_selector("body[data-python=yes]", state="attached")


def rested(page, stack):
    page.wait_for_function(
        "stack => (document.body.dataset.rest || '').startsWith(stack)", arg=f"stack={stack}&"
    )


def test_opened_as_a_file_it_says_what_to_do_and_shows_no_empty_form(browser, serious, tmp_path):
    runtime = tmp_path / "pyodide"
    runtime.mkdir()
    for name in RUNTIME:
        (runtime / name).touch()
    export(tmp_path / "page", pyodide=runtime)
    page = browser.new_context(reduced_motion="reduce").new_page()
    page.goto((tmp_path / "page" / "index.html").as_uri())
    assert "Run python -m http.server in this folder" in page.get_by_role("status").inner_text()
    assert page.locator("input:visible, select:visible, button:visible, svg:visible").count() == 0
    assert serious(page) == []
    page.context.close()


def test_it_is_edited_without_a_server(visit, home, serious):
    with visit(home, 390) as page:
        # The first picture is there before Python is.
        page.wait_for_selector("#lines .chosen", state="attached")
        ready(page)
        rested(page, "k3s2+k3s2+k3")
        page.get_by_label("Stack", exact=True).fill("k3d2 k3d2")
        rested(page, "k3d2+k3d2")
        assert page.url.startswith(home + "?stack=k3d2+k3d2&")
        assert page.get_by_text("reads 25 of 9x9 positions").is_visible()
        assert page.locator("#findings .finding").count()
        page.get_by_role("button", name="Find better").click()
        page.get_by_text("rates changed, no holes, no sub-grids").wait_for()
        page.get_by_role("button", name="Undo").click()
        page.wait_for_function("() => document.getElementById('stack').value === 'k3s2 k3s2 k3'")
        page.get_by_label("Known network", exact=True).select_option("vgg16")
        page.get_by_role("button", name="Open", exact=True).click()
        page.get_by_role("table", name="Layers of zoo:vgg16").wait_for()
        # Its colours follow the system's, without starting Python anew.
        paper = set()
        for width, theme in ((390, "light"), (390, "dark"), (1280, "dark"), (1280, "light")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(media="null", color_scheme=theme)
            paper.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert serious(page) == []
        assert len(paper) == 2


def test_a_link_opens_its_stack_and_answers_are_those_of_the_library(visit, home):
    asked = [json.dumps(one) for one in stacks(30)]
    with visit(home + "?stack=k3d2+k5&input=1,8,40") as page:
        ready(page)
        rested(page, "k3d2+k5")
        assert page.get_by_text("Output (20) of conv2 reads 9 of 9 positions").is_visible()
        assert page.evaluate(_ASK, asked) == [replied("/edit", one) for one in asked]
