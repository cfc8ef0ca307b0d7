"""Windows: what is refused, and in which words."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from atrous.errors import GeometryError
from atrous.geometry import Window


@pytest.mark.parametrize("name", ["kernel", "stride", "dilation"])
@pytest.mark.parametrize("value", [0, -2, 1.0, True, "3", None])
def test_a_window_needs_whole_numbers_of_at_least_one(name: str, value: object) -> None:
    arguments = {"kernel": 3, name: value}
    with pytest.raises(GeometryError, match=f"a window needs a whole {name} of at least 1; pass"):
        Window(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["pad_lo", "pad_hi"])
@pytest.mark.parametrize("value", [0.5, False, "same"])
def test_padding_is_a_whole_number(name: str, value: object) -> None:
    said = rf"^{name} is .* a whole number of positions \(negative padding crops\)\.$"
    with pytest.raises(GeometryError, match=said):
        Window(3, **{name: value})  # type: ignore[arg-type]


def test_a_window_that_does_not_fit_says_by_how_much_and_what_to_do() -> None:
    with pytest.raises(GeometryError) as error:
        Window(3, dilation=8).output_length(12)
    assert str(error.value) == (
        "a window of kernel 3, dilation 8 spans 17 inputs, got 12 with padding 0; "
        "pad by 5 or lower the dilation."
    )
    with pytest.raises(GeometryError) as error:
        Window(7, pad_lo=1, pad_hi=2).output_length(3)
    assert str(error.value) == (
        "a window of kernel 7 spans 7 inputs, got 3 with padding 1+2; pad by 1."
    )


def test_negative_padding_crops() -> None:
    window = Window(3, pad_lo=-2, pad_hi=-1)
    assert window.output_length(8) == 3
    assert list(window.taps(0)) == [2, 3, 4]


@pytest.mark.parametrize(("length", "outputs"), [(5, 2), (6, 3), (7, 3)])
def test_a_last_window_that_begins_in_the_padding_behind_the_input_is_not_counted(
    length: int, outputs: int
) -> None:
    # PyTorch: MaxPool1d(2, stride=3, padding=1, ceil_mode=True)
    assert Window(2, 3, 1, 1, 1).output_length(length, ceil=True) == outputs


def test_one_partial_window_is_enough_for_ceil_mode() -> None:
    # PyTorch: MaxPool1d(5, stride=4, ceil_mode=True) makes one output of three inputs.
    assert Window(5, 4).output_length(3, ceil=True) == 1
    with pytest.raises(GeometryError, match="spans 5 inputs, got 3"):
        Window(5, 4).output_length(3)


def test_the_article_s_example_drops_the_last_column() -> None:
    # (8 - 3) / 2 + 1 is 3.5: the floor leaves input 7 unread.
    window = Window(3, stride=2)
    assert window.output_length(8) == 3
    assert 7 not in {p for o in range(3) for p in window.taps(o)}


def test_a_transposed_window_that_crops_everything_says_so() -> None:
    with pytest.raises(GeometryError, match=r"padding 3\+3 makes -3 outputs of 1 input; lower"):
        Window(3, stride=2, pad_lo=3, pad_hi=3).transposed_length(1)


def test_windows_of_axes_need_as_many_of_each() -> None:
    for one in range(4):
        given: list[tuple[int, ...]] = [(3, 5), (2, 1), (1, 4), (1, 0)]
        given[one] = given[one][:1]
        with pytest.raises(ValueError, match=r"is (shorter|longer) than"):
            Window.of_axes(*given)


def test_windows_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Window(3).kernel = 5  # type: ignore[misc]


def test_hostile_numbers_cost_nothing() -> None:
    huge = 10**18
    assert Window(3, stride=huge).output_length(huge * huge) == huge
    assert len(Window(huge // 10, dilation=huge).taps(huge)) == huge // 10


def test_a_dilation_of_two_is_named_where_the_window_does_not_fit() -> None:
    with pytest.raises(GeometryError) as error:
        Window(2, dilation=2).output_length(2)
    assert str(error.value) == (
        "a window of kernel 2, dilation 2 spans 3 inputs, got 2 with padding 0; pad by 1 or lower "
        "the dilation."
    )


def test_padding_alone_can_hold_a_window() -> None:
    assert Window(2, pad_lo=1, pad_hi=1).output_length(0) == 1
    with pytest.raises(GeometryError):
        Window(2, pad_lo=9, pad_hi=9).output_length(-1)
