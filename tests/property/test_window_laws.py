"""Windows against windows laid out one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from atrous.errors import GeometryError
from atrous.geometry import Window, causal, same_torch, symmetric
from atrous.network.ops import Conv
from tests.oracles import drawing, window_taps
from tests.property.drawn import windows


@drawing(200)
@given(windows(), st.integers(-20, 20))
def test_taps_are_where_the_definition_puts_them(window: Window, output: int) -> None:
    expected = window_taps(window.kernel, window.stride, window.dilation, window.pad_lo, output)
    assert list(window.taps(output)) == expected
    assert window.extent == expected[-1] - expected[0] + 1


@drawing(200)
@given(st.lists(windows(), min_size=1, max_size=3).map(tuple))
def test_the_windows_of_axes_are_those_whose_tuples_they_are(held: tuple[Window, ...]) -> None:
    op = Conv(held, channels=4)
    assert Window.of_axes(op.kernel, op.stride, op.dilation, op.padding) == held
    both, rest = symmetric(op.padding)
    even = Window.of_axes(op.kernel, op.stride, op.dilation, both)
    assert min(both) >= 0
    for window, shared, (lo, hi) in zip(held, even, rest, strict=True):
        assert shared.pad_lo == shared.pad_hi
        assert (shared.pad_lo + lo, shared.pad_hi + hi) == window.padding
        # Nothing is padded by itself that both sides could share, unless it is a crop.
        assert min(lo, hi) <= 0


@drawing(200)
@given(windows(), st.integers(1, 9), st.integers(0, 40))
def test_at_another_rate_as_many_windows_fit_at_any_length(
    window: Window, rate: int, length: int
) -> None:
    other = window.at_rate(rate)
    assert (other.kernel, other.stride, other.dilation) == (window.kernel, window.stride, rate)
    room = length + sum(window.padding) - window.extent
    assert length + sum(other.padding) - other.extent == room
    if room >= 0:
        assert other.output_length(length) == window.output_length(length)
    assert window.at_rate(window.dilation) == window


@drawing(100)
@given(st.integers(1, 7), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
def test_at_another_rate_dialects_of_padding_stay_what_they_are(
    kernel: int, stride: int, rate: int, other: int
) -> None:
    evenly = Window(kernel, 1, rate, *same_torch(kernel, rate))
    assert evenly.at_rate(other) == Window(kernel, 1, other, *same_torch(kernel, other))
    stride = min(stride, kernel)
    lo, hi = causal(kernel, stride, rate)
    if lo > hi and (kernel - 1) * other >= stride:
        expected = Window(kernel, stride, other, *causal(kernel, stride, other))
        assert Window(kernel, stride, rate, lo, hi).at_rate(other) == expected


def windows_that_fit(window: Window, length: int, ceil: bool) -> int:
    """Counted by laying one window after the other on the padded input.

    With `ceil`, PyTorch's pools go on until a window reaches the padded end, and drop that one
    again where it begins behind the input.
    """
    end = length + window.pad_hi

    def taps(output: int) -> list[int]:
        return window_taps(window.kernel, window.stride, window.dilation, window.pad_lo, output)

    if not ceil:
        return sum(taps(o)[-1] < end for o in range(60))
    # The window that reaches the end may lie before the first: then there is none.
    last = next(o for o in range(-60, 60) if taps(o)[-1] + 1 >= end)
    return last if taps(last)[0] >= length else last + 1


@drawing(400)
@given(windows(), st.integers(1, 24), st.booleans())
def test_output_length_counts_the_windows_that_fit(window: Window, length: int, ceil: bool) -> None:
    expected = windows_that_fit(window, length, ceil)
    if expected < 1:
        with pytest.raises(GeometryError, match="spans"):
            window.output_length(length, ceil)
    else:
        assert window.output_length(length, ceil) == expected


@drawing(200)
@given(windows(), st.integers(1, 10), st.integers(0, 3))
def test_a_window_run_backwards_makes_the_positions_that_it_reads(
    window: Window, length: int, extra: int
) -> None:
    # Inputs write at their taps; what is cropped on both sides goes, what is added on top stays.
    written = [p for i in range(length) for p in window.taps(i)]
    outputs = max(written) + 1 - window.pad_hi + extra
    if outputs < 1:
        with pytest.raises(GeometryError, match="lower the padding"):
            window.transposed_length(length, extra)
    else:
        assert window.transposed_length(length, extra) == outputs


@drawing(200)
@given(windows(), st.integers(1, 24))
def test_a_window_run_backwards_over_its_own_output_gives_the_length_back(
    window: Window, length: int
) -> None:
    try:
        outputs = window.output_length(length)
    except GeometryError:
        reject()
    rest = (length + window.pad_lo + window.pad_hi - window.extent) % window.stride
    assert window.transposed_length(outputs, rest) == length


@drawing(200)
@given(windows(), st.integers(0, 24))
def test_a_tap_reaches_the_outputs_at_which_it_lies_on_an_input(
    window: Window, length: int
) -> None:
    try:
        outputs = window.output_length(length)
    except GeometryError:
        with pytest.raises(GeometryError, match="spans"):
            window.reached(0, length)
        return
    for tap in range(window.kernel):
        reached = window.reached(tap, length)
        assert list(reached) == [o for o in range(outputs) if 0 <= window.taps(o)[tap] < length]
        assert 0 <= reached.start <= reached.stop
