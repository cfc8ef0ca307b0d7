"""Multisets of positions against plain dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from math import gcd

from hypothesis import given
from hypothesis import strategies as st

from atrous.geometry import Taps
from tests.oracles import counted, drawing
from tests.property.drawn import multisets


def longest_gap(positions: list[int]) -> int:
    """The longest run of unread positions, found by looking at every position between the ends."""
    inside = range(positions[0], positions[-1] + 1)
    runs = groupby(inside, key=lambda p: p in positions)
    return max((len(list(run)) for read, run in runs if not read), default=0)


@drawing(200)
@given(multisets())
def test_a_multiset_holds_what_it_was_made_of(found: Mapping[int, int]) -> None:
    taps = Taps.of(found)
    assert dict(taps.items()) == dict(sorted(found.items()))
    assert list(taps) == sorted(found)
    assert len(taps) == taps.count == len(found)
    assert taps.total == sum(found.values())
    assert taps.multiplicities == tuple(found[p] for p in sorted(found))
    assert [p for p in range(-20, 20) if p in taps] == sorted(found)


@drawing(200)
@given(multisets(least=1))
def test_size_gaps_and_step_are_those_of_the_positions(found: Mapping[int, int]) -> None:
    taps = Taps.of(found)
    positions = sorted(found)
    assert taps.first == positions[0]
    assert taps.last == positions[-1]
    assert taps.size == positions[-1] - positions[0] + 1
    assert taps.coverage == len(positions) / taps.size
    assert taps.max_gap == longest_gap(positions)
    assert taps.step == max(gcd(*(p - positions[0] for p in positions)), 1)


def test_nothing_read_has_no_size_no_gap_and_no_hole() -> None:
    empty = Taps.of([])
    assert (empty.size, empty.count, empty.total, empty.max_gap, empty.coverage) == (
        0,
        0,
        0,
        0,
        1.0,
    )
    assert list(empty) == []
    assert empty.shifted(5) == empty


@drawing(100)
@given(multisets(), st.integers(-9, 9))
def test_a_shift_moves_every_position_and_keeps_how_often_it_is_read(
    found: Mapping[int, int], distance: int
) -> None:
    shifted = Taps.of(found).shifted(distance)
    assert shifted == Taps.of({p + distance: m for p, m in found.items()})


@drawing(100)
@given(multisets())
def test_a_support_reads_the_same_positions_once(found: Mapping[int, int]) -> None:
    assert Taps.of(found).support == Taps.of(dict.fromkeys(found, 1))


@drawing(100)
@given(st.lists(st.integers(-6, 6), max_size=9))
def test_positions_given_twice_are_counted_twice(positions: list[int]) -> None:
    assert dict(Taps.of(positions).items()) == counted(positions)
    assert Taps.of(positions) == Taps.of(sorted(positions, reverse=True))


@drawing(100)
@given(st.integers(-9, 9), st.integers(0, 1 << 12))
def test_a_mask_stands_for_its_bits(first: int, mask: int) -> None:
    expected = Taps.of(first + i for i in range(13) if mask >> i & 1)
    assert Taps.from_mask(first, mask) == expected
