"""The receptive field of one axis, as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd

from atrous.analysis.flow import Bundle
from atrous.analysis.scale import Scale
from atrous.geometry import Taps
from atrous.shown import Shown, how_many

__all__ = ["Field", "Phase", "field_of", "together"]

MOST_OUTPUTS = 1 << 16
_LENGTHS = ("size", "stride", "start", "center", "max_gap", "back", "ahead")


@dataclass(frozen=True, slots=True)
class Phase(Shown):
    """What the outputs of one phase read, relative to the position of the phase itself.

    All numbers are in input positions; see `Field`.
    """

    size: int
    taps: int
    start: int
    coverage: float
    max_gap: int
    step: int

    @property
    def center(self) -> Fraction:
        """The middle of the read; 0 where nothing is read."""
        return Fraction(2 * self.start + self.size - 1, 2) if self.size else Fraction(0)

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        # Written out, as upsampling makes thousands of them: half a million in the largest report.
        return {
            "size": self.size,
            "taps": self.taps,
            "start": self.start,
            "coverage": self.coverage,
            "max_gap": self.max_gap,
            "step": self.step,
            "center": (2 * self.start + self.size - 1) / 2 if self.size else 0.0,
        }


@dataclass(frozen=True, slots=True)
class Field(Shown):
    """The receptive field along one spatial axis, in input positions, ignoring where it ends.

    `size` is last read - first read + 1; `taps` the distinct positions read; `coverage` is
    taps / size; `max_gap` the longest run of unread positions between two read ones; `stride` the
    input positions per output position; `start` the first position that output 0 reads and
    `center` the middle of that read; `step` the common factor of the distances between positions
    read. After upsampling they depend on the output's phase: `size`, `taps` and `max_gap` are then
    the largest, `coverage` the smallest over `phases`.

    >>> import atrous
    >>> field = atrous.inspect("stack:k3s2 k3d2", (1, 1, 64))["conv2"].field[0]
    >>> field.size, field.taps, field.stride, field.coverage
    (11, 9, Fraction(2, 1), 0.8181818181818182)
    """

    size: int
    taps: int
    stride: Fraction
    start: int
    center: Fraction
    coverage: float
    max_gap: int
    step: int
    axis: str = ""
    phases: tuple[Phase, ...] = ()

    @property
    def back(self) -> int:
        """How far an output reads before its own place, `floor(o * stride)`: the most over phases.

        >>> import atrous
        >>> field = atrous.inspect("stack:k3s2p(1,0) k3causal", (1, 1, 64)).outputs[0].field[0]
        >>> field.back, field.ahead
        (5, 1)
        """
        return max((place - p.start for place, p in self._placed()), default=0)

    @property
    def ahead(self) -> int:
        """How far an output reads behind its own place, `floor(o * stride)`: 0 where causal."""
        return max((p.start + p.size - 1 - place for place, p in self._placed()), default=0)

    def _placed(self) -> Iterator[tuple[int, Phase]]:
        up, down = self.stride.as_integer_ratio()
        for output, phase in enumerate(self.phases):
            if phase.size:
                yield output * up // down, phase

    def to_dict(self) -> dict[str, object]:
        """Plain data; fractions become floats, and are given exactly as text beside them."""
        return {
            "axis": self.axis,
            "size": self.size,
            "taps": self.taps,
            "stride": float(self.stride),
            "stride_exact": str(self.stride),
            "start": self.start,
            "center": float(self.center),
            "coverage": self.coverage,
            "max_gap": self.max_gap,
            "step": self.step,
            "back": self.back,
            "ahead": self.ahead,
            "phases": [phase.to_dict() for phase in self.phases],
        }

    def scaled(self, scale: Scale) -> dict[str, object]:
        """Size, stride, start, centre and looks in the unit of a scale, as plain data."""
        lengths = {name: getattr(self, name) for name in _LENGTHS}
        values = {name: float(scale.of(value)) for name, value in lengths.items()}
        return {"axis": self.axis, "unit": scale.unit, **values}

    def __str__(self) -> str:
        text = f"{self.axis or 'axis'}: {how_many(self.size, 'position')}, stride {self.stride}"
        if self.coverage < 1:
            text += f", {self.coverage:.0%} read, gaps up to {self.max_gap}"
        return text


def field_of(axis: str, bundle: Bundle, outputs: int) -> Field | None:
    """The field of an axis of `outputs` positions with these reads.

    Branches whose strides differ do not repeat together: each output of the actual size then
    counts as a phase. None where there are more of them than can be gone through.
    """
    if len(bundle) == 1:
        reads = bundle[0]
        stride = reads.stride
        phases = tuple(_phase(taps) for taps in reads.phases)
    else:
        if outputs > MOST_OUTPUTS:
            return None
        # A plain grid beside one resampled to a size that does not divide: name the plain one.
        stride = min((part.stride for part in bundle), key=lambda s: (s.denominator, s.numerator))
        phases = tuple(_phase(_together(bundle, output)) for output in range(max(outputs, 1)))
    zero = phases[0]
    return Field(
        size=max(p.size for p in phases),
        taps=max(p.taps for p in phases),
        stride=stride,
        start=zero.start,
        center=zero.center,
        coverage=min(p.coverage for p in phases),
        max_gap=max(p.max_gap for p in phases),
        step=max(gcd(*(p.step for p in phases if p.taps > 1)), 1),
        axis=axis,
        phases=phases,
    )


def together(fields: Sequence[Field]) -> Field:
    """Fields of one axis as one: the largest of all, or the smallest coverage and stride.

    Where outputs start, the first of them says.
    """
    first = fields[0]
    if all(field == first for field in fields[1:]):
        return first
    phases = tuple(phase for field in fields for phase in field.phases)
    return replace(
        first,
        size=max(f.size for f in fields),
        taps=max(f.taps for f in fields),
        stride=min(f.stride for f in fields),
        coverage=min(f.coverage for f in fields),
        max_gap=max(f.max_gap for f in fields),
        step=max(gcd(*(p.step for p in phases if p.taps > 1)), 1),
        phases=phases,
    )


def _phase(taps: Taps) -> Phase:
    size = taps.mask.bit_length()
    if taps.solid or not taps.mask & (taps.mask + 1):
        # All ones: no hole, and no need to count.
        return Phase(size, size, taps.first, 1.0, 0, 1)
    count = taps.count
    return Phase(size, count, taps.first, count / size, taps.max_gap, taps.step)


def _together(bundle: Bundle, output: int) -> Taps:
    parts = [taps for taps in (reads.at(output) for reads in bundle) if taps.mask]
    if not parts:
        return Taps(0, 0)
    first = min(taps.first for taps in parts)
    mask = 0
    for taps in parts:
        mask |= taps.mask << (taps.first - first)
    return Taps(first, mask)
