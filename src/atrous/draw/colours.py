"""Colours that stay apart for colour-blind readers, in print, and on light and dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from atrous.draw.style import inks

__all__ = ["MARK", "SERIES", "named", "parts", "ramp", "ramp_at"]

SERIES = ("#c2410c", "#0b63a5", "#0b7258", "#7c7593", "#8a5a00", "#625e55", "#1d1e24")
"""The sheet's `seen`, `reach`, `good`, `hole`, `warn`, `quiet` and `ink` on light paper."""

MARK = "#1d1e24"
"""Ink: what points at something, the peak, the input's size, the box of 95% of paths."""


def ramp_at(share: float) -> tuple[int, int, int]:
    """The colour of a share between 0 (dark brown) and 1 (pale), on a dark plate.

    >>> ramp_at(0.0), ramp_at(1.0)
    ((92, 47, 23), (255, 241, 224))
    """
    stops = _stops()
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    part = place - low
    red, green, blue = (
        round(a + (b - a) * part) for a, b in zip(stops[low], stops[low + 1], strict=True)
    )
    return red, green, blue


def ramp(steps: int) -> Sequence[tuple[int, int, int]]:
    """That many colours from dark to light.

    >>> ramp(3)[0], len(ramp(3))
    ((92, 47, 23), 3)
    """
    return [ramp_at(step / max(steps - 1, 1)) for step in range(steps)]


def named(colour: str) -> str:
    """A colour of the light theme by its name in the sheet, so that a page can turn dark.

    >>> named("#c2410c"), named("#123456")
    ('var(--seen)', '#123456')
    """
    name = _names().get(colour)
    return f"var(--{name})" if name else colour


@cache
def _names() -> dict[str, str]:
    # The first name of a colour that has several.
    return {colour: name for name, colour in reversed(inks("light").items())}


@cache
def _stops() -> tuple[tuple[int, int, int], ...]:
    found = inks("dark")
    return tuple(parts(found[f"ramp-{letter}"]) for letter in "abcde")


def parts(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
