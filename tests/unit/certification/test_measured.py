"""Where two arrays hold the same, on arrays made for it."""

from __future__ import annotations

import numpy as np
import pytest

from atrous.certification.measured import compare_maps
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
