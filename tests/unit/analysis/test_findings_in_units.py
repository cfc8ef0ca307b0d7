"""Under a scale findings say lengths in its unit, with positions beside; else as ever."""

import re
from fractions import Fraction

import pytest

import atrous
from atrous.analysis.findings import codes

WIDE, LONG = (1, 1, 32, 32), (1, 1, 256)
TOLD = {
    "leak": ("stack:k3causal k3d2causal k3s2p(1,0) k3causal", LONG),
    "gridding": ("stack:k3s2 k3d2 k3d4 k3d4", LONG),
    "subgrids": ("stack:k3d2 k3d4 k3d2", WIDE),
    "aspp-center": ("stack:k3s2 [k3d2 | k3d18]", WIDE),
    "field-exceeds-input": ("stack:k3s2 [k3d2 | k3d18]", WIDE),
    "half-cell-shift": ("stack:k3s2 k5s2p(0,4)", WIDE),
    "misaligned-join": ("stack:[k3s2p(0,2) | k3s2p(2,0)]", WIDE),
}
# What these say is a share, a count of taps or an axis, and no length along it.
WITHOUT = {"opaque", "as-it-ran", "global", "narrow-window", "zero-taps", "checkerboard"}


def told(code, *, scaled):
    source, shape = TOLD[code]
    report = atrous.inspect(source, shape)
    if scaled:
        report = report.scaled(rate="16k") if shape == LONG else report.scaled(pixel="0.5um")
    return next(f.message for f in report.findings if f.code == code)


def test_every_kind_of_finding_says_lengths_in_units_or_has_none():
    assert set(TOLD) | WITHOUT == set(codes())


@pytest.mark.parametrize("code", TOLD)
def test_a_finding_says_its_lengths_in_units_and_otherwise_the_same(code):
    plain, scaled = told(code, scaled=False), told(code, scaled=True)
    unit, step = ("ms", Fraction(1, 16)) if TOLD[code][1] == LONG else ("um", Fraction(1, 2))
    assert f" {unit}" in scaled
    assert f" {unit}" not in plain
    for length, count in re.findall(rf"([\d.]+) {unit} \(([\d.]+) input position", scaled):
        assert float(length) == pytest.approx(float(Fraction(count) * step), rel=0.01)
    for count, lengths in re.findall(rf"([\dx]+) \(([\d.x]+) {unit}\)", scaled):
        if "x" in lengths:
            for n, length in zip(count.split("x"), lengths.split("x"), strict=True):
                assert float(length) in (int(n) * step, 2 * int(n) * step)
    kept = re.sub(rf"[\d.x]+ {unit} \(([^()]*input positions?)\)", r"\1", scaled)
    kept = re.sub(rf" \([\d.x]+ {unit}\)", "", kept)
    assert kept.replace(" input positions.", ".").replace(" input position.", ".") == (
        plain.replace(" input positions.", ".").replace(" input position.", ".")
    )


def test_a_length_within_the_network_is_said_in_lengths_of_the_input():
    # The rate and the map lie behind a stride of 2, at 0.5 um a pixel.
    assert "rate 18 (18 um) on a map of 16x16 (16 um)" in told("aspp-center", scaled=True)
    assert "one position in 2 (1 um) of this layer's input" in told("subgrids", scaled=True)


def test_a_rate_is_said_along_the_axes_with_more_than_one_tap():
    report = atrous.inspect("stack:k3s2 k(1,7)d(1,9)", WIDE)
    (plain,) = (f.message for f in report.findings if f.code == "aspp-center")
    assert plain.startswith("rate 9 on a map of 16x16: only one of its 1x7 taps lies inside")
    scaled = report.scaled(pixel="1um,2um").findings
    (message,) = (f.message for f in scaled if f.code == "aspp-center")
    assert "rate 9 (36 um) on a map of 16x16 (32 um along h and 64 um along w)" in message


def test_axes_of_other_pixels_are_told_apart():
    report = atrous.inspect("stack:k3d2 k3d2 k3d2", WIDE).scaled(pixel="1um,2um")
    assert "with gaps of up to 1 um along h and 2 um along w (1 input position)." in (
        report.findings[0].message
    )


def test_each_scale_has_its_own_findings_and_all_that_show_them_have_its_unit():
    source, shape = TOLD["gridding"]
    report = atrous.inspect(source, shape)
    plain = report.findings
    scaled = report.scaled(rate=1000)
    assert "(1 input position)" in str(scaled)
    assert report.findings == plain
    assert scaled.scaled(rate=2000).findings != scaled.findings
    table = atrous.compare({"a": source.removeprefix("stack:")}, input=shape).scaled(rate=1000)
    assert table["a"].risks == table["a"].report.findings != plain
    head = "stack:k3s2 k3s2 [k3d2 | k3d8]"
    made = atrous.convert(head, 2, input=WIDE, measure=False).scaled(pixel="1um")
    assert [f.code for f in made.findings] == ["aspp-center"]
    assert "rate 16 (32 um) on a map of 16x16 (32 um)" in made.findings[0].message
