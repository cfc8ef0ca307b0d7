"""Which layers are listed, with which columns, and that nothing is lost by folding."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from atrous import Builder
from atrous.analysis import Finding, inspect_network
from atrous.draw.rows import SORTS, listing
from atrous.network import zoo
from atrous.network.ops import Opaque
from atrous.report import InspectionView, LayerView, Listed, Look
from atrous.report.lines import Column, Span, plain, table, wrapped_text
from tests.golden.networks import ALL


@pytest.fixture(scope="module")
def resnet():
    return inspect_network(zoo.build("resnet18", (1, 3, 64, 64)))


@pytest.fixture(scope="module", params=ALL)
def report(request):
    return inspect_network(ALL[request.param]())


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
def test_folding_into_modules_keeps_every_cost(resnet, depth):
    folded = listing(resnet, every=True, depth=depth)
    assert sum(row.macs for row in folded.rows) == resnet.macs
    assert sum(row.params for row in folded.rows) == resnet.params
    assert sum(row.activation_bytes for row in folded.rows) == resnet.activation_bytes


def test_a_folded_module_has_the_field_of_its_last_layer(resnet):
    rows = {row.name: row for row in listing(resnet, depth=2).rows}
    assert rows["layer2.1"].layer is resnet["layer2.1"]
    assert rows["layer2.1"].op == "7 layers"


def test_a_module_that_is_called_twice_has_its_parameters_once():
    b = Builder()
    x = b.input("x", (1, 4, 8, 8))
    y = b.conv(x, 4, 3, padding=1, name="block.conv")
    node = b.build(y).nodes[0]
    z = b.add(node.op, y, name="block.conv@1", module="block.conv", params=_params(b, y))
    report = inspect_network(b.build(z))
    (row,) = listing(report, depth=1).rows
    assert row.params == report.params == 4 * 4 * 9
    assert row.macs == report.macs


def _params(builder, tensor):
    return tuple(builder.build(tensor).params.values())


def test_what_is_left_out_has_no_macs_and_no_field_that_is_not_listed(resnet):
    found = listing(resnet)
    listed = {row.name for row in found.rows}
    left = [layer for layer in resnet.layers if layer.name not in listed]
    assert found.quiet == len(left) > 40
    assert {layer.macs for layer in left} == {0}
    assert {layer.field for layer in left} <= {row.layer.field for row in found.rows}
    assert found.quiet_params == resnet.params - sum(row.params for row in found.rows)


def test_no_field_of_any_network_is_left_out(report):
    shown = {row.layer.field for row in listing(report).rows}
    assert {layer.field for layer in report.layers} == shown


def test_an_op_that_mixes_positions_or_is_not_understood_is_always_listed(report):
    listed = {row.name for row in listing(report).rows}
    for node in report.network.nodes:
        if node.mixes or node.opaque:
            assert node.name in listed


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_lists_the_same_rows(resnet, sort):
    rows = listing(resnet, sort=sort).rows
    assert {row.name for row in rows} == {row.name for row in listing(resnet).rows}


def test_sorting_puts_the_largest_first(resnet):
    macs = [row.macs for row in listing(resnet, sort="macs").rows]
    assert macs == sorted(macs, reverse=True)
    sizes = [row.layer.field[0].size for row in listing(resnet, sort="field").rows]
    assert sizes == sorted(sizes, reverse=True)


def test_the_column_that_sorts_is_shown_where_others_have_to_go(resnet):
    assert "activation" not in _titles(InspectionView(resnet).text(Look(80)))
    assert "activation" in _titles(InspectionView(resnet, Listed(sort="memory")).text(Look(80)))


def test_a_cut_table_says_how_many_rows_are_left(resnet):
    found = listing(resnet, top=3)
    assert len(found.rows) == 3
    assert f"{found.cut} more rows" in InspectionView(resnet, Listed(top=3)).text()


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 240])
def test_a_report_fits_its_width_and_its_table_is_a_grid(report, width, unicode):
    text = InspectionView(report).text(Look(width, unicode=unicode))
    lines = text.splitlines()
    assert all(len(line) <= width for line in lines)
    rule = next(i for i, line in enumerate(lines) if re.fullmatch("[─-]+", line))
    ends = [found.end() for found in re.finditer(r"\S+", lines[rule - 1])]
    rows = lines[rule + 1 : rule + 1 + len(listing(report).rows)]
    # The last column is right-aligned: each row ends where the title does.
    assert {len(row) for row in rows} == {ends[-1]} == {len(lines[rule])}


def test_a_wider_terminal_shows_more_columns(resnet):
    titles = [_titles(InspectionView(resnet).text(Look(width))) for width in (80, 120, 200)]
    assert set(titles[0]) < set(titles[1]) < set(titles[2])
    assert " ".join(titles[2]) == (
        "layer op output field taps gap cover stride start center step MACs params activation"
    )


def _titles(text):
    lines = text.splitlines()
    return lines[next(i for i, line in enumerate(lines) if "─" in line) - 1].split()


def test_long_names_lose_their_middle_and_are_never_wrapped():
    b = Builder()
    x = b.input("x", (1, 3, 16, 16))
    b_name = "a" * 200 + ".conv"
    text = InspectionView(inspect_network(b.build(b.conv(x, 4, 3, name=b_name)))).text()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert re.search(r"^a+….*\.conv  conv k3", text, re.MULTILINE)


def test_names_cannot_send_commands_to_a_terminal():
    b = Builder("net\x1b[2J")
    x = b.input("x", (1, 3, 16, 16))
    report = inspect_network(b.build(b.conv(x, 4, 3, name="conv\x1b]0;title\x07\n")))
    for text in (str(report), LayerView(report.layers[0]).text(), report._repr_html_()):
        assert "\x1b" not in text
        assert "\x07" not in text


def test_names_cannot_put_markup_into_html():
    b = Builder("<script>alert(1)</script>")
    x = b.input("x", (1, 3, 16, 16))
    y = b.conv(x, 4, 3, name="<img src=x onerror=alert(1)>")
    y = b.add(Opaque("<b>", "<i>why</i>", (1, 4, 14, 14)), y, name="odd")
    report = inspect_network(b.build(y))
    for html in (report._repr_html_(), report.layers[0]._repr_html_()):
        tags = _Tags()
        tags.feed(html)
        assert tags.seen <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "span", "pre"}
        assert not re.search("<(script|img|i)", html)


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = set()
        self.open = []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        assert not {name for name, _ in attrs} - {"style"}
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_well_formed_and_has_every_listed_layer(report):
    html = report._repr_html_()
    tags = _Tags()
    tags.feed(html)
    assert not tags.open
    assert all(row.name in html for row in listing(report).rows)


def test_partial_results_and_findings_come_before_everything_else(report):
    finding = Finding("gridding", "warning", "conv9", "reads 7 of 13 inputs.", "Use rates 1, 2, 3.")
    lines = InspectionView(replace(report, _known={"findings": (finding,)})).text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("warning"))
    assert "conv9: reads 7 of 13 inputs. Use rates 1, 2, 3." in " ".join(lines[at].split())
    first = next(i for i, line in enumerate(lines) if line.startswith("input "))
    assert at < first
    said = any(line.startswith("not understood") for line in lines[:at])
    assert said == (not report.complete)


def test_many_opaque_ops_and_many_global_ops_are_counted_not_listed():
    b = Builder("many")
    x = b.input("x", (1, 4, 16, 16))
    for index in range(9):
        gate = b.global_pool(x, name=f"pool{index}")
        x = b.join(x, gate, label="mul", name=f"mul{index}")
    y = x
    for index in range(9):
        y = b.add(Opaque("odd", "no rule for odd", (1, 4, 16, 16)), y, name=f"odd{index}")
    text = InspectionView(inspect_network(b.build(x, y))).text()
    assert "pool0, pool1, pool2 and 6 more mix" in " ".join(text.split())
    assert text.count("no rule for odd") == 5
    assert "and 4 more" in text


def test_rich_prints_the_same_letters_as_plain_text(report):
    console = Console(width=100, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(report)
    assert [line.rstrip() for line in capture.get().splitlines()] == str(
        InspectionView(report).text(Look(100))
    ).splitlines()


def test_a_record_shows_itself_in_a_notebook_and_through_rich(report):
    layer = report.outputs[0]
    assert layer._repr_html_().startswith("<pre")
    console = Console(width=80, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(layer)
        console.print(layer.field[0])
    assert layer.name in capture.get()
    assert "coverage" in layer.field[0]._repr_html_()


def test_every_phase_of_an_upsampled_output_is_listed():
    report = inspect_network(ALL["decoder"]())
    text = LayerView(report["up"]).text()
    field = report["up"].field[0]
    for index, phase in enumerate(field.phases):
        cells = [str(index), str(phase.size), str(phase.taps)]
        assert re.search(r"^\s*" + r"\s+".join(cells) + r"\s+\d+%", text, re.MULTILINE)


def test_a_table_keeps_numbers_whole_when_it_does_not_fit():
    name = Column("name", (Span("x" * 30),), right=False, shrink=4)
    number = Column("number", (Span("1234567890"),))
    lines = [plain(line) for line in table([name, number], Look(width=10))]
    assert "1234567890" in lines[2]
    assert lines[2].startswith("…xxx")


def test_a_number_and_its_unit_stand_on_one_line():
    text = "MACs 51.4 M; params 262 k, 12 MiB and 9 GMAC, 3 k3 or 4 Models"
    for room in range(10, 40):
        rows = wrapped_text(text, room, Look())
        assert " ".join(rows) == text
        assert all(len(row) <= room for row in rows)
        for pair in ("51.4 M;", "262 k,", "12 MiB", "9 GMAC,"):
            assert sum(pair in row for row in rows) == 1
    assert wrapped_text("about 3 k3", 7, Look()) == ["about 3", "k3"]
