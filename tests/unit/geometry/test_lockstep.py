"""How the outputs of two operations correspond, against trying every pair of outputs."""

from __future__ import annotations

from itertools import product

import pytest

from atrous.geometry import Lockstep, Reads, Taps, Window, follow, lockstep
from tests.property.drawn import Counts

Pairs = list[tuple[int, list[int]]]

OPERATIONS = [
    Reads.window(Window(k, s, d, pad))
    for k, s, d, pad in product((1, 3), (1, 2), (1, 2, 4), (0, 2))
    if k > 1 or d == 1
] + [
    Reads.window(Window(2, 3)),
    Reads.transposed(Window(2, 2)),
    Reads.transposed(Window(4, 2, 1, 1)),
    Reads.blocks(1, 2),
    Reads(2, 2, (Taps.of([0, 1]), Taps.of([0, 0]))),
    Reads(2, 3, (Taps.of([-1]), Taps.of([1, 4]))),
]
LOCKS = [
    Lockstep(),
    Lockstep(2),
    Lockstep(4, 1),
    Lockstep(1, 0, 2, 0),
    Lockstep(1, 2, 2, 1),
    Lockstep(2, 0, 3, 1),
]


def held(lock: Lockstep) -> dict[int, int]:
    """Where the candidate holds a position of the reference."""
    return {lock.start + lock.step * i: lock.phase + lock.factor * i for i in range(-60, 60)}


def carried(taps: Taps, places: dict[int, int]) -> Counts | None:
    """What is read where the candidate holds it; None where it does not hold all."""
    read = dict(taps.items())
    return {places[p]: m for p, m in read.items()} if read.keys() <= places.keys() else None


def matches(reference: Reads, reads: list[Counts], lock: Lockstep) -> Pairs:
    """The outputs from 0 on that read something which outputs of the candidate read, with these."""
    places = held(lock)
    found = []
    for output in range(18):
        wanted = carried(reference.at(output), places)
        if wanted and wanted in reads:
            found.append((output, [t for t, read in enumerate(reads, -20) if read == wanted]))
    return found


def regular(pairs: Pairs) -> Lockstep | None:
    """The rule that all pairs follow, each output with one twin; None where they follow none."""
    if len(pairs) < 2 or any(len(same) > 1 for _, same in pairs):
        return None
    (start, (phase,)), (second, (twin,)) = pairs[:2]
    rule = Lockstep(twin - phase, phase, second - start, start)
    return rule if all([rule.candidate(o)] == same for o, same in pairs) else None


@pytest.mark.parametrize("lock", LOCKS)
def test_outputs_are_followed_where_all_that_they_read_corresponds(lock: Lockstep) -> None:
    ruled = 0
    places = held(lock)
    for candidate in OPERATIONS:
        reads = [dict(candidate.at(t).items()) for t in range(-20, 60)]
        for reference in OPERATIONS[::2]:
            if lock == Lockstep() and reference == candidate:
                continue
            found = follow(reference, candidate, lock)
            pairs = matches(reference, reads, lock)
            rule = regular(pairs)
            ruled += rule is not None
            assert rule in (None, found)
            assert pairs or found is None
            if found is not None:
                wanted = carried(reference.at(found.start - found.step), places)
                assert wanted == dict(candidate.at(found.phase - found.factor).items())
    assert ruled > 5


def test_every_phase_is_looked_at_before_outputs_are_said_to_follow() -> None:
    # Outputs 0, 4 and 8 have twins 0, 3 and 6; that of 12 would be 9, which reads one further on.
    reference = Reads.window(Window(1, stride=3))
    phases = (Taps.of([0]), Taps.of([5]), Taps.of([8]), Taps.of([12]))
    assert follow(reference, Reads(4, 16, phases), Lockstep()) is None
    regular_phases = (Taps.of([0]), Taps.of([4]), Taps.of([8]), Taps.of([12]))
    followed = follow(reference, Reads(4, 16, regular_phases), Lockstep())
    assert followed == Lockstep(3, 0, 4, 0)
    third = (Taps.of([0]), Taps.of([4]), Taps.of([10]), Taps.of([12]))
    assert follow(reference, Reads(4, 16, third), Lockstep()) is None
    # And the other way round: outputs 0, 3 and 6 have twins 0, 4 and 8.
    assert follow(Reads(4, 16, phases), reference, Lockstep()) is None
    followed = follow(Reads(4, 16, regular_phases), reference, Lockstep())
    assert followed == Lockstep(4, 0, 3, 0)


def test_the_inputs_are_followed_to_a_whole_step_of_theirs() -> None:
    # Outputs 0 and 1 read 0 and 2, which the candidate holds; 2 reads 3, which it does not.
    rule = Reads(2, 3, (Taps.of([0]), Taps.of([2])))
    assert follow(rule, rule, Lockstep(2, 0, 2, 0)) is None


@pytest.mark.parametrize("tried", [2, 3])
def test_what_repeats_more_rarely_than_is_tried_is_not_followed(
    tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockstep, "_MOST_TRIED", tried)
    one = Reads(3, 6, (Taps.of([0]), Taps.of([1]), Taps.of([5])))
    other = Reads(3, 12, (Taps.of([0]), Taps.of([2]), Taps.of([10])))
    follow.cache_clear()
    assert follow(one, other, Lockstep(2)) == (Lockstep() if tried == 3 else None)
    follow.cache_clear()
