"""Where a weight is 0 for every channel: the taps that a layer multiplies by nothing."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

__all__ = ["ALL", "MOST_LOOKED_AT", "Zeros", "zeros_of"]

MOST_LOOKED_AT = 1 << 28
"""Numbers of one weight that are looked at; a larger one counts as its structure."""

ALL = "all"
"""What is said of a weight that is 0 throughout."""

Zeros = tuple[tuple[int, ...], ...] | str


def zeros_of(numbers: Any, kernel: Sequence[int]) -> Zeros:
    """The places in the last dimensions, of sizes `kernel`, at which a weight is 0 in all others.

    `ALL` for a weight of nothing but zeros. `numbers` is an array or a tensor; it is looked at in
    blocks, each twice as long as the one before, and no further than some place is 0 so far: of
    most weights that is the first filter. NaN is not 0.

    >>> import numpy as np
    >>> weight = np.ones((4, 2, 3)); weight[:, :, 0] = 0
    >>> zeros_of(weight, (3,)), zeros_of(0 * weight, (3,))
    (((0,),), 'all')
    """
    if len(numbers.shape) == len(kernel):
        numbers = numbers[None]
    taps = prod(kernel)
    left = list(range(taps))
    start, step, rows = 0, 1, len(numbers)
    while left and start < rows:
        block = numbers[start : start + step].reshape(-1, taps)
        held = (block != 0).any(0).tolist()
        left = [tap for tap in left if not held[tap]]
        start, step = start + step, 2 * step
    return ALL if len(left) == taps else tuple(_place(tap, kernel) for tap in left)


def _place(tap: int, kernel: Sequence[int]) -> tuple[int, ...]:
    """One index along each axis of the tap that stands at `tap` in row-major order."""
    place = []
    for size in reversed(kernel):
        tap, digit = divmod(tap, size)
        place.append(digit)
    return tuple(reversed(place))
