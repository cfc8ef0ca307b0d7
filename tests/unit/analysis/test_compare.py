"""Schemes side by side, against closed formulas, enumeration and what is known of them."""

from __future__ import annotations

import json
from fractions import Fraction
from math import prod

import pytest

import atrous
from atrous.analysis import usual_stacks
from atrous.analysis.compare import growth_of
from atrous.network import Builder
from atrous.network.ops import Opaque
from atrous.report import ComparisonView, Look

SEES_AS_FAR = ("strided", "dilated, doubling", "hybrid")


def codes(scheme) -> list[str]:
    return [risk.code for risk in scheme.risks]


def scheme_table(rates):
    return atrous.compare([" ".join(f"k3d{rate}" for rate in rates)], input=(1, 1, 64, 64))


def one(stack: str, *shape: int):
    return atrous.compare([stack], input=shape).schemes[0]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
def test_fields_are_those_of_the_formula_for_a_stack(kernel, depth):
    """1 + sum of (kernel - 1) * rate * the strides before it."""
    rates = {
        "plain": ([1] * depth, [1] * depth),
        "strided": ([1] * depth, [2] * depth),
        "dilated, rate 2": ([2] * depth, [1] * depth),
        "dilated, doubling": ([2**i for i in range(depth)], [1] * depth),
    }
    if depth > 2:
        early = depth // 2
        late = [2**i for i in range(depth - early)]
        rates["hybrid"] = ([1] * early + late, [2] * early + [1] * (depth - early))
    table = atrous.compare(input=(1, 3, 40), kernel=kernel, depth=depth, channels=2)
    assert {*rates, "pooled after", "pooled before"} == {scheme.name for scheme in table}
    for name, (rate, stride) in rates.items():
        sizes = [
            1 + sum((kernel - 1) * rate[i] * prod(stride[:i]) for i in range(end + 1))
            for end in range(depth)
        ]
        assert table[name].fields == tuple(sizes)
        assert table[name].field[0].size == sizes[-1]
        assert table[name].output_stride == (prod(stride),)


@pytest.mark.parametrize("depth", [3, 4, 5, 6])
@pytest.mark.parametrize("shape", [(1, 3, 50), (1, 3, 33, 34), (1, 1, 17, 18, 19)])
def test_stride_and_dilation_and_both_see_equally_far_at_rising_cost(depth, shape):
    table = atrous.compare(input=shape, depth=depth, channels=4)
    schemes = [table[name] for name in SEES_AS_FAR]
    assert {tuple(axis.size for axis in s.field) for s in schemes} == {
        (2 ** (depth + 1) - 1,) * (len(shape) - 2)
    }
    group = next(g for g in table.alike() if table["strided"] in g)
    assert [scheme.name for scheme in group] == ["strided", "hybrid", "dilated, doubling"]
    assert all(scheme.coverage == 1 and scheme.growth == "exponential" for scheme in schemes)


def test_at_equal_map_size_dilation_costs_what_a_plain_convolution_costs():
    table = atrous.compare(input=(1, 3, 64, 64))
    plain, two, doubling = (table[n] for n in ("plain", "dilated, rate 2", "dilated, doubling"))
    assert plain.macs == two.macs == doubling.macs
    assert plain.peak_memory_bytes == two.peak_memory_bytes == doubling.peak_memory_bytes
    # Two maps of 64 channels at 4 bytes, and the input.
    assert plain.peak_memory_bytes == (2 * 64 + 3) * 64 * 64 * 4


def test_constant_rates_grow_linearly_and_doubling_ones_exponentially():
    table = atrous.compare(input=(1, 3, 64, 64), depth=6)
    assert {s.name: s.growth for s in table} == {
        "plain": "linear",
        "strided": "exponential",
        "dilated, rate 2": "linear",
        "dilated, doubling": "exponential",
        "hybrid": "exponential",
        "pooled after": "exponential",
        "pooled before": "exponential",
    }


@pytest.mark.parametrize(
    ("fields", "growth"),
    [
        ([3, 5, 7], "linear"),
        ([3, 7, 15], "exponential"),
        ([3, 3, 5, 5, 7], "linear"),
        ([9, 13, 15, 16], "slowing"),
        ([3, 5, 9, 11], "mixed"),
        ([3, 5], ""),
        ([1, 1, 1, 1], ""),
        ([9, 5, 7, 9], ""),
        ([], ""),
    ],
)
def test_growth_is_told_from_what_each_layer_adds(fields, growth):
    assert growth_of(fields) == growth


def test_the_last_row_and_column_of_8x8_are_dropped_by_an_unpadded_stride_2():
    scheme = one("k3s2valid", 1, 1, 8, 8)
    assert scheme.output_shape == (1, 1, 3, 3)
    assert scheme.unread == Fraction(64 - 49, 64)


def test_a_1x1_stride_2_reads_a_quarter_and_a_3x3_stride_2_all():
    assert one("k1s2", 1, 1, 8, 8).unread == Fraction(3, 4)
    assert one("k3s2", 1, 1, 8, 8).unread == 0
    assert codes(one("k3s2", 1, 1, 8, 8)) == []


@pytest.mark.parametrize(
    ("rates", "taps", "size"), [((2, 2, 2), 7, 13), ((2, 4, 8), 15, 29), ((1, 2, 9), 21, 25)]
)
def test_holes_are_said_in_numbers(rates, taps, size):
    scheme = one(" ".join(f"k3d{rate}" for rate in rates), 1, 1, 64, 64)
    assert scheme.coverage == taps / size
    message = next(risk.message for risk in scheme.risks if risk.code == "gridding")
    assert f"{taps} of the {size} input positions" in message
    assert " ".join(message.split()) in " ".join(ComparisonView(scheme_table(rates)).text().split())


@pytest.mark.parametrize("rates", [(1, 2, 5), (1, 2, 3), (5, 2, 1), (1, 2, 4, 1)])
def test_full_fields_whose_last_rates_share_no_factor_have_no_risk(rates):
    assert codes(one(" ".join(f"k3d{rate}" for rate in rates), 1, 1, 64, 64)) == []


def test_doubling_rates_read_everything_and_leave_neighbours_on_sub_grids():
    scheme = atrous.compare(input=(1, 1, 64, 64))["dilated, doubling"]
    assert (scheme.coverage, codes(scheme)) == (1, ["subgrids"])


def test_a_field_beyond_the_input_is_said():
    assert "field-exceeds-input" in codes(one("k3d4 k3d8", 1, 1, 20))
    assert "field-exceeds-input" not in codes(one("k3d4 k3d8", 1, 1, 25))


def test_networks_of_any_kind_are_compared():
    b = Builder("odd")
    x = b.input("x", (1, 3, 64, 64))
    odd = b.build(b.add(Opaque("sort", "its order", (1, 3, 64, 64)), x, name="sort"))
    table = atrous.compare({"odd": odd, "known": "zoo:resnet18"}, input=(1, 3, 64, 64))
    assert (table["odd"].complete, table["odd"].unread, codes(table["odd"])) == (
        False,
        None,
        ["opaque"],
    )
    assert table["known"].is_global
    assert table["known"].risks == table["known"].report.findings
    assert ComparisonView(table).text()
    table = atrous.compare([odd, odd], input=(1, 3, 64, 64))
    assert [scheme.name for scheme in table] == ["odd", "odd (2)"]


def test_the_share_that_nothing_reads_is_that_of_the_flow_of_information():
    stacks = ["k1s2x4 k3s2", "k3s2valid", "k3d3s4 tconvk3s2", "k(1,3)s(3,1)"]
    for scheme in atrous.compare(stacks, input=(1, 2, 19, 22)):
        assert scheme.unread == scheme.report.information().never_read > 0


def test_a_comparison_is_plain_data():
    table = atrous.compare(input=(1, 3, 32, 32), depth=3)
    data = json.loads(table.to_json())
    assert data["schema"] == "atrous.comparison/1"
    assert data["input"] == [1, 3, 32, 32]
    assert [s["name"] for s in data["schemes"]] == list(usual_stacks(3, 3, 64))
    assert data["schemes"][1]["output_stride"] == ["8", "8"]


def test_what_is_wrong_is_said():
    with pytest.raises(atrous.GeometryError, match="depth=13 is no whole number from 1 to 12"):
        atrous.compare(input=(1, 3, 32), depth=13)
    with pytest.raises(atrous.ReadError, match="nothing to compare"):
        atrous.compare([], input=(1, 3, 32))
    with pytest.raises(atrous.ReadError, match="far: layer 1 `k3q`: 'q' is not known"):
        atrous.compare({"near": "k3", "far": "k3q"}, input=(1, 3, 32))
    with pytest.raises(atrous.ReadError, match=r"strided, conv12: up to here the stack"):
        atrous.compare(input=(1, 3, 32), depth=12, kernel=99)
    with pytest.raises(atrous.ReadError, match=r"plain: a stack takes .* got 1x3;"):
        atrous.compare(input=(1, 3))
    with pytest.raises(atrous.UnknownNameError, match="near: strided"):
        atrous.compare(input=(1, 3, 32))["stridet"]


def test_the_table_grows_with_the_page_and_fits_it():
    table = atrous.compare(input=(1, 3, 512, 512))
    narrow, wide = ComparisonView(table).text(), ComparisonView(table).text(Look(200))
    assert max(map(len, narrow.splitlines())) <= 80
    assert max(map(len, wide.splitlines())) <= 200
    assert "stack" not in narrow
    assert "k3s2x64 k3s2x64 k3x64 k3d2x64" in wide
    assert ComparisonView(table).text(Look(60, unicode=False)).isascii()


def test_in_a_notebook_every_column_is_there_and_names_are_escaped():
    page = atrous.compare({"<b>": "k3d2 k3d2 k3d2"}, input=(1, 3, 64))._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page.replace("<div><b>", "")
    for title in ("scheme", "output", "stride", "field by layer", "growth", "params", "stack"):
        assert f">{title}</th>" in page
    assert "gridding, conv3: " in page


def test_fields_of_schemes_in_time_and_length():
    sound = atrous.compare({"a": "k3 k3d2", "b": "k7"}, input=(1, 1, 64)).scaled(rate=1000)
    text = str(sound)
    assert "field ms" in text
    assert [one["scaled"][0]["size"] for one in sound.to_dict()["schemes"]] == [7.0, 7.0]
    slide = atrous.compare({"a": "k(3,5)"}, input=(1, 1, 64, 64)).scaled(pixel="0.5um")
    assert "field um" in str(slide)
    assert "1.5x2.5" in str(slide)
    assert "scaled" not in atrous.compare({"a": "k3"}, input=(1, 1, 64)).to_dict()["schemes"][0]
