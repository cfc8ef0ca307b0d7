"""`rates`: what branches of these rates see of a map; `pyramid_rates`: which rates to choose."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from atrous.analysis.pyramid_choice import Holes, PyramidRates, choose_rates
from atrous.analysis.rates import Pyramid, same_pyramid
from atrous.analysis.scale import scales_of
from atrous.errors import GeometryError

__all__ = ["pyramid_rates", "rates"]

_MOST = {
    "rates": 1_000_000,
    "kernel": 31,
    "output_stride": 1_000_000,
    "size": 1 << 40,
    "trunk": 100_000,
    "branches": 64,
}
_MOST_AXES = 3

Numbers = int | Sequence[int]


def rates(
    size: Numbers,
    rates: Sequence[Numbers] = (6, 12, 18),
    *,
    output_stride: Numbers = 16,
    kernel: Numbers = 3,
    trunk: int = 1,
    rate: Any = None,
    pixel: Any = None,
) -> Pyramid:
    """Which rates still see more than their centre at this input size and output stride.

    `size` is the input or crop in pixels: one number for a square, or one for each axis, as the
    others are too. The branches (DeepLab's ASPP has three) run on a map of
    `ceil(size / output_stride)`, as networks that pad `same` make it, and keep its size. For each
    the result has the exact share of its taps that lie inside the map, and the shares of positions
    with all of them inside and with the centre alone; `limits` the largest rates that see more,
    `scaled` these rates in DeepLab v3's proportion to the map. `trunk` is how many positions of the
    map in a row one of them has seen itself (a field of 427 pixels at output stride 16: 26): what
    all branches read together is then through it. With `rate`, the samples per second
    along time, or `pixel`, the size of an input position, as in `Inspection.scaled`, the text has
    rates in ms or as lengths, too.

    Raises `GeometryError` for what is no size, rate, stride or kernel, `ReadError` for what is no
    sample rate or length.

    >>> import atrous
    >>> for branch in atrous.rates(513, (12, 24, 36)).branches:
    ...     print(branch)
    rate 12x12 on a map of 33x33: every position sees more than its centre; all 9 taps lie ...
    rate 24x24 on a map of 33x33: only its centre lies inside at 21% of positions; all 9 taps ...
    rate 36x36 on a map of 33x33: 3x3 in name, and a 1x1 here: only its centre lies inside, ...
    >>> atrous.rates(513).limits
    Limits(all_somewhere=16, more_everywhere=16, more_somewhere=32)
    """
    given: Any = rates
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise GeometryError(f"rates {given!r} are no rates; give a tuple of them: (6, 12, 18).")
    lists = [v for v in (size, output_stride, kernel, *rates) if isinstance(v, Sequence)]
    rank = len(lists[0]) if lists else 2
    if not 1 <= rank <= _MOST_AXES or any(len(given) != rank for given in lists):
        raise GeometryError(
            f"{', '.join(str(len(given)) for given in lists)} axes do not go together; size, "
            "output_stride=..., kernel=... and rates=... have one number, or one for each of one "
            "to three axes."
        )
    sizes = _along(size, rank, "size")
    strides = _along(output_stride, rank, "output_stride")
    kernels = _along(kernel, rank, "kernel")
    each = [_along(rate, rank, "rates") for rate in rates]
    if not each:
        raise GeometryError("there are no rates; give one or more, such as 6, 12, 18.")
    if max(kernels) == 1:
        raise GeometryError("kernel=1 has no rate; give a kernel of 2 or more, such as 3.")
    found = same_pyramid(sizes, each, strides, kernels, _single(trunk, "trunk"))
    if rate is None and pixel is None:
        return found
    hops = dict(zip(found.axes, strides, strict=True))
    return found.scaled_by(scales_of(found.axes, rate, pixel), hops)


def pyramid_rates(
    size: Numbers,
    branches: int = 3,
    *,
    output_stride: Numbers = 16,
    kernel: int = 3,
    trunk: int = 1,
    holes: Holes = "box",
) -> PyramidRates:
    """The rates of a pyramid, such as an ASPP, that reach farthest on a map without losing taps.

    Of `branches` different rates on the map of `ceil(size / output_stride)`, those of the largest
    reach with which no branch degenerates (some position has all of its taps inside the map, and
    every position more than one) and all of them together leave no hole in what is read through the
    `trunk`: how many positions of the map in a row one of them has seen itself, `field //
    output_stride` of the backbone. In between rates lie as evenly as they can.

    With `holes="box"` no position in the box that is reached may be left out. For kernel 3 and M
    the trunk's extent, a branch of rate r has no hole exactly where `r <= M`, and the widest branch
    gets no help from others at the box's sides: so the rates go up to M. With `holes="axes"` (and
    along a single axis) only the lines through the centre count, and each rate may lie M beyond the
    one before it. Where no rates do it (a bare pyramid, trunk 1), `.whole` is False, the smallest
    rates are given, which leave the smallest share out, and `.needed` is the trunk for the limit.

    Raises `GeometryError` for bad numbers, an even kernel, and a map too small for so many rates.

    >>> import atrous
    >>> atrous.pyramid_rates(513, trunk=26).rates
    (5, 11, 16)
    >>> atrous.pyramid_rates(513, output_stride=8, trunk=12, holes="axes").rates
    (11, 21, 32)
    >>> bare = atrous.pyramid_rates(513)
    >>> bare.rates, bare.whole, bare.needed
    ((1, 2, 3), False, 16)
    """
    if holes not in ("box", "axes"):
        raise GeometryError(f"holes is {holes!r}: use 'box' or 'axes'.")
    lists = [v for v in (size, output_stride) if isinstance(v, Sequence)]
    rank = len(lists[0]) if lists else 2
    if not 1 <= rank <= _MOST_AXES or any(len(given) != rank for given in lists):
        raise GeometryError(
            f"{', '.join(str(len(given)) for given in lists)} axes do not go together; size and "
            "output_stride=... have one number, or one for each of one to three axes."
        )
    width = _single(kernel, "kernel")
    if width < 3 or width % 2 == 0:
        raise GeometryError(
            f"kernel={width} has no taps alike on both sides of its centre; give an odd kernel of "
            "3 or more."
        )
    return choose_rates(
        _along(size, rank, "size"),
        _along(output_stride, rank, "output_stride"),
        _single(branches, "branches"),
        width,
        _single(trunk, "trunk"),
        holes,
    )


def _single(given: Any, what: str) -> int:
    """One whole number within its range."""
    return _along(given, 1, what)[0] if _is_whole(given) else _along((given,), 1, what)[0]


def _along(given: Numbers, rank: int, what: str) -> tuple[int, ...]:
    values = tuple(given) if isinstance(given, Sequence) else (given,) * rank
    for value in values:
        if not _is_whole(value) or not 1 <= value <= _MOST[what]:
            raise GeometryError(
                f"{what}={value!r} is no whole number from 1 to {_MOST[what]:,}; give one that is."
            )
    return tuple(map(index, values))


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)
