"""Padding dialects against what each of them promises."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.errors import GeometryError
from atrous.geometry import (
    Window,
    ahead_within,
    causal,
    pad,
    same_lower,
    same_torch,
    same_upper,
)
from tests.oracles import drawing

KERNELS, STRIDES, DILATIONS = st.integers(1, 7), st.integers(1, 5), st.integers(1, 5)


@drawing(150)
@given(KERNELS, DILATIONS, st.integers(1, 20))
def test_torch_same_keeps_the_length_and_puts_the_odd_one_high(
    kernel: int, dilation: int, length: int
) -> None:
    lo, hi = same_torch(kernel, dilation)
    assert Window(kernel, 1, dilation, lo, hi).output_length(length) == length
    assert hi - lo in (0, 1)


@drawing(250)
@given(st.integers(1, 30), KERNELS, STRIDES, DILATIONS)
def test_same_upper_is_the_least_padding_with_one_output_for_each_stride(
    length: int, kernel: int, stride: int, dilation: int
) -> None:
    lo, hi = same_upper(length, kernel, stride, dilation)
    outputs = len(range(0, length, stride))
    window = Window(kernel, stride, dilation, lo, hi)
    assert window.output_length(length) == outputs
    assert hi - lo in (0, 1)
    assert lo >= 0
    # One less in all, and the last window overhangs.
    if lo + hi:
        assert window.taps(outputs - 1)[-1] == length + hi - 1
    assert same_lower(length, kernel, stride, dilation) == (hi, lo)


@drawing(150)
@given(KERNELS, STRIDES, DILATIONS, st.integers(0, 9))
def test_causal_outputs_read_nothing_behind_their_own_block(
    kernel: int, stride: int, dilation: int, output: int
) -> None:
    lo, hi = causal(kernel, stride, dilation)
    window = Window(kernel, stride, dilation, lo, hi)
    # The last tap is the last input of the output's own block: no later, so no look-ahead, and no
    # earlier, so no delay.
    assert window.taps(output)[-1] == output * stride + stride - 1
    for blocks in range(1, 6):
        assert window.output_length(blocks * stride) == blocks


def last_input(windows: list[Window], output: int) -> int:
    for window in reversed(windows):
        output = window.taps(output)[-1]
    return output


@drawing(150)
@given(
    st.lists(st.builds(Window, KERNELS, st.integers(1, 3), st.integers(1, 3)), max_size=4),
    st.integers(0, 60),
)
def test_a_chain_looks_as_far_ahead_as_a_limit_allows_and_no_layer_beyond_its_middle(
    windows: list[Window], most: int
) -> None:
    def ahead(pads: tuple[tuple[int, int], ...]) -> int:
        padded = [
            Window(w.kernel, w.stride, w.dilation, *both)
            for w, both in zip(windows, pads, strict=True)
        ]
        stride = last_input([Window(1, w.stride) for w in windows], 1)
        return last_input(padded, 5) - (6 * stride - 1)

    found = ahead_within(windows, most)
    assert all(lo + hi == w.extent - 1 for w, (lo, hi) in zip(windows, found, strict=True))
    same = tuple(same_torch(w.kernel, w.dilation) for w in windows)
    past = tuple(causal(w.kernel, w.stride, w.dilation) for w in windows)
    if not most:
        assert found == past
    elif ahead(same) <= most:
        assert found == same
    else:
        sides = [
            [(lo, w.extent - 1 - lo) for lo in range(min(a[0], b[0]), a[0] + 1)]
            for w, a, b in zip(windows, past, same, strict=True)
        ]
        every = [ahead(pads) for pads in product(*sides)]
        assert ahead(found) == max(one for one in every if one <= most)


@drawing(100)
@given(KERNELS, STRIDES, DILATIONS, st.integers(1, 30))
def test_each_dialect_is_named(kernel: int, stride: int, dilation: int, length: int) -> None:
    assert pad("valid", kernel, stride, dilation) == (0, 0)
    assert pad("same", kernel, stride, dilation) == same_torch(kernel, dilation)
    assert pad("causal", kernel, stride, dilation) == causal(kernel, stride, dilation)
    upper = same_upper(length, kernel, stride, dilation)
    assert pad("same_upper", kernel, stride, dilation, length) == upper
    assert pad("same_lower", kernel, stride, dilation, length) == (upper[1], upper[0])


@drawing(60)
@given(KERNELS, DILATIONS, st.integers(1, 30))
def test_at_stride_one_no_dialect_of_same_depends_on_the_length(
    kernel: int, dilation: int, length: int
) -> None:
    assert pad("same_upper", kernel, 1, dilation) == same_upper(length, kernel, 1, dilation)
    assert pad("same_lower", kernel, 1, dilation) == same_lower(length, kernel, 1, dilation)
    assert pad("same_upper", kernel, 1, dilation) == same_torch(kernel, dilation)


def test_padding_that_depends_on_the_length_asks_for_it() -> None:
    with pytest.raises(GeometryError, match="same_upper at stride 2 depends on the length"):
        pad("same_upper", 3, 2)


def test_an_unknown_dialect_lists_the_known_ones() -> None:
    with pytest.raises(GeometryError, match="'full' is not known; use valid, same, same_upper"):
        pad("full", 3)  # type: ignore[arg-type]
