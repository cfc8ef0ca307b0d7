"""Resampling and adaptive pooling: no closed form for every size, exact for the actual one."""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from typing import Literal

from atrous.errors import GeometryError
from atrous.geometry.reads import MAX_PERIOD, Reads
from atrous.geometry.taps import Taps
from atrous.shown import how_many

__all__ = ["Coordinates", "Interpolation", "Rounding", "adaptive", "resample"]

Coordinates = Literal["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
Interpolation = Literal["nearest", "linear", "cubic"]
MAX_ROUNDED = 1 << 20
MAX_FILTERED = 1 << 24
ROUNDING = 2.0**-16
"""What float32 makes of an exact hit is no more than this beside it, where it counts as one."""

Rounding = Literal["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]


# A reader asks several times; one of a size without a simple scale lists every output.
@lru_cache(maxsize=16)
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
    sides, cubic two on each; with `antialias` the filter is as wide as a shrinking axis needs.
    A sample whose weight is 0 in exact arithmetic is not read: on a sample all others weigh 0.
    Where that does not say it, the samples on both sides, and the side of a tie on which nearest
    falls, are those of PyTorch, which decides in float32.

    >>> up = resample(4, 8, "linear", "half_pixel")
    >>> up.period, [list(up.at(o)) for o in (1, 2)]
    (2, [[0, 1], [0, 1]])
    >>> [list(resample(3, 5, "linear", "align_corners").at(o)) for o in range(3)]
    [[0], [0, 1], [1]]
    """
    if inputs < 1 or outputs < 1:
        raise GeometryError(
            f"cannot resample {how_many(inputs, 'position')} to {outputs}; both must be >= 1."
        )
    # Frameworks copy an axis that keeps its length.
    same = kind == "linear" or scale in (None, 1) or coordinates == "align_corners"
    if inputs == outputs and same:
        return Reads.identity()
    grid = _Grid(inputs, outputs, kind, coordinates, scale, rounding, antialias)
    if not grid.ratio:  # aligned corners of one position: every output looks at it
        turns = outputs if outputs <= MAX_PERIOD else 1
        return Reads(turns, inputs, (grid.at(0),) * turns)
    period, shift = grid.ratio.denominator, grid.ratio.numerator
    if period <= MAX_PERIOD:
        phases = tuple(grid.at(phase) for phase in range(period))
        if all(
            grid.at(o) == phases[o % period].shifted(o // period * shift)
            for o in range(period, grid.rounded)
        ):
            return Reads(period, shift, phases).reduced()
    # float32 arithmetic breaks the period: what repeats is the whole axis.
    turns = -(-outputs // period)
    if turns * period > MAX_PERIOD:
        raise GeometryError(
            f"resampling {how_many(inputs, 'position')} to {outputs} repeats only every "
            f"{turns * period} "
            f"outputs; at most {MAX_PERIOD} are kept: use a simpler scale."
        )
    return Reads(turns * period, turns * shift, tuple(map(grid.at, range(turns * period))))


def adaptive(inputs: int, outputs: int) -> Reads:
    """The reads of an adaptive pool: output `o` reads `floor(o n / m)` up to `ceil((o + 1) n / m)`.

    >>> [list(adaptive(5, 3).at(o)) for o in range(3)]
    [[0, 1], [1, 2, 3], [3, 4]]
    """
    if inputs < 1 or outputs < 1:
        raise GeometryError(
            f"cannot pool {how_many(inputs, 'position')} to {outputs}; both must be >= 1."
        )
    ratio = Fraction(inputs, outputs)
    bounds = [(floor(o * ratio), ceil((o + 1) * ratio)) for o in range(ratio.denominator)]
    phases = tuple(Taps.interval(start, stop - start) for start, stop in bounds)
    return Reads(ratio.denominator, ratio.numerator, phases)


class _Grid:
    """Where each output looks. Where float32 arithmetic is known, it decides on which side."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kind: Interpolation,
        coordinates: Coordinates,
        scale: Fraction | None,
        rounding: Rounding,
        antialias: bool,
    ) -> None:
        self.kind, self.rounding, self.antialias = kind, rounding, antialias
        self.ratio = Fraction(inputs, outputs) if scale is None else 1 / scale
        self.half_pixel = False
        if coordinates == "align_corners":
            self.ratio = Fraction(inputs - 1, outputs - 1) if outputs > 1 else Fraction(0)
        elif coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and outputs > 1):
            self.half_pixel = True
        if antialias and inputs > MAX_FILTERED:
            raise GeometryError(
                f"an antialias filter over {how_many(inputs, 'position')} has too many taps; at "
                f"most {MAX_FILTERED:,} positions are followed: take a smaller input."
            )
        self.step = _float32(float(self.ratio))
        # These two roundings of nearest are done in whole numbers; see `_nearest`.
        float32 = kind != "nearest" or antialias
        float32 |= (self.half_pixel, rounding) in ((True, "round_prefer_ceil"), (False, "floor"))
        exact = self.step == self.ratio or not float32
        exact &= self.ratio.denominator <= MAX_PERIOD
        self.rounded = 0 if exact else outputs
        if self.rounded > MAX_ROUNDED:
            raise GeometryError(
                f"resampling {how_many(inputs, 'position')} to {outputs} depends on "
                "rounding; at most "
                f"{MAX_ROUNDED} outputs are followed: use a scale that divides."
            )

    def at(self, output: int) -> Taps:
        """What output `output` reads, unclipped."""
        if self.antialias:
            return self._filtered(output)
        if self.kind == "nearest":
            return Taps(self._nearest(output), 1)
        hit = self._hit(output)
        if hit is not None:
            return Taps(hit, 1)
        whole = floor(self._source32(output))
        return Taps(whole, 0b11) if self.kind == "linear" else Taps(whole - 1, 0b1111)

    def _hit(self, output: int) -> int | None:
        """The sample that the output lies on, in exact arithmetic; None between two."""
        n, d = self.ratio.numerator, self.ratio.denominator
        top = n * (2 * output + 1) - d if self.half_pixel else 2 * n * output
        hit, rest = divmod(top, 2 * d)
        # Far out on a long axis float32 is off by so much that the neighbour weighs something.
        return None if rest or abs(self._source32(output) - hit) > ROUNDING else hit

    def _source32(self, output: int) -> float:
        if self.half_pixel:  # one fused multiply-add
            return _float32(self.step * (output + 0.5) - 0.5)
        return _float32(self.step * output)

    def _nearest(self, output: int) -> int:
        if self.half_pixel and self.rounding == "round_prefer_ceil":
            return floor(_float32(self._source32(output) + 0.5))
        if not self.half_pixel and self.rounding == "floor":
            return floor(self._source32(output))
        # In whole numbers: the source point is `top / (2 d)`.
        n, d = self.ratio.numerator, self.ratio.denominator
        top = n * (2 * output + 1) - d if self.half_pixel else 2 * n * output
        return _rounded(top, d, self.rounding)

    def _filtered(self, output: int) -> Taps:
        half = 2 if self.kind == "cubic" else 1
        support = _float32(half * self.step) if self.step >= 1 else half
        if self.half_pixel:
            center = _float32(self.step * (output + 0.5))
        else:
            center = _float32(self._source32(output) + 0.5)
        first = floor(_float32(_float32(center - support) + 0.5))
        inside = range(first, floor(_float32(_float32(center + support) + 0.5)))
        # The filter is 0 one and two widths of a sample off its middle: at its rim, and within.
        n, d = self.ratio.numerator, self.ratio.denominator
        middle = n * (2 * output + 1) if self.half_pixel else 2 * n * output + d
        if abs(center - middle / (2 * d)) > ROUNDING:
            return Taps.interval(first, len(inside))
        mask = (1 << len(inside)) - 1
        for off in (2 * max(n, d), 4 * max(n, d)):
            for top in (middle - off - d, middle + off - d):
                if not top % (2 * d) and top // (2 * d) in inside:
                    mask &= ~(1 << (top // (2 * d) - first))
        return Taps.from_mask(first, mask)


def _rounded(top: int, half: int, rounding: Rounding) -> int:
    """`top / (2 * half)`, rounded."""
    if rounding == "floor":
        return top // (2 * half)
    if rounding == "ceil":
        return -(-top // (2 * half))
    if rounding == "round_prefer_floor":
        return -((half - top) // (2 * half))
    return (top + half) // (2 * half)


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])
