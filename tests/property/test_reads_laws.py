"""Periodic reads against enumerated indices: construction, composition, union, regions, phases."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atrous.errors import GeometryError
from atrous.geometry import Reads, Window, union
from tests.oracles import composed, counted, drawing, window_taps
from tests.property.drawn import Drawn, assert_reads, multisets, rules, windows

OUTPUTS = range(-9, 10)


@drawing(100)
@given(windows())
def test_a_window_reads_its_taps(window: Window) -> None:
    def expected(output: int) -> dict[int, int]:
        return counted(
            window_taps(window.kernel, window.stride, window.dilation, window.pad_lo, output)
        )

    reads = Reads.window(window)
    assert_reads(reads, expected, OUTPUTS)
    assert reads.stride == window.stride


@drawing(150)
@given(windows(stride=7))
def test_a_transposed_window_reads_whoever_the_window_would_write_to(window: Window) -> None:
    def expected(output: int) -> dict[int, int]:
        return counted(i for i in range(-60, 60) for p in window.taps(i) if p == output)

    reads = Reads.transposed(window)
    assert_reads(reads, expected, OUTPUTS)
    assert reads.stride == Fraction(1, window.stride)


@drawing(60)
@given(
    windows(stride=7),
    windows(),
    st.integers(1, 60),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_long_runs_over_phases_are_the_union_of_what_each_position_reads(
    up: Window, first: Window, kernel: int, dilation: int, stride: int
) -> None:
    inner = Reads.transposed(up).after(Reads.window(first), counted=False)
    outer = Reads.window(Window(kernel, stride=stride, dilation=dilation, pad_lo=3))
    both = outer.after(inner, counted=False)
    for output in OUTPUTS:
        read = {p for middle in outer.at(output) for p in inner.at(middle)}
        assert set(both.at(output)) == read
        assert both.at(output).counts is None


def test_a_kernel_narrower_than_its_stride_leaves_phases_that_read_nothing() -> None:
    reads = Reads.transposed(Window(2, stride=5, dilation=2, pad_lo=1))
    assert [reads.at(o).count for o in range(10)] == [0, 1, 0, 0, 1, 0, 1, 0, 0, 1]


@drawing(60)
@given(st.integers(1, 5), st.integers(1, 5))
def test_blocks_read_all_that_differ_in_one_digit_only(inner: int, size: int) -> None:
    def expected(output: int) -> dict[int, int]:
        return counted(
            p
            for p in range(-60, 60)
            if p % inner == output % inner and p // (inner * size) == output // (inner * size)
        )

    assert_reads(Reads.blocks(inner, size), expected, range(-20, 20))


@drawing(100)
@given(rules())
def test_reads_repeat_every_period(rule: Drawn) -> None:
    assert_reads(rule.reads, rule.enumerated, OUTPUTS)
    assert rule.reads.stride == Fraction(rule.shift, rule.period)
    for output in OUTPUTS:
        assert rule.reads.at(output + rule.period) == rule.reads.at(output).shifted(rule.shift)


@drawing(150)
@given(rules(), rules())
def test_composition_counts_every_path(outer: Drawn, inner: Drawn) -> None:
    both = outer.reads.after(inner.reads)
    assert_reads(both, lambda o: composed(outer.enumerated(o), inner.enumerated), OUTPUTS)
    assert both.stride == outer.reads.stride * inner.reads.stride


@drawing(150)
@given(rules(), rules())
def test_composition_as_sets_is_the_support_of_the_counted_one(outer: Drawn, inner: Drawn) -> None:
    sets = outer.reads.after(inner.reads, counted=False)

    def expected(output: int) -> dict[int, int]:
        return dict.fromkeys(composed(outer.enumerated(output), inner.enumerated), 1)

    assert_reads(sets, expected, OUTPUTS)
    assert sets == outer.reads.support.after(inner.reads.support, counted=False)
    counts = outer.reads.after(inner.reads)
    assert counts.support.reduced() == sets.reduced()
    assert (
        counts.support.reduced() == outer.reads.support.after(inner.reads.support).support.reduced()
    )


@drawing(100)
@given(rules(phases=multisets()), rules(), rules(), st.booleans())
def test_composition_is_associative(first: Drawn, then: Drawn, last: Drawn, paths: bool) -> None:
    a, b, c = last.reads, then.reads, first.reads
    left = a.after(b, counted=paths).after(c, counted=paths)
    right = a.after(b.after(c, counted=paths), counted=paths)
    assert left.reduced() == right.reduced()


@drawing(60)
@given(rules())
def test_the_identity_changes_nothing(rule: Drawn) -> None:
    identity = Reads.identity()
    assert identity.is_identity
    assert identity.after(rule.reads).reduced() == rule.reads.reduced()
    assert rule.reads.after(identity).reduced() == rule.reads.reduced()
    assert identity.after(rule.reads, counted=False).reduced() == rule.reads.support.reduced()


@drawing(60)
@given(windows(), windows())
def test_two_windows_in_a_row_read_what_their_taps_read(outer: Window, inner: Window) -> None:
    both = Reads.window(outer).after(Reads.window(inner))
    assert_reads(
        both, lambda o: counted(p for m in outer.taps(o) for p in inner.taps(m)), range(-4, 5)
    )


@drawing(100)
@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_a_union_adds_up_what_its_branches_read(
    data: st.DataObject, period: int, shift: int, paths: bool
) -> None:
    branches = [data.draw(rules((period, shift))) for _ in range(3)]

    def expected(output: int) -> dict[int, int]:
        found: dict[int, int] = {}
        for branch in branches:
            for position, more in branch.enumerated(output).items():
                found[position] = found.get(position, 0) + more
        return found if paths else dict.fromkeys(found, 1)

    a, b, c = (branch.reads for branch in branches)
    joined = a.union(b, counted=paths).union(c, counted=paths)
    assert_reads(joined if paths else joined.support, expected, OUTPUTS)
    assert joined.reduced() == a.union(b.union(c, counted=paths), counted=paths).reduced()
    assert a.union(b, counted=paths).reduced() == b.union(a, counted=paths).reduced()
    (both,) = union([a, b, c], counted=paths)
    assert both.reduced() == joined.reduced()


@drawing(40)
@given(st.data(), st.integers(1, 3), st.integers(1, 3))
def test_composition_distributes_over_a_union(data: st.DataObject, period: int, shift: int) -> None:
    a, b = (data.draw(rules((period, shift))).reads for _ in range(2))
    inner = data.draw(rules()).reads
    assert a.union(b).after(inner).reduced() == a.after(inner).union(b.after(inner)).reduced()


@drawing(40)
@given(rules(), rules())
def test_branches_of_different_strides_do_not_join_in_one_rule(a: Drawn, b: Drawn) -> None:
    assume(a.reads.stride != b.reads.stride)
    with pytest.raises(GeometryError, match="do not line up"):
        a.reads.union(b.reads)
    assert [r.stride for r in union([a.reads, b.reads])] == [a.reads.stride, b.reads.stride]


@drawing(150)
@given(rules(phases=st.dictionaries(st.integers(-2, 2), st.just(1), max_size=2)), st.integers(1, 4))
def test_reduced_is_the_same_rule_with_the_shortest_period(rule: Drawn, turns: int) -> None:
    long = Reads(
        rule.period * turns,
        rule.shift * turns,
        tuple(rule.reads.at(o) for o in range(rule.period * turns)),
    )
    short = long.reduced()
    assert_reads(short, rule.enumerated, range(-2 * rule.period, 4 * rule.period))
    for period in range(1, short.period):
        shift = short.stride * period
        assert shift.denominator > 1 or any(
            rule.enumerated(o + period) != {p + shift: m for p, m in rule.enumerated(o).items()}
            for o in range(rule.period)
        )


@drawing(200)
@given(rules(), st.integers(-12, 12), st.integers(0, 9))
def test_inputs_needed_are_the_exact_hull_of_what_is_read(
    rule: Drawn, start: int, count: int
) -> None:
    outputs = range(start, start + count)
    read = {p for o in outputs for p in rule.enumerated(o)}
    expected = range(min(read), max(read) + 1) if read else range(0)
    assert rule.reads.needed(outputs) == expected


@drawing(200)
@given(rules(), st.integers(-6, 6), st.integers(0, 6))
def test_outputs_touched_are_the_exact_hull_of_who_reads(
    rule: Drawn, start: int, count: int
) -> None:
    inputs = range(start, start + count)
    # Taps lie at most 12 from their phase's place: outputs beyond this reach read no such input.
    reach = range(-30 * rule.period, 31 * rule.period)
    readers = [o for o in reach if any(p in inputs for p in rule.enumerated(o))]
    expected = range(readers[0], readers[-1] + 1) if readers else range(0)
    assert rule.reads.touched(inputs) == expected


@drawing(60)
@given(windows(), st.integers(-9, 9), st.integers(1, 5))
def test_transposing_swaps_the_two_region_queries(window: Window, start: int, count: int) -> None:
    forward, backward = Reads.window(window), Reads.transposed(window)
    region = range(start, start + count)
    assert backward.touched(region) == forward.needed(region)
    assert forward.touched(region) == backward.needed(region)


@drawing(60)
@given(windows(), st.integers(1, 4))
def test_a_strided_window_is_one_phase_of_the_dense_one(window: Window, factor: int) -> None:
    """Stride is dilation seen from the other side: all phases of the grid, or one of them."""
    after = Window(3, dilation=2, pad_lo=1)
    strided = Reads.window(after).after(Reads.window(window))
    spread = Window(3, dilation=2 * factor, pad_lo=factor)
    if window.stride != factor:
        window = Window(window.kernel, factor, window.dilation, window.pad_lo)
        strided = Reads.window(after).after(Reads.window(window))
    dense = Window(window.kernel, 1, window.dilation, window.pad_lo)
    every = Reads.window(spread).after(Reads.window(dense))
    for output in OUTPUTS:
        assert every.at(output * factor) == strided.at(output)


@drawing(60)
@given(rules())
def test_a_support_keeps_positions_and_forgets_counts(rule: Drawn) -> None:
    def expected(output: int) -> Mapping[int, int]:
        return dict.fromkeys(rule.enumerated(output), 1)

    assert_reads(rule.reads.support, expected, OUTPUTS)  # type: ignore[arg-type]
