"""Holes, common factors and the rules about them for stacks of dilated windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import gcd
from operator import sub

from atrous.errors import GeometryError
from atrous.geometry.reads import Reads
from atrous.geometry.taps import Taps
from atrous.geometry.window import Window

__all__ = [
    "HDC",
    "fills",
    "hdc",
    "holes",
    "inside_counts",
    "inside_share",
    "rises_by_kernels",
    "stack_taps",
    "tail_factors",
]


def stack_taps(kernel: int, rates: Sequence[int]) -> Taps:
    """What one output of a stack of stride-1 windows reads, as a set centred on padding `same`.

    >>> taps = stack_taps(3, [2, 2, 2])
    >>> taps.count, taps.size
    (7, 13)
    """
    reads = Reads.identity()
    for rate in rates:
        window = Window(kernel, dilation=rate)
        centred = Window(kernel, dilation=rate, pad_lo=(window.extent - 1) // 2)
        reads = Reads.window(centred).after(reads, counted=False)
    return reads.at(0)


def holes(taps: Taps) -> tuple[range, ...]:
    """The runs of unread positions between read ones.

    >>> holes(Taps.of([0, 1, 4, 8]))
    (range(2, 4), range(5, 8))
    """
    found = []
    previous = None
    for position in taps:
        if previous is not None and position > previous + 1:
            found.append(range(previous + 1, position))
        previous = position
    return tuple(found)


def fills(kernel: int, rates: Sequence[int]) -> bool:
    """True exactly where a stride-1 stack of one odd kernel reads without a hole.

    With the rates in ascending order: `d_j <= 1 + (kernel - 1) * sum of the rates before it`.
    The order of the layers does not matter.

    >>> fills(3, [1, 2, 5]), fills(3, [2, 2, 2]), fills(3, [5, 1, 2])
    (True, False, True)
    """
    if kernel % 2 == 0:
        raise GeometryError(
            f"the rule holds for odd kernels, got {kernel}; ask stack_taps instead."
        )
    reach = 0
    for rate in sorted(rates):
        if kernel > 1 and rate > 1 + (kernel - 1) * reach:
            return False
        reach += rate
    return True


def tail_factors(rates: Sequence[int]) -> tuple[int, ...]:
    """For each layer, the common factor of its rate and all rates after it.

    Above 1, neighbouring outputs read disjoint sub-grids of that layer's input.

    >>> tail_factors([1, 2, 4]), tail_factors([4, 2, 1])
    ((1, 2, 4), (1, 1, 1))
    """
    factors: list[int] = []
    common = 0
    for rate in reversed(rates):
        common = gcd(common, rate)
        factors.append(common)
    return tuple(reversed(factors))


def rises_by_kernels(windows: Iterable[tuple[int, int]]) -> bool:
    """Whether rates rise from 1 step by step, as those of a causal stack that doubles them do.

    Of pairs of kernel and rate: each rate above 1 is a smaller one times a factor of up to its
    kernel, which is there as often.

    >>> rises_by_kernels([(2, 1), (2, 2), (2, 4)]), rises_by_kernels([(3, 2), (3, 2)])
    (True, False)
    """
    counts: Counter[int] = Counter()
    kernels: dict[int, int] = {}
    for kernel, rate in windows:
        counts[rate] += 1
        kernels[rate] = max(kernels.get(rate, 0), kernel)
    return all(
        any(
            counts[lower] >= counts[rate]
            for factor in range(2, max(kernels[rate], 2) + 1)
            if rate % factor == 0 and (lower := rate // factor) in counts
        )
        for rate in counts
        if rate > 1
    )


@dataclass(frozen=True, slots=True)
class HDC:
    """The verdict of the hybrid-dilated-convolution rule, and the distance `m2` that it bounds."""

    passes: bool
    m2: int


def hdc(kernel: int, rates: Sequence[int]) -> HDC:
    """The HDC rule, for reference: `M_2 <= kernel` (Wang et al. 2018, section 3.2).

    `M_n = r_n`, `M_i = max(M_{i+1} - 2 r_i, 2 r_i - M_{i+1}, r_i)`. It is neither necessary nor
    sufficient for reading without holes: it passes (2, 2, 2) and rejects (1, 2, 5, 1, 2, 5).

    >>> hdc(3, [2, 2, 2]), hdc(3, [1, 2, 9])
    (HDC(passes=True, m2=2), HDC(passes=False, m2=5))
    """
    if not rates:
        raise GeometryError("the HDC rule needs at least one rate; give the rates of the stack.")
    distance = rates[-1]
    for rate in reversed(rates[1:-1]):
        distance = max(distance - 2 * rate, 2 * rate - distance, rate)
    return HDC(distance <= kernel, distance)


def inside_share(length: int, rate: int, kernel: int = 3) -> Fraction:
    """The share of positions along one axis whose window lies wholly inside `length` inputs.

    For kernel 3 this is `max(0, 1 - 2 rate / length)`; square it for a square map.

    >>> round(float(inside_share(65, 12) ** 2), 2), inside_share(33, 36)
    (0.4, Fraction(0, 1))
    """
    margin = Window(kernel, dilation=rate).extent - 1
    return max(Fraction(0), 1 - Fraction(margin, length))


def inside_counts(window: Window, length: int) -> dict[int, int]:
    """How many outputs have so many taps inside `length` inputs, the others lying on padding.

    >>> inside_counts(Window(3, dilation=12, pad_lo=12, pad_hi=12), 33)
    {2: 24, 3: 9}
    """
    outputs = window.output_length(length)
    if outputs <= 4 * window.kernel:
        lows = range(window.pad_lo, window.pad_lo - outputs * window.stride, -window.stride)
        below, within = _taps_below(window, lows), _taps_below(window, (n + length for n in lows))
        return dict(sorted(Counter(map(sub, within, below)).items()))
    changes = {0: 0, outputs: 0}
    for tap in range(window.kernel):
        reached = window.reached(tap, length)
        if reached:
            changes[reached.start] = changes.get(reached.start, 0) + 1
            changes[reached.stop] = changes.get(reached.stop, 0) - 1
    places = sorted(changes)
    found: dict[int, int] = {}
    inside = 0
    for place, following in pairwise(places):
        inside += changes[place]
        found[inside] = found.get(inside, 0) + following - place
    return dict(sorted(found.items()))


def _taps_below(window: Window, distances: Iterable[int]) -> Iterator[int]:
    """How many taps lie less than each distance behind the first one."""
    kernel, rate = window.kernel, window.dilation
    return (min(max(-(-distance // rate), 0), kernel) for distance in distances)
