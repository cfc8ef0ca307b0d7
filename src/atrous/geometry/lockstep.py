"""Where two maps hold the same values, and whether two operations keep that so."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm

from atrous.geometry.axis import AxisMap
from atrous.geometry.reads import Reads
from atrous.geometry.taps import Taps

__all__ = ["Lockstep", "follow", "unequal"]

_MOST_TRIED = 4096


@dataclass(frozen=True, slots=True)
class Lockstep:
    """For every whole `i`, position `phase + factor * i` of the candidate is `start + step * i`
    of the reference.

    `step` is 1 where the candidate holds every position of the reference (a stride was traded for
    dilation), `factor` is 1 where the reference holds every position of the candidate.

    >>> Lockstep(factor=4).ratio, Lockstep(factor=4).candidate(3)
    (Fraction(4, 1), 12)
    """

    factor: int = 1
    phase: int = 0
    step: int = 1
    start: int = 0

    @property
    def ratio(self) -> Fraction:
        """Candidate positions for each position of the reference."""
        return Fraction(self.factor, self.step)

    def candidate(self, reference: int) -> int | None:
        """The position of the candidate that holds position `reference`, or None.

        >>> Lockstep(factor=1, step=2, start=1).candidate(5), Lockstep(step=2).candidate(5)
        (2, None)
        """
        turns, rest = divmod(reference - self.start, self.step)
        return None if rest else self.phase + self.factor * turns

    def to_dict(self) -> dict[str, int]:
        """Plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


SAME = Lockstep()


@lru_cache(maxsize=4096)
def follow(reference: Reads, candidate: Reads, lock: Lockstep) -> Lockstep | None:
    """How the outputs of two operations correspond whose inputs correspond as `lock` says.

    Borders aside: candidate output `phase + factor * i` reads exactly the positions that hold what
    reference output `start + step * i` reads. None where no outputs correspond at regular steps,
    such as where a window's dilation does not carry the factor of its input.

    >>> from atrous.geometry.window import Window
    >>> strided = Reads.window(Window(3, stride=2, pad_lo=1))
    >>> kept = Reads.window(Window(3, pad_lo=1))
    >>> follow(strided, kept, Lockstep())
    Lockstep(factor=2, phase=0, step=1, start=0)
    >>> plain, dilated = Reads.window(Window(3, pad_lo=1)), Reads.window(Window(3, 1, 2, 2))
    >>> follow(plain, dilated, Lockstep(factor=2)), follow(plain, plain, Lockstep(factor=2))
    (Lockstep(factor=2, phase=0, step=1, start=0), None)
    """
    if lock == SAME and reference == candidate:
        return SAME
    ratio = lock.ratio * reference.stride / candidate.stride
    if reference.is_identity and candidate.is_identity:
        return lock
    factor, step = ratio.numerator, ratio.denominator
    turns = lock.step * reference.period * candidate.period
    first: tuple[int, int] | None = None
    for output in range(min(turns * step, _MOST_TRIED)):
        twin = _twin(reference.at(output), candidate, lock)
        if twin is None:
            continue
        if first is None:
            first = (output, twin)
            continue
        apart, moved = output - first[0], twin - first[1]
        if moved * step == apart * factor:
            # From here on it repeats, if it does over one period of both.
            found = Lockstep(moved, first[1], apart, first[0])
            return found if _repeats(reference, candidate, lock, found) else None
    if first is None or turns * step > _MOST_TRIED:
        return None
    # One match in a whole turn, after which both sides and the lock begin anew.
    return Lockstep(turns * factor, first[1], turns * step, first[0])


def _repeats(reference: Reads, candidate: Reads, lock: Lockstep, found: Lockstep) -> bool:
    """Whether all pairs of outputs that `found` names read the same; the first two are known to."""
    turns = lcm(
        reference.period // gcd(reference.period, found.step),
        candidate.period // gcd(candidate.period, found.factor),
    )
    # So many turns end at the same phases; the inputs must have come to a whole step as well.
    moved = turns * found.step // reference.period * reference.shift
    turns *= lock.step // gcd(lock.step, moved)
    return turns <= _MOST_TRIED and all(
        _moved(reference.at(found.start + i * found.step), lock)
        == candidate.at(found.phase + i * found.factor)
        for i in range(2, turns)
    )


def _twin(taps: Taps, candidate: Reads, lock: Lockstep) -> int | None:
    """The output of `candidate` that reads what holds `taps`, or None."""
    wanted = _moved(taps, lock)
    if wanted is None or not wanted.mask:
        return None
    for phase, held in enumerate(candidate.phases):
        turns, rest = divmod(wanted.first - held.first, candidate.shift)
        if not rest and held.mask and held.shifted(turns * candidate.shift) == wanted:
            return turns * candidate.period + phase
    return None


def _moved(taps: Taps, lock: Lockstep) -> Taps | None:
    """Where the candidate holds these positions of the reference; None where one is missing."""
    if lock == SAME:
        return taps
    found: dict[int, int] = {}
    for position, count in taps.items():
        place = lock.candidate(position)
        if place is None:
            return None
        found[place] = count
    return Taps.of(found)


@lru_cache(maxsize=4096)
def unequal(
    reference: AxisMap, candidate: AxisMap, lock: Lockstep, out: Lockstep, bad: int = 0
) -> int:
    """The reference outputs whose twins read something else, as the bits of one integer.

    Borders included: what is read is clipped, folded or dropped as each side does it. `bad` marks
    the reference inputs that differ already. Outputs that `out` gives no twin do not count; a twin
    that does not exist, since the candidate ends before it, differs.
    """
    if not bad and lock == out == SAME and reference == candidate:
        return 0
    found = 0
    for output in range(reference.outputs):
        twin = out.candidate(output)
        if twin is None:
            continue
        if not 0 <= twin < candidate.outputs:
            found |= 1 << output
            continue
        taps = reference.at(output)
        moved = _moved(taps, lock)
        spoilt = bad and taps.mask and (bad >> taps.first if taps.first >= 0 else 0) & taps.mask
        if moved is None or spoilt or moved != candidate.at(twin):
            found |= 1 << output
    return found
