"""Shapes and positions as they are typed."""

from __future__ import annotations

import pytest

from atrous.cli.sources import position, shapes
from atrous.errors import ReadError


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ([], None),
        (["1,3,512,512"], (1, 3, 512, 512)),
        (["1x3x512x512"], (1, 3, 512, 512)),
        (["(1, 3, 512, 512)"], (1, 3, 512, 512)),
        (["1,3,8,8;1,16"], ((1, 3, 8, 8), (1, 16))),
        (["1,3,8,8", "1,16"], ((1, 3, 8, 8), (1, 16))),
        (["1,3,8,8;"], (1, 3, 8, 8)),
    ],
)
def test_a_shape_is_read_as_it_is_written_elsewhere(typed, meant):
    assert shapes(typed) == meant


@pytest.mark.parametrize("typed", ["", ";", "1,,3", "1,3,1.5", "a", "1,-3", "0", "1 3", "1,3,٣x"])
def test_what_is_no_shape_is_refused_with_an_example(typed):
    with pytest.raises(ReadError, match=r"1,3,512,512|at least 1"):
        shapes([typed])


@pytest.mark.parametrize(("typed", "meant"), [("5", (5,)), ("5, 6", (5, 6)), (None, None)])
def test_a_position_has_one_index_an_axis(typed, meant):
    assert position(typed) == meant


@pytest.mark.parametrize("typed", ["", "1;2", "1.5", "a,b"])
def test_what_is_no_position_is_refused(typed):
    with pytest.raises(ReadError, match="is no position"):
        position(typed)
