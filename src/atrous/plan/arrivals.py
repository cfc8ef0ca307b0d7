"""Which input samples each position of a stream reads and waits for, for clips of every length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from atrous.geometry import Local, Prefix, Reads, Taps
from atrous.network import Node
from atrous.network.ops import Conv, Pool, Resize, Unfold, Windows
from atrous.plan.lengths import AtLengths
from atrous.plan.regions import length_along
from atrous.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Places = NDArray[np.int64]

__all__ = ["Arrivals", "Cycle", "arrivals"]

NOTHING = 1 << 60
"""Of what reads nothing: as a first position, and negative as a last one."""
_HALF = NOTHING >> 1


@dataclass(frozen=True, slots=True, eq=False)
class Cycle:
    """A number for every whole position: it grows by `step` every `len(values)` of them.

    >>> import numpy as np
    >>> Cycle(np.array([0, 1]), 8).at(np.array([-1, 0, 1, 2])).tolist()
    [-7, 0, 1, 8]
    """

    values: Places
    step: int

    def at(self, places: Places) -> Places:
        """The numbers at some positions."""
        import numpy as np

        turns, rest = np.divmod(places, len(self.values))
        found: Places = self.values[rest] + turns * self.step
        return found

    @property
    def rises(self) -> bool:
        """Whether no number is below one before it."""
        v = self.values
        return bool((v[1:] >= v[:-1]).all() and v[-1] <= v[0] + self.step)

    def highest_so_far(self) -> Cycle:
        """At each position the largest number at it and before it."""
        import numpy as np

        n = len(self.values)
        held = np.maximum.accumulate(self.at(np.arange(-n, n)))
        return Cycle(held[n:], self.step)

    def lowest_from_here(self) -> Cycle:
        """At each position the smallest number at it and behind it."""
        import numpy as np

        n = len(self.values)
        held = np.minimum.accumulate(self.at(np.arange(2 * n))[::-1])[::-1]
        return Cycle(held[:n], self.step)

    def below(self, bounds: Places) -> Places:
        """How many positions from 0 on have numbers below each bound, of numbers that rise.

        Negative where positions before 0 are not below it either.
        """
        import numpy as np

        low = self.values[0]
        turns = np.floor_divide(bounds - 1 - low, self.step)
        rest = bounds - turns * self.step
        found: Places = np.searchsorted(self.values, rest, "left") + turns * len(self.values)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """For each tensor, as numbers for all its positions: what they read, when they are known.

    `first` is the first input sample that a position reads, `last` the last one, or the one whose
    arrival says that the position exists, whichever is later; where a clip begins is left out.
    `start` has the same as `last` for the first positions of a clip, what ends reflect and repeat
    included, as far as it differs. `exists` is the sample with which a position exists.
    """

    stream: AtLengths
    first: Mapping[str, Cycle]
    last: Mapping[str, Cycle]
    exists: Mapping[str, Cycle | None]
    start: Mapping[str, Places] = field(repr=False)
    """The positions from 0 on, at least so many that the last hop of them is as `last` says."""
    unbounded: tuple[str, ...] = ()
    """Layers that carry all of the past on."""

    def waits(self, tensor: str) -> tuple[Places, Cycle]:
        """The sample after which each position is there and all before it: first ones, then all."""
        import numpy as np

        steady = self.last[tensor].highest_so_far()
        begin = np.maximum.accumulate(self.start[tensor])
        usual = steady.at(np.arange(len(begin)))
        other = np.flatnonzero(begin != usual)
        return begin[: int(other[-1]) + 1 if len(other) else 0], steady


def arrivals(stream: AtLengths, *, hopeful: bool = False) -> Arrivals | Refusal:
    """What the positions of every tensor read and wait for.

    Where tensors end may depend on the length of the clip in ways that lengths tried do not tell;
    then a position is taken to exist as late as they allow, or as early if `hopeful`.
    """
    import numpy as np

    first: dict[str, Cycle] = {}
    last: dict[str, Cycle] = {}
    exists: dict[str, Cycle | None] = {}
    alike: dict[tuple[object, ...], Cycle] = {}
    unbounded: list[str] = []
    for tensor in stream.network.inputs:
        if tensor.name in stream.strides:
            # A position of a slower input comes with the sample that it stands at.
            every = int(stream.strides[tensor.name])
            places = Cycle(np.arange(0, stream.hop, every), stream.hop)
            first[tensor.name] = last[tensor.name] = exists[tensor.name] = places
            alike[_lengths(stream, tensor.name)] = places
    for index, node in enumerate(stream.network.nodes):
        name = node.output.name
        if name not in stream.strides:
            continue
        there = _exists(stream, index, exists, alike, hopeful)
        exists[name] = there
        if there is not None:
            alike[_lengths(stream, name)] = there
        before = [
            _through(stream, node, i, operand, first[operand], last[operand])
            for i, operand in stream.operands(node)
        ]
        lows, highs = zip(*before, strict=True)
        first[name] = Cycle(np.minimum.reduce([low.values for low in lows]), stream.hop)
        found = np.maximum.reduce([high.values for high in highs])
        if there is not None:
            found = np.maximum(found, there.values)
        last[name] = Cycle(found, stream.hop)
        unbounded += [node.name] * any(
            isinstance(node.moves[i].get(stream.axis), Prefix) for i, _ in stream.operands(node)
        )
    start = _started(stream, last, exists)
    if isinstance(start, Refusal):
        return start
    return Arrivals(stream, first, last, exists, start, tuple(unbounded))


def _lengths(stream: AtLengths, tensor: str) -> tuple[object, ...]:
    """The length of a tensor in every clip that was tried, and its stride."""
    lengths = (length_along(one, tensor, stream.axis) for one in stream.networks)
    return (stream.strides[tensor], *lengths)


def _through(
    stream: AtLengths, node: Node, index: int, operand: str, first: Cycle, last: Cycle
) -> tuple[Cycle, Cycle]:
    """What the outputs of a node read first and last of the input, through one operand."""
    import numpy as np

    move = node.moves[index].get(stream.axis)
    count = stream.positions(node.output.name)
    if isinstance(move, Prefix):
        return Cycle(np.full(count, -_HALF), stream.hop), last.highest_so_far()
    if not isinstance(move, Local) or length_along(stream.network, operand, stream.axis) == 1:
        return first, last
    low, high = np.full(count, NOTHING), np.full(count, -NOTHING)
    for phase, taps in enumerate(move.reads.phases):
        if not taps.mask:
            continue
        base = np.arange(count // move.reads.period) * move.reads.shift
        here = slice(phase, None, move.reads.period)
        low[here] = _extreme_of(first, base, taps, np.minimum)
        high[here] = _extreme_of(last, base, taps, np.maximum)
    return Cycle(low, stream.hop), Cycle(high, stream.hop)


def _extreme_of(cycle: Cycle, base: Places, taps: Taps, which: np.ufunc) -> Places:
    """The least or greatest number at `base` and the taps from there on."""
    import numpy as np

    if cycle.rises:
        return cycle.at(base + (taps.first if which is np.minimum else taps.last))
    found: Places = which.reduce([cycle.at(base + tap) for tap in taps])
    return found


def _exists(
    stream: AtLengths,
    index: int,
    exists: Mapping[str, Cycle | None],
    alike: Mapping[tuple[object, ...], Cycle],
    hopeful: bool,
) -> Cycle | None:
    """With which input sample each output of a node exists; None where nothing tells."""
    import numpy as np

    node = stream.network.nodes[index]
    name = node.output.name
    count = stream.positions(name)
    # Maps of one length in all clips that were tried have one length in all.
    same = alike.get(_lengths(stream, name))
    found = [] if same is None else [same.values]
    for i, operand in stream.operands(node):
        before = exists.get(operand)
        if before is None:
            continue
        moves = [one.nodes[index].moves[i].get(stream.axis) for one in stream.networks]
        if not isinstance(moves[0], Local):
            found.append(before.values)
            continue
        local = [move for move in moves if isinstance(move, Local)]
        found.append(before.at(_needed_to_exist(node, local, np.arange(count), hopeful)))
    return Cycle(np.minimum.reduce(found), stream.hop) if found else None


def _needed_to_exist(node: Node, moves: Sequence[Local], places: Places, hopeful: bool) -> Places:
    """The input position with which each output exists, as the lengths that were tried tell.

    With `shift` inputs more there are `period` outputs more, so each length that was tried bounds
    the others; where bounds contradict one another, code takes the size from elsewhere.
    """
    import numpy as np

    reads = moves[0].reads
    known = _lengths_between(node, moves)

    def bound(outputs: Places, inputs: int, made: int) -> Places:
        return inputs + reads.shift * -((made - outputs) // reads.period)

    agree = all(
        bound(np.array(made), *one) - reads.shift < inputs < bound(np.array(made + 1), *one)
        for inputs, made in known
        for one in known
    )
    bounds = [bound(places + 1, *one) for one in known]
    which = np.minimum if agree or hopeful else np.maximum
    found: Places = which.reduce(bounds) - 1
    return found


def _lengths_between(node: Node, moves: Sequence[Local]) -> set[tuple[int, int]]:
    """Lengths of input and output that were tried, and all between that follow from them."""
    reads = moves[0].reads
    known = {(move.inputs, move.outputs) for move in moves}
    base, length = max(known)
    between = range(base, base + reads.shift)
    if isinstance(node.op, Conv | Pool | Unfold | Windows):
        windows = (node.op.window,) if isinstance(node.op, Windows) else node.op.windows
        ceiling = isinstance(node.op, Pool) and node.op.ceil
        for window in windows:
            alike = Reads.window(window).support == reads.support
            if alike and all(window.output_length(n, ceiling) == made for n, made in known):
                return known | {(n, window.output_length(n, ceiling)) for n in between}
    if isinstance(node.op, Resize):  # by a factor: what falls short of a whole output makes none

        def resized(n: int) -> int:
            return n * reads.period // reads.shift

        if all(resized(n) == made for n, made in known):
            return known | {(n, resized(n)) for n in between}
    # Else where all outputs are there whose reads are, as of slices in steps.
    if all(taps.mask for taps in reads.phases) and all(
        _whole_reads(reads, n, made) == made for n, made in known
    ):
        return known | {(n, _whole_reads(reads, n, length)) for n in between}
    return known


def _whole_reads(reads: Reads, inputs: int, near: int) -> int:
    """How many outputs from 0 on read nothing behind so many inputs; about `near` of them."""
    count = max(near - reads.period, 0)
    while reads.needed(range(count, count + 1)).stop <= inputs:
        count += 1
    return count


_LONGEST = 1 << 22
"""Samples after which a stream that has not become regular is given up."""


def _started(
    stream: AtLengths, last: Mapping[str, Cycle], exists: Mapping[str, Cycle | None]
) -> Mapping[str, Places] | Refusal:
    """What the first positions of a clip wait for, until all tensors are as they will stay."""
    import numpy as np

    horizon = max(4 * stream.hop, 64)
    while horizon <= _LONGEST:
        found: dict[str, Places] = {
            t.name: np.arange(0, horizon, int(stream.strides[t.name]))
            for t in stream.network.inputs
            if t.name in stream.strides
        }
        for node in stream.network.nodes:
            if node.output.name in stream.strides:
                found[node.output.name] = _from_start(stream, node, found, exists)
        if all(_is_steady(stream, name, here, last[name]) for name, here in found.items()):
            return found
        horizon *= 2
    reason = f"a stream along {stream.axis} does not become regular within {horizon:,} samples."
    return Refusal("aligned", "", reason)


def _is_steady(stream: AtLengths, tensor: str, start: Places, steady: Cycle) -> bool:
    import numpy as np

    count = stream.positions(tensor)
    places = np.arange(len(start) - count, len(start))
    if len(start) < count or start.max() > _HALF:
        return False
    usual = steady.at(places)
    return bool(((start[places] == usual) | ((usual < -_HALF) & (start[places] < -_HALF))).all())


def _from_start(
    stream: AtLengths,
    node: Node,
    found: Mapping[str, Places],
    exists: Mapping[str, Cycle | None],
) -> Places:
    """What the first outputs of a node wait for, as many as all operands allow."""
    import numpy as np

    sides: list[Places] = []
    for index, name in stream.operands(node):
        move, before = node.moves[index].get(stream.axis), found[name]
        if isinstance(move, Prefix):
            sides.append(np.maximum.accumulate(before))
        elif isinstance(move, Local):
            sides.append(_read_from_start(move, before))
        else:
            sides.append(before)
    count = min(map(len, sides))
    high = np.maximum.reduce([side[:count] for side in sides])
    there = exists.get(node.output.name)
    return high if there is None else np.maximum(high, there.at(np.arange(count)))


def _read_from_start(move: Local, before: Places) -> Places:
    """What outputs wait for whose reads all lie before the end of what is known of the input."""
    import numpy as np

    reads, known = move.reads, len(before)
    count = min(
        (phase + reads.period * max(-(-(known - taps.last) // reads.shift), 0))
        for phase, taps in enumerate(reads.phases)
        if taps.mask
    )
    high = np.full(count, -NOTHING)
    rises = bool((before[1:] >= before[:-1]).all())
    for phase, taps in enumerate(reads.phases):
        turns = len(range(phase, count, reads.period))
        if not taps.mask or not turns:
            continue
        base = np.arange(turns) * reads.shift
        few = rises and taps.count > 2
        # Of numbers that rise the last tap has the largest, and what is folded back the first.
        some = (taps.first, taps.last) if few else tuple(taps)
        folded = (_from_border(before, base + tap, move) for tap in some)
        high[phase : count : reads.period] = np.maximum.reduce(list(folded))
    return high


def _from_border(before: Places, places: Places, move: Local) -> Places:
    """The numbers at some positions, those before the first as the border has them."""
    import numpy as np

    if move.border == "reflect":
        turns, phase = np.divmod(places, move.phases)
        places = np.abs(turns) * move.phases + phase
    elif move.border == "clamp":
        places = np.maximum(places, 0)
    found: Places = before[np.clip(places, 0, len(before) - 1)]
    found = np.where(places < 0, -NOTHING, found)
    return np.where(places < len(before), found, NOTHING)
