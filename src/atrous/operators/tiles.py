"""How minimal filtering cuts a convolution into tiles, and how many products that leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import gcd, prod

from atrous.geometry import Window
from atrous.operators.convolution import Convolution

__all__ = ["LEVELS", "Rest", "Tiling", "living", "saving", "tiled"]

LEVELS = (4, 5, 6)
"""Outputs of a kernel of 3 in a tile, along an axis, at most: more save more and round more."""

_TAPS = range(2, 6)
_MOST_KERNEL = 64
_LEAST = 4
"""A tile takes 4 to 8 products along an axis: `outputs + taps - 1` (Winograd 1980)."""


_CLOSED = 3
"""Outputs of a phase that reads nothing beyond the map, at most, for which a closed tile saves."""
_READS = 10
"""Reading the weights of one kind of tiles takes as long as the products of so many tiles."""
_ADDS = 75
"""Adding to their gradients, and taking these back to the taps, as those of so many."""
_PAYS = 0.97
"""Two kinds of tiles are taken where they cost less than so much of one."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Tiles of other `outputs` that end the phases along an axis; of 0 there are none.

    So many end the longest phases and those `shorter` by one output. `closed`: as of `Tiling`.
    """

    outputs: int = 0
    longest: int = 0
    shorter: int = 0
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Tiling:
    """A convolution by minimal filtering: the outputs of a tile along each axis.

    Kernels of many taps, and strides, are sums of `parts` convolutions of stride 1 with `taps` each
    (decomposed: Huang et al. 2020). `products` are those for one pair of an input and an output
    channel, over the whole map of one image, `plain` what its definition takes for as many outputs.
    A `closed` tile is a whole phase of 2 or 3 outputs that reads nothing beyond the map, which
    takes one product more than it has outputs.
    """

    outputs: tuple[int, ...]
    products: int
    plain: int
    taps: tuple[int, ...]
    parts: int = 1
    rests: tuple[Rest, ...] = ()
    closed: tuple[bool, ...] = ()

    @property
    def saves(self) -> float:
        """How many times fewer products it takes.

        >>> from atrous.operators.convolution import Convolution
        >>> whole = Convolution(1, 1, 1, (24, 24), (Window(3, 1, 2, 2, 2),) * 2)
        >>> tiled(whole, 4).saves
        4.0
        """
        return self.plain / self.products


@lru_cache(maxsize=1024)
def tiled(call: Convolution, level: int, by_weight: bool = False) -> Tiling | None:
    """The cheapest tiles of at most `level + 2` products an axis; None where there are none.

    Those of the gradient `by_weight` differ where weights of several kinds of tiles would cost more
    than products.

    The outputs of one phase of the dilation lie `dilation` apart and are a convolution without it,
    so tiles cover each phase by itself. A stride leaves the taps on phases of the input, each of
    which is a part of its own.

    >>> one = Convolution(1, 1, 1, (65, 65), (Window(3, 1, 12, 12, 12),) * 2)
    >>> [(tiling.outputs, tiling.products) for tiling in (tiled(one, 4), tiled(one, 6))]
    [((3, 3), 12769), ((6, 6), 9216)]
    """
    if call.transposed or max(call.kernel, default=1) > _MOST_KERNEL:
        return None
    axes = zip(call.windows, call.sizes, call.outputs, strict=True)
    ways = [_ways(window, size, made, level + 2) for window, size, made in axes]
    # The plainest way along each axis comes first.
    plain, *others = product(*ways)

    def cost(way: tuple[_Axis, ...]) -> int:
        return _cost(way, call.batch, _ADDS if by_weight else _READS)

    least = min(others, key=cost, default=plain)
    found = least if cost(least) < _PAYS * cost(plain) else plain
    return Tiling(
        tuple(axis.tile for axis in found),
        prod(axis.products for axis in found),
        prod(call.kernel) * prod(call.outputs),
        tuple(axis.taps for axis in found),
        prod(axis.parts for axis in found),
        tuple(axis.rest for axis in found),
        tuple(axis.closed for axis in found),
    )


def saving(call: Convolution) -> Tiling | None:
    """The tiles that round least, where the kernels have them and they take fewer products.

    >>> saving(Convolution(1, 8, 8, (64,), (Window(7, 1, 1, 3, 3),))).taps
    (4,)
    """
    if call.groups != 1 or call.rank > 2 or 0 in (call.batch, call.in_channels, *call.sizes):
        return None
    found = tiled(call, LEVELS[0])
    return found if found is not None and found.saves > 1 else None


def living(call: Convolution) -> tuple[tuple[range, ...], Convolution]:
    """The taps along each axis that fall on the map somewhere, and the convolution of those alone.

    >>> far = Convolution(1, 1, 1, (20,), (Window(3, 1, 24, 24, 24),))
    >>> living(far)[0], living(far)[1].windows
    ((range(1, 2),), (Window(kernel=1, stride=1, dilation=24, pad_lo=0, pad_hi=0),))
    """
    kept, windows = [], []
    for window, size in zip(call.windows, call.sizes, strict=True):
        alive = [tap for tap in range(window.kernel) if window.reached(tap, size)] or [0]
        taps = range(alive[0], alive[-1] + 1)
        less = window.dilation
        kept.append(taps)
        windows.append(
            replace(
                window,
                kernel=len(taps),
                pad_lo=window.pad_lo - taps.start * less,
                pad_hi=window.pad_hi - (window.kernel - taps.stop) * less,
            )
        )
    return tuple(kept), replace(call, windows=tuple(windows))


@dataclass(frozen=True, slots=True)
class _Axis:
    """What tiles along one axis take: `kinds` of so many products, and how many tiles of each."""

    kinds: tuple[tuple[int, int], ...]
    parts: int
    tile: int
    taps: int
    rest: Rest = Rest()
    closed: bool = False

    @property
    def products(self) -> int:
        return sum(each * tiles for each, tiles in self.kinds)


def _cost(way: tuple[_Axis, ...], batch: int, weights: int) -> int:
    """Products, and what the weights of each pair of kinds take: as those of so many tiles."""
    return sum(
        prod(each for each, _ in kinds) * (batch * prod(tiles for _, tiles in kinds) + weights)
        for kinds in product(*(axis.kinds for axis in way))
    )


def _ways(window: Window, size: int, outputs: int, points: int) -> list[_Axis]:
    """The cheapest tiles of one kind, and where others take fewer products those: of two kinds."""
    if window.kernel == 1:
        return [_Axis(((1, outputs),), 1, 1, 1)]
    # Outputs so far apart, and taps so far apart, move the input by as much.
    common = gcd(window.stride, window.dilation)
    apart, phases = window.dilation // common, window.stride // common
    longest = -(-outputs // apart)
    many = outputs - (longest - 1) * apart
    # Lengths of phases, and how many there are; the last ones are shorter, or there are none.
    lengths = [(longest, many), (longest - 1, apart - many if longest > 1 else 0)]

    def sizes(taps: int) -> range:
        return range(max(_LEAST + 1 - taps, 2), points + 2 - taps)

    def parts(taps: int) -> int:
        return sum(
            -(-len(range(phase, window.kernel, phases)) // taps)
            for phase in range(min(phases, window.kernel))
        )

    one = min(
        (_of_one(lengths, tile, taps, parts(taps)) for taps in _TAPS for tile in sizes(taps)),
        key=_price,
    )
    two = [
        _of_two(lengths, tile, rest, one.taps, one.parts)
        for tile in sizes(one.taps)
        for rest in sizes(one.taps)
        if rest < tile
    ]
    closed = window.kernel == 3 and window.stride == 1 and window.pad_lo == window.dilation
    if closed and size == outputs and longest > 1:
        two += _with_closed(lengths, points)
    least = min(two, key=_price, default=one)
    return [one, least] if least.products < one.products else [one]


def _price(axis: _Axis) -> tuple[int, int, int, int]:
    """Of those with as few products fewer parts, smaller tiles."""
    return axis.products, axis.parts, axis.tile, axis.taps


def _of_one(lengths: list[tuple[int, int]], tile: int, taps: int, parts: int) -> _Axis:
    tiles = sum(-(-length // tile) * many for length, many in lengths)
    return _Axis(((parts * (tile + taps - 1), tiles),), parts, tile, taps)


def _of_two(lengths: list[tuple[int, int]], tile: int, rest: int, taps: int, parts: int) -> _Axis:
    """Each phase ends with as many of the smaller tiles as make it take the fewest products."""
    more, less = tile + taps - 1, rest + taps - 1
    longest, shorter = (
        # As many of the smaller ones as a larger one has outputs are more than larger ones take.
        min(range(tile), key=lambda n: (-(-max(length - n * rest, 0) // tile) * more + n * less, n))
        for length, _ in lengths
    )
    ends = (longest, shorter)
    mains = sum(
        -(-max(length - end * rest, 0) // tile) * many
        for (length, many), end in zip(lengths, ends, strict=True)
    )
    rests = sum(many * end for (_, many), end in zip(lengths, ends, strict=True))
    kinds = ((parts * more, mains), (parts * less, rests))
    return _Axis(kinds, parts, tile, taps, Rest(rest, longest, shorter))


def _with_closed(lengths: list[tuple[int, int]], points: int) -> Iterator[_Axis]:
    (longest, many), (shorter, others) = lengths
    if longest <= _CLOSED:
        main = (longest + 1, many)
    elif shorter <= _CLOSED and longest + 2 <= points:
        main = (longest + 2, many)
    else:
        return
    closed = longest <= _CLOSED
    if others == 0:
        yield _Axis((main,), 1, longest, 3, closed=closed)
        return
    rest = (1 if shorter == 1 else shorter + 1, others)
    yield _Axis((main, rest), 1, longest, 3, Rest(shorter, 0, 1, True), closed)
