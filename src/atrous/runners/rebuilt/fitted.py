"""Sizes that a file holds as numbers, at other lengths than the one that it was made for."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

__all__ = ["end_at", "shape_at", "start_at"]


def shape_at(
    wanted: Sequence[int], before: Sequence[int], here: Sequence[int]
) -> tuple[int, ...] | None:
    """The shape to which `here` is reshaped where `before` was reshaped to `wanted`.

    One dimension has changed in size. Numbers stay in their order, so what stands in front of it
    is as many as before, and the dimension there goes along with it. None where none does.

    >>> shape_at((1, 4, 3, 48), (1, 12, 48), (1, 12, 52))
    (1, 4, 3, 52)
    >>> shape_at((1, 4, 144), (1, 4, 48, 3), (1, 4, 50, 3))
    (1, 4, 150)
    >>> shape_at((6, 8), (48,), (52,)) is None
    True
    """
    changed = [d for d, (a, b) in enumerate(zip(before, here, strict=True)) if a != b]
    if len(changed) != 1 or prod(wanted) != prod(before):
        return None
    (d,) = changed
    front = 1
    for place, size in enumerate(wanted):
        if front == prod(before[:d]) and size > 1:
            grown, rest = divmod(size * here[d], before[d])
            if rest or size * prod(wanted[place + 1 :]) != prod(before[d:]):
                return None
            return (*wanted[:place], grown, *wanted[place + 1 :])
        front *= size
    return None


def end_at(end: int, before: int, here: int) -> int:
    """Where a slice ends of a dimension of size `here`, that ended at `end` where it was `before`.

    An end is as far from the dimension's own as it was.

    >>> end_at(44, 48, 52), end_at(48, 48, 52), end_at(-2, 48, 52)
    (48, 52, -2)
    """
    return end if end < 0 else end - before + here


def start_at(start: int, before: int) -> int:
    """Where a slice starts, counted from the front: the end of a stream is not known.

    >>> start_at(3, 48), start_at(-44, 48)
    (3, 4)
    """
    return start if start >= 0 else max(start + before, 0)
