"""Which elements of a tile a statistic of the whole map counts, and where they stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod

from atrous.plan.sweeps import Digit
from atrous.plan.tiles import Tile, TilePlan

__all__ = ["Slices", "binned", "cover_of", "grouped", "known_at", "own_at"]

Slices = tuple[slice, ...]


def own_at(
    plan: TilePlan, tensor: str, digits: Sequence[Digit], tile: Tile
) -> tuple[Slices, Slices]:
    """What a tile stands for of a tensor, in the tile and in the whole map, a slice a digit.

    The first is empty where another tile stands for all of it.
    """
    cells = {axis.axis: axis.cell(place) for axis, place in zip(plan.axes, tile.index, strict=True)}
    local, whole = [], []
    for one in digits:
        cell = cells.get(one.axis or "")
        here = range(one.made) if cell is None else cell.local[tensor]
        there = range(one.size) if cell is None else cell.keep[tensor]
        local.append(slice(here.start, here.stop))
        whole.append(slice(there.start, there.stop))
    held = {one.axis for one in digits}
    # Where a map has no positions along an axis that is cut, one tile stands for it.
    beside = any(
        axis.axis not in held and not len(axis.kept(tensor, place))
        for axis, place in zip(plan.axes, tile.index, strict=True)
    )
    if beside or min((s.stop - s.start for s in local), default=1) < 1:
        return tuple(slice(0) for _ in local), tuple(whole)
    return tuple(local), tuple(whole)


def known_at(plan: TilePlan, tensor: str, digits: Sequence[Digit], tile: Tile) -> Slices:
    """The elements of a statistic that the positions of a tile are given, halo included."""
    axes = {axis.axis: (axis, place) for axis, place in zip(plan.axes, tile.index, strict=True)}
    found: list[slice] = []
    for one in digits:
        if one.over or one.bins or one.axis not in axes:
            found.append(slice(None))
            continue
        axis, place = axes[one.axis]
        start = axis.offset(tensor, axis.origin(place))
        found.append(slice(start, start + one.made))
    return tuple(found)


def cover_of(digits: Sequence[Digit], whole: Slices) -> Slices:
    """The elements of a statistic of which a tile's own positions `whole` are a part."""
    return tuple(
        slice(None) if one.over or one.bins else place
        for one, place in zip(digits, whole, strict=True)
    )


def binned(digits: Sequence[Digit], whole: Slices) -> Iterator[tuple[Slices, Slices]]:
    """The stretches of a tile's own elements, each with the elements of a statistic it is part of.

    Bin `b` of `m` holds the positions from `floor(b n / m)` up to `ceil((b + 1) n / m)` of `n`.
    """
    ways: list[list[tuple[slice, slice]]] = []
    for one, place in zip(digits, whole, strict=True):
        if one.over or not one.bins:
            ways.append([(slice(None), slice(None) if one.over else place)])
            continue
        parts = []
        for index in range(one.bins):
            start = max(index * one.size // one.bins, place.start)
            stop = min(-(-(index + 1) * one.size // one.bins), place.stop)
            if start < stop:
                here = slice(start - place.start, stop - place.start)
                parts.append((here, slice(index, index + 1)))
        ways.append(parts)
    for chosen in product(*ways):
        yield tuple(here for here, _ in chosen), tuple(there for _, there in chosen)


def grouped(digits: Sequence[Digit], groups: int) -> tuple[Digit, ...]:
    """Channels, the second dimension, as groups and what is in them."""
    size = prod(one.size for one in digits if one.dim == 1)
    parts = (
        Digit(1, groups, groups, None, False),
        Digit(1, size // groups, size // groups, None, True),
    )
    before = [one for one in digits if one.dim == 0]
    behind = [replace(one, over=True) for one in digits if one.dim > 1]
    return (*before, *parts, *behind)
