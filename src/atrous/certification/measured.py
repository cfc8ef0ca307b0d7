"""The measured half of a certificate: where two arrays of numbers hold the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.certification.certificate import Measured
from atrous.geometry import Lockstep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["TOLERANCE", "Compared", "compare_maps", "tells"]

TOLERANCE = {"float64": 1e-12, "float32": 1e-4, "float16": 1e-2}
"""The largest root mean square of the error, relative to the reference, that counts as equal."""

# A single position may be off by more than the mean, by the luck of many draws; never by as much as
# values differ among themselves.
_SPREAD = 1e3
_MOST_OFF = 0.1
_MOST_PHASES = 4096


@dataclass(frozen=True, slots=True)
class Compared:
    """How two maps compare, with the axes in the order of `dims`.

    Errors are over all positions that both hold, whatever the verdict; `margin` is in positions of
    the reference, at the low and the high end.
    """

    verdict: Measured
    phase: tuple[int, ...]
    margin: tuple[tuple[int, int], ...]
    max_error: float
    relative_error: float


def compare_maps(
    reference: Array,
    candidate: Array,
    dims: Sequence[int],
    locks: Sequence[Lockstep],
    precision: str = "float64",
    margins: Sequence[tuple[int, int]] = (),
) -> Compared:
    """Whether `candidate` holds the values of `reference` where `locks` say, or at another phase.

    `dims` are the dimensions that hold positions, one for each lock. Every phase is tried where
    the one expected does not hold; the margin is the smallest that leaves only equal positions.
    One that leaves few of them counts only where `margins`, expected of a structure, leave as few.
    What is not finite equals its like: NaN equals NaN, an infinity the same one.

    >>> x = np.arange(8.0).reshape(1, 8)
    >>> compare_maps(x[:, ::2], x, [1], [Lockstep(factor=2)]).verdict
    'exact'
    >>> compare_maps(x[:, 1::2], x, [1], [Lockstep(factor=2)]).phase
    (1,)
    """
    tolerance = TOLERANCE[precision]
    if reference.dtype.kind in "bui":
        reference = reference.astype(np.float64)
    if candidate.dtype.kind in "bui":
        candidate = candidate.astype(np.float64)
    scale = _scale(reference)
    best = _at(reference, candidate, dims, locks, scale, tolerance, margins)
    if best is not None and best.verdict == "exact":
        return best
    ranges = [range(lock.factor) if lock.step == 1 else range(lock.step) for lock in locks]
    if int(np.prod([len(r) for r in ranges])) > _MOST_PHASES:
        ranges = [range(1)] * len(ranges)
    for phases in product(*ranges):
        tried = [
            Lockstep(lock.factor, phase, 1, 0)
            if lock.step == 1
            else Lockstep(lock.factor, 0, lock.step, phase)
            for lock, phase in zip(locks, phases, strict=True)
        ]
        found = _at(reference, candidate, dims, tried, scale, tolerance)
        if found is not None and (best is None or _rank(found) < _rank(best)):
            best = found
    if best is None:
        zero = tuple(0 for _ in locks)
        return Compared("differs", zero, ((0, 0),) * len(locks), float("inf"), float("inf"))
    return best


def _scale(values: Array) -> float:
    """How much the finite values differ among themselves, or how large they are; 1 for none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 1.0
    return float(np.std(finite)) or float(np.abs(finite).max()) or 1.0


def _errors(one: Array, two: Array) -> Array:
    """How far values are apart: 0 between likes that are not finite, else infinitely far."""
    with np.errstate(invalid="ignore", over="ignore"):
        error: Array = np.abs(one - two)
    strange = ~(np.isfinite(one) & np.isfinite(two))
    if strange.any():
        like = (one == two) | (np.isnan(one) & np.isnan(two))
        error = np.where(strange, np.where(like, 0.0, np.inf), error)
    return error


def _mean_square(error: Array, scale: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.mean(error**2))) / scale if error.size else 0.0


def _rank(found: Compared) -> tuple[bool, int, bool, float]:
    """The fewest positions left out first: a few may agree by luck, most of them do not."""
    left_out = sum(lo + hi for lo, hi in found.margin)
    return found.verdict == "differs", left_out, any(found.phase), found.relative_error


def _at(
    reference: Array,
    candidate: Array,
    dims: Sequence[int],
    locks: Sequence[Lockstep],
    scale: float,
    tolerance: float,
    margins: Sequence[tuple[int, int]] = (),
) -> Compared | None:
    one, two = reference, candidate
    offsets: list[tuple[int, int]] = []
    expected: list[tuple[int, int]] = []
    if one.ndim != two.ndim:
        return None
    for axis, (dim, lock) in enumerate(zip(dims, locks, strict=True)):
        pairs = [
            (i, lock.candidate(i)) for i in range(lock.start % lock.step, one.shape[dim], lock.step)
        ]
        held = [(i, j) for i, j in pairs if j is not None and 0 <= j < two.shape[dim]]
        if not held:
            return None
        lost = [i for i, j in pairs if j is None or not 0 <= j < two.shape[dim]]
        low = sum(i < held[0][0] for i in lost)
        offsets.append((low, len(lost) - low))
        if margins:
            lo, hi = margins[axis][0], reference.shape[dim] - margins[axis][1]
            expected.append((sum(i < lo for i, _ in held), sum(i >= hi for i, _ in held)))
        one = one.take([i for i, _ in held], axis=dim)
        two = two.take([j for _, j in held], axis=dim)
    if one.shape != two.shape:
        return None
    error = _errors(one, two)
    relative = _mean_square(error, scale)
    largest = float(error.max()) if error.size else 0.0
    phase = tuple(lock.phase if lock.step == 1 else lock.start for lock in locks)
    others = tuple(d for d in range(error.ndim) if d not in dims)
    bad: Any = (error > min(tolerance * _SPREAD, _MOST_OFF) * scale).any(axis=others)
    # Dimensions in the order of the axes.
    order = np.argsort(np.argsort(dims))
    bad = np.transpose(bad, order) if bad.ndim > 1 else bad
    trimmed = _trimmed(bad)
    if trimmed is not None and any(lo + hi for lo, hi in trimmed):
        kept = _inside(one, dims, trimmed)
        if not tells(kept, dims):
            trimmed = None  # one value everywhere, as where only padding is read
    if trimmed is None and expected:
        box = bad[tuple(slice(lo, n - hi) for (lo, hi), n in zip(expected, bad.shape, strict=True))]
        trimmed = expected if box.size and not box.any() else None
    if trimmed is not None and _mean_square(_inside(error, dims, trimmed), scale) > tolerance:
        trimmed = None  # small errors at every position
    if trimmed is None:
        return Compared("differs", phase, ((0, 0),) * len(locks), largest, relative)
    margin = tuple((lo + a, hi + b) for (lo, hi), (a, b) in zip(offsets, trimmed, strict=True))
    if any(lock.step > 1 and lock.factor > 1 for lock in locks):
        # Most positions have no twin at all, whatever the others hold.
        return Compared("differs", phase, margin, largest, relative)
    if any(phase):
        verdict: Measured = "shifted"
    elif any(lo + hi for lo, hi in margin):
        verdict = "interior"
    else:
        verdict = "exact"
    return Compared(verdict, phase, margin, largest, relative)


def tells(values: Array, dims: Sequence[int]) -> bool:
    """False for a map of one value everywhere, which is equal to itself at every phase.

    >>> tells(np.zeros((1, 2, 5)), [2]), tells(np.arange(4.0).reshape(1, 4), [1])
    (False, True)
    """
    first = values[tuple(slice(1) if d in dims else slice(None) for d in range(values.ndim))]
    return bool(((values != first) & ~(np.isnan(values) & np.isnan(first))).any())


def _inside(values: Array, dims: Sequence[int], margins: Sequence[tuple[int, int]]) -> Array:
    """What is left of a map beyond margins along `dims`."""
    for dim, (lo, hi) in zip(dims, margins, strict=True):
        values = values.take(range(lo, values.shape[dim] - hi), axis=dim)
    return values


def _trimmed(bad: Array) -> list[tuple[int, int]] | None:
    """The fewest positions to leave out at each end so that none is bad; None where none is left.

    One end at a time: up to the nearest bad slice, and of two that are as near to the worse one.
    """
    if not bad.ndim:
        return None if bad else []
    ends = [[0, n] for n in bad.shape]
    while True:
        box = bad[tuple(slice(lo, hi) for lo, hi in ends)]
        if not box.size:
            return None
        if not box.any():
            break
        cuts: list[tuple[int, float, int, int]] = []
        for axis in range(box.ndim):
            shares = box.mean(axis=tuple(d for d in range(box.ndim) if d != axis))
            wrong = np.flatnonzero(shares)
            first, last = int(wrong[0]), int(wrong[-1])
            cuts.append((first + 1, -float(shares[first]), axis, 0))
            cuts.append((len(shares) - last, -float(shares[last]), axis, 1))
        depth, _, axis, side = min(cuts)
        ends[axis][side] += depth if side == 0 else -depth
    kept = [(hi - lo) / n for (lo, hi), n in zip(ends, bad.shape, strict=True)]
    # A few positions that happen to agree prove nothing.
    if np.prod(kept) < 0.25:
        return None
    return [(lo, n - hi) for (lo, hi), n in zip(ends, bad.shape, strict=True)]
