"""How minimal filtering cuts a convolution into tiles, and how many products that leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from atrous.geometry import Window
from atrous.operators.convolution import Convolution

__all__ = ["LEVELS", "Tiling", "living", "tiled"]

LEVELS = (4, 5, 6)
"""Outputs of a kernel of 3 in a tile, along an axis, at most: more save more and round more."""

_KERNELS = (1, 2, 3, 5)
_LEAST = 4
"""A tile takes 4 to 8 products along an axis: `outputs + kernel - 1` (Winograd 1980)."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """A convolution of stride 1 by minimal filtering: the outputs of a tile along each axis.

    `products` are those for one pair of an input and an output channel, over the whole map of one
    image, `plain` what its definition takes for as many outputs.
    """

    outputs: tuple[int, ...]
    products: int
    plain: int

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
    so tiles cover each phase by itself.

    >>> one = Convolution(1, 1, 1, (65, 65), (Window(3, 1, 12, 12, 12),) * 2)
    >>> [(tiling.outputs, tiling.products) for tiling in (tiled(one, 4), tiled(one, 6))]
    [((3, 3), 14400), ((6, 6), 9216)]
    """
    if call.transposed or max(call.stride, default=1) > 1 or not set(call.kernel) <= {*_KERNELS}:
        return None
    axes = [_cheapest(w, n, level + 2) for w, n in zip(call.windows, call.outputs, strict=True)]
    plain = prod(call.kernel) * prod(call.outputs)
    return Tiling(tuple(m for _, m in axes), prod(cost for cost, _ in axes), plain)


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


def _cheapest(window: Window, outputs: int, points: int) -> tuple[int, int]:
    """The products along one axis, and the outputs of a tile; of equals the smaller tile."""
    if window.kernel == 1:
        return outputs, 1
    least, most = _LEAST + 1 - window.kernel, points + 1 - window.kernel
    return min((_taken_along(window, outputs, m), m) for m in range(max(least, 2), most + 1))


def _taken_along(window: Window, outputs: int, tile: int) -> int:
    whole, longer = divmod(outputs, window.dilation)
    tiles = longer * -(-(whole + 1) // tile) + (window.dilation - longer) * -(-whole // tile)
    return tiles * (tile + window.kernel - 1)
