"""Resampling and adaptive pooling against their formulas in exact fractions, output by output."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atrous.errors import GeometryError
from atrous.geometry import Coordinates, Rounding, adaptive, resample
from tests.oracles import drawing

COORDINATES: list[Coordinates] = [
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
]
ROUNDINGS: list[Rounding] = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
SIZES = st.integers(1, 40)
HALF = Fraction(1, 2)


def source(inputs: int, outputs: int, output: int, coordinates: Coordinates) -> Fraction:
    """Where an output looks, by the formulas of the ONNX standard."""
    ratio = Fraction(inputs, outputs)
    if coordinates == "align_corners":
        return Fraction(output * (inputs - 1), outputs - 1) if outputs > 1 else Fraction(0)
    if coordinates == "asymmetric":
        return output * ratio
    if coordinates == "pytorch_half_pixel" and outputs == 1:
        return Fraction(0)
    return (output + HALF) * ratio - HALF


def test_aligned_corners_of_one_position_are_that_position() -> None:
    for outputs in range(1, 9):
        for antialias in (False, True):
            reads = resample(1, outputs, "linear", "align_corners", antialias=antialias)
            assert all(0 in reads.at(o) for o in range(outputs))


@drawing(250)
@given(SIZES, SIZES, st.sampled_from(COORDINATES))
def test_linear_reads_the_samples_that_it_weighs(
    inputs: int, outputs: int, coordinates: Coordinates
) -> None:
    reads = resample(inputs, outputs, "linear", coordinates)
    for output in range(outputs):
        point = source(inputs, outputs, output, coordinates)
        read = list(reads.at(output))
        weights = {p: 1 - abs(p - point) for p in (floor(point), floor(point) + 1)}
        assert read == [p for p, weight in weights.items() if weight]


@drawing(250)
@given(SIZES, SIZES, st.sampled_from(COORDINATES))
def test_cubic_reads_the_samples_that_it_weighs(
    inputs: int, outputs: int, coordinates: Coordinates
) -> None:
    reads = resample(inputs, outputs, "cubic", coordinates)
    for output in range(outputs):
        point = source(inputs, outputs, output, coordinates)
        near = range(floor(point) - 1, floor(point) + 3)
        assert list(reads.at(output)) == [p for p in near if keys(abs(p - point))]


def keys(distance: Fraction, a: Fraction = Fraction(-3, 4)) -> Fraction:
    """The weight of a sample at that distance in cubic interpolation (Keys 1981)."""
    if distance < 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return Fraction(0)


def rounded(point: Fraction, rounding: Rounding) -> int:
    """The nearest whole number by the named rule."""
    if rounding == "floor":
        return floor(point)
    if rounding == "ceil":
        return ceil(point)
    tie_down = rounding == "round_prefer_floor"
    if point - floor(point) == HALF:
        return floor(point) if tie_down else ceil(point)
    return round(point)


@drawing(300)
@given(SIZES, SIZES, st.sampled_from(COORDINATES), st.sampled_from(ROUNDINGS))
def test_nearest_reads_the_rounded_point(
    inputs: int, outputs: int, coordinates: Coordinates, rounding: Rounding
) -> None:
    reads = resample(inputs, outputs, "nearest", coordinates, rounding=rounding)
    for output in range(outputs):
        point = source(inputs, outputs, output, coordinates)
        (read,) = reads.at(output)
        edge = point + HALF if rounding.startswith("round") else point
        if edge.denominator > 1 or inputs == outputs:
            assert read == rounded(point, rounding)
        else:  # a tie, which float32 may decide either way
            assert abs(read - point) <= (HALF if rounding.startswith("round") else 1)


@drawing(150)
@given(SIZES, SIZES, st.sampled_from(["linear", "cubic"]))
def test_an_antialias_filter_reads_the_samples_that_it_weighs(
    inputs: int, outputs: int, kind: str
) -> None:
    reads = resample(inputs, outputs, kind, "half_pixel", antialias=True)  # type: ignore[arg-type]
    ratio = Fraction(inputs, outputs)
    reach = max(ratio, Fraction(1)) * (2 if kind == "cubic" else 1)
    for output in range(outputs):
        center = (output + HALF) * ratio
        # Sample `p` covers [p, p + 1), its middle at p + 1/2.
        wide = max(ratio, Fraction(1))
        weights = {
            p: keys(abs(p + HALF - center) / wide, Fraction(-1, 2))
            if kind == "cubic"
            else max(1 - abs(p + HALF - center) / wide, Fraction(0))
            for p in range(floor(center - reach) - 2, ceil(center + reach) + 2)
        }
        assert list(reads.at(output)) == [p for p, weight in weights.items() if weight]


@drawing(100)
@given(SIZES, st.sampled_from([Fraction(3, 2), Fraction(5, 2), Fraction(2), Fraction(4, 7)]))
def test_a_scale_that_was_given_counts_more_than_the_sizes(inputs: int, scale: Fraction) -> None:
    outputs = max(floor(inputs * scale), 1)
    assume(inputs != outputs)
    reads = resample(inputs, outputs, "linear", "half_pixel", scale=scale)
    assert reads.stride == 1 / scale
    for output in range(outputs):
        point = (output + HALF) / scale - HALF
        if point.denominator > 1:
            assert list(reads.at(output)) == [floor(point), floor(point) + 1]


@drawing(200)
@given(SIZES, SIZES)
def test_an_adaptive_pool_reads_from_floor_to_ceil(inputs: int, outputs: int) -> None:
    reads = adaptive(inputs, outputs)
    for output in range(outputs):
        first = output * inputs // outputs
        stop = -(-(output + 1) * inputs // outputs)
        assert list(reads.at(output)) == list(range(first, stop))
    assert reads.stride == Fraction(inputs, outputs)


@drawing(100)
@given(st.integers(1, 12), st.integers(1, 6))
def test_an_adaptive_pool_that_divides_is_a_window(outputs: int, size: int) -> None:
    reads = adaptive(outputs * size, outputs)
    assert reads.period == 1
    assert [list(reads.at(o)) for o in range(outputs)] == [
        list(range(o * size, (o + 1) * size)) for o in range(outputs)
    ]


@pytest.mark.parametrize(("inputs", "outputs"), [(0, 4), (4, 0)])
def test_sizes_below_one_are_refused(inputs: int, outputs: int) -> None:
    with pytest.raises(GeometryError, match=f"cannot resample {inputs} positions to {outputs}"):
        resample(inputs, outputs, "nearest", "asymmetric")
    with pytest.raises(GeometryError, match=f"cannot pool {inputs} positions to {outputs}"):
        adaptive(inputs, outputs)


def test_sizes_that_repeat_too_late_are_refused_and_nothing_is_enumerated() -> None:
    with pytest.raises(GeometryError, match=r"use a simpler scale|use a scale that divides"):
        resample(10**15 + 37, 10**15, "linear", "half_pixel")
    with pytest.raises(GeometryError, match=r"use a simpler scale|use a scale that divides"):
        resample(100_003, 100_019, "linear", "half_pixel")
    assert resample(10**15, 2 * 10**15, "linear", "half_pixel").period == 2
