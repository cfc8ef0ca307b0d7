"""The shared sheet: its inks can be read on its papers, and it loads nothing."""

from __future__ import annotations

import re

import pytest

from atrous.draw.colours import MARK, SERIES, named
from atrous.draw.style import inks, style_sheet

TOKEN = re.compile(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
INKS = {name: pair for name, *pair in TOKEN.findall(style_sheet())}


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, two):
    low, high = sorted([luminance(one), luminance(two)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "raised", "sunk"])
@pytest.mark.parametrize("ink", ["ink", "quiet", "seen", "reach", "good", "warn", "fault"])
def test_text_in_every_ink_can_be_read(ink, ground, theme):
    assert contrast(INKS[ink][theme], INKS[ground][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("on-ink", "seen"),
        ("on-ink", "reach"),
        ("on-ink", "warn"),
        ("on-ink", "fault"),
        ("ink", "seen-soft"),
        ("ink", "reach-soft"),
    ],
)
def test_text_on_a_coloured_ground_can_be_read(text, ground, theme):
    assert contrast(INKS[text][theme], INKS[ground][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_the_hatch_of_a_hole_can_be_told_from_the_paper(theme):
    assert contrast(INKS["hole"][theme], INKS["paper"][theme]) >= 3


def test_nothing_is_loaded():
    assert not re.search(r"url\(|@import|@font-face", style_sheet())


def test_black_on_white_has_the_contrast_that_is_known():
    assert contrast("#000000", "#ffffff") == 21
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_charts_and_pages_have_the_sheets_colours():
    light = inks("light")
    names = ("seen", "reach", "good", "hole", "warn", "quiet", "ink")
    assert [light[name] for name in names] == list(SERIES)
    assert light["ink"] == MARK
    assert [named(colour) for colour in SERIES[:2]] == ["var(--seen)", "var(--reach)"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_more_paths_stand_out_more_from_the_paper(theme):
    paper = inks(theme)["paper"]
    apart = [contrast(inks(theme)[f"ramp-{letter}"], paper) for letter in "abcde"]
    assert apart == sorted(apart)
    assert apart[0] > 1.3
