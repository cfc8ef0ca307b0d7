"""Comparisons in terminals of every width, and as pages: nothing is cut."""

from __future__ import annotations

import json

import pytest

import atrous
from atrous.report import ComparisonView, Look
from atrous.report.comparison import comparison_columns
from atrous.shown import view
from tests.command import assert_refuses
from tests.command import atrous as command

STACKS = {
    "sparse and long-named scheme": "k3d2 k3d4 k3 k3 k3 k3",
    "b": "k3s2 k3d12 maxk2s2 k3 maxk2s2 k3d3 k3 k3",
    "k3-with-a-name-of-one-word-that-is-longer-than-a-column": "k3d2 k3d4",
}
DEEP = " ".join(["k3"] * 40)


@pytest.fixture(scope="module")
def found():
    return atrous.compare({**STACKS, "deep": DEEP}, input=(1, 8, 96, 96))


@pytest.mark.parametrize("width", [40, 44, 60, 72, 80, 100, 120, 160, 240])
def test_no_width_cuts_a_value_or_stands_over_the_edge(found, width):
    text = ComparisonView(found).text(Look(width))
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    shown = "".join(text.split())
    for column in comparison_columns(found, width):
        for cell in column.cells:
            # A name may go on in the next line, beside the numbers of another column.
            assert [
                word for word in cell.text.split() if len(word) < 12 and word not in shown
            ] == []


def test_fields_of_few_layers_are_all_there_and_of_many_the_ends(found):
    rows = {
        cells[0].text: cells[3].text
        for cells in zip(*(column.cells for column in comparison_columns(found)), strict=True)
    }
    assert rows["b"] == " ".join(map(str, dict.fromkeys(found["b"].fields)))
    assert rows["deep"] == "3 to 81 in 40 steps"


def test_the_page_has_every_number_of_the_table(found):
    page = view(found).page()
    for column in comparison_columns(found):
        for cell in column.cells:
            assert cell.text in page
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert [scheme["name"] for scheme in data["schemes"]] == [*STACKS, "deep"]
    for scheme in data["schemes"]:
        footprint = found[scheme["name"]].report.footprint()
        assert tuple(scheme["cuts"][0]["size"]) == footprint.box.shape


def test_names_of_schemes_are_no_markup():
    evil = "<script>alert(1)</script>"
    page = view(atrous.compare({evil: "k3"}, input=(1, 1, 9, 9))).page()
    assert evil not in page


def test_schemes_that_differ_in_their_axes_have_a_page():
    assert "schemes" in view(atrous.compare(["k3", "k5"], input=(1, 1, 9))).page()
    with_net = command("compare", "net=zoo:resnet18", "k3", "--json")
    assert with_net.returncode == 0


def test_the_command_writes_the_page(tmp_path):
    result = command(
        "compare", "k3d2", "k3", "-i", "1,1,32,32", "--html", "schemes.html", cwd=tmp_path
    )
    assert (result.returncode, "wrote schemes.html" in result.stderr) == (0, True)
    assert (tmp_path / "schemes.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "zoo:absent"),
        ("inspect", "zoo:absent", "--diff", "zoo:other"),
        ("convert", "zoo:absent", "--output-stride", "8"),
        ("compare", "zoo:absent"),
    ],
    ids=lambda words: " ".join(words),
)
def test_where_a_page_goes_is_looked_at_before_anything_is_read(tmp_path, arguments):
    assert_refuses(
        *arguments, "--html", "nowhere/r.html", says="there is no folder nowhere", cwd=tmp_path
    )
