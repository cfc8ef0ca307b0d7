"""A finite multiset of positions: what one output reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd

from atrous.errors import GeometryError

__all__ = ["Taps"]


@dataclass(frozen=True, slots=True)
class Taps:
    """Positions with multiplicities, the set of them held as the bits of one integer.

    Bit `i` of `mask` says that position `first + i` is read; bit 0 is always set, so that equal
    multisets are equal records. `counts` lists the multiplicities in ascending order of position;
    `None` says that each is 1. The empty multiset is `Taps(0, 0)`. `solid` marks a set that is
    known to have no hole, which saves looking.

    >>> taps = Taps.of([4, 8, 8])
    >>> list(taps), taps.multiplicities
    ([4, 8], (1, 2))
    >>> taps.size, taps.count, taps.max_gap, taps.step
    (5, 2, 3, 4)
    """

    first: int
    mask: int
    counts: tuple[int, ...] | None = None
    solid: bool = field(default=False, compare=False, repr=False)

    @classmethod
    def interval(cls, first: int, size: int) -> Taps:
        """Every position from `first` on, `size` of them.

        >>> list(Taps.interval(-1, 3))
        [-1, 0, 1]
        """
        return cls(first, (1 << size) - 1, None, True) if size > 0 else EMPTY

    @classmethod
    def of(cls, positions: Iterable[int] | Mapping[int, int]) -> Taps:
        """The multiset of the given positions, or of a mapping from position to multiplicity."""
        counted: dict[int, int] = {}
        if isinstance(positions, Mapping):
            counted = {p: m for p, m in positions.items() if m}
        else:
            for position in positions:
                counted[position] = counted.get(position, 0) + 1
        if not counted:
            return EMPTY
        if min(counted.values()) < 0:
            raise GeometryError("a multiplicity is below 0; positions are read 0 times or more.")
        first = min(counted)
        mask = 0
        for position in counted:
            mask |= 1 << (position - first)
        if all(m == 1 for m in counted.values()):
            return cls(first, mask)
        return cls(first, mask, tuple(counted[p] for p in sorted(counted)))

    @classmethod
    def from_mask(cls, first: int, mask: int) -> Taps:
        """The set whose bit `i` of `mask` stands for position `first + i`.

        >>> Taps.from_mask(0, 0b1010)
        Taps(first=1, mask=5, counts=None)
        """
        if not mask:
            return EMPTY
        low = (mask & -mask).bit_length() - 1
        return cls(first + low, mask >> low)

    def __iter__(self) -> Iterator[int]:
        bits = f"{self.mask:b}"[::-1]
        if self.size < 16 * self.count:
            for position, bit in enumerate(bits, start=self.first):
                if bit == "1":
                    yield position
            return
        at = bits.find("1")
        while at >= 0:
            yield self.first + at
            at = bits.find("1", at + 1)

    def __len__(self) -> int:
        return self.mask.bit_count()

    def __contains__(self, position: object) -> bool:
        if not isinstance(position, int) or position < self.first:
            return False
        return bool(self.mask >> (position - self.first) & 1)

    @property
    def last(self) -> int:
        """The highest position read."""
        return self.first + self.mask.bit_length() - 1

    @property
    def size(self) -> int:
        """`last - first + 1`, or 0 where nothing is read."""
        return self.mask.bit_length()

    @property
    def count(self) -> int:
        """How many distinct positions are read."""
        return self.mask.bit_length() if self.solid else self.mask.bit_count()

    @property
    def total(self) -> int:
        """The sum of the multiplicities."""
        return self.count if self.counts is None else sum(self.counts)

    @property
    def multiplicities(self) -> tuple[int, ...]:
        """How often each position is read, in ascending order of position."""
        return (1,) * self.count if self.counts is None else self.counts

    @property
    def coverage(self) -> float:
        """`count / size`: 1.0 where there is no hole (and where nothing is read)."""
        return self.count / self.size if self.mask else 1.0

    @property
    def max_gap(self) -> int:
        """The longest run of unread positions between two read ones."""
        if self.solid or self.count == self.size:
            return 0
        if even := _even(self.mask):
            return even - 1
        return max(map(len, f"{self.mask:b}".split("1")))

    @property
    def step(self) -> int:
        """The greatest common divisor of the distances between positions (1 for a single one)."""
        if self.solid or self.mask & (self.mask >> 1) or self.count < 2:
            return 1
        if even := _even(self.mask):
            return even
        return gcd(*(len(run) + 1 for run in set(f"{self.mask:b}".split("1")[1:-1])))

    @property
    def support(self) -> Taps:
        """The same positions, each read once."""
        return self if self.counts is None else Taps(self.first, self.mask)

    def items(self) -> Iterator[tuple[int, int]]:
        """Pairs of position and multiplicity, in ascending order of position."""
        return zip(self, self.multiplicities, strict=True)

    def runs(self) -> Iterator[tuple[range, int]]:
        """The positions as evenly spaced runs with one multiplicity each, in ascending order.

        >>> list(Taps.of([0, 2, 4, 5, 5]).runs())
        [(range(0, 5, 2), 1), (range(5, 6), 2)]
        """
        if self.counts is None and self.count > 1 and (self.count - 1) * self.step == self.size - 1:
            yield range(self.first, self.last + 1, self.step), 1
            return
        held, paths = range(0), 0
        for position, more in self.items():
            step = position - held[-1] if held else 0
            if held and more == paths and (len(held) == 1 or step == held.step):
                held = range(held.start, position + 1, step)
                continue
            if held:
                yield held, paths
            held, paths = range(position, position + 1), more
        if held:
            yield held, paths

    def united(self, other: Taps) -> Taps:
        """The set of positions that either reads.

        >>> list(Taps.of([0, 4]).united(Taps.of([4, 5])))
        [0, 4, 5]
        """
        if not self.mask or not other.mask:
            return (self if self.mask else other).support
        for one, two in ((self, other), (other, self)):
            if one.solid and one.first <= two.first and two.last <= one.last:
                return one
        first = min(self.first, other.first)
        mask = self.mask << (self.first - first) | other.mask << (other.first - first)
        return Taps(first, mask, None, not mask & (mask + 1))

    def shifted(self, distance: int) -> Taps:
        """The same reads, moved by `distance` positions.

        >>> list(Taps.of([0, 2]).shifted(5))
        [5, 7]
        """
        if not self.mask or not distance:
            return self
        return Taps(self.first + distance, self.mask, self.counts, self.solid)


def _even(mask: int) -> int:
    """How far apart neighbours are, two or more, where all are equally far; else 0.

    >>> _even(0b1001001), _even(0b1001011)
    (3, 0)
    """
    rest = mask >> 1
    apart = (rest & -rest).bit_length()
    # So spaced, a set moved by that distance less itself is a 1 for each position up to its end.
    return apart if (mask << apart) - mask == (1 << apart * mask.bit_count()) - 1 else 0


EMPTY = Taps(0, 0)
