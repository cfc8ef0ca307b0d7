"""How minimal filtering cuts a convolution into tiles, and how many products that leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod

from atrous.geometry import Window
from atrous.operators.convolution import Convolution

__all__ = ["LEVELS", "Tiling", "living", "saving", "tiled"]

LEVELS = (4, 5, 6)
"""Outputs of a kernel of 3 in a tile, along an axis, at most: more save more and round more."""

_TAPS = range(2, 6)
_MOST_KERNEL = 64
_LEAST = 4
"""A tile takes 4 to 8 products along an axis: `outputs + taps - 1` (Winograd 1980)."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """A convolution by minimal filtering: the outputs of a tile along each axis.

    Kernels of many taps, and strides, are sums of `parts` convolutions of stride 1 with `taps` each
    (decomposed: Huang et al. 2020). `products` are those for one pair of an input and an output
    channel, over the whole map of one image, `plain` what its definition takes for as many outputs.
    """

    outputs: tuple[int, ...]
    products: int
    plain: int
    taps: tuple[int, ...]
    parts: int = 1

    @property
    def saves(self) -> float:
        """How many times fewer products it takes.

        >>> from atrous.operators.convolution import Convolution
        >>> whole = Convolution(1, 1, 1, (24, 24), (Window(3, 1, 2, 2, 2),) * 2)
        >>> tiled(whole, 4).saves
        4.0
        """
        return self.plain / self.products


def tiled(call: Convolution, level: int) -> Tiling | None:
    """The cheapest tiles of at most `level + 2` products an axis; None where there are none.

    The outputs of one phase of the dilation lie `dilation` apart and are a convolution without it,
    so tiles cover each phase by itself. A stride leaves the taps on phases of the input, each of
    which is a part of its own.

    >>> one = Convolution(1, 1, 1, (65, 65), (Window(3, 1, 12, 12, 12),) * 2)
    >>> [(tiling.outputs, tiling.products) for tiling in (tiled(one, 4), tiled(one, 6))]
    [((3, 3), 14400), ((6, 6), 9216)]
    """
    if call.transposed or max(call.kernel, default=1) > _MOST_KERNEL:
        return None
    axes = [_cheapest(w, n, level + 2) for w, n in zip(call.windows, call.outputs, strict=True)]
    return Tiling(
        tuple(axis.tile for axis in axes),
        prod(axis.products for axis in axes),
        prod(call.kernel) * prod(call.outputs),
        tuple(axis.taps for axis in axes),
        prod(axis.parts for axis in axes),
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


@dataclass(frozen=True, slots=True, order=True)
class _Axis:
    """What tiles along one axis take; of those with as few products fewer parts, smaller tiles."""

    products: int
    parts: int
    tile: int
    taps: int


def _cheapest(window: Window, outputs: int, points: int) -> _Axis:
    if window.kernel == 1:
        return _Axis(outputs, 1, 1, 1)
    return min(
        _along(window, outputs, tile, taps)
        for taps in _TAPS
        for tile in range(max(_LEAST + 1 - taps, 2), points + 2 - taps)
    )


def _along(window: Window, outputs: int, tile: int, taps: int) -> _Axis:
    common = gcd(window.stride, window.dilation)
    # Outputs so far apart, and taps so far apart, move the input by as much.
    apart, phases = window.dilation // common, window.stride // common
    parts = sum(
        -(-len(range(phase, window.kernel, phases)) // taps)
        for phase in range(min(phases, window.kernel))
    )
    whole, longer = divmod(outputs, apart)
    tiles = longer * -(-(whole + 1) // tile) + (apart - longer) * -(-whole // tile)
    return _Axis(parts * tiles * (tile + taps - 1), parts, tile, taps)
