"""Which inputs each output reads along one axis: periodic, closed under composition and union."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm

from atrous.errors import GeometryError
from atrous.geometry.taps import EMPTY, Taps
from atrous.geometry.window import Window
from atrous.shown import Shown, how_many

__all__ = ["Reads", "repeated", "union"]

MAX_PERIOD = 1 << 16
MAX_EXTENT = 1 << 26
_LONG = 16
"""Taps: runs of fewer are united one by one."""


@dataclass(frozen=True, slots=True)
class Reads(Shown):
    """A rule "output `o` reads inputs ..." that repeats every `period` outputs.

    Output `q * period + phase` reads the positions of `phases[phase]`, moved by `q * shift`.
    A window has period 1; what upsamples by `f` has period `f` and shift 1. Where the input ends
    is not part of the rule: positions may be negative or beyond the end.

    >>> stem = Reads.window(Window(7, stride=2, pad_lo=3))
    >>> pool = Reads.window(Window(3, stride=2, pad_lo=1))
    >>> both = pool.after(stem)
    >>> both.stride, both.at(0).size, both.at(0).first
    (Fraction(4, 1), 11, -5)
    """

    period: int
    shift: int
    phases: tuple[Taps, ...]

    def __post_init__(self) -> None:
        if self.period < 1 or self.shift < 1 or len(self.phases) != self.period:
            raise GeometryError(
                f"period {self.period}, shift {self.shift}, "
                f"{how_many(len(self.phases), 'phase')}: reads need "
                "a period and a shift of at least 1 and one multiset for each phase."
            )

    @classmethod
    def identity(cls) -> Reads:
        """Each output reads the input at its own position."""
        return IDENTITY

    @classmethod
    def window(cls, window: Window, kept: tuple[int, ...] | None = None) -> Reads:
        """The reads of a convolution or pool; of the taps that are `kept`, where some are not.

        >>> list(Reads.window(Window(3, stride=2, dilation=4)).at(5))
        [10, 14, 18]
        >>> list(Reads.window(Window(3, stride=2, dilation=4), kept=(0, 2)).at(5))
        [10, 18]
        """
        if window.extent > MAX_EXTENT:
            raise GeometryError(
                f"a window of kernel {window.kernel}, dilation {window.dilation} spans "
                f"{how_many(window.extent, 'input')}; at most {MAX_EXTENT:,} are kept."
            )
        if kept is not None and len(kept) < window.kernel:
            taps = Taps.of(window.dilation * tap - window.pad_lo for tap in kept)
            return cls(1, window.stride, (taps,))
        mask = repeated(1, window.kernel, window.dilation)
        solid = window.extent == window.kernel
        return cls(1, window.stride, (Taps(-window.pad_lo, mask, None, solid),))

    @classmethod
    def transposed(cls, window: Window, kept: tuple[int, ...] | None = None) -> Reads:
        """The reads of a transposed convolution: `o` reads `i` where `window` has `i` read `o`.

        Where only some taps are `kept`, it does so by these.

        >>> up = Reads.transposed(Window(3, stride=2, pad_lo=1))
        >>> [list(up.at(o)) for o in range(4)]
        [[0], [0, 1], [1], [1, 2]]
        """
        stride = window.stride
        phases: list[list[int]] = [[] for _ in range(stride)]
        for j in range(window.kernel) if kept is None else kept:
            offset = j * window.dilation - window.pad_lo
            phase = offset % stride
            phases[phase].append((phase - offset) // stride)
        return cls(stride, 1, tuple(Taps.of(p) for p in phases))

    @classmethod
    def blocks(cls, inner: int, size: int) -> Reads:
        """Each output reads the `size` positions that differ from it in one digit, `inner` apart.

        With `inner` 1 these are the positions of its own aligned block (windowed attention).

        >>> list(Reads.blocks(1, 4).at(6))
        [4, 5, 6, 7]
        >>> list(Reads.blocks(2, 3).at(7))
        [7, 9, 11]
        """
        period = inner * size
        return cls(
            period,
            period,
            tuple(
                Taps.of(phase % inner + inner * digit for digit in range(size))
                for phase in range(period)
            ),
        ).reduced()

    @property
    def stride(self) -> Fraction:
        """Input positions per output position."""
        return Fraction(self.shift, self.period)

    @property
    def is_identity(self) -> bool:
        """True where every output reads exactly the input at its own position."""
        return self == IDENTITY

    @property
    def support(self) -> Reads:
        """The same reads as sets: every multiplicity is 1."""
        if all(taps.counts is None for taps in self.phases):
            return self
        return Reads(self.period, self.shift, tuple(taps.support for taps in self.phases))

    def to_dict(self) -> dict[str, object]:
        """Plain data: for each phase, position and multiplicity of what it reads."""
        return {
            "period": self.period,
            "shift": self.shift,
            "phases": [dict(taps.items()) for taps in self.phases],
        }

    def at(self, output: int) -> Taps:
        """What output `output` reads, unclipped.

        >>> list(Reads.window(Window(2, stride=2)).at(3))
        [6, 7]
        """
        turns, phase = divmod(output, self.period)
        return self.phases[phase].shifted(turns * self.shift)

    def after(self, inner: Reads, *, counted: bool = True) -> Reads:
        """The reads of this operation applied to the outputs of `inner`.

        `(A after B).at(o)` is the sum of `B.at(m)` over the positions `m` of `A.at(o)`. With
        `counted=False` the results are sets, which is much cheaper.

        >>> a, b = Reads.window(Window(2)), Reads.window(Window(2))
        >>> list(a.after(b).at(0).items())
        [(0, 1), (1, 2), (2, 1)]
        """
        if self == IDENTITY:
            return inner if counted else inner.support
        common = gcd(self.shift, inner.period)
        turns = inner.period // common
        period, shift = self.period * turns, inner.shift * (self.shift // common)
        if period > MAX_PERIOD:
            raise GeometryError(
                f"the composed reads repeat only every {period} outputs; at most {MAX_PERIOD} are "
                "kept: use sizes that divide."
            )
        asked = [(taps, turn * self.shift) for turn in range(turns) for taps in self.phases]
        if counted:
            phases = tuple(_sum_of(taps, base, inner) for taps, base in asked)
        elif inner.period == 1:
            phases = tuple(_union_of(taps, base, inner) for taps, base in asked)
        else:
            phases = tuple(_unions_of(asked, inner))
        return Reads(period, shift, phases).reduced()

    def union(self, other: Reads, *, counted: bool = True) -> Reads:
        """The reads of a join of two branches (multiplicities add up).

        Raises `GeometryError` where the branches differ in stride: such a union does not repeat.

        >>> wide, narrow = Window(3, dilation=2, pad_lo=2), Window(1)
        >>> list(Reads.window(wide).union(Reads.window(narrow)).at(0).items())
        [(-2, 1), (0, 2), (2, 1)]
        """
        if self is other and not counted:
            return self.support
        if self.shift * other.period != other.shift * self.period:
            raise GeometryError(
                f"branches with strides {self.stride} and {other.stride} do not line up; "
                "bring them to one stride before they join."
            )
        period = lcm(self.period, other.period)
        shift = self.shift * (period // self.period)
        if period > MAX_PERIOD:
            raise GeometryError(
                f"the joined reads repeat only every {period} outputs; at most {MAX_PERIOD} are "
                "kept: use sizes that divide."
            )
        merge = _add if counted else Taps.united
        phases = tuple(merge(self.at(phase), other.at(phase)) for phase in range(period))
        return Reads(period, shift, phases).reduced()

    def needed(self, outputs: range) -> range:
        """The smallest range of inputs that holds all that `outputs` (consecutive) read.

        >>> Reads.window(Window(3, stride=2, pad_lo=1)).needed(range(10, 20))
        range(19, 40)
        """
        lows, highs = [], []
        for phase, taps in enumerate(self.phases):
            first = outputs.start + (phase - outputs.start) % self.period
            if first >= outputs.stop or not taps.mask:
                continue
            last = first + (outputs.stop - 1 - first) // self.period * self.period
            lows.append(taps.first + (first - phase) // self.period * self.shift)
            highs.append(taps.last + (last - phase) // self.period * self.shift)
        return range(min(lows), max(highs) + 1) if lows else range(0)

    def image(self, outputs: Taps) -> Taps:
        """The set of all positions that any of `outputs` reads.

        >>> list(Reads.window(Window(3, dilation=4)).image(Taps.of([0, 1])))
        [0, 1, 4, 5, 8, 9]
        """
        return _union_of(outputs, 0, self)

    def touched(self, inputs: range) -> range:
        """The smallest range of outputs that holds all that read any of `inputs` (consecutive).

        >>> Reads.window(Window(3, stride=2, pad_lo=1)).touched(range(19, 20))
        range(9, 11)
        """
        found: list[int] = []
        for phase, taps in enumerate(self.phases):
            for tap in taps:
                low = -((tap - inputs.start) // self.shift)
                high = (inputs.stop - 1 - tap) // self.shift
                if low <= high:
                    found += (low * self.period + phase, high * self.period + phase)
        return range(min(found), max(found) + 1) if found else range(0)

    def reduced(self) -> Reads:
        """The same rule with the shortest period.

        >>> Reads(2, 2, (Taps.of([0]), Taps.of([1]))).reduced().period
        1
        """
        reads = self
        common = gcd(self.period, self.shift)
        factor = 2
        while common > 1:
            if common % factor:
                factor += 1 if factor * factor < common else common - factor
                continue
            common //= factor
            period, shift = reads.period // factor, reads.shift // factor
            if all(
                reads.phases[i + period] == reads.phases[i].shifted(shift)
                for i in range(reads.period - period)
            ):
                reads = Reads(period, shift, reads.phases[:period])
        return reads


IDENTITY = Reads(1, 1, (Taps.interval(0, 1),))


def union(reads: Iterable[Reads], *, counted: bool = True) -> tuple[Reads, ...]:
    """The join of many branches: one rule for each stride that occurs, in the order met.

    >>> [str(r.stride) for r in union([Reads.window(Window(1)), Reads.window(Window(1, 2))])]
    ['1', '2']
    """
    by_stride: dict[tuple[int, int], Reads] = {}
    for branch in reads:
        common = gcd(branch.shift, branch.period)
        stride = (branch.shift // common, branch.period // common)
        known = by_stride.get(stride)
        by_stride[stride] = branch if known is None else known.union(branch, counted=counted)
    return tuple(by_stride.values())


def _union_of(outer: Taps, base: int, inner: Reads) -> Taps:
    if inner.period == 1:
        taps, shift = inner.phases[0], inner.shift
        if not outer.mask or not taps.mask:
            return EMPTY
        if taps.solid and (outer.max_gap + 1) * shift <= taps.size:
            # Copies of an interval that touch or overlap are an interval.
            low = (base + outer.first) * shift + taps.first
            return Taps.interval(low, (outer.size - 1) * shift + taps.size)
        if outer.count > 4 and (outer.count - 1) * outer.step == outer.size - 1:
            result = repeated(taps.mask, outer.count, outer.step * shift)
        elif taps.count < outer.count:
            # As many copies of the longer one as the shorter one has taps.
            apart = _apart(outer.mask, shift)
            if (taps.count - 1) * taps.step == taps.size - 1:
                result = repeated(apart, taps.count, taps.step)
            else:
                result = 0
                for position in Taps(0, taps.mask):
                    result |= apart << position
        else:
            result = 0
            for position in Taps(0, outer.mask):
                result |= taps.mask << (position * shift)
        return _marked((base + outer.first) * shift + taps.first, result)
    if outer.count > _LONG and _touching(inner, outer.max_gap + 1):
        return _between(inner.at(base + outer.first), inner.at(base + outer.last))
    return _united([inner.at(base + position) for position in outer])


def _touching(reads: Reads, distance: int) -> bool:
    """Whether outputs read intervals that only move on, and touch up to `distance` apart.

    What outputs no farther apart read together is then one interval.
    """
    if not all(taps.solid or (taps.mask and taps.count == taps.size) for taps in reads.phases):
        return False
    ends = [(taps.first, taps.last) for taps in reads.phases]
    # One more, the first of the next period: none falls behind the one before it.
    first, last = ends[0]
    ends.append((first + reads.shift, last + reads.shift))
    if any(a > c or b > d for (a, b), (c, d) in pairwise(ends)):
        return False
    turns, rest = divmod(distance, reads.period)
    moved = turns * reads.shift
    return all(
        ends[(phase + rest) % reads.period][0]
        + moved
        + (reads.shift if phase + rest >= reads.period else 0)
        <= ends[phase][1] + 1
        for phase in range(reads.period)
    )


def _between(one: Taps, other: Taps) -> Taps:
    """All from the first of one interval to the last of another."""
    return Taps.interval(one.first, other.last + 1 - one.first)


def _unions_of(asked: Sequence[tuple[Taps, int]], inner: Reads) -> Iterator[Taps]:
    """The same for many at once: what a run of positions reads is worked out for all phases."""
    longest = max(taps.count for taps, _ in asked)
    many = longest * len(asked) >= 4 * longest.bit_length() * inner.period and longest >= _LONG
    known: dict[tuple[int, int], Reads] = {}
    # Most ask with the same taps, from another position on.
    touching: dict[int, bool] = {}
    for taps, base in asked:
        if id(taps) not in touching:
            touching[id(taps)] = taps.count > 0 and _touching(inner, taps.max_gap + 1)
        if touching[id(taps)]:
            yield _between(inner.at(base + taps.first), inner.at(base + taps.last))
            continue
        if not many:
            yield _union_of(taps, base, inner)
            continue
        found = []
        for run, _ in taps.support.runs():
            key = (run.step, len(run))
            if key not in known:
                known[key] = _widened(inner, *key)
            found.append(known[key].at(base + run.start))
        yield _united(found)


def _widened(inner: Reads, step: int, count: int) -> Reads:
    """Each output reads what `count` outputs from it on read, `step` apart, by doubling."""

    def joined(one: Reads, other: Reads, distance: int) -> Reads:
        phases = [_united([one.at(o), other.at(o + distance)]) for o in range(inner.period)]
        return Reads(inner.period, inner.shift, tuple(phases))

    whole, done = inner, 1
    for bit in f"{count:b}"[1:]:
        whole, done = joined(whole, whole, done * step), 2 * done
        if bit == "1":
            whole, done = joined(whole, inner, done * step), done + 1
    return whole


def _united(found: Sequence[Taps]) -> Taps:
    """All positions that any of some sets has."""
    read = [taps for taps in found if taps.mask]
    if not read:
        return EMPTY
    # Behind what upsamples most positions read the same: one object for it is kept.
    if all(taps.first == read[0].first and taps.mask is read[0].mask for taps in read):
        return read[0].support
    first = min(taps.first for taps in read)
    result = 0
    for taps in read:
        result |= taps.mask << (taps.first - first)
    return _marked(first, result)


def _marked(first: int, mask: int) -> Taps:
    return Taps(first, mask, None, not mask & (mask + 1))


def _apart(mask: int, distance: int) -> int:
    """A set with its positions `distance` times as far apart."""
    return mask if distance == 1 else int(("0" * (distance - 1)).join(f"{mask:b}"), 2)


def repeated(mask: int, count: int, distance: int) -> int:
    """The union of `count` copies of a set, each `distance` further on, by doubling.

    >>> f"{repeated(0b101, 3, 4):b}"
    '10101010101'
    """
    done = 1
    while 2 * done <= count:
        mask |= mask << (done * distance)
        done *= 2
    return mask | mask << ((count - done) * distance)


def _sum_of(outer: Taps, base: int, inner: Reads) -> Taps:
    counted: dict[int, int] = {}
    for middle, paths in outer.items():
        for position, multiplicity in inner.at(base + middle).items():
            counted[position] = counted.get(position, 0) + paths * multiplicity
    return Taps.of(counted)


def _add(a: Taps, b: Taps) -> Taps:
    counted = dict(a.items())
    for position, multiplicity in b.items():
        counted[position] = counted.get(position, 0) + multiplicity
    return Taps.of(counted)
