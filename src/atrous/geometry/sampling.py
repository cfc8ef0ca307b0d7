"""Sampling at stored coordinates: what each output of a fixed grid reads along one axis."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import Literal

from atrous.geometry.reads import Reads
from atrous.geometry.taps import Taps

__all__ = ["Outside", "sampled"]

Outside = Literal["zeros", "border", "reflection"]
"""What a coordinate outside the map means: nothing, its border, or mirrored at it."""

ROUNDING = 2.0**-16
"""Closer than this to a sample, or to the middle between two, rounding decides: both are read."""


def sampled(
    coordinates: Iterable[float],
    length: int,
    how: Literal["linear", "nearest"],
    outside: Outside = "zeros",
    *,
    align_corners: bool = False,
) -> Reads:
    """The reads of outputs at `coordinates`, where -1 and 1 are the ends of `length` positions.

    The ends are the middles of the first and the last position where `align_corners`, else their
    outer edges: a coordinate `g` is the point `(g + 1) / 2 * (length - 1)`, or
    `((g + 1) * length - 1) / 2`. Linear reads the samples on both sides that weigh anything,
    nearest the closest. There is one phase for each output.

    >>> reads = sampled([-1.0, -0.5, 1.0], 5, "linear", align_corners=True)
    >>> [list(reads.at(o)) for o in range(3)]
    [[0], [1], [4]]
    """
    rows = []
    for coordinate in coordinates:
        point = (coordinate + 1) / 2 * (length - 1)
        if not align_corners:
            point = ((coordinate + 1) * length - 1) / 2
        rows.append(_read(_inside(point, length, outside, align_corners), length, how))
    return Reads(len(rows), length, tuple(rows)).reduced()


def _inside(point: float, length: int, outside: Outside, align_corners: bool) -> float:
    """Where a point that lies outside is looked for."""
    if outside == "reflection":
        low, span = (0.0, length - 1.0) if align_corners else (-0.5, float(length))
        if span == 0:
            return 0.0
        turned = abs(point - low) % (2 * span)
        point = low + (2 * span - turned if turned > span else turned)
    return point if outside == "zeros" else min(max(point, 0.0), length - 1.0)


def _read(point: float, length: int, how: Literal["linear", "nearest"]) -> Taps:
    if how == "nearest":
        near = {floor(point + 0.5 - ROUNDING), floor(point + 0.5 + ROUNDING)}
        if point - floor(point) == 0.5:  # which goes to the even side
            near = {round(point)}
        return Taps.of(p for p in near if 0 <= p < length)
    whole = floor(point)
    near = {whole} if point == whole else {whole, whole + 1}
    if point != whole and min(point - whole, whole + 1 - point) < ROUNDING:
        closest = floor(point + 0.5)
        near = {closest - 1, closest, closest + 1}
    return Taps.of(p for p in near if 0 <= p < length)
