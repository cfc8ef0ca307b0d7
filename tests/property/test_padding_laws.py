"""Padding dialects against what each of them promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.errors import GeometryError
from atrous.geometry import Window, causal, pad, same_lower, same_torch, same_upper
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
