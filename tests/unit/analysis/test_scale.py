"""Positions in ms and lengths: parsed exactly, shown everywhere, refused where there is no axis."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

import atrous
from atrous.analysis.scale import per_rate, pixels, scales_of
from tests.command import assert_refuses
from tests.command import atrous as command


@pytest.mark.parametrize(
    ("rate", "step"),
    [
        (16000, Fraction(1, 16)),
        ("16k", Fraction(1, 16)),
        ("16 kHz", Fraction(1, 16)),
        (44100.0, Fraction(10, 441)),
        ("44.1k", Fraction(10, 441)),
        ("0.5Hz", Fraction(2000)),
        ("2MHz", Fraction(1, 2000)),
        (Fraction(1, 3), Fraction(3000)),
    ],
)
def test_rates_are_exact(rate, step):
    assert per_rate(rate).step == step


@pytest.mark.parametrize("rate", [0, -1, "0", "fast", "", "1e3", "16kk", float("nan"), "9" * 99])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(atrous.ReadError, match="no sample rate"):
        per_rate(rate)


@pytest.mark.parametrize("size", ["0.5", "um", "", "0um", "-1um", "0.5 parsec", "1" * 60 + "m"])
def test_what_is_no_length_is_refused(size):
    with pytest.raises(atrous.ReadError, match="no length"):
        pixels(size)


def test_each_axis_has_a_scale_of_its_own():
    found = scales_of(("d", "h", "w"), pixel="2mm,0.5mm,0.25mm")
    assert [scale.step for scale in found.values()] == [2, Fraction(1, 2), Fraction(1, 4)]
    found = scales_of(("d", "h", "w"), 25, "1um")
    assert [scale.unit for scale in found.values()] == ["ms", "um", "um"]
    with pytest.raises(atrous.ReadError, match="rate=25 is along time"):
        scales_of(("h", "w"), 25)
    with pytest.raises(atrous.ReadError, match="pixel='1um,2um': 2 sizes for the axes d, h, w"):
        scales_of(("d", "h", "w"), pixel="1um,2um")
    with pytest.raises(atrous.ReadError, match="is along space, and the axes here are t"):
        scales_of(("t",), pixel="1um")


def test_a_report_has_its_scale_everywhere():
    report = atrous.inspect("stack:k400s320valid", (1, 1, 16000)).scaled(rate="16k")
    plain = report.to_dict()
    assert plain["scales"] == {"t": {"step": "1/16", "unit": "ms"}}
    (scaled,) = plain["outputs"][0]["scaled"]
    assert (scaled["size"], scaled["stride"], scaled["ahead"]) == (25.0, 20.0, 399 / 16)
    assert "field ms" in str(report)
    assert "field ms" in report._repr_html_()
    assert report.times().unit == "ms"
    assert report.times(rate=1000).stop[0] == 400
    boxes = atrous.inspect("stack:k3s2", (1, 1, 9, 9)).scaled(pixel="2um,4um").boxes()
    assert boxes.at((1, 1)) == ((2.0, 8.0), (4.0, 16.0))
    assert "scaled" not in atrous.inspect("stack:k3", (1, 1, 9)).to_dict()["layers"][0]


def test_times_need_one_axis_and_positions():
    report = atrous.inspect("stack:k3 k3", (1, 1, 9, 9))
    with pytest.raises(atrous.UnsupportedError, match=r"conv2: .* h, w: ask for boxes"):
        report.times()
    with pytest.raises(atrous.UnsupportedError, match=r"by avgpool|no positions"):
        atrous.inspect("zoo:resnet18").boxes()
    with pytest.raises(atrous.GeometryError, match="is none of a map of 9x9"):
        report.boxes().at((9, 0))


def test_the_command_shows_both_and_refuses_in_one_line():
    result = command("inspect", "zoo:wavenet", "--rate", "16k", "--top", "1")
    assert "causal: looks back 1023 (63.9 ms), ahead 0" in result.stdout
    result = command("inspect", "stack:k3 k3", "-i", "1,1,9,9", "--pixel", "0.5um", "--json")
    assert json.loads(result.stdout)["outputs"][0]["scaled"][0]["size"] == 2.5
    assert_refuses(
        "inspect",
        "zoo:unet",
        "--rate",
        "16k",
        says="--rate 16k is along time, and the axes here are h, w; give --pixel SIZE",
    )
    assert_refuses("inspect", "zoo:unet", "--pixel", "0.5", says="--pixel 0.5 is no length")


def test_a_layer_in_depth_has_its_lengths_in_a_column_beside():
    arguments = ["inspect", "stack:k3s2 k3d2", "-i", "1,1,32,32", "--layer", "conv2"]
    result = command(*arguments, "--pixel", "1um,2um")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["axis", "h", "h", "um", "w", "w", "um"] in rows
    for row in ("size 11 11 11 22", "stride 2 2 2 4", "start -5 -5 -5 -10", "phases 1 1"):
        assert row.split() in rows
    assert "reads h 11 to 21, w 11 to 21 (11x22 um): 81 of 121 positions" in result.stdout
    data = json.loads(command(*arguments, "--pixel", "1um,2um", "--json").stdout)
    assert [one["size"] for one in data["scaled"]] == [11.0, 22.0]
    assert data["footprint"]["scaled"][1] == {
        "axis": "w",
        "unit": "um",
        "origin": 22.0,
        "size": 22.0,
    }
