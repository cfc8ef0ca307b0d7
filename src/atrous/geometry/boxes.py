"""Sets of places along several axes as unions of boxes: products of a set along each axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product

__all__ = ["Box", "boxes", "kept_taps"]

Box = tuple[tuple[int, ...] | None, ...]
"""The places along each axis; None for all of them."""


def boxes(places: Iterable[tuple[int, ...]]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Boxes that hold each of `places` once and nothing else.

    Indices of the first axis that go with the same places of the others lie in one box.

    >>> boxes([(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)])
    (((0, 2), (0, 1)), ((1,), (0,)))
    """
    behind: dict[int, list[tuple[int, ...]]] = {}
    for first, *rest in sorted(set(places)):
        behind.setdefault(first, []).append(tuple(rest))
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, rests in behind.items():
        alike.setdefault(tuple(rests), []).append(index)
    found: list[tuple[tuple[int, ...], ...]] = []
    for others, firsts in alike.items():
        if others == ((),):
            found.append((tuple(firsts),))
        else:
            found += [(tuple(firsts), *box) for box in boxes(others)]
    return tuple(found)


@lru_cache(maxsize=1024)
def kept_taps(kernel: Sequence[int], unread: tuple[tuple[int, ...], ...]) -> tuple[Box, ...]:
    """The taps of windows of these kernels without those that are `unread`, as boxes.

    >>> kept_taps((3, 3), ()), kept_taps((3, 2), ((1, 0), (1, 1)))
    (((None, None),), (((0, 2), None),))
    >>> kept_taps((3, 3), ((1, 1),))
    (((0, 2), None), ((1,), (0, 2)))
    """
    if not unread:
        return ((None,) * len(kernel),)
    gone = set(unread)
    every = product(*(range(size) for size in kernel))
    return tuple(
        tuple(
            None if len(along) == size else along for along, size in zip(box, kernel, strict=True)
        )
        for box in boxes(place for place in every if place not in gone)
    )
