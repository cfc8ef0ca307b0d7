"""How much one input position is: time at a sample rate, length at a pixel size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from atrous.errors import ReadError
from atrous.shown import Plain, how_many

__all__ = ["TIME_LIKE", "Scale", "in_units", "per_rate", "pixels", "scales_of"]

TIME_LIKE = ("t", "d")
"""Axes along which a network may be causal: time, or depth where that is time."""

_NUMBER = r"(?P<number>\d[\d_]*(\.\d+)?|\.\d+)"
_RATE = re.compile(rf"{_NUMBER}\s*(?P<prefix>[kM]?)(Hz)?", re.ASCII)
_PIXEL = re.compile(rf"{_NUMBER}\s*(?P<unit>nm|um|µm|μm|mm|cm|m|km)", re.ASCII)
_TIMES = {"": 1, "k": 1000, "M": 1_000_000}
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Scale(Plain):
    """One position of an input axis is `step` of `unit`; exact.

    >>> per_rate("16k").of(400)
    Fraction(25, 1)
    """

    step: Fraction
    unit: str

    def of(self, positions: Fraction | int) -> Fraction:
        """So many positions in the unit."""
        return positions * self.step

    def text(self, positions: Fraction | int) -> str:
        """So many positions in the unit, to three digits.

        >>> per_rate(16000).text(320), pixels("0.5um").text(427), per_rate("44.1k").text(1)
        ('20 ms', '214 um', '0.0227 ms')
        """
        value = float(self.of(positions))
        digits = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return f"{digits} {self.unit}"

    def __str__(self) -> str:
        return self.text(1)


def per_rate(rate: float | Fraction | str) -> Scale:
    """Milliseconds, at a sample rate in Hz: a number, or a text such as `16k` or `44.1 kHz`.

    Raises `ReadError` for what is no rate above 0.

    >>> per_rate("22.05kHz").step
    Fraction(20, 441)
    """
    value = _fraction(rate) if not isinstance(rate, str) else _typed_rate(rate)
    if value is None or value <= 0:
        raise ReadError(
            f"rate={rate!r} is no sample rate; give positions per second above 0, such as 16000 "
            "or 44.1k."
        )
    return Scale(1000 / value, "ms")


def pixels(size: str) -> Scale:
    """Lengths, where one position is so large: `0.5um`, `10 m`.

    Raises `ReadError` for a text that is no length above 0 with a unit.

    >>> pixels("0.25 mm").of(4), pixels("10m").unit
    (Fraction(1, 1), 'm')
    """
    found = _PIXEL.fullmatch(size.strip()) if len(size) <= _LONGEST else None
    value = Fraction(found["number"].replace("_", "")) if found else Fraction(0)
    if found is None or not value:
        raise ReadError(
            f"pixel={size[:_LONGEST]!r} is no length; give a number above 0 with nm, um, mm, "
            "cm, m or km, such as 0.5um."
        )
    return Scale(value, found["unit"].replace("µ", "u").replace("μ", "u"))


def check_scales(rate: Any = None, pixel: Any = None) -> None:
    """Raise `ReadError` for what is no sample rate or no size of a position, of whatever axes."""
    if rate is not None:
        per_rate(rate)
    for size in () if pixel is None else _listed(pixel):
        pixels(size)


def _listed(pixel: Any) -> list[str]:
    return pixel.split(",") if isinstance(pixel, str) else list(pixel)


def scales_of(axes: Sequence[str], rate: Any = None, pixel: Any = None) -> dict[str, Scale]:
    """The scale of each axis of an input: a rate along time, pixel sizes along the others.

    Raises `ReadError` where there is no axis for what is given.

    >>> [str(scale) for scale in scales_of(("d", "h", "w"), rate=25, pixel="2mm").values()]
    ['40 ms', '2 mm', '2 mm']
    """
    check_scales(rate, pixel)
    found: dict[str, Scale] = {}
    named = ", ".join(axes) or "none"
    if rate is not None:
        axis = next((axis for axis in TIME_LIKE if axis in axes), None)
        if axis is None:
            raise ReadError(
                f"rate={rate!r} is along time, and the axes here are {named}; give pixel=... "
                "instead."
            )
        found[axis] = per_rate(rate)
    if pixel is not None:
        rest = [axis for axis in axes if axis not in found and axis != "t"]
        sizes = _listed(pixel)
        given = f"pixel={','.join(map(str, sizes))!r}"
        if not rest:
            raise ReadError(
                f"{given} is along space, and the axes here are {named}; give rate=... instead."
            )
        sizes = sizes * len(rest) if len(sizes) == 1 else sizes
        if len(sizes) != len(rest):
            raise ReadError(
                f"{given}: {how_many(len(sizes), 'size')} for the axes {named}; give one for all "
                "axes of space, or one for each."
            )
        found |= dict(zip(rest, map(pixels, sizes), strict=True))
    return found


def in_units(positions: Mapping[str, Fraction | int], scales: Mapping[str, Scale]) -> str:
    """Positions along axes in the units of those that have a scale; empty where none has.

    >>> in_units({"h": 204, "w": 102}, scales_of(("h", "w"), pixel="0.5um"))
    '102x51 um'
    >>> in_units({"d": 50, "h": 3, "w": 3}, scales_of(("d", "h", "w"), rate=25, pixel="2mm"))
    '2000 ms, 6x6 mm'
    """
    by_unit: dict[str, list[str]] = {}
    for axis, count in positions.items():
        scale = scales.get(axis)
        if scale is not None:
            text = scale.text(count).removesuffix(f" {scale.unit}")
            by_unit.setdefault(scale.unit, []).append(text)
    return ", ".join(f"{'x'.join(texts)} {unit}" for unit, texts in by_unit.items())


def _typed_rate(text: str) -> Fraction | None:
    found = _RATE.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if found is None:
        return None
    return Fraction(found["number"].replace("_", "")) * _TIMES[found["prefix"]]


def _fraction(rate: float | Fraction) -> Fraction | None:
    try:
        # As it is written: 44100.1 is meant, not the nearest binary number.
        return rate if isinstance(rate, Fraction) else Fraction(str(rate))
    except (TypeError, ValueError):
        return None
