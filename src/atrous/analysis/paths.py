"""Counting paths: from one output position back to the input, as a gradient would go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.analysis.chain import axis_ways, meeting, within
from atrous.analysis.footprint import Footprint
from atrous.errors import GeometryError, UnsupportedError
from atrous.geometry import AxisMap, Everything, Local, Prefix, fold_back
from atrous.network.layout import ROWS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atrous.network import Network, Node
    from atrous.network.layout import Seam

__all__ = ["MOST_COUNTED", "Walks", "adjoint", "footprint_of"]

MOST_EXACT = 1 << 62
MOST_COUNTED = 1 << 27
"""Positions of one map: a number of 8 bytes is held for each, some of them twice."""
_KEPT = 1 << 26
"""Bytes of counts that walks keep."""
_CHEAP = 4
"""So many steps that were made before cost as much as a new one."""
_FEW = 8
"""So many copies are added one by one; more by doubling."""
_BLOCK = 1 << 21


@dataclass(slots=True)
class _Region:
    """Path counts on a box of a tensor's grid; everything outside is 0."""

    origin: list[int]
    counts: NDArray[Any]


@dataclass(slots=True)
class _Walked:
    """The counts of one axis after some steps back, and what they become after one more."""

    low: int
    along: NDArray[Any]
    peak: float
    then: dict[int, _Walked] = field(default_factory=dict)


class Walks:
    """Walks from many outputs back to one input, of which those that begin alike are made once.

    In a chain of layers that are alike each layer then costs one step, not one for each before it.
    `steps` is about how many were made.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._free = _KEPT
        self._starts: dict[tuple[int, type], _Walked] = {}
        self._names: dict[int, tuple[AxisMap, int]] = {}
        self._widths: dict[int, int] = {}
        self._alike: dict[AxisMap, int] = {}

    def along(self, steps: Sequence[AxisMap], at: int, kind: type) -> tuple[int, Any, float]:
        """The counts of one axis from the first one's place on, and the largest on the way."""
        start = _Walked(at, np.ones(1, dtype=kind), 1.0)
        here = self._starts.setdefault((at, kind), start)
        self.steps += len(steps) // _CHEAP
        for step in steps:
            name = self._name(step)
            after = here.then.get(name)
            if after is None:
                self.steps += 1
                low, counts = adjoint(step, here.low, here.along)
                peak = float(counts.max(initial=0)) if kind is np.float64 else 1.0
                after = _Walked(low, counts, max(here.peak, peak))
                if self._free > 0:
                    here.then[name] = after
                    self._free -= 512 + counts.size * (128 if kind is np.object_ else 8)
            here = after
        return here.low, here.along, here.peak

    def widest(self, step: AxisMap) -> int:
        """The most that one output reads, each read counted."""
        name = self._name(step)
        if name not in self._widths:
            self._widths[name] = _widest(step)
        return self._widths[name]

    def _name(self, step: AxisMap) -> int:
        """One number for steps that are equal."""
        known = self._names.get(id(step))
        if known is None:
            # Kept, so that its id stays its own.
            known = (step, self._alike.setdefault(step, len(self._alike)))
            self._names[id(step)] = known
        return known[1]


def footprint_of(
    network: Network,
    tensor: str,
    at: Sequence[int] | None,
    source: str,
    walks: Walks | None = None,
) -> Footprint:
    """The footprint on the input `source` of position `at` of `tensor`.

    `at` has one index for each spatial axis that the tensor has; None is the middle, `size // 2`.
    Runs the graph backwards from one position, as a gradient would, on counts instead of numbers.
    Raises `GeometryError` for a position that does not exist, and `UnsupportedError` where more
    positions are read on the way than can be counted. `walks` shares what many have in common.
    """
    grid = network.tensor(tensor).grid
    lengths = tuple(grid.values())
    place = tuple(length // 2 for length in lengths) if at is None else tuple(at)
    if len(place) != len(lengths) or any(
        not 0 <= p < n for p, n in zip(place, lengths, strict=True)
    ):
        raise GeometryError(
            f"at={place} is not in an output of {lengths}; give one index for each of "
            f"{len(lengths)} spatial axes, counted from 0."
        )
    start = network.tensor(source)
    shape = tuple(start.grid.values())
    beside = partial(_footprint_at, network, tensor, source)
    ways = axis_ways(network, tensor, source)
    if ways is not None:
        origin, box = _chain_box(list(ways.values()), place, walks or Walks())
        return Footprint(place, origin, shape, tuple(start.grid), box, lengths, beside)
    reaching = network.reached(source)
    bound = _bound(network, tensor, reaching)
    kind = np.int64 if bound <= MOST_EXACT else np.float64 if bound < 1 << 1000 else np.object_
    if walks is not None:
        walks.steps += len(reaching)
    found, peak = _backwards(network, tensor, place, source, reaching, kind)
    if kind is np.float64 and peak <= MOST_EXACT:
        # The bound was too careful: every count on the way fits after all.
        found, _ = _backwards(network, tensor, place, source, reaching, np.int64)
    origin, box = _trimmed(found, len(shape))
    return Footprint(place, origin, shape, tuple(start.grid), box, lengths, beside)


def _footprint_at(network: Network, tensor: str, source: str, at: Sequence[int]) -> Footprint:
    return footprint_of(network, tensor, at, source)


def _chain_box(
    ways: Sequence[Sequence[AxisMap]], place: tuple[int, ...], walks: Walks
) -> tuple[tuple[int, ...], NDArray[Any]]:
    """Origin and counts of what a chain of layers reads: the product of its axes' counts."""
    origin, counts = [], []
    most = prod(walks.widest(step) for steps in ways for step in steps)
    kind = np.int64 if most <= MOST_EXACT else np.float64 if most < 1 << 1000 else np.object_
    for steps, at in zip(ways, place, strict=True):
        low, along, peak = walks.along(steps, at, kind)
        if kind is np.float64 and peak <= MOST_EXACT:
            low, along, _ = walks.along(steps, at, np.int64)
        read = np.flatnonzero(along)
        if not read.size:
            return (0,) * len(place), np.zeros((0,) * len(place), dtype=np.int64)
        origin.append(low + int(read[0]))
        counts.append(along[read[0] : read[-1] + 1])
    size = prod(map(len, counts))
    if size > MOST_COUNTED:
        raise _too_many(size)
    most = prod(int(along.max()) for along in counts)
    if any(along.dtype == np.float64 for along in counts):
        most = max(most, MOST_EXACT + 1)
    kind = np.int64 if most <= MOST_EXACT else np.float64 if most < 1 << 1000 else np.object_
    box: NDArray[Any] = np.ones((), dtype=kind)
    for along in counts:
        box = np.multiply.outer(box, along.astype(kind))
    return tuple(origin), box


def _too_many(positions: int) -> UnsupportedError:
    return UnsupportedError(
        f"paths to {positions:,} positions are too many to be counted one "
        f"by one; at most {MOST_COUNTED:,} are. Take a smaller input."
    )


def _backwards(
    network: Network,
    tensor: str,
    place: tuple[int, ...],
    source: str,
    reaching: set[str],
    kind: type,
) -> tuple[_Region | None, float]:
    """The counts on the input, and the largest count anywhere on the way."""
    one: NDArray[Any] = np.ones((1,) * len(place), dtype=kind)
    regions = {tensor: _Region(list(place), one)}
    peak = 1.0
    for node in reversed(network.nodes) if tensor != source else ():
        region = regions.pop(node.output.name, None)
        if region is None:
            continue
        if node.opaque:
            raise UnsupportedError(
                f"{node.name}: {node.opaque}, so what is read through it is not known."
            )
        for index, name in enumerate(node.inputs):
            if name in reaching:
                back = _region_before(node, index, network.tensor(name).grid, region)
                joined = _added(regions.get(name), back)
                if kind is np.float64 and joined.counts.size:
                    peak = max(peak, float(joined.counts.max()))
                regions[name] = joined
    return regions.get(source), peak


def _bound(network: Network, tensor: str, reaching: set[str]) -> int:
    """A number that no count on the way exceeds."""
    paths: dict[str, int] = {tensor: 1}
    most = 1
    for node in reversed(network.nodes):
        here = paths.pop(node.output.name, 0)
        if not here:
            continue
        for name, moves in zip(node.inputs, node.moves, strict=True):
            if name in reaching:
                widths = prod(_widest(m) for m in moves.values())
                paths[name] = paths.get(name, 0) + here * max(widths, 1)
                most = max(most, paths[name])
    return most


def _widest(step: AxisMap) -> int:
    if isinstance(step, Local):
        return max(taps.total for taps in step.reads.phases)
    return step.inputs


def _region_before(node: Node, index: int, grid: Mapping[str, int], region: _Region) -> _Region:
    axes = list(node.output.grid)
    counts, origin = region.counts, dict(zip(axes, region.origin, strict=True))
    seam, moves = node.seam(index), node.moves[index]
    # The axes that the operand has where its own rows, or those of the output, are laid out.
    inner = dict(grid)
    if seam is not None and seam.out:
        del inner[ROWS]
        inner.update(seam.axes)
    laid = seam is not None and not seam.out
    held = seam.axes if seam is not None and laid else {}
    gone = tuple(
        i
        for i, axis in enumerate(axes)
        if (axis not in inner or axis in held) and not (laid and axis == ROWS)
    )
    if gone:
        counts = counts.sum(axis=gone)
        axes = [axis for i, axis in enumerate(axes) if i not in gone]
    if seam is not None and laid:
        counts, axes = _laid_apart(seam, counts, axes, origin)
    for axis in inner:
        if axis not in axes:
            counts = counts[..., np.newaxis]
            axes.append(axis)
            origin[axis] = 0
    order = [axes.index(axis) for axis in inner]
    counts = counts.transpose(order)
    lows = [origin[axis] for axis in inner]
    for i, axis in enumerate(inner):
        step = moves.get(axis)
        if step is not None:
            lows[i], moved = adjoint(step, lows[i], np.moveaxis(counts, i, 0))
            counts = np.moveaxis(moved, 0, i)
    if seam is None or not seam.out:
        return _Region(lows, counts)
    origin = dict(zip(inner, lows, strict=True))
    counts, axes = _laid_together(seam, counts, list(inner), origin, grid[ROWS])
    counts = counts.transpose([axes.index(axis) for axis in grid])
    return _Region([origin[axis] for axis in grid], counts)


def _digit_order(seam: Seam) -> tuple[list[int], list[int]]:
    """The digits of each axis, the most significant first, axis after axis; then the others."""
    digits = list(enumerate(seam.digits))
    order: list[int] = []
    for axis in seam.axes:
        mine = [(i, a.weight) for i, a in digits if a.axis == axis]
        order += [i for i, _ in sorted(mine, key=lambda pair: -pair[1])]
    return order, [i for i, a in digits if a.axis is None]


def _laid_apart(
    seam: Seam, counts: NDArray[Any], axes: list[str], origin: dict[str, int]
) -> tuple[NDArray[Any], list[str]]:
    """Counts on rows as counts on the axes of the part that lies there; `origin` follows."""
    place = axes.index(ROWS)
    rows = np.moveaxis(counts, place, 0)
    low = origin[ROWS]
    full = np.zeros((seam.length, *rows.shape[1:]), dtype=counts.dtype)
    first, last = max(low, seam.start), min(low + len(rows), seam.start + seam.length)
    if first < last:
        full[first - seam.start : last - seam.start] = rows[first - low : last - low]
    rest = [axis for axis in axes if axis != ROWS]
    order, loose = _digit_order(seam)
    apart = full.reshape([a.size for a in seam.digits] + list(rows.shape[1:]))
    behind = range(len(seam.digits), apart.ndim)
    apart = apart.transpose([*order, *loose, *behind])
    apart = apart.sum(axis=tuple(range(len(order), len(order) + len(loose))))
    apart = apart.reshape([*seam.axes.values(), *rows.shape[1:]])
    origin.update(dict.fromkeys(seam.axes, 0))
    return apart, [*seam.axes, *rest]


def _laid_together(
    seam: Seam, counts: NDArray[Any], axes: list[str], origin: dict[str, int], total: int
) -> tuple[NDArray[Any], list[str]]:
    """Counts on the axes of a part taken out of rows, as counts on these rows."""
    own = list(seam.axes)
    rest = [axis for axis in axes if axis not in own]
    apart = counts.transpose([axes.index(axis) for axis in (*own, *rest)])
    tail = apart.shape[len(own) :]
    full = np.zeros((*seam.axes.values(), *tail), dtype=counts.dtype)
    full[
        tuple(
            slice(origin[a], origin[a] + n)
            for a, n in zip(own, apart.shape[: len(own)], strict=True)
        )
    ] = apart
    order, loose = _digit_order(seam)
    sizes = [seam.digits[i].size for i in order]
    full = full.reshape([*sizes, *(1,) * len(loose), *tail])
    both = [*order, *loose]
    behind = range(len(both), full.ndim)
    full = full.transpose([*(both.index(i) for i in range(len(both))), *behind])
    full = np.broadcast_to(full, [*(a.size for a in seam.digits), *tail])
    rows = np.zeros((total, *tail), dtype=counts.dtype)
    rows[seam.start : seam.start + seam.length] = full.reshape([seam.length, *tail])
    origin[ROWS] = 0
    return rows, [ROWS, *rest]


def adjoint(step: AxisMap, low: int, counts: NDArray[Any]) -> tuple[int, NDArray[Any]]:
    """Counts on the outputs from `low` on, brought back to the inputs along the first axis.

    Raises `UnsupportedError` where that is more than can be held.
    """
    rows = step.inputs
    if isinstance(step, Local):
        hull = step.reads.needed(range(low, low + counts.shape[0]))
        inside = min(hull.stop, rows) - max(hull.start, 0)
        rows = max(inside, 0) if step.border == "drop" else max(rows, len(hull))
    if rows * prod(counts.shape[1:]) > MOST_COUNTED:
        raise _too_many(rows * prod(counts.shape[1:]))
    if isinstance(step, Local):
        return _adjoint_local(step, low, counts)
    if isinstance(step, Everything):
        total = counts.sum(axis=0, keepdims=True)
        return 0, np.repeat(total, step.inputs, axis=0)
    if isinstance(step, Prefix):
        out = np.zeros((step.inputs, *counts.shape[1:]), dtype=counts.dtype)
        stop = low + counts.shape[0]
        if step.reverse:
            out[low:stop] = np.cumsum(counts, axis=0)
            out[stop:] = out[stop - 1 : stop]
        else:
            out[low:stop] = np.cumsum(counts[::-1], axis=0)[::-1]
            out[:low] = out[low : low + 1]
        return 0, out
    out = np.zeros((step.inputs, *counts.shape[1:]), dtype=counts.dtype)
    for row in range(counts.shape[0]):
        for position, paths in step.at(low + row).items():
            out[position] += paths * counts[row]
    return 0, out


def _adjoint_local(step: Local, low: int, counts: NDArray[Any]) -> tuple[int, NDArray[Any]]:
    outputs = range(low, low + counts.shape[0])
    hull = step.reads.needed(outputs)
    lo, hi = max(hull.start, 0), min(hull.stop, step.inputs)
    # What is dropped outside is not held, however far the taps reach.
    held = range(lo, hi) if step.border == "drop" else hull
    if not held:
        return 0, np.zeros((1, *counts.shape[1:]), dtype=counts.dtype)
    buffer = np.zeros((len(held), *counts.shape[1:]), dtype=counts.dtype)
    period, shift = step.reads.period, step.reads.shift
    for phase, taps in enumerate(step.reads.phases):
        first = outputs.start + (phase - outputs.start) % period
        if first >= outputs.stop:
            continue
        rows = counts[first - low :: period]
        base = (first - phase) // period * shift - held.start
        for run, paths in taps.shifted(base).runs():
            _add_copies(buffer, rows if paths == 1 else rows * paths, shift, run)
    if step.border == "drop" or held == range(lo, hi):
        return held.start, buffer
    out = np.zeros((step.inputs, *counts.shape[1:]), dtype=counts.dtype)
    if hi > lo:
        out[lo:hi] = buffer[lo - hull.start : hi - hull.start]
    place = fold_back(step.border, step.inputs, phases=step.phases)
    for position in (*range(hull.start, min(0, hull.stop)), *range(max(hi, hull.start), hull.stop)):
        target_position = place(position)
        if target_position is not None and not 0 <= position < step.inputs:
            out[target_position] += buffer[position - hull.start]
    return 0, out


def _add_copies(buffer: NDArray[Any], rows: NDArray[Any], shift: int, run: range) -> None:
    """Adds `rows`, `shift` apart, from each position of `run` on, to what they meet of `buffer`."""
    apart, run = meeting(range(0, len(rows) * shift, shift), run, len(buffer))
    rows = rows[apart.start // shift :][: len(apart)]
    if len(run) <= min(len(rows), _FEW):
        for start in run:
            met = within(apart, -start, len(buffer) - start)
            some = rows[(met.start - apart.start) // shift :][: len(met)]
            buffer[start + met.start : start + met.stop : shift] += some
    elif len(rows) <= _FEW:
        for start, row in zip(apart, rows, strict=True):
            met = within(run, -start, len(buffer) - start)
            buffer[start + met.start : start + met.stop : run.step] += row
    else:
        start = run[0] + apart[0]
        span = apart[-1] - apart[0] + 1
        met = within(range(span + run[-1] - run[0]), -start, len(buffer) - start)
        where = slice(start + met.start, start + met.stop)
        flat, into = rows.reshape(len(rows), -1), buffer.reshape(len(buffer), -1)
        # A few columns at a time: what is held between is longer than the rows and the result.
        columns = max(1, _BLOCK // (met.stop + span))
        for left in range(0, flat.shape[1], columns):
            spread = np.zeros((span, min(columns, flat.shape[1] - left)), dtype=rows.dtype)
            spread[::shift] = flat[:, left : left + columns]
            sums = _repeated_sum(spread, len(run), run.step)
            into[where, left : left + columns] += sums[met.start : met.stop]


def _repeated_sum(rows: NDArray[Any], count: int, step: int) -> NDArray[Any]:
    """The sum of `count` copies of `rows`, each `step` further on, by doubling.

    >>> _repeated_sum(np.array([1, 10]), 3, 1)
    array([ 1, 11, 11, 10])
    """
    total, done = rows, 1
    for bit in f"{count:b}"[1:]:
        total, done = _overlaid(total, total, done * step), 2 * done
        if bit == "1":
            total, done = _overlaid(total, rows, done * step), done + 1
    return total


def _overlaid(one: NDArray[Any], other: NDArray[Any], distance: int) -> NDArray[Any]:
    """The sum of two, the other `distance` further on."""
    out = np.zeros((max(len(one), distance + len(other)), *one.shape[1:]), dtype=one.dtype)
    out[: len(one)] = one
    out[distance : distance + len(other)] += other
    return out


def _added(known: _Region | None, more: _Region) -> _Region:
    if known is None:
        return more
    if known.origin == more.origin and known.counts.shape == more.counts.shape:
        return _Region(known.origin, known.counts + more.counts)
    low = [min(a, b) for a, b in zip(known.origin, more.origin, strict=True)]
    high = [
        max(a + n, b + m)
        for a, n, b, m in zip(
            known.origin, known.counts.shape, more.origin, more.counts.shape, strict=True
        )
    ]
    out = np.zeros([h - o for o, h in zip(low, high, strict=True)], dtype=known.counts.dtype)
    for region in (known, more):
        inside = tuple(
            slice(o - base, o - base + n)
            for o, base, n in zip(region.origin, low, region.counts.shape, strict=True)
        )
        out[inside] += region.counts
    return _Region(low, out)


def _trimmed(region: _Region | None, rank: int) -> tuple[tuple[int, ...], NDArray[Any]]:
    empty: NDArray[Any] = np.zeros((0,) * max(rank, 1) if rank else (), dtype=np.int64)
    if region is None:
        return (0,) * rank, empty
    read = region.counts > 0
    bounds = []
    for axis in range(rank):
        along = np.flatnonzero(read.any(axis=tuple(i for i in range(rank) if i != axis)))
        if not along.size:
            return (0,) * rank, empty
        bounds.append((int(along[0]), int(along[-1]) + 1))
    box = region.counts[tuple(slice(a, b) for a, b in bounds)]
    return tuple(o + a for o, (a, _) in zip(region.origin, bounds, strict=True)), box.copy()
