"""Holes of stacks: cases that tell the rule from rules near it, and what is refused."""

from __future__ import annotations

import pytest

from atrous.errors import GeometryError
from atrous.geometry import Window, fills, hdc, holes, inside_counts, stack_taps


@pytest.mark.parametrize(
    ("kernel", "rates", "full"),
    [
        (3, [1, 1, 5], True),  # both layers before count: 1 + 2 * 2
        (3, [1, 1, 6], False),
        (3, [1, 3, 9, 27], True),
        (3, [1, 3, 9, 28], False),
        (3, [2], False),
        (5, [1, 5, 25], True),
        (5, [1, 6], False),
        (1, [9, 9], True),
    ],
)
def test_a_stack_fills_by_all_the_rates_below_the_next(
    kernel: int, rates: list[int], full: bool
) -> None:
    assert fills(kernel, rates) is full
    assert (not holes(stack_taps(kernel, rates))) is full


def test_a_stack_is_a_set_however_many_paths_lead_to_a_position() -> None:
    assert stack_taps(3, [1, 1]).multiplicities == (1,) * 5


def test_a_rule_on_no_rates_says_what_it_needs() -> None:
    with pytest.raises(GeometryError) as error:
        hdc(3, [])
    assert str(error.value) == (
        "the HDC rule needs at least one rate; give the rates of the stack."
    )


@pytest.mark.parametrize(
    ("window", "length"),
    [
        (Window(3, dilation=12, pad_lo=12, pad_hi=12), 33),
        (Window(3, dilation=2), 5),
        (Window(2, 3, 4, 1, 5), 9),
        (Window(3, dilation=40, pad_lo=40, pad_hi=40), 33),
        (Window(5, 2, 3, 7, 4), 21),
        (Window(2, dilation=7, pad_lo=9, pad_hi=9), 4),
        (Window(40, pad_lo=20, pad_hi=19), 50),
        (Window(1, 3), 50),
    ],
)
def test_taps_inside_are_counted_as_by_hand(window: Window, length: int) -> None:
    counts: dict[int, int] = {}
    for output in range(window.output_length(length)):
        inside = sum(0 <= tap < length for tap in window.taps(output))
        counts[inside] = counts.get(inside, 0) + 1
    assert inside_counts(window, length) == dict(sorted(counts.items()))
