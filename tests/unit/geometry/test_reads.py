"""Reads and multisets: what is refused, and decoders whose phases differ."""

from __future__ import annotations

import pytest

from atrous.errors import GeometryError
from atrous.geometry import Reads, Taps, Window


@pytest.mark.parametrize(
    ("period", "shift", "phases"), [(0, 1, 0), (1, 0, 1), (2, 1, 1), (1, 1, 2), (1, -1, 1)]
)
def test_reads_need_a_period_a_shift_and_one_multiset_for_each_phase(
    period: int, shift: int, phases: int
) -> None:
    with pytest.raises(GeometryError, match=f"period {period}, shift {shift}, {phases} phase"):
        Reads(period, shift, (Taps.of([0]),) * phases)


def test_a_multiplicity_below_zero_is_refused() -> None:
    with pytest.raises(GeometryError, match="multiplicity is below 0"):
        Taps.of({3: -1})


def test_a_multiplicity_of_zero_is_not_read() -> None:
    assert Taps.of({3: 0}) == Taps.of([])


def test_equal_multisets_are_equal_records() -> None:
    assert Taps.of([5, 3, 3]) == Taps.of({3: 2, 5: 1})
    assert Taps.of({3: 1, 5: 1}) == Taps.of([5, 3]) == Taps.from_mask(2, 0b1010)
    assert len({Taps.of([0]), Taps(0, 1), Taps.of({0: 1})}) == 1


def test_only_integers_are_positions() -> None:
    assert "3" not in Taps.of([3])
    assert 2 not in Taps.of([3])


def test_composing_strides_without_a_common_factor_is_refused_before_it_grows() -> None:
    reads = Reads.transposed(Window(1, stride=251)).after(Reads.window(Window(1, stride=256)))
    with pytest.raises(GeometryError, match="repeat only every 65762 outputs; at most 65536"):
        Reads.transposed(Window(1, stride=262)).after(reads)


def test_joining_periods_without_a_common_factor_is_refused_before_it_grows() -> None:
    a = Reads(257, 257, tuple(Taps.of([p % 2]) for p in range(257)))
    b = Reads(256, 256, tuple(Taps.of([p % 3]) for p in range(256)))
    with pytest.raises(GeometryError, match="repeat only every 65792 outputs; at most 65536"):
        a.union(b)


def test_a_decoder_that_doubles_and_convolves_reads_more_at_one_phase_than_at_the_other() -> None:
    up = Reads.transposed(Window(2, stride=2))
    both = Reads.window(Window(3, pad_lo=1)).after(up)
    assert both.period == 2
    assert [list(both.at(o)) for o in (4, 5)] == [[1, 2], [2, 3]]
    assert [both.at(o).multiplicities for o in (4, 5)] == [(1, 2), (2, 1)]


def test_what_comes_down_and_goes_up_again_reads_whole_blocks() -> None:
    both = Reads.transposed(Window(2, stride=2)).after(Reads.window(Window(2, stride=2)))
    assert both == Reads.blocks(1, 2)


def test_what_goes_up_and_comes_down_again_has_no_period_left() -> None:
    both = Reads.window(Window(2, stride=2)).after(Reads.transposed(Window(2, stride=2)))
    assert (both.period, both.shift, dict(both.at(0).items())) == (1, 1, {0: 2})
