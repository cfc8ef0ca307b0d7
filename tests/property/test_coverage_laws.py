"""Holes, common factors and the rules about them, against stacks enumerated tap by tap."""

from __future__ import annotations

from itertools import pairwise, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.errors import GeometryError
from atrous.geometry import (
    Reads,
    Taps,
    Window,
    fills,
    hdc,
    holes,
    inside_share,
    stack_taps,
    tail_factors,
)
from tests.oracles import drawing

RATES = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def enumerated(kernel: int, rates: list[int]) -> list[int]:
    """Every position that the middle output of a stride-1 stack reads."""
    found = {0}
    for rate in rates:
        lowest = -((kernel - 1) * rate // 2)
        found = {p + lowest + rate * j for p in found for j in range(kernel)}
    return sorted(found)


@drawing(150)
@given(st.integers(1, 6), RATES)
def test_a_stack_reads_every_sum_of_its_offsets(kernel: int, rates: list[int]) -> None:
    assert list(stack_taps(kernel, rates)) == enumerated(kernel, rates)


@drawing(150)
@given(st.integers(1, 6), RATES)
def test_holes_are_the_unread_runs_between_read_positions(kernel: int, rates: list[int]) -> None:
    read = enumerated(kernel, rates)
    found = holes(stack_taps(kernel, rates))
    assert [p for run in found for p in run] == sorted(set(range(read[0], read[-1])) - set(read))
    assert all(run.start - 1 in read and run.stop in read and len(run) for run in found)
    assert max(map(len, found), default=0) == stack_taps(kernel, rates).max_gap


@drawing(300)
@given(st.sampled_from([1, 3, 5, 7]), st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_the_filling_rule_says_exactly_when_there_is_no_hole(kernel: int, rates: list[int]) -> None:
    read = enumerated(kernel, rates)
    assert fills(kernel, rates) == (len(read) == read[-1] - read[0] + 1)


@drawing(40)
@given(st.sampled_from([3, 5]), RATES)
def test_coverage_does_not_depend_on_the_order_of_the_rates(kernel: int, rates: list[int]) -> None:
    assert len({stack_taps(kernel, list(order)) for order in permutations(rates)}) == 1


@drawing(150)
@given(st.integers(2, 5), RATES)
def test_a_tail_factor_is_the_grid_on_which_the_rest_of_the_stack_reads(
    kernel: int, rates: list[int]
) -> None:
    factors = tail_factors(rates)
    assert len(factors) == len(rates)
    for layer, factor in enumerate(factors):
        read = enumerated(kernel, rates[layer:])
        assert stack_taps(kernel, rates[layer:]).step == factor
        assert all((b - a) % factor == 0 for a, b in pairwise(read))
        if factor > 1:
            assert not set(read) & {p + 1 for p in read}


def published_m2(rates: list[int]) -> int:
    """M_2 of Wang et al. 2018, equation 2, by the recursion as it is printed."""

    def distance(layer: int) -> int:
        if layer == len(rates):
            return rates[-1]
        after, rate = distance(layer + 1), rates[layer - 1]
        return max(after - 2 * rate, after - 2 * (after - rate), rate)

    return distance(2)


@drawing(150)
@given(st.sampled_from([3, 5]), st.lists(st.integers(1, 9), min_size=2, max_size=6))
def test_the_hdc_rule_is_the_published_recursion(kernel: int, rates: list[int]) -> None:
    assert hdc(kernel, rates).m2 == published_m2(rates)
    assert hdc(kernel, rates).passes == (published_m2(rates) <= kernel)


def test_the_hdc_rule_neither_implies_nor_needs_full_coverage() -> None:
    assert hdc(3, [2, 2, 2]).passes
    assert not fills(3, [2, 2, 2])
    assert not hdc(3, [1, 2, 5, 1, 2, 5]).passes
    assert fills(3, [1, 2, 5, 1, 2, 5])


@drawing(150)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 5]))
def test_the_share_inside_counts_windows_that_lie_wholly_on_the_input(
    length: int, rate: int, kernel: int
) -> None:
    half = kernel // 2
    inside = [
        o for o in range(length) if all(0 <= o + rate * (j - half) < length for j in range(kernel))
    ]
    assert inside_share(length, rate, kernel) * length == len(inside)


@pytest.mark.parametrize(
    ("rates", "taps", "extent", "percent"),
    [
        ([2, 2, 2], 7, 13, 29),
        ([2, 4, 8], 15, 29, 27),
        ([1, 2, 9], 21, 25, 71),
        ([2, 2, 3], 13, 15, 75),
        ([1, 2, 5], 17, 17, 100),
        ([1, 2, 3], 13, 13, 100),
        ([1, 2, 4, 8], 31, 31, 100),
    ],
)
def test_known_stacks_cover_what_is_known_of_them(
    rates: list[int], taps: int, extent: int, percent: int
) -> None:
    found = stack_taps(3, rates)
    assert (found.count, found.size) == (taps, extent)
    assert round(100 * found.coverage**2) == percent


def test_dense_aspp_alone_reads_a_third_and_with_rate_one_in_front_everything() -> None:
    alone = stack_taps(3, [3, 6, 12, 18, 24])
    assert (alone.size, round(100 * alone.coverage), alone.step) == (127, 34, 3)
    front = stack_taps(3, [1, 3, 6, 12, 18, 24])
    assert (front.size, front.coverage) == (129, 1.0)


@pytest.mark.parametrize(
    ("rate", "length", "share"), [(12, 65, 0.40), (24, 65, 0.07), (36, 65, 0.0), (33, 33, 0.0)]
)
def test_known_shares_of_aspp_windows_that_lie_inside(rate: int, length: int, share: float) -> None:
    assert round(float(inside_share(length, rate) ** 2), 2) == share


def test_large_kernel_attention_reads_twenty_three_positions() -> None:
    stack = Reads.window(Window(7, dilation=3)).after(Reads.window(Window(5)))
    assert (stack.at(0).size, stack.at(0).coverage) == (23, 1.0)


def test_output_phases_of_a_kernel_that_its_stride_does_not_divide_receive_unequal_numbers() -> (
    None
):
    for kernel, stride in product(range(1, 8), range(1, 5)):
        reads = Reads.transposed(Window(kernel, stride))
        counts = {reads.at(o).total for o in range(stride)}
        assert (len(counts) == 1) == (kernel % stride == 0)


def test_the_filling_rule_refuses_even_kernels() -> None:
    with pytest.raises(GeometryError, match="odd kernels, got 4; ask stack_taps instead"):
        fills(4, [1, 2])


def test_the_hdc_rule_needs_a_rate() -> None:
    with pytest.raises(GeometryError, match="at least one rate"):
        hdc(3, [])


def test_nothing_read_has_no_hole() -> None:
    assert holes(Taps.of([])) == ()
