"""Chains of layers, along each axis by itself and in whole numbers: no array library is needed.

What one output of a chain reads is the product of what it reads along each axis. Networks with
branches have no such product; `paths` and `unread` follow them on arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, repeat
from math import prod
from operator import add, sub

from atrous.analysis.effective import Effective, shrunk_box, shrunk_line
from atrous.geometry import AxisMap, Everything, Local, Prefix, repeated
from atrous.network import Network

__all__ = [
    "ChainFootprint",
    "axis_ways",
    "chain_footprint",
    "chain_unread",
    "meeting",
    "read_dropping",
    "within",
]

Counts = list[int]

_LONGEST = 1 << 26
_MOST_MOVED = 256
"""Bytes for each position: as each phase moves all of the input, beyond it one by one is faster."""


@dataclass(frozen=True, slots=True)
class ChainFootprint:
    """What position `at` reads of the input: along each axis, from `origin` on, the path counts.

    The number of paths from a position of the input is the product of its counts.
    """

    at: tuple[int, ...]
    axes: tuple[str, ...]
    origin: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The extent of the box that holds all positions read."""
        return tuple(map(len, self.counts))

    @property
    def taps(self) -> int:
        """How many positions are read."""
        return prod(sum(map(bool, along)) for along in self.counts)

    @property
    def coverage(self) -> float:
        """The share of the box that is read; 0.0 where nothing is."""
        return self.taps / prod(self.shape) if prod(self.shape) else 0.0

    def effective(self, share: float = 0.95) -> Effective:
        """The box that holds `share` of all paths."""
        if not prod(self.shape):
            nothing = (0,) * len(self.at)
            return Effective(share, 1.0, self.origin, nothing, nothing)
        sums = []
        for along in self.counts:
            upto = [0]
            for count in along:
                upto.append(upto[-1] + count)
            sums.append([part / upto[-1] for part in upto])
        if prod(self.shape) == max(self.shape):
            return shrunk_line(self.shape, max(sums, key=len), share, self.origin)

        def inside(bounds: Sequence[tuple[int, int]]) -> float:
            return prod(upto[b] - upto[a] for upto, (a, b) in zip(sums, bounds, strict=True))

        return shrunk_box(self.shape, inside, share, self.origin)


def chain_footprint(network: Network, tensor: str, source: str) -> ChainFootprint | None:
    """What the middle of `tensor` reads of the input `source`; None where the way is no chain.

    >>> from atrous.network.stack import stack_network
    >>> found = chain_footprint(stack_network("k3d2 k3", (1, 1, 32)), "conv2", "x")
    >>> found.origin, found.counts
    ((13,), ((1, 1, 2, 1, 2, 1, 1),))
    """
    steps = axis_ways(network, tensor, source)
    if steps is None:
        return None
    at = tuple(length // 2 for length in network.tensor(tensor).grid.values())
    made = [
        _closed_in(*_back(ways, place, [1])) for ways, place in zip(steps.values(), at, strict=True)
    ]
    if not all(counts for _, counts in made):
        made = [(0, [])] * len(made)
    return ChainFootprint(
        at, tuple(steps), tuple(low for low, _ in made), tuple(tuple(c) for _, c in made)
    )


def chain_unread(network: Network, source: str) -> Fraction | None:
    """The share of the input that no output reads; None where the network is no chain.

    None as well where an axis of some map is longer than can be held position by position.

    >>> from atrous.network.stack import stack_network
    >>> chain_unread(stack_network("k1s2", (1, 1, 8, 8)), "x")
    Fraction(3, 4)
    """
    if len(network.outputs) != 1:
        return None
    [tensor] = network.outputs
    steps = axis_ways(network, tensor, source)
    longest = max((n for node in network.nodes for n in node.output.grid.values()), default=0)
    if steps is None or longest > _LONGEST:
        return None
    read = 1
    for axis, ways in steps.items():
        low, flags = 0, b"\1" * network.tensor(tensor).grid[axis]
        for way in ways:
            low, flags = _read_before(way, low, flags)
        read *= sum(flags)
    whole = prod(network.tensor(source).grid.values())
    return Fraction(whole - read, whole) if whole else None


def axis_ways(network: Network, tensor: str, source: str) -> dict[str, tuple[AxisMap, ...]] | None:
    """For each axis the maps from `tensor` back to `source`; None where the way is no chain."""
    axes = tuple(network.tensor(source).grid)
    found: dict[str, list[AxisMap]] = {axis: [] for axis in axes}
    makers = {node.output.name: node for node in network.nodes}
    reaching = network.reached(source)
    name = tensor
    while True:
        if tuple(network.tensor(name).grid) != axes:
            return None
        if name == source:
            return {axis: tuple(ways) for axis, ways in found.items()}
        node = makers.get(name)
        if node is None or node.opaque:
            return None
        places = [place for place, one in enumerate(node.inputs) if one in reaching]
        if len(places) != 1 or node.seam(places[0]) is not None:
            return None
        name, moves = node.inputs[places[0]], node.moves[places[0]]
        for axis in axes:
            if axis in moves:
                found[axis].append(moves[axis])
            elif node.output.grid[axis] != network.tensor(name).grid[axis]:
                return None


def _back(ways: Sequence[AxisMap], low: int, counts: Counts) -> tuple[int, Counts]:
    """Counts on positions from `low` on, brought back map by map."""
    for way in ways:
        low, counts = _before(way, low, counts)
    return low, counts


def _read_before(way: AxisMap, low: int, flags: bytes) -> tuple[int, bytes]:
    """A 1 for each position that is read, from that of 1 for each that reads, one byte each."""
    found = read_dropping(way, low, flags)
    if found is not None:
        return found
    low, counts = _before(way, low, list(flags))
    return low, bytes(map(bool, counts))


def read_dropping(way: AxisMap, low: int, flags: bytes) -> tuple[int, bytes] | None:
    """The positions that outputs from `low` on read, those outside dropped: the first, and flags.

    `flags` has a byte of 1 for each output that counts, and so has the result for each position
    that is read. All of them are one long number, of which a run of taps is a few shifts: a million
    positions take little. None for maps that are not of that kind.
    """
    if not isinstance(way, Local):
        return None
    hull = way.reads.needed(range(low, low + len(flags)))
    inside = range(max(hull.start, 0), min(hull.stop, way.inputs))
    if way.border != "drop" and inside != hull:
        return None
    if not inside:
        return 0, b""
    whole, period, shift = 0, way.reads.period, way.reads.shift
    if period * len(inside) > _MOST_MOVED * (len(flags) + len(inside)):
        return None
    for phase, taps in enumerate(way.reads.phases):
        first = low + (phase - low) % period
        rows = flags[first - low :: period]
        if not rows:
            continue
        apart = bytearray((len(rows) - 1) * shift + 1)
        apart[::shift] = rows
        held = int.from_bytes(apart, "little")
        base = (first - phase) // period * shift - inside.start
        for taken, _ in taps.support.shifted(base).runs():
            run = within(taken, 1 - len(apart), len(inside))
            copies = repeated(held, len(run), 8 * run.step) if run else 0
            whole |= copies << 8 * run.start if run.start >= 0 else copies >> -8 * run.start
    cut = whole & ((1 << 8 * len(inside)) - 1)
    return inside.start, cut.to_bytes(len(inside), "little")


def _before(way: AxisMap, low: int, counts: Counts) -> tuple[int, Counts]:
    if not any(counts):
        return 0, []
    if isinstance(way, Everything):
        return 0, [sum(counts)] * way.inputs
    if isinstance(way, Prefix):
        sums = list(accumulate(counts if way.reverse else reversed(counts)))
        if way.reverse:
            return low, sums + sums[-1:] * (way.inputs - low - len(sums))
        return 0, sums[-1:] * low + sums[::-1]
    if isinstance(way, Local):
        hull = way.reads.needed(range(low, low + len(counts)))
        if way.border == "drop" or (hull.start >= 0 and hull.stop <= way.inputs):
            return _before_drop(way, low, counts, hull)
    found: dict[int, int] = {}
    for place, count in enumerate(counts, low):
        for position, paths in way.at(place).items() if count else ():
            found[position] = found.get(position, 0) + count * paths
    if not found:
        return 0, []
    first = min(found)
    return first, [found.get(position, 0) for position in range(first, max(found) + 1)]


def _before_drop(way: Local, low: int, counts: Counts, hull: range) -> tuple[int, Counts]:
    """The same for reads that are dropped outside, run by run of taps instead of output by output.

    Nothing outside the input is held, however far the taps reach.
    """
    inside = range(max(hull.start, 0), min(hull.stop, way.inputs))
    buffer = [0] * len(inside)
    period, shift = way.reads.period, way.reads.shift
    for phase, taps in enumerate(way.reads.phases) if inside else ():
        first = low + (phase - low) % period
        rows = counts[first - low :: period]
        base = (first - phase) // period * shift - inside.start
        for run, paths in taps.shifted(base).runs() if rows else ():
            many = rows if paths == 1 else [count * paths for count in rows]
            _add_rows(buffer, many, shift, run)
    return (inside.start, buffer) if inside else (0, [])


def _add_rows(buffer: Counts, rows: Counts, shift: int, run: range) -> None:
    """Adds `rows`, `shift` apart, from each position of `run` on, to what they meet of `buffer`."""
    apart, run = meeting(range(0, len(rows) * shift, shift), run, len(buffer))
    rows = rows[apart.start // shift :][: len(apart)]
    if not rows:
        return
    span = apart[-1] - apart[0] + run[-1] - run[0] + 1
    if len(rows) * min(len(run), len(buffer) // run.step + 1) > 4 * span:
        sums = _sliding(rows, shift, run.step, len(run))
        start = run[0] + apart[0]
        met = within(range(span), -start, len(buffer) - start)
        where = slice(start + met.start, start + met.stop)
        buffer[where] = map(add, buffer[where], sums[met.start : met.stop])
    elif len(run) <= len(rows):
        for start in run:
            met = within(apart, -start, len(buffer) - start)
            some = rows[(met.start - apart.start) // shift :][: len(met)]
            where = slice(start + met.start, start + met.stop, shift)
            buffer[where] = map(add, buffer[where], some)
    else:
        for start, count in zip(apart, rows, strict=True):
            met = within(run, -start, len(buffer) - start)
            where = slice(start + met.start, start + met.stop, run.step)
            buffer[where] = [held + count for held in buffer[where]]


def _sliding(rows: Counts, shift: int, step: int, count: int) -> Counts:
    """The sum of `count` copies of `rows`, `shift` apart in themselves, each `step` further on.

    >>> _sliding([1, 10], 1, 2, 3)
    [1, 10, 1, 10, 1, 10]
    >>> _sliding([1, 10], 2, 1, 3)
    [1, 1, 11, 10, 10]
    """
    spread = [0] * ((len(rows) - 1) * shift + 1 + (count - 1) * step)
    spread[: (len(rows) - 1) * shift + 1 : shift] = rows
    for phase in range(min(step, len(spread))):
        sums = list(accumulate(spread[phase::step]))
        spread[phase::step] = map(sub, sums, chain(repeat(0, count), sums))
    return spread


def meeting(apart: range, run: range, length: int) -> tuple[range, range]:
    """The parts of both in which lie all pairs whose sum is at least 0 and below `length`.

    >>> meeting(range(0, 10), range(-30, 30, 5), 2)
    (range(0, 7), range(-5, 5, 5))
    """
    run = within(run, -apart[-1], length - apart[0])
    return (within(apart, -run[-1], length - run[0]), run) if run else (apart[:0], run)


def within(run: range, low: int, high: int) -> range:
    """What of a run with a positive step is at least `low` and below `high`.

    >>> within(range(0, 30, 5), 7, 20)
    range(10, 20, 5)
    """
    return run[max(0, -((run.start - low) // run.step)) : max(0, -((run.start - high) // run.step))]


def _closed_in(low: int, counts: Counts) -> tuple[int, Counts]:
    read = [place for place, count in enumerate(counts) if count]
    return (low + read[0], counts[read[0] : read[-1] + 1]) if read else (0, [])
