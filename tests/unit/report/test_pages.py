"""Reports as pages: one file with all that it needs, and the numbers of the report in it."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import atrous
from atrous.analysis import inspect_network
from atrous.draw.rows import listing
from atrous.errors import MissingDependencyError, ReadError, UnsupportedError
from atrous.network import Builder
from atrous.network.ops import Opaque
from atrous.report import pages
from atrous.shown import view
from tests import command
from tests.processes import run_python

VOID = {"meta", "input", "br", "link", "img", "wbr"}


class Page(HTMLParser):
    """The elements of a page, with what they refer to, and the texts of scripts by id."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.refers, self.scripts, self.words = [], [], {}, []
        self.ids, self.links, self.tags = set(), set(), set()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        found = dict(attrs)
        if "id" in found:
            assert found["id"] not in self.ids
            self.ids.add(found["id"])
        for key in ("src", "href", "action", "data"):
            if key in found:
                target = found[key] or ""
                (
                    self.links.add(target[1:])
                    if target.startswith("#")
                    else self.refers.append(target)
                )
        assert not [key for key in found if key.startswith("on")]
        if tag not in VOID:
            self.open.append((tag, found.get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "script":
            self.scripts[self.open[-1][1]] = data
        elif self.open and self.open[-1][0] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def report():
    return atrous.inspect("zoo:deeplabv3_resnet50", (1, 3, 129, 129))


@pytest.fixture(scope="module")
def page(report):
    return view(report).page()


def test_the_page_refers_to_nothing_outside_of_it(page):
    found = Page(page)
    assert found.refers == []
    assert found.links <= found.ids
    assert "default-src 'none'" in page


def test_the_page_says_what_the_report_says(report, page):
    words = "".join(Page(page).words)
    for finding in report.findings:
        assert finding.message in words
        assert finding.fix in words
    for row in listing(report, every=True).rows:
        assert row.name in words
    assert "atrous" in words


def test_each_layer_with_a_field_has_its_footprint(report, page):
    data = json.loads(Page(page).scripts["data"])
    pictures = data["sides"][0]["footprints"]
    options = re.findall(r'<option value="(\d+)"(?: selected)?>([^<]+)</option>', page)
    chosen = {name: int(place) for place, name in options}
    for layer in report.layers:
        if layer.field:
            [cut] = pictures[chosen[layer.name]]["cuts"]
            footprint = report.footprint(layer.name)
            assert tuple(cut["origin"]) == footprint.origin
            assert tuple(cut["size"]) == footprint.box.shape
            assert f"reads {footprint.taps:,} of" in pictures[chosen[layer.name]]["text"]


def test_a_large_network_stays_below_three_mebibytes():
    text = view(atrous.inspect("zoo:resnet152")).page()
    assert len(text.encode()) < 3 * 2**20


def test_names_from_outside_cannot_leave_their_place():
    evil = "</script><script>alert(1)</script><!-- \"'> <img src=x onerror=alert(1)>"
    b = Builder(evil)
    x = b.input("x", (1, 3, 16, 16))
    y = b.conv(x, 4, 3, name=evil + "1")
    y = b.add(Opaque("<b>", f"<i>{evil}</i>", (1, 4, 14, 14)), y, name="odd")
    found = Page(view(inspect_network(b.build(y))).page())
    assert len(found.scripts) == 2  # the data, and the last of the two without an id
    assert "img" not in found.tags
    assert "b" not in found.tags
    json.loads(found.scripts["data"])


def test_networks_without_positions_without_findings_and_in_one_and_three_axes_have_pages():
    b = Builder("flat")
    flat = inspect_network(b.build(b.linear(b.input("x", (4, 16)), 3)))
    assert len(json.loads(Page(view(flat).page()).scripts["data"])["charts"]) == 2
    for one in (
        flat,
        atrous.inspect("stack:k3", (1, 1, 9)),
        atrous.inspect("stack:k3d2 k3d2", (1, 1, 9, 12, 15)),
        atrous.inspect("zoo:wavenet"),
    ):
        Page(view(one).page())


def test_two_reports_stand_side_by_side_with_what_differs():
    before = atrous.inspect("stack:k3s2x8 k3x8", (1, 3, 64, 64))
    after = atrous.inspect("stack:k3x8 k3d2x8", (1, 3, 64, 64))
    found = Page(view(after).page(beside=before))
    words = " ".join(found.words)
    assert "Differences" in words
    assert "conv2" in words
    assert len(json.loads(found.scripts["data"])["sides"]) == 2


def test_a_conversion_has_a_page_with_its_diff_and_verdict(tmp_path):
    made = atrous.convert("stack:k3s2 k3s2 k3", 2, input=(1, 8, 33, 33))
    path = tmp_path / "change.html"
    made.to_html(path)
    words = " ".join(Page(path.read_text(encoding="utf-8")).words)
    assert "exact" in words
    assert "stride 2 -> 1" in words
    assert made.before.outputs[0].output_shape[-1] * 2 - 1 == made.after.outputs[0].output_shape[-1]


def test_a_users_image_lies_behind_the_footprints(tmp_path):
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (640, 480), "teal").save(photo)
    report = atrous.inspect("stack:k3d2", (1, 3, 48, 64))
    data = json.loads(Page(view(report).page(image=photo)).scripts["data"])
    assert data["sides"][0]["image"].startswith("data:image/jpeg;base64,")
    with pytest.raises(ReadError, match="no such file"):
        view(report).page(image=tmp_path / "absent.jpg")
    with pytest.raises(UnsupportedError, match="two axes"):
        view(atrous.inspect("stack:k3", (1, 1, 9))).page(image=photo)


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("the old one")
    path.chmod(0o644)
    report = atrous.inspect("stack:k3", (1, 1, 9))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        report.to_html(tmp_path / "nowhere" / "report.html")
    report.to_html(path)
    assert path.read_text().startswith("<!doctype html>")
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_a_footprint_too_large_for_a_page_is_left_out_and_said():
    report = atrous.inspect("stack:k3d1500 k3d1500", (1, 1, 8000, 8000))
    assert "layers are left out" in view(report).page()


@pytest.mark.parametrize("missing", ["altair", "jinja2", "vl_convert", "pygraphviz", "PIL"])
def test_without_a_library_one_line_says_which_and_how_to_get_it(missing):
    script = f"""
import sys
sys.modules[{missing!r}] = None
import atrous
report = atrous.inspect("stack:k3", (1, 1, 9, 9))
try:
    report.to_html("/dev/null")
except atrous.MissingDependencyError as error:
    print(error)
"""
    result = run_python(script)
    assert result.returncode == 0, result.stderr
    assert f"needs {missing}" in result.stdout
    assert "pip install 'atrous[report]'" in result.stdout
    assert issubclass(MissingDependencyError, ImportError)


def test_the_command_writes_pages_and_graphs(tmp_path):
    for line in (
        "inspect 'stack:k3d2 k3d2' -i 1,1,32,32 --html one.html --graph net.svg",
        "inspect 'stack:k3' -i 1,1,32,32 --diff 'stack:k3d2' --html two.html",
        "convert 'stack:k3s2 k3' -i 1,1,33,33 -s 1 --html three.html",
    ):
        result = command.atrous(*shlex.split(line), cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    for name in ("one", "two", "three"):
        Page((tmp_path / f"{name}.html").read_text(encoding="utf-8"))
    assert (tmp_path / "net.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--html nowhere/r.html", "--html nowhere/r.html: there is no folder nowhere;"),
        ("--html .", "--html . is a folder; name a file in it."),
        ("--html r.txt", "--html r.txt: give it the ending .html."),
        ("--image r.png", "give --html as well."),
        ("--html r.html --layer conv1", "--html has every layer; leave out --layer."),
        ("--html r.html --diff old.json", "a saved report has no network to draw"),
        ("--html r.html --image absent.png", "absent.png: there is no such file"),
        ("--graph g.png", "--graph g.png: give it the ending .svg."),
    ],
)
def test_what_cannot_be_written_is_one_line_and_no_file(tmp_path, options, complaint):
    arguments = ("inspect", "stack:k3", "-i", "1,1,9,9", *options.split())
    command.assert_refuses(*arguments, says=complaint, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_page_opens_on_the_layer_that_sees_farthest_and_not_on_a_shallow_output():
    page = view(atrous.inspect("zoo:deeplabv3_resnet50", (1, 3, 129, 129))).page()
    assert re.search(r"selected[^>]*>classifier\.0\.convs\.3\.", page)


def test_more_paths_than_a_float_holds_are_said_in_powers_of_ten(tmp_path):
    report = atrous.inspect("stack:k31*210", (1, 1, 64))
    report.to_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.search(r"[1-9]\.\de\+3\d\d paths at most to one of them", text)


def test_footprints_that_take_too_many_steps_are_left_out_and_the_last_one_is_not(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(pages, "MOST_STEPS", 30)
    stack = " ".join(f"k3d{rate}" for rate in range(1, 13))
    report = atrous.inspect(f"stack:{stack}", (1, 1, 40))
    shown, places, left_out = pages._footprints(report, "ink")
    assert list(places) == [*(f"conv{place}" for place in range(1, 6)), "conv12"]
    assert (len(shown), left_out) == (6, 6)
    report.to_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "6 layers are left out: their footprints are too large, or too many steps" in text


def test_counts_of_thousands_of_digits_are_told_apart():
    large = np.array([[10**3000, 1]], dtype=np.object_)
    assert pages._digest(large) == pages._digest(large.copy())
    assert pages._digest(large) != pages._digest(large + 1)
