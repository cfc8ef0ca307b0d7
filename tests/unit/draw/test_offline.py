"""Charts that notebooks draw without a network, and what is made of them."""

from __future__ import annotations

import copy
import pickle
import re
import sys

import altair
import pytest

import atrous
from atrous.errors import MissingDependencyError
from tests.processes import run_python

PLAIN = altair.Chart(altair.Data(values=[{"a": 1}])).mark_point().encode(x="a:Q")


@pytest.fixture(scope="module")
def report():
    return atrous.inspect("stack:k3 k3d2 k3d4", (1, 8, 64, 64))


MADE = {
    "one": lambda r: r.plot("cost"),
    "several": lambda r: r.plot(),
    "with properties": lambda r: r.plot("memory").properties(width=100),
    "interactive": lambda r: r.plot("field").interactive(),
    "beside": lambda r: r.plot("field") | r.plot("cost"),
    "below": lambda r: r.plot() & PLAIN,
    "over": lambda r: r.plot("memory") + PLAIN,
    "beside another": lambda r: PLAIN | r.plot("cost"),
    "below another": lambda r: PLAIN & r.plot("cost"),
    "over another": lambda r: PLAIN + r.plot("cost"),
    "below several": lambda r: altair.vconcat(PLAIN) & r.plot(),
    "for each value": lambda r: r.plot("cost").facet("report:N"),
    "for each column": lambda r: r.plot("cost").repeat(["share", "value"]),
    "a copy": lambda r: copy.deepcopy(r.plot()),
    "stored": lambda r: pickle.loads(pickle.dumps(r.plot("cost"))),
}


@pytest.mark.parametrize("how", MADE)
def test_what_is_made_of_a_chart_draws_itself(report, how):
    chart = MADE[how](report)
    shown = chart._repr_mimebundle_()
    assert isinstance(chart, altair.TopLevelMixin)
    assert set(shown) == {"text/html", "image/svg+xml", "text/plain"}
    assert shown["text/html"].startswith('<img alt="')
    assert shown["image/svg+xml"].startswith("<svg")
    assert shown["text/plain"].startswith("alt.")


def test_charts_that_are_not_ours_are_left_alone(report):
    assert set(PLAIN._repr_mimebundle_()) == {"text/html"}
    assert type(altair.Chart.from_dict(report.plot("cost").to_dict())) is altair.Chart
    assert altair.renderers.active == "default"


def test_a_renderer_that_the_user_enabled_draws(report):
    with altair.renderers.enable("mimetype"):
        assert "vegalite" in str(report.plot()._repr_mimebundle_())


def test_pages_hold_their_scripts_unless_told_otherwise(report, tmp_path):
    chart = report.plot("cost")
    chart.save(tmp_path / "own.html")
    chart.save(tmp_path / "loading.html", inline=False)
    loads = re.compile(r"<script[^>]*src=")
    assert not loads.search((tmp_path / "own.html").read_text())
    assert loads.search((tmp_path / "loading.html").read_text())
    assert not loads.search(chart.to_html())


def test_two_pictures_on_one_page_share_no_names(report):
    # Vega numbers what it names, from the start in each process.
    endings = []
    for kind in ("field", "memory"):
        svg = report.plot(kind).interactive()._repr_mimebundle_()["image/svg+xml"]
        named = set(re.findall(r'\bid="([^"]*)"', svg))
        assert named == set(re.findall(r"url\(#([^)]*)\)", svg))
        endings.append({name.rpartition("-")[2] for name in named})
    one, two = endings
    assert len(one) == len(two) == 1
    assert one != two


def test_a_picture_is_told_to_who_does_not_see_it(report):
    told = [c._repr_mimebundle_()["text/html"] for c in (report.plot("cost"), report.graph())]
    assert [re.search(r'alt="([^"]*)"', html)[1] for html in told] == [
        "Cost by stage",
        "graph of the network",
    ]


def test_without_altair_it_says_what_to_install():
    script = """
import sys
sys.modules["altair"] = None
import atrous
found = atrous.compare(input=(1, 1, 32, 32))
report = found.schemes[0].report
assert "<pre" in report.footprint()._repr_html_()
for record in (report, report.footprint(), found):
    try:
        record.plot()
    except atrous.MissingDependencyError as error:
        assert "atrous[report]" in str(error), error
    else:
        raise AssertionError(record)
"""
    result = run_python(script)
    assert result.returncode == 0, result.stderr


def test_without_the_library_that_draws_it_says_what_to_install(report, monkeypatch):
    chart = report.plot("cost")
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingDependencyError, match=r"needs vl_convert.*atrous\[report\]"):
        chart._repr_mimebundle_()
    assert "<pre" in report.footprint()._repr_html_()


def test_a_footprint_is_a_picture_beside_words(report):
    shown = report.footprint()._repr_html_()
    assert "output (32, 32) reads h 25 to 39" in shown
    assert 'src="data:image/svg+xml;base64,' in shown
    with altair.renderers.enable("mimetype"):
        assert report.footprint()._repr_html_() == shown


def test_a_footprint_of_nothing_is_words():
    report = atrous.inspect("stack:k1s4p(3,0)", (1, 1, 8, 8))
    assert "reads no position" in report.footprint(at=(0, 0))._repr_html_()


def test_a_graph_is_text_that_notebooks_show_as_a_picture(report):
    svg = report.graph()
    assert isinstance(svg, str)
    shown = svg._repr_mimebundle_()
    assert shown["image/svg+xml"] == svg
    assert len(shown["text/plain"]) < 80
