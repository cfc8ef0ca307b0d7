"""Resampling and adaptive pooling: no closed form for every size, exact for the actual one."""

from __future__ import annotations

import struct
from fractions import Fraction
from math import ceil, floor
from typing import Literal

from atrous.errors import GeometryError
from atrous.geometry.reads import MAX_PERIOD, Reads
from atrous.geometry.taps import Taps

__all__ = ["Coordinates", "Interpolation", "Rounding", "adaptive", "resample"]

Coordinates = Literal["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
Interpolation = Literal["nearest", "linear", "cubic"]
Rounding = Literal["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]


def resample(
    inputs: int,
    outputs: int,
    kind: Interpolation,
    coordinates: Coordinates,
    *,
    scale: Fraction | None = None,
    rounding: Rounding = "floor",
    antialias: bool = False,
) -> Reads:
    """The reads of an interpolation from `inputs` to `outputs` positions.

    Output `o` looks at the source point `(o + 1/2) / scale - 1/2` (half pixel), `o / scale`
    (asymmetric) or `o * (inputs - 1) / (outputs - 1)` (align corners), where `scale` is
    `outputs / inputs` unless given. Nearest reads the rounded point, linear the samples on both
    sides, cubic two on each. A sample of weight 0 counts as read where frameworks multiply by it:
    on an exact hit linear also reads one neighbour, the one that float32 arithmetic picks.
    With `antialias` a shrinking axis reads all samples under the widened filter.

    >>> up = resample(4, 8, "linear", "half_pixel")
    >>> up.period, [list(up.at(o)) for o in (1, 2)]
    (2, [[0, 1], [0, 1]])
    """
    if inputs < 1 or outputs < 1:
        raise GeometryError(f"cannot resample {inputs} positions to {outputs}; both must be >= 1.")
    if inputs == outputs and scale in (None, 1) and coordinates != "align_corners":
        return Reads.identity()
    if inputs == outputs and coordinates == "align_corners":
        return Reads.identity()
    ratio = Fraction(inputs, outputs) if scale is None else 1 / scale
    offset = Fraction(0)
    if coordinates == "align_corners":
        ratio = Fraction(inputs - 1, outputs - 1) if outputs > 1 else Fraction(0)
    elif coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and outputs > 1):
        offset = (ratio - 1) / 2
    if not ratio:
        return _single(_touched(offset, 0, ratio, coordinates, kind, rounding), inputs)
    if ratio.denominator > MAX_PERIOD:
        raise GeometryError(
            f"resampling {inputs} positions to {outputs} repeats only every {ratio.denominator} "
            f"outputs; at most {MAX_PERIOD} are kept: use a simpler scale."
        )
    phases = []
    for phase in range(ratio.denominator):
        source = ratio * phase + offset
        if antialias and ratio > 1:
            phases.append(_filtered(source, ratio, kind))
        else:
            phases.append(_touched(source, phase, ratio, coordinates, kind, rounding))
    return Reads(ratio.denominator, ratio.numerator, tuple(phases)).reduced()


def adaptive(inputs: int, outputs: int) -> Reads:
    """The reads of an adaptive pool: output `o` reads `floor(o n / m)` up to `ceil((o + 1) n / m)`.

    >>> [list(adaptive(5, 3).at(o)) for o in range(3)]
    [[0, 1], [1, 2, 3], [3, 4]]
    """
    if inputs < 1 or outputs < 1:
        raise GeometryError(f"cannot pool {inputs} positions to {outputs}; both must be >= 1.")
    ratio = Fraction(inputs, outputs)
    phases = tuple(
        Taps.of(range(floor(o * ratio), ceil((o + 1) * ratio))) for o in range(ratio.denominator)
    )
    return Reads(ratio.denominator, ratio.numerator, phases)


def _single(taps: Taps, inputs: int) -> Reads:
    return Reads(1, inputs, (taps,))


def _touched(
    source: Fraction,
    output: int,
    ratio: Fraction,
    coordinates: Coordinates,
    kind: Interpolation,
    rounding: Rounding,
) -> Taps:
    whole = floor(source)
    if kind == "nearest":
        if source.denominator == 1 and coordinates == "asymmetric" and rounding == "floor":
            whole = floor(_float32(_float32(float(ratio)) * output))
        return Taps(whole if source.denominator == 1 else _rounded(source, rounding), 1)
    if kind == "linear":
        if source.denominator == 1:
            whole = _float32_floor(output, ratio, coordinates)
        return Taps(whole, 0b11)
    return Taps(whole - 1, 0b1111)


def _filtered(source: Fraction, ratio: Fraction, kind: Interpolation) -> Taps:
    center = source + Fraction(1, 2)
    support = ratio * (2 if kind == "cubic" else 1)
    first = floor(center - support + Fraction(1, 2))
    return Taps.of(range(first, floor(center + support + Fraction(1, 2))))


def _rounded(source: Fraction, rounding: Rounding) -> int:
    if rounding == "floor":
        return floor(source)
    if rounding == "ceil":
        return ceil(source)
    half = Fraction(1, 2)
    return ceil(source - half) if rounding == "round_prefer_floor" else floor(source + half)


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _float32_floor(output: int, ratio: Fraction, coordinates: Coordinates) -> int:
    # An exact hit gives one of its neighbours the weight 0, or nearly so; which one a framework
    # touches is decided by its float32 rounding (one multiply-add).
    step = _float32(float(ratio))
    if coordinates in ("align_corners", "asymmetric"):
        return floor(_float32(step * output))
    return floor(_float32(step * (output + 0.5) - 0.5))
