"""Resampling where float32 decides, against PyTorch's own interpolation; what is refused."""

from __future__ import annotations

import sys
from fractions import Fraction
from math import ceil, floor

import pytest
import torch

from atrous.errors import GeometryError
from atrous.geometry import Coordinates, Interpolation, Reads, Rounding, resample

sizes = sys.modules["atrous.geometry.resample"]  # the package's name is the function

# In float32 the step of some of these breaks the period: all outputs are a pattern of their own.
SIZES = [(14, 46), (26, 44), (54, 38), (28, 46), (18, 57), (52, 22), (20, 46), (5, 10), (7, 3)]
SIZES += [(1, 4), (4, 1), (9, 2), (2, 9), (6, 6)]
MODES: dict[str, tuple[Interpolation, Coordinates, Rounding]] = {
    "nearest": ("nearest", "asymmetric", "floor"),
    "nearest-exact": ("nearest", "half_pixel", "round_prefer_ceil"),
    "linear": ("linear", "pytorch_half_pixel", "floor"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_what_weighs_anything_in_pytorch_is_read(mode: str, inputs: int, outputs: int) -> None:
    kind, coordinates, rounding = MODES[mode]
    if (kind, outputs) == ("linear", 1) and inputs > 1:
        coordinates = "half_pixel"  # PyTorch's operator looks at the middle; its ONNX name does not
    reads = resample(inputs, outputs, kind, coordinates, rounding=rounding)
    weights = torch.nn.functional.interpolate(torch.eye(inputs)[None], size=outputs, mode=mode)[0]
    for output in range(outputs):
        inside = {min(max(tap, 0), inputs - 1) for tap in reads.at(output)}
        assert inside == {i for i in range(inputs) if weights[i, output].abs() > 2**-16}


@pytest.mark.parametrize(
    ("rounding", "read"),
    [
        ("floor", [0, 0, 1, 1]),
        ("ceil", [0, 1, 1, 2]),
        ("round_prefer_floor", [0, 0, 1, 1]),
        ("round_prefer_ceil", [0, 1, 1, 2]),
    ],
)
def test_a_tie_goes_where_its_rule_says(rounding: Rounding, read: list[int]) -> None:
    reads = resample(8, 16, "nearest", "asymmetric", rounding=rounding)  # 0, 1/2, 1, 3/2
    assert [reads.at(o).first for o in range(4)] == read


def test_nearest_keeps_an_axis_only_where_its_scale_says_so() -> None:
    assert resample(6, 6, "nearest", "asymmetric", scale=Fraction(1)) == Reads.identity()
    assert resample(6, 6, "linear", "half_pixel", scale=Fraction(9, 8)) == Reads.identity()
    moved = resample(6, 6, "nearest", "asymmetric", scale=Fraction(9, 8))
    assert [moved.at(o).first for o in range(6)] == [0, 0, 1, 2, 3, 4]


def test_aligned_corners_of_one_output_are_the_first_position() -> None:
    reads = resample(5, 1, "linear", "align_corners")
    assert (reads.period, reads.shift, list(reads.at(0))) == (1, 5, [0])
    assert list(resample(5, 2, "linear", "align_corners").at(1)) == [4]


def test_as_many_positions_as_are_followed_and_one_more() -> None:
    most = 1 << 20  # linear, whose step no float32 holds
    with pytest.raises(GeometryError) as error:
        resample(3, most + 1, "linear", "half_pixel")
    assert str(error.value) == (
        "resampling 3 positions to 1048577 depends on rounding; at most 1048576 outputs are "
        "followed: use a scale that divides."
    )
    with pytest.raises(GeometryError) as error:
        resample(97, 65537, "nearest", "asymmetric", rounding="ceil")
    assert str(error.value).startswith("resampling 97 positions to 65537 ")


def test_a_filter_that_shrinks_an_axis_from_its_corners_on() -> None:
    reads = resample(9, 5, "linear", "align_corners", antialias=True)  # step 2 from 0 on
    assert [list(reads.at(o)) for o in (0, 1)] == [[-1, 0, 1], [1, 2, 3]]
    reads = resample(7, 5, "linear", "align_corners", antialias=True)  # 3/2 to each side
    assert [list(reads.at(o)) for o in (0, 1)] == [[-1, 0, 1], [1, 2]]


def test_far_out_a_neighbour_is_read_where_float32_weighs_it() -> None:
    inputs, outputs = 1000, 7000
    reads = resample(inputs, outputs, "linear", "half_pixel")
    odd = (torch.arange(inputs) % 2).float()[None, None]
    found = torch.nn.functional.interpolate(odd, size=outputs, mode="linear")[0, 0].tolist()
    both = 0
    for sample in range(1, inputs - 1):
        output = 7 * sample + 3  # which lies on it
        weighs = abs(found[output] - sample % 2) > 2**-16
        assert len(reads.at(output)) == 1 + weighs
        both += weighs
    assert 0 < both < inputs - 2


def test_far_out_a_filter_reads_to_its_rim() -> None:
    reach = Fraction(7, 3)  # of a linear filter, to each side
    reads = resample(2100, 900, "linear", "half_pixel", antialias=True)
    rims = []
    for output in range(0, 900, 7):
        middle = (output + Fraction(1, 2)) * reach - Fraction(1, 2)
        inside = set(range(ceil(middle - reach), floor(middle + reach) + 1))
        rim = {p for p in inside if abs(p - middle) == reach}
        read = set(reads.at(output))
        assert inside - rim <= read <= inside
        rims.append(len(read & rim))
    # Near the first position the rim weighs nothing; float32 is less sure of it than its rounding.
    assert not any(rims[:16])
    assert any(rims)


def test_as_many_positions_as_are_filtered_and_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "MAX_FILTERED", 1003)
    assert resample(1003, 17, "linear", "half_pixel", antialias=True).at(3)
    with pytest.raises(GeometryError) as error:
        resample(1004, 17, "linear", "half_pixel", antialias=True)
    assert str(error.value) == (
        "an antialias filter over 1,004 positions has too many taps; at most 1,003 positions are "
        "followed: take a smaller input."
    )


def test_as_many_outputs_as_are_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "MAX_ROUNDED", 1003)
    assert resample(17, 1003, "linear", "half_pixel").at(3)
    with pytest.raises(GeometryError, match="at most 1003 outputs"):
        resample(17, 1004, "linear", "half_pixel")


def test_a_step_that_float32_holds_is_not_followed_output_by_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizes, "MAX_PERIOD", 4)
    monkeypatch.setattr(sizes, "MAX_ROUNDED", 16)
    resample.cache_clear()
    assert resample(15, 20, "linear", "half_pixel").period == 4
    with pytest.raises(GeometryError, match="resampling 25 positions to 40 depends on rounding"):
        resample(25, 40, "linear", "half_pixel")
    resample.cache_clear()


def test_nearest_in_whole_numbers_is_followed_on_any_axis() -> None:
    long = sizes.MAX_ROUNDED
    thirds = resample(long, 3 * long, "nearest", "half_pixel", rounding="round_prefer_floor")
    assert [list(thirds.at(o)) for o in (0, 1, 2, 3 * long - 1)] == [[0], [0], [0], [long - 1]]
    with pytest.raises(GeometryError, match=f"at most {long} outputs"):
        resample(long, 3 * long, "nearest", "half_pixel", rounding="round_prefer_ceil")
