"""What each tensor's positions read of one input: the reads composed down the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import gcd

from atrous.errors import GeometryError
from atrous.geometry import AxisMap, Local, Reads, Table, Window, union
from atrous.network import Network, Node
from atrous.network.layout import ROWS
from atrous.network.ops import Concat

__all__ = ["Bundle", "Flow", "Part", "flows"]

MOST_PHASES = 1 << 18
MOST_BITS = 1 << 31
"""Of all rules of a network that have more than one phase."""

Bundle = tuple[Reads, ...]
"""The local reads of one axis: one rule for each stride that its branches have."""


@dataclass(frozen=True, slots=True)
class Part:
    """What `length` positions from `start` on see, of those that lie end to end along an axis.

    `source` is the tensor that was laid there; the part starts at its position `first`, counted
    along the axis. `flow` is that of the source's own positions.
    """

    start: int
    length: int
    source: str
    flow: Flow
    first: int = 0

    @property
    def stop(self) -> int:
        """The first position behind the part."""
        return self.start + self.length

    def cut(self, start: int, stop: int) -> Part | None:
        """What lies from `start` up to `stop`, counted from there."""
        low, high = max(self.start, start), min(self.stop, stop)
        if low >= high:
            return None
        first = self.first + low - self.start
        return replace(self, start=low - start, length=high - low, first=first)

    def spread(self, times: int) -> Part:
        """The part with each of its positions so many times."""
        return replace(
            self, start=self.start * times, length=self.length * times, first=self.first * times
        )


@dataclass(frozen=True, slots=True)
class Flow:
    """How a tensor sees the input: local reads by axis, ops that made an axis global, and gaps.

    `reads` keeps the local reads of an axis that a global op took away, as of one position before
    it. `mixed` names, for each global axis, the ops that made it so. `opaque` names the ops behind
    which nothing is known; `reads` then means nothing. Where parts that read differently lie end
    to end along the axis `along`, `parts` says what each sees, and `reads` is all of them together.
    """

    reads: Mapping[str, Bundle]
    mixed: Mapping[str, tuple[str, ...]]
    opaque: tuple[str, ...] = ()
    along: str = ""
    parts: tuple[Part, ...] = ()


_NOTHING: dict[str, tuple[str, ...]] = {}


def flows(network: Network, source: str) -> dict[str, Flow]:
    """The flow from the input `source` to every tensor that depends on it, by tensor name.

    Shared work is done once: equal windows over equal reads give one object, so a square network
    costs one axis.
    """
    tensor = network.tensor(source)
    start = Flow({axis: (Reads.identity(),) for axis in tensor.grid}, _NOTHING)
    found: dict[str, Flow] = {source: start}
    walk = _Walk(network, source)
    for node in network.nodes:
        operands = [(i, found[name]) for i, name in enumerate(node.inputs) if name in found]
        if operands:
            found[node.output.name] = walk.step(node, operands)
    return found


Operand = tuple[int, Flow]


_KEEPING = frozenset({"slice", "permute", "reshape", "elementwise"})


@dataclass(frozen=True, slots=True)
class _Cut:
    """Positions from `start` up to `stop` of a map of `length`."""

    start: int
    stop: int
    length: int


class _Walk:
    """Steps from the operands of a node to its output."""

    def __init__(self, network: Network, source: str) -> None:
        self._network = network
        self._source = source
        self._axes = tuple(network.tensor(source).grid)
        self._algebra = _Algebra()

    def step(self, node: Node, operands: list[Operand]) -> Flow:
        """What the output of a node sees."""
        if len(operands) == 1:
            index, only = operands[0]
            if not (node.moves[index] or node.opaque or node.mixes or node.seams):
                return only
        gaps: tuple[str, ...] = (node.name,) if node.opaque else ()
        for _, operand in operands:
            if operand.opaque:
                gaps = _merged(operand.opaque, gaps)
        mixed = _mixed_after(node, operands, self._axes)
        if gaps:
            return Flow({}, mixed, gaps)
        seam = node.seam(operands[0][0])
        if seam is not None and seam.out and operands[0][1].parts:
            return self._taken(node, operands[0][1], seam.start, seam.length)
        along = self._seam_axis(node, operands)
        if along:
            return self._laid(node, operands, along)
        if any(operand.parts for _, operand in operands):
            return self._of_parts(node, operands, mixed)
        if len(operands) == 1:
            node = self._alone(node, operands[0][0])
        return self._together(node, operands, mixed, frozenset())

    def _together(
        self,
        node: Node,
        operands: Sequence[Operand],
        mixed: Mapping[str, tuple[str, ...]],
        kept: frozenset[int],
    ) -> Flow:
        """The union of what the operands see; those in `kept` stay at their place in their rows."""
        reads: dict[str, Bundle] = {}
        try:
            for axis in self._axes:
                here: list[Bundle] = []
                passed: list[Bundle] = []
                for index, operand in operands:
                    before = operand.reads.get(axis)
                    if before is None:
                        continue
                    step = node.moves[index].get(axis)
                    grid = self._network.tensor(node.inputs[index]).grid
                    if axis not in grid and index not in kept:
                        passed.append(before)
                    elif step is None:
                        here.append(before)
                    elif isinstance(step, Local):
                        target = here if axis in node.output.grid else passed
                        target.append(self._algebra.after(step.reads, before))
                    else:
                        passed.append(before)
                branches = here or passed
                if branches:
                    reads[axis] = self._algebra.union(branches)
        except GeometryError as error:
            return Flow({}, mixed, (f"{node.name} ({error})",))
        return Flow(reads, mixed)

    def _seam_axis(self, node: Node, operands: Sequence[Operand]) -> str:
        """The axis along which a concatenation lays parts that read differently, or empty."""
        if not isinstance(node.op, Concat):
            return ""
        dim = node.output.layout[node.op.dim]
        axis = str(dim[0].axis) if len(dim) == 1 and dim[0].axis is not None else ""
        if axis in ("", ROWS) or any(flow.parts for _, flow in operands):
            return axis
        # Parts of one axis that go on where the one before ends are one: a circular pad, say.
        return "" if self._goes_on(node, operands, axis) else axis

    def _goes_on(self, node: Node, operands: Sequence[Operand], axis: str) -> bool:
        """True where parts that see alike go on where the one before ends, round the map's end."""
        first = _signature(operands[0][1], axis)
        if any(_signature(flow, axis) != first for _, flow in operands):
            return False
        cut = [self._cut_from(node.inputs[index], axis) for index, _ in operands]
        return all(
            one.length == other.length and (one.stop - other.start) % one.length == 0
            for one, other in pairwise(cut)
        )

    def _cut_from(self, name: str, axis: str) -> _Cut:
        """The map that a part is cut out of, by steps that keep its positions in a row."""
        length = self._network.tensor(name).grid[axis]
        start, stop, whole = 0, length, length
        while (maker := self._network.maker(name)) is not None and len(maker.inputs) == 1:
            step = maker.moves[0].get(axis)
            before = self._network.tensor(maker.inputs[0]).grid.get(axis)
            if before is None or maker.op.kind not in _KEEPING:
                break
            if step is not None:
                moved = _shift_of(step)
                if moved is None:
                    break
                start, stop, whole = start + moved, stop + moved, before
            name = maker.inputs[0]
        return _Cut(start, stop, whole)

    def _alone(self, node: Node, index: int) -> Node:
        """The concatenation with its one operand that depends on the input moved by a rule."""
        steps = {a: s for a, s in node.moves[index].items() if isinstance(s, Table)}
        if not isinstance(node.op, Concat) or not steps:
            return node
        before = [self._network.tensor(name).shape[node.op.dim] for name in node.inputs[:index]]
        shift = Reads.window(Window(1, pad_lo=sum(before)))
        ruled = {a: Local(shift, s.inputs, s.outputs) for a, s in steps.items()}
        moves = list(node.moves)
        moves[index] = {**moves[index], **ruled}
        return replace(node, moves=tuple(moves))

    def _laid(self, node: Node, operands: Sequence[Operand], along: str) -> Flow:
        """Parts end to end: each keeps what it sees."""
        dim = node.op.dim if isinstance(node.op, Concat) else 0
        lengths = [self._network.tensor(name).shape[dim] for name in node.inputs]
        starts = list(accumulate(lengths, initial=0))
        others = _without_axis(node, along)
        parts: list[Part] = []
        for index, operand in operands:
            start = starts[index]
            if operand.parts and operand.along == along:
                parts += [replace(part, start=start + part.start) for part in operand.parts]
                continue
            mixed = _mixed_after(node, [(index, operand)], self._axes)
            seen = self._together(others, [(index, operand)], mixed, frozenset({index}))
            parts.append(Part(start, lengths[index], node.inputs[index], seen))
        return self._joined(along, parts)

    def _joined(self, along: str, parts: Iterable[Part]) -> Flow:
        """Parts as one flow, neighbours of one source that see alike fused."""
        fused: list[Part] = []
        for part in parts:
            last = fused[-1] if fused else None
            if last is not None and _counts_on(last, part):
                fused[-1] = replace(last, length=last.length + part.length)
            else:
                fused.append(part)
        gaps: tuple[str, ...] = ()
        mixed: dict[str, tuple[str, ...]] = {}
        reads: dict[str, Bundle] = {}
        for part in fused:
            gaps = _merged(gaps, part.flow.opaque)
            for axis, names in part.flow.mixed.items():
                mixed[axis] = _merged(mixed.get(axis, ()), names)
        for axis in self._axes:
            bundles = [b for part in fused if (b := part.flow.reads.get(axis)) is not None]
            if bundles and not gaps:
                reads[axis] = self._algebra.union(bundles)
        if len(fused) == 1 and fused[0].flow.opaque:
            return Flow({}, mixed, gaps)
        return Flow(reads, mixed, gaps, along, tuple(fused))

    def _taken(self, node: Node, operand: Flow, start: int, length: int) -> Flow:
        """A part taken out again sees what it saw."""
        found = [cut for part in operand.parts if (cut := part.cut(start, start + length))]
        if len(found) == 1:
            return found[0].flow
        if not found:
            return Flow({}, _NOTHING)
        return Flow(
            {}, operand.mixed, (f"{node.name} (parts that read differently lie end to end)",)
        )

    def _of_parts(
        self, node: Node, operands: list[Operand], mixed: Mapping[str, tuple[str, ...]]
    ) -> Flow:
        """A node over parts: each part by itself where it keeps its place."""
        along = next(operand.along for _, operand in operands if operand.parts)
        if along not in node.output.grid:
            return self._together(node, [(i, _whole(f)) for i, f in operands], mixed, frozenset())
        plain: list[Operand] = []
        standing: list[tuple[int, tuple[Part, ...]]] = []
        for index, operand in operands:
            step = node.moves[index].get(along)
            if (
                not operand.parts
                or operand.along != along
                or (step is not None and not isinstance(step, Local))
            ):
                plain.append((index, _whole(operand)))
                continue
            moved = _carried(operand.parts, step)
            if moved is None:
                reason = "its windows reach across parts that lie end to end"
                return Flow({}, mixed, (f"{node.name} ({reason})",))
            standing.append((index, moved))
        if not standing:
            return self._together(node, plain, mixed, frozenset())
        kept = frozenset(index for index, _ in standing)
        others = _without_axis(node, along, kept)
        parts = []
        for start, stop in _between_borders(standing, node.output.grid[along], bool(plain)):
            here = [
                (index, part)
                for index, found in standing
                for part in found
                if part.start <= start and stop <= part.stop
            ]
            source, first = node.inputs[plain[0][0]] if plain else "", start
            if here:
                part = here[0][1]
                source, first = part.source, part.first + start - part.start
            beside = [(i, self._shifted(node, i, flow, along, start - first)) for i, flow in plain]
            behind = [
                (i, self._ahead(part.flow, along, part.first + start - part.start - first))
                for i, part in here
            ]
            now = _mixed_after(node, [*beside, *behind], self._axes)
            seen = self._together(others, [*beside, *behind], now, kept)
            parts.append(Part(start, stop - start, source, seen, first))
        return self._joined(along, parts)

    def _shifted(self, node: Node, index: int, flow: Flow, along: str, by: int) -> Flow:
        """What stands beside parts along the axis of the input itself, counted from a part on."""
        grid = self._network.tensor(node.inputs[index]).grid
        return self._ahead(flow, along, by) if along in grid else flow

    def _ahead(self, flow: Flow, along: str, by: int) -> Flow:
        """The flow of positions `by` further on along an axis of the input."""
        before = flow.reads.get(along)
        if not by or before is None:
            return flow
        moved = self._algebra.after(Reads.window(Window(1, pad_lo=-by)), before)
        return replace(flow, reads={**flow.reads, along: moved})


def _whole(flow: Flow) -> Flow:
    return Flow(flow.reads, flow.mixed, flow.opaque) if flow.parts else flow


def _signature(flow: Flow, axis: str) -> list[tuple[object, int]]:
    return sorted(
        (reads.stride, taps.mask) for reads in flow.reads.get(axis, ()) for taps in reads.phases
    )


def _counts_on(one: Part, other: Part) -> bool:
    """True where a part goes on where the one before it ends."""
    return (
        one.stop == other.start
        and one.source == other.source
        and one.first + one.length == other.first
        and one.flow == other.flow
    )


def _without_axis(node: Node, axis: str, only: frozenset[int] | None = None) -> Node:
    """The node with its operands (or `only` these) standing still along the axis."""
    moves = tuple(
        {a: step for a, step in moves.items() if a != axis or (only is not None and i not in only)}
        for i, moves in enumerate(node.moves)
    )
    return replace(node, moves=moves)


def _shift_of(step: AxisMap) -> int | None:
    """How far a step shifts or crops; None for any other."""
    if not isinstance(step, Local) or step.border != "drop":
        return None
    reads = step.reads
    single = (reads.period, reads.shift) == (1, 1) and reads.phases[0].count == 1
    return reads.phases[0].first if single else None


def _carried(parts: tuple[Part, ...], step: Local | None) -> tuple[Part, ...] | None:
    """The parts behind a shift, a crop or copies of each; None behind any other step."""
    if step is None:
        return parts
    reads = step.reads
    alone = reads.shift == 1 and all(taps == reads.phases[0] for taps in reads.phases)
    if not alone or reads.phases[0].count != 1 or step.border != "drop":
        return None
    if reads.period > 1:
        return None if reads.phases[0].first else tuple(p.spread(reads.period) for p in parts)
    first = reads.phases[0].first
    return tuple(cut for part in parts if (cut := part.cut(first, first + step.outputs)))


def _between_borders(
    standing: Sequence[tuple[int, tuple[Part, ...]]], total: int, filled: bool
) -> list[tuple[int, int]]:
    """The stretches between all borders of parts; those in no part only where `filled`."""
    parts = [part for _, found in standing for part in found]
    borders = sorted({0, total, *(p.start for p in parts), *(p.stop for p in parts)})
    return [
        (low, high)
        for low, high in pairwise(borders)
        if filled or any(p.start <= low and high <= p.stop for p in parts)
    ]


def _mixed_after(
    node: Node, operands: Sequence[Operand], axes: tuple[str, ...]
) -> Mapping[str, tuple[str, ...]]:
    first = operands[0][1].mixed
    if not node.mixes and all(operand.mixed is first for _, operand in operands):
        return first
    out = dict(first)
    for _, operand in operands[1:]:
        for axis, names in operand.mixed.items():
            out[axis] = _merged(out.get(axis, ()), names)
    for axis in node.mixes:
        # Whoever sees all rows sees all positions of the axes that lie in them.
        within = [a for a in axes if any(a in flow.reads for _, flow in operands)]
        for one in within if axis == ROWS else (axis,):
            out[one] = _merged(out.get(one, ()), (node.name,))
    return out


def _merged(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    if a is b or not b:
        return a
    if not a or b[: len(a)] == a:
        return b
    return tuple(dict.fromkeys(a + b))


class _Algebra:
    """Composition and union as sets, each pair of objects worked out once.

    Raises `GeometryError` where all rules together are more than can be held: after upsampling by
    thousands each of many layers has thousands of phases.
    """

    def __init__(self) -> None:
        self._phases = self._bits = 0
        self._after: dict[tuple[int, int], tuple[Reads, Bundle, Bundle]] = {}
        self._union: dict[tuple[int, ...], tuple[list[Bundle], Bundle]] = {}

    def after(self, outer: Reads, inner: Bundle) -> Bundle:
        key = (id(outer), id(inner))
        known = self._after.get(key)
        if known is None:
            for part in inner:
                self._count(outer, part)
            if len(inner) == 1:
                result: Bundle = (outer.after(inner[0], counted=False),)
            else:
                result = union([outer.after(part, counted=False) for part in inner], counted=False)
            # The operands are kept so that their ids stay theirs.
            known = self._after[key] = (outer, inner, result)
        return known[2]

    def _count(self, outer: Reads, inner: Reads) -> None:
        """Counts in what a composition makes, at most."""
        turns = inner.period // gcd(outer.shift, inner.period)
        period = outer.period * turns
        if period == 1:
            return
        size = max(taps.size for taps in inner.phases)
        size += max(taps.size for taps in outer.phases) * inner.shift // inner.period
        self._phases += period
        self._bits += period * size
        if self._phases > MOST_PHASES or self._bits > MOST_BITS:
            raise GeometryError(
                f"up to here the layers have more phases than the {MOST_PHASES:,} that are kept, "
                f"or larger ones; {period:,} in this one: upsample by less, or later."
            )

    def union(self, branches: list[Bundle]) -> Bundle:
        first = branches[0]
        if len(branches) == 1 or (len(branches) == 2 and branches[1] is first):
            return first
        key = tuple(map(id, branches))
        known = self._union.get(key)
        if known is None:
            result = union([part for branch in branches for part in branch], counted=False)
            for branch in branches:
                if branch == result:
                    result = branch
                    break
            known = self._union[key] = (branches, result)
        return known[1]
