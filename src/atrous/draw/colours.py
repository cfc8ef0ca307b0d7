"""Colours that stay apart for colour-blind readers, in print, and on light and dark ground."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MARK", "SERIES", "ramp", "ramp_at"]

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f")
"""Okabe and Ito's set, by contrast on white; the yellow, which white swallows, is left out."""

MARK = "#d55e00"
"""What points at something: the peak, the input's size, the box of 95% of paths."""

# Evenly spaced stops of cividis (Nunez, Anderton, Renslow 2018), which differs in lightness first.
_STOPS = (
    (0, 32, 76),
    (0, 67, 107),
    (76, 84, 107),
    (108, 109, 114),
    (140, 134, 118),
    (178, 162, 108),
    (217, 191, 86),
    (255, 233, 69),
)


def ramp_at(share: float) -> tuple[int, int, int]:
    """The colour of a share between 0 (dark blue) and 1 (yellow).

    >>> ramp_at(0.0), ramp_at(1.0)
    ((0, 32, 76), (255, 233, 69))
    """
    place = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    low = min(int(place), len(_STOPS) - 2)
    part = place - low
    red, green, blue = (
        round(a + (b - a) * part) for a, b in zip(_STOPS[low], _STOPS[low + 1], strict=True)
    )
    return red, green, blue


def ramp(steps: int) -> Sequence[tuple[int, int, int]]:
    """That many colours from dark to light.

    >>> ramp(3)[0], len(ramp(3))
    ((0, 32, 76), 3)
    """
    return [ramp_at(step / max(steps - 1, 1)) for step in range(steps)]
