"""Shapes and positions as they are typed."""

from __future__ import annotations

import pytest

from atrous.cli.sources import position, shapes, values
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
        (["x=1,3,8,8"], {"x": (1, 3, 8, 8)}),
        (["input.1=1x3x8x8", "a/b:0=4,"], {"input.1": (1, 3, 8, 8), "a/b:0": (4,)}),
        (["x=(1, 16)", "sr=", "batch=2"], {"x": (1, 16), "sr": (), "batch": 2}),
        (["x=1,16; state=()"], {"x": (1, 16), "state": ()}),
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


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["x=1,2", "1,3"], "give each as NAME=SHAPE"),
        (["=1,3"], "has no name"),
        (["x=1,3", "x=1,4"], "given twice"),
        (["x=1,a"], "is no shape"),
        (["x=0"], "at least 1"),
        (["x=-2"], "at least 1"),
    ],
)
def test_names_of_inputs_are_given_to_all_of_them_or_none(typed, said):
    with pytest.raises(ReadError, match=said):
        shapes(typed)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ([], None),
        (["sr=16000"], {"sr": 16000}),
        (["a=0.5", "b=-3", "c=1e3"], {"a": 0.5, "b": -3, "c": 1000.0}),
        (["s=2,3", "t=4,", "u=true"], {"s": [2, 3], "t": [4], "u": True}),
    ],
)
def test_values_are_numbers_or_lists_of_them(typed, meant):
    assert values(typed) == meant


@pytest.mark.parametrize("typed", ["sr", "sr=", "=3", "sr=fast", "sr=1,x"])
def test_what_is_no_value_is_refused_with_an_example(typed):
    with pytest.raises(ReadError, match="sr=16000"):
        values([typed])


def test_a_value_is_given_once():
    with pytest.raises(ReadError, match="given twice"):
        values(["sr=1", "sr=2"])
