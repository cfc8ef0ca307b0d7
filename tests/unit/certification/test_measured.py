"""Where two arrays hold the same, on arrays made for it."""

from __future__ import annotations

import numpy as np
import pytest

from atrous.certification.measured import compare_maps, tells
from atrous.geometry import Lockstep

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("wrong", "margin"),
    [
        ([0], (1, 0)),
        ([16], (0, 1)),
        ([13], (0, 4)),
        ([2, 15], (3, 2)),
        ([0, 1, 13, 16], (2, 4)),
    ],
)
def test_the_margin_ends_at_the_nearest_position_that_differs(
    wrong: list[int], margin: tuple[int, int]
) -> None:
    x = RNG.normal(size=(1, 3, 17))
    y = RNG.normal(size=(1, 3, 34))
    y[..., ::2] = x
    y[0, 1, [2 * i for i in wrong]] += 1
    found = compare_maps(x, y, [2], [Lockstep(2)])
    assert (found.verdict, found.margin) == ("interior", (margin,))


def test_a_wrong_corner_is_left_out_along_one_axis_only() -> None:
    x = RNG.normal(size=(1, 2, 8, 9))
    y = x.copy()
    y[..., :2, :3] += 1
    found = compare_maps(x, y, [2, 3], [Lockstep(), Lockstep()])
    assert (found.verdict, found.margin) == ("interior", ((2, 0), (0, 0)))


def test_a_few_equal_positions_count_only_where_the_structure_leaves_as_few() -> None:
    x = RNG.normal(size=(1, 2, 9))
    y = x + 1
    y[..., 4] = x[..., 4]
    assert compare_maps(x, y, [2], [Lockstep()]).verdict == "differs"
    found = compare_maps(x, y, [2], [Lockstep()], margins=[(4, 4)])
    assert (found.verdict, found.margin) == ("interior", ((4, 4),))
    assert compare_maps(x, y, [2], [Lockstep()], margins=[(4, 3)]).verdict == "differs"


def test_a_phase_that_leaves_little_out_goes_before_a_few_equal_positions_in_place() -> None:
    x = RNG.normal(size=(1, 2, 8))
    y = RNG.normal(size=(1, 2, 16))
    y[..., 1::2] = x
    y[..., 6:10:2] = x[..., 3:5]
    found = compare_maps(x, y, [2], [Lockstep(2)])
    assert (found.verdict, found.phase) == ("shifted", (1,))


def test_maps_of_strides_that_share_no_factor_differ_whatever_they_share() -> None:
    x = RNG.normal(size=(1, 2, 30))
    found = compare_maps(x[..., ::3], x[..., ::2], [2], [Lockstep(factor=3, step=2)])
    assert found.verdict == "differs"
    assert found.max_error == 0


def test_a_border_that_holds_one_value_is_not_where_two_maps_are_the_same() -> None:
    x, y = RNG.normal(size=(1, 2, 8)), RNG.normal(size=(1, 2, 8))
    x[..., 5:] = y[..., 5:] = 0.25
    assert compare_maps(x, y, [2], [Lockstep()]).verdict == "differs"


def test_a_small_box_of_a_map_is_not_where_two_maps_are_the_same() -> None:
    x = RNG.normal(size=(1, 2, 9, 9))
    y = x + 1
    y[..., :4, :4] = x[..., :4, :4]
    assert compare_maps(x, y, [2, 3], [Lockstep(), Lockstep()]).verdict == "differs"


def test_what_is_not_finite_equals_its_like_and_nothing_else() -> None:
    x = RNG.normal(size=(1, 3, 16))
    x[0, 0, 3], x[0, 1, 4], x[0, 2, 5] = np.nan, np.inf, -np.inf
    assert compare_maps(x, x.copy(), [2], [Lockstep()]).verdict == "exact"
    for place, other in (((0, 0, 3), 1.0), ((0, 1, 4), -np.inf), ((0, 2, 5), np.nan)):
        y = x.copy()
        y[place] = other
        found = compare_maps(x, y, [2], [Lockstep()])
        # All but the positions up to there are the same, and more than a quarter is left.
        assert (found.verdict, found.max_error) == ("interior", np.inf)
    y = x.copy()
    y[:, :, ::2] = np.nan
    assert compare_maps(x, y, [2], [Lockstep()]).verdict == "differs"
    assert compare_maps(y, x, [2], [Lockstep()]).verdict == "differs"


def test_a_map_of_nothing_but_nan_tells_nothing() -> None:
    x = np.full((1, 3, 16), np.nan)
    assert compare_maps(x, x, [2], [Lockstep()]).verdict == "exact"
    assert not tells(x, [2])
    x[0, 1, 4] = 1
    assert tells(x, [2])


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint8, np.bool_])
def test_whole_numbers_are_compared_as_such(kind: type) -> None:
    x = (RNG.integers(0, 100, size=(1, 9, 9)) % (2 if kind is np.bool_ else 100)).astype(kind)
    y = x.copy()
    assert compare_maps(x, y, [1, 2], [Lockstep(), Lockstep()]).verdict == "exact"
    for place in ((0, 2, 2), (0, 6, 6)):
        y[place] = not y[place] if kind is np.bool_ else y[place] + 1
    assert compare_maps(x, y, [1, 2], [Lockstep(), Lockstep()]).verdict != "exact"
    assert compare_maps(x, y, (), ()).verdict == "differs"


def test_an_output_without_positions_is_compared_as_a_whole() -> None:
    x = RNG.normal(size=(1, 7))
    assert compare_maps(x, x.copy(), (), ()).verdict == "exact"
    y = x.copy()
    y[0, 3] += 1e-6
    assert compare_maps(x, y, (), ()).verdict == "differs"


def test_small_errors_at_every_position_are_not_the_same_beyond_a_margin() -> None:
    x = RNG.normal(size=(1, 4, 32))
    y = x + 5e-10  # more than float64 explains, less than what is bad at a single position
    assert compare_maps(x, y, [2], [Lockstep()]).verdict == "differs"
    y[..., :2] += 1
    assert compare_maps(x, y, [2], [Lockstep()]).verdict == "differs"
    y[..., 2:] = x[..., 2:]
    assert compare_maps(x, y, [2], [Lockstep()]).margin == ((2, 0),)


def test_float16_is_held_to_what_it_can_hold_and_to_no_less() -> None:
    x = RNG.normal(size=(1, 4, 64)).astype(np.float16)
    y = (x * np.float16(1.001)).astype(np.float16)
    assert compare_maps(x, y, [2], [Lockstep()], "float16").verdict == "exact"
    y[0, 2, ::10] += 1
    assert compare_maps(x, y, [2], [Lockstep()], "float16").verdict == "differs"
