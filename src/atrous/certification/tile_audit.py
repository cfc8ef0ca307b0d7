"""A tiler against the whole run: where they differ, in which pattern, and the halo it lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.certification.verdicts import Verdict, worst
from atrous.network import Network
from atrous.plan.regions import needs
from atrous.plan.strides import strides
from atrous.refusal import Refusal
from atrous.shown import Plain, Shown, ShownWhole, plain_fields, view

__all__ = ["FirstChanged", "Looks", "Seams", "TileAudit", "TiledOutput", "looks_of", "tiled_output"]

_ROUNDING = {2: 5e-3, 4: 1e-5, 8: 1e-12}
"""By bytes of a number: what another order of additions changes, beside the largest value."""
_EVERYWHERE = 0.9
_CLEAN = 0.1
"""The share of lines, those that differ least, that tell an axis's seams from other axes'."""


@dataclass(frozen=True, slots=True)
class Looks(Plain):
    """How far a tile must look along one axis, in input positions, and how far outputs lie apart.

    `halo` is None where the network lets all positions see one another, or is not known.
    """

    axis: str
    stride: Fraction
    halo: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Seams(Shown):
    """What differs along one axis: around seams, which repeat, and at the ends of the image.

    `seams` are output positions at which a tile begins, or the middle of what differs around the
    edge of a window where windows overlap and are blended; `period` and `offset` say where they lie
    if they repeat. Positions differ up to `reach` before and behind them, and up to `ends` from
    the image's ends. In input positions: a tile must look `needed` before and behind itself and
    lacks at least `lacks` of that; differences beyond are too small to be told from rounding. Where
    windows are `blended`, both sides of a seam see across it: weights that fall towards the rim of
    a window hide there what it lacks, which may be all that is needed.
    """

    axis: str
    length: int
    stride: Fraction
    seams: tuple[int, ...]
    period: int | None
    offset: int | None
    reach: tuple[int, int]
    ends: tuple[int, int]
    needed: tuple[int, int] | None
    everywhere: bool = False
    blended: bool = False

    @property
    def lacks(self) -> tuple[int, int]:
        """Input positions that a tile lacks before and behind it: what differs looks at these."""
        before, behind = (
            int((reach - 1) * self.stride) + 1 if reach else 0 for reach in self.reach
        )
        return behind, before

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**plain_fields(self), "lacks": list(self.lacks)}


@dataclass(frozen=True, slots=True, eq=False)
class TiledOutput(Shown):
    """One output: the largest difference, where it is, and which share of positions differs.

    `max_error` is absolute and `relative_error` the same against the largest value of the whole
    run; `at` is the position of it. `difference` has the largest one over batch and channels for
    each position. `shapes` are those of the whole run and of the tiler.
    """

    name: str
    verdict: Verdict
    max_error: float | None
    relative_error: float | None
    at: tuple[int, ...]
    differs: float
    axes: tuple[Seams, ...]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    difference: NDArray[Any]
    rounding: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the differences themselves."""
        found = plain_fields(self)
        del found["difference"]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class TileAudit(ShownWhole):
    """What a tiler makes of an image, beside what the whole image gives.

    `verdict` is the worst of the outputs': `exact`; `interior`, equal but at the image's own ends;
    `approximate`, another result around seams; `broken`, another result nearly everywhere or of
    another shape.
    """

    network: str
    outputs: tuple[TiledOutput, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the outputs."""
        return worst(tuple(output.verdict for output in self.outputs))

    @property
    def worst_output(self) -> TiledOutput:
        """The output with the largest relative error."""
        return max(self.outputs, key=lambda one: one.relative_error or 0.0)

    def plot(self) -> Any:
        """The largest difference at each position of the worst output, as an `altair.Chart`.

        Raises `MissingDependencyError` without the extra `report`.
        """
        return view(self).plot()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the differences themselves."""
        return {
            "schema": "atrous.tile-audit/1",
            "verdict": self.verdict,
            "network": self.network,
            "outputs": [output.to_dict() for output in self.outputs],
            "notes": list(self.notes),
        }


def looks_of(network: Network, output: str) -> tuple[Looks, ...]:
    """How far tiles must look for an output, along each axis, by who reads what in its middle."""
    found: list[Looks] = []
    tensor = network.tensor(output)
    for axis, length in tensor.grid.items():
        entry = next((t.grid[axis] for t in network.inputs if axis in t.grid), length)
        apart = strides(network, axis)
        stride = Fraction(entry, max(length, 1))
        if not isinstance(apart, Refusal):
            stride = apart.get(output, stride)
        found.append(Looks(axis, stride, _halo_of(network, output, axis, length, stride)))
    return tuple(found)


FirstChanged = Callable[[str, int, bool], int | None]
"""The first output along an axis that changes where all inputs from a position on change; with True
the first one behind those that change where all inputs before it change."""

_PHASES = 64


def _halo_of(
    network: Network, output: str, axis: str, length: int, stride: Fraction
) -> tuple[int, int] | None:
    """What single outputs read beyond the input positions that they stand for."""
    before = behind = 0
    first = max((length - _PHASES) // 2, 0)
    for o in range(first, min(first + _PHASES, length)):
        found = needs(network, axis, {output: range(o, o + 1)})
        if isinstance(found, Refusal):
            return None
        for tensor in network.inputs:
            stretch = found.stretches.get(tensor.name)
            if stretch is not None and tensor.grid.get(axis, 1) > 1:
                before = max(before, int(o * stride) - stretch.start)
                behind = max(behind, stretch.stop - -int(-(o + 1) * stride // 1))
    return before, behind


def tiled_output(
    name: str,
    whole: NDArray[Any],
    tiled: NDArray[Any],
    dims: Mapping[int, Looks],
    first: FirstChanged | None = None,
) -> TiledOutput:
    """The comparison of one output; `dims` says which of its dimensions hold positions."""
    shapes = (tuple(whole.shape), tuple(tiled.shape))
    if whole.shape != tiled.shape:
        nothing = np.zeros((0,) * len(dims))
        return TiledOutput(name, "broken", None, None, (), 1.0, (), shapes, nothing, 0.0)
    error, rounding = _differences(whole, tiled)
    rest = tuple(d for d in range(whole.ndim) if d not in dims)
    heat = error.max(axis=rest) if rest else error
    differs = heat > rounding
    share = float(differs.mean()) if differs.size else 0.0
    at = (
        tuple(int(i) for i in np.unravel_index(int(heat.argmax()), heat.shape)) if heat.size else ()
    )
    largest = float(heat.max(initial=0))
    scale = _largest_value(whole)
    axes = tuple(
        _seams(looks, differs, i, first) for i, looks in enumerate(dims[d] for d in sorted(dims))
    )
    verdict: Verdict = "exact"
    if share:
        inside = any(one.seams or one.everywhere for one in axes)
        verdict = "approximate" if inside else "interior"
        if share >= _EVERYWHERE or not np.isfinite(largest):
            verdict = "broken"
    relative = largest / scale if scale else (0.0 if not largest else float("inf"))
    return TiledOutput(name, verdict, largest, relative, at, share, axes, shapes, heat, rounding)


def _largest_value(whole: NDArray[Any]) -> float:
    finite = np.abs(whole[np.isfinite(whole)].astype(np.float64))
    return float(finite.max(initial=0))


def _differences(whole: NDArray[Any], tiled: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """The absolute differences, infinite where one is a number and the other is none."""
    one, other = whole.astype(np.float64), tiled.astype(np.float64)
    both = np.isfinite(one) & np.isfinite(other)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    error = np.full(one.shape, np.inf)
    np.subtract(one, other, out=error, where=both)
    error = np.where(same, 0.0, np.abs(error))
    if whole.dtype.kind not in "fc" or tiled.dtype.kind not in "fc":
        return error, 0.0
    size = min(whole.dtype.itemsize, tiled.dtype.itemsize)
    return error, _ROUNDING.get(size, 1e-12) * _largest_value(whole)


def _seams(
    looks: Looks,
    differs: NDArray[np.bool_],
    index: int,
    first: FirstChanged | None,
) -> Seams:
    """What differs along one axis, looked at on lines that no seam along another axis touches."""
    length = differs.shape[index]
    lines = np.moveaxis(differs, index, -1).reshape(-1, length)
    each = lines.mean(1)
    clean = each <= np.quantile(each, _CLEAN, method="lower")
    wrong = lines[clean].any(0)
    if wrong.all():
        none: tuple[int, ...] = ()
        ends = (0, 0)
        return Seams(
            looks.axis, length, looks.stride, none, None, None, ends, ends, looks.halo, True
        )
    runs = _runs(wrong)
    ends = (
        next((stop for start, stop in runs if start == 0), 0),
        next((length - start for start, stop in runs if stop == length), 0),
    )
    inner = [run for run in runs if run[0] > 0 and run[1] < length]
    seams, period, blended = _seams_in(inner, looks, first)
    reach = (
        max((seam - start for seam, (start, _) in zip(seams, inner, strict=True)), default=0),
        max((stop - seam for seam, (_, stop) in zip(seams, inner, strict=True)), default=0),
    )
    offset = None if period is None else seams[0] % period
    return Seams(
        looks.axis,
        length,
        looks.stride,
        seams,
        period,
        offset,
        reach,
        ends,
        looks.halo,
        blended=blended,
    )


def _runs(wrong: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The stretches that differ, as starts and stops."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wrong, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


_TRIES = 4
_PROBED = 2
"""Seams that are found by further runs in any case; others are taken to lie as far apart."""
_BESIDE = 6
"""How many more are looked for where something differs that no such distance explains."""


def _seams_in(
    runs: Sequence[tuple[int, int]], looks: Looks, first: FirstChanged | None
) -> tuple[tuple[int, ...], int | None, bool]:
    """Where in each stretch that differs the seam lies, how far apart most are, if all is blended.

    Where the input changes from a position on that the tile before a seam no longer sees, the
    outputs that change begin at the seam. Where no run tells, it is taken to lie in the middle.
    """
    found: dict[int, int] = {}
    across = 0

    def probe(index: int) -> None:
        nonlocal across
        if looks.halo is None or first is None:
            return
        seam, both = _probed(runs[index], looks, looks.halo, first)
        across += both
        if seam is not None:
            found[index] = seam

    for index in range(min(_PROBED, len(runs))):
        probe(index)
    if len(found) == _PROBED:
        period = found[1] - found[0]
    else:
        period = _repeats([start for start, _ in runs])
    seams: list[int] = []
    left = _BESIDE
    for index, run in enumerate(runs):
        low, high = _allowed(run, looks)
        expected = seams[-1] + period if seams else -1
        inside = low <= expected <= high and bool(found)
        if index not in found and not inside and found and left:
            left -= 1
            probe(index)
        middle = min(max(sum(run) // 2, low), high)
        seams.append(found.get(index, expected if inside else middle))
    return tuple(seams), period or None, bool(across) and not found


def _repeats(starts: Sequence[int]) -> int:
    """The least distance at which most stretches that differ have another one; 0 for none."""
    held = set(starts)
    for apart in sorted({b - a for a in starts for b in starts if b > a}):
        within = [start for start in starts if start + apart <= max(starts)]
        if sum(start + apart in held for start in within) > 0.6 * len(within):
            return apart
    return 0


def _allowed(run: tuple[int, int], looks: Looks) -> tuple[int, int]:
    """The places of a seam from which nothing differs farther off than outputs look."""
    start, stop = run
    if looks.halo is None:
        return run
    behind, before = (-int(-side // looks.stride) for side in looks.halo)
    low, high = max(start, stop - behind), min(stop, start + before)
    return (low, high) if low <= high else run


def _probed(
    run: tuple[int, int], looks: Looks, halo: tuple[int, int], first: FirstChanged
) -> tuple[int | None, bool]:
    """The seam in a stretch that differs, if there is one place; whether both sides see across."""
    low, high = _allowed(run, looks)
    if low == high:
        return low, False
    last = -int(-(run[0] + 1) * looks.stride // 1) - 1 + halo[1]
    nearest = int((run[1] - 1) * looks.stride) - halo[0] + 1
    for turn in range(_TRIES):
        seam = first(looks.axis, last + turn, False)
        if seam is not None and low <= seam <= high:
            # Where windows overlap and are blended, either side sees across: no place is a seam.
            other = first(looks.axis, nearest - turn, True)
            return (seam, False) if other == seam else (None, other is not None and other > seam)
    return None, False
