"""Chains of layers, along each axis by itself and in whole numbers: no array library is needed.

What one output of a chain reads is the product of what it reads along each axis. Networks with
branches have no such product; `paths` and `unread` follow them on arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from atrous.analysis.effective import Effective, shrunk_box
from atrous.geometry import AxisMap, Local, repeated
from atrous.network import Network

__all__ = ["ChainFootprint", "chain_footprint", "chain_unread", "read_dropping"]

Counts = list[int]

_LONGEST = 1 << 26
_MOST_PHASES = 64
"""Of what repeats after more outputs, each phase has few of them."""


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
    steps = _way(network, tensor, source)
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
    steps = _way(network, tensor, source)
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


def _way(network: Network, tensor: str, source: str) -> dict[str, tuple[AxisMap, ...]] | None:
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
    if not isinstance(way, Local) or way.reads.period > _MOST_PHASES:
        return None
    hull = way.reads.needed(range(low, low + len(flags)))
    if way.border != "drop" and not (hull.start >= 0 and hull.stop <= way.inputs):
        return None
    whole, period, shift = 0, way.reads.period, way.reads.shift
    for phase, taps in enumerate(way.reads.phases):
        first = low + (phase - low) % period
        rows = flags[first - low :: period]
        if not rows:
            continue
        apart = bytearray((len(rows) - 1) * shift + 1)
        apart[::shift] = rows
        held = int.from_bytes(apart, "little")
        base = (first - phase) // period * shift - hull.start
        for start, step, count in _even_rows(list(taps)):
            whole |= repeated(held, count, 8 * step) << 8 * (base + start)
    first, stop = max(hull.start, 0), min(hull.stop, way.inputs)
    if first >= stop:
        return 0, b""
    return first, whole.to_bytes(len(hull), "little")[first - hull.start : stop - hull.start]


def _even_rows(positions: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Positions in order as rows of evenly spaced ones: the first, the step, and how many.

    >>> list(_even_rows([0, 2, 4, 5, 9]))
    [(0, 2, 3), (5, 4, 2)]
    """
    at = 0
    while at < len(positions):
        step = positions[at + 1] - positions[at] if at + 1 < len(positions) else 1
        stop = at + 1
        while stop < len(positions) and positions[stop] - positions[stop - 1] == step:
            stop += 1
        yield positions[at], step, stop - at
        at = stop


def _before(way: AxisMap, low: int, counts: Counts) -> tuple[int, Counts]:
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
    """The same for reads that are dropped outside, tap by tap instead of output by output."""
    buffer = [0] * len(hull)
    period, shift = way.reads.period, way.reads.shift
    for phase, taps in enumerate(way.reads.phases):
        first = low + (phase - low) % period
        rows = counts[first - low :: period]
        if not rows:
            continue
        base = (first - phase) // period * shift - hull.start
        for position, paths in taps.items():
            for place, count in enumerate(rows):
                buffer[base + position + place * shift] += count * paths
    first, stop = max(hull.start, 0), min(hull.stop, way.inputs)
    return (first, buffer[first - hull.start : stop - hull.start]) if first < stop else (0, [])


def _closed_in(low: int, counts: Counts) -> tuple[int, Counts]:
    read = [place for place, count in enumerate(counts) if count]
    return (low + read[0], counts[read[0] : read[-1] + 1]) if read else (0, [])
