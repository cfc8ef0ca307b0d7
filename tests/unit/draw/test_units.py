"""Numbers as text: rounding carries, and nothing says more than is exact."""

from __future__ import annotations

from fractions import Fraction

import pytest

from atrous.draw.units import (
    bytes_text,
    fraction_text,
    per_axis,
    quantity,
    shape_text,
    share_text,
    shortened,
)
from atrous.errors import clean


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (9_994, "9.99 k"),
        (9_996, "10.0 k"),
        (99_960, "100 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (178_720_000_000, "179 G"),
        (10**21, "1000 E"),
    ],
)
def test_a_count_has_three_digits_and_its_rounding_carries_into_the_next_prefix(count, text):
    assert quantity(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1024**2 - 1, "1.00 MiB"),
        (1000 * 1024, "1000 KiB"),
        (119 * 2**20, "119 MiB"),
    ],
)
def test_bytes_have_binary_prefixes(count, text):
    assert bytes_text(count) == text


def test_a_unit_follows_its_prefix():
    assert quantity(4_089_184_256, "MAC") == "4.09 GMAC"
    assert quantity(12, "MAC") == "12 MAC"


@pytest.mark.parametrize("taps", range(1, 2000, 7))
def test_only_a_full_share_is_100_percent_and_only_an_empty_one_0(taps):
    assert share_text(taps / 2000) not in {"100%", "0%"}


def test_a_full_and_an_empty_share_are_said_exactly():
    assert (share_text(1.0), share_text(0.0)) == ("100%", "0%")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(-7), "-7"),
        (Fraction(3, 2), "1.5"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(520, 513), "520/513"),
        (Fraction(1, 16), "1/16"),
    ],
)
def test_a_fraction_is_never_rounded(value, text):
    assert fraction_text(value) == text
    assert Fraction(text) == value


@pytest.mark.parametrize("width", range(30))
@pytest.mark.parametrize("mark", ["…", "..."])
def test_a_shortened_name_fits_and_keeps_its_end(width, mark):
    name = "backbone.layer4.2.conv2"
    short = shortened(name, width, mark)
    assert len(short) <= width
    assert short == name if len(name) <= width else name.endswith(short.rpartition(mark)[2])


def test_what_is_not_printable_never_reaches_a_terminal():
    assert clean("a\x1b[2Jb\r\n\u202e") == "a?[2Jb???"
    assert clean("größe") == "größe"


def test_axes_that_agree_are_said_once():
    assert per_axis(["3", "3", "3"]) == "3"
    assert per_axis(["3", "5"]) == "3x5"
    assert shape_text(()) == "scalar"
