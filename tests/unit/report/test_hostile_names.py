"""Names from a file in every page, picture and text: they are shown, and are nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from xml.etree import ElementTree as Xml

import onnx
import pytest
from onnx import helper

import atrous
from atrous.analysis.check import check_report
from atrous.analysis.diff import diff_reports
from atrous.analysis.requirements import parse_rules
from atrous.draw.animation import animation, sliding_scene
from atrous.geometry import Window
from atrous.shown import view
from tests.onnx_probe import model, weights

EVIL = (
    "</script></style></title></svg>]]><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\"'`><marquee onclick=alert(1)>&amp;&{{7*7}}{%x%}\x1b[31m\x07\r\n\u202e"
)
SHAPE = (1, 2, 17, 17)
_BY_HAND = {"meta", "input", "br", "link", "img", "wbr"}


def _hostile(stride: int = 1) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", [f"x{EVIL}", "w"], ["a"], name=f"{EVIL}1", strides=[stride] * 2),
        helper.make_node("Conv", ["a", f"v{EVIL}"], ["b"], name=f"/m{EVIL}/c/2", dilations=[2, 2]),
        helper.make_node(f"Odd{EVIL}", ["b"], ["c"], name=f"{EVIL}3", domain=f"d{EVIL}"),
        helper.make_node("Relu", ["b"], [f"y{EVIL}"], name=f"{EVIL}4"),
    ]
    held = {"w": weights(4, 2, 3, 3), f"v{EVIL}": weights(4, 4, 3, 3)}
    made = model(nodes, {f"x{EVIL}": SHAPE}, held, outputs=(f"y{EVIL}", "c"), domains=[f"d{EVIL}"])
    made.graph.name = EVIL
    return made


class _Elements(HTMLParser):
    """The elements of a page, their attributes, and what its scripts are."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.scripts: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "img":  # a picture that is in the page
            assert dict(attrs)["src"].startswith("data:image/")  # type: ignore[union-attr]
        if tag not in _BY_HAND:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def assert_harmless_html(text: str) -> None:
    """Nothing of the hostile name became an element, an attribute, a script or a control."""
    found = _Elements(text)
    assert not found.open
    assert found.tags.isdisjoint(("marquee", "iframe", "object"))
    assert not [name for name in found.attributes if name.startswith("on")]
    assert all("alert(1)" not in one or one.lstrip().startswith("{") for one in found.scripts)
    _assert_printable(text)


def assert_harmless_svg(text: str) -> None:
    """Well-formed, without scripts, handlers or links."""
    for element in Xml.fromstring(text).iter():
        tag = element.tag.rpartition("}")[2]
        assert tag not in ("script", "foreignObject", "a", "image", "img", "use", "marquee")
        assert not [name for name in element.attrib if name.startswith("on") or "href" in name]
    _assert_printable(text)


def _assert_printable(text: str) -> None:
    assert re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", text) is None


@pytest.fixture(scope="module")
def report() -> atrous.Inspection:
    return atrous.inspect(_hostile(stride=2))


def _converted() -> atrous.Conversion:
    return atrous.convert(_hostile(stride=2), 1, outputs=[f"{EVIL}4"])


def _records(report: atrous.Inspection) -> dict[str, Callable[[], object]]:
    return {
        "inspection": lambda: report,
        "layer": lambda: report.layers[1],
        "finding": lambda: report.findings[0],
        "footprint": lambda: report.footprint(report.layers[1].name),
        "comparison": lambda: atrous.compare({EVIL: "k3", f"{EVIL}2": "k3d2"}, input=SHAPE),
        "conversion": _converted,
        "certificate": lambda: atrous.audit(_hostile(), _hostile()),
        "diff": lambda: diff_reports(report.to_dict(), atrous.inspect(_hostile()).to_dict()),
        "check": lambda: check_report(report, parse_rules("coverage", "==1"), forbidden=["opaque"]),
        "sizes": lambda: atrous.sizes(_hostile(stride=2), SHAPE),
    }


@pytest.mark.parametrize("kind", sorted(_records(None)))  # type: ignore[arg-type]
def test_no_record_lets_a_name_out_of_its_place(kind: str, report: atrous.Inspection) -> None:
    try:
        record = _records(report)[kind]()
    except atrous.AtrousError as error:
        pytest.fail(f"the record was not made: {str(error)[-200:]}")
    shown = view(record)
    _assert_printable(shown.text())
    assert_harmless_html(shown.html())


def test_pages_graphs_and_moving_pictures_let_no_name_out(report: atrous.Inspection) -> None:
    assert_harmless_html(view(report).page())
    assert_harmless_html(view(report).page(beside=atrous.inspect(_hostile())))
    compared = atrous.compare({EVIL: "k3", f"{EVIL}2": "k3d2"}, input=SHAPE)
    assert_harmless_html(view(compared).page())
    assert_harmless_svg(view(compared).moving(0.5))
    for colour in ("coverage", "cost", "resolution"):
        assert_harmless_svg(view(report).graph("", colour))
    assert_harmless_svg(view(report.footprint(report.layers[1].name)).moving(0.5))
    assert_harmless_svg(animation([sliding_scene([Window(3)], [7], title=EVIL)]))


def test_what_is_said_of_a_name_holds_no_control_characters(report: atrous.Inspection) -> None:
    for record in (report.network, *report.findings, _converted().edits[0]):
        _assert_printable(str(record))
    with pytest.raises(atrous.AtrousError) as caught:
        atrous.inspect(_hostile(), (1, 2, 1, 1))
    _assert_printable(str(caught.value))


def test_a_page_that_lets_one_out_is_noticed() -> None:
    for wrong in (f"<p>{EVIL}</p>", f'<p title="{EVIL}">x</p>', "<p>\x1b</p>"):
        with pytest.raises(AssertionError):
            assert_harmless_html(wrong)
    for wrong in ("<svg><script/></svg>", '<svg onload="x"/>', "<svg><title>\u202e</title></svg>"):
        with pytest.raises(AssertionError):
            assert_harmless_svg(wrong)
