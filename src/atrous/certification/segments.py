"""What a node reads of the nearest tensors that have a twin, everything between them taken in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from atrous.errors import GeometryError
from atrous.geometry import AxisMap, Everything, Local, Reads, Table, Taps
from atrous.network import Network, Node
from atrous.network.layout import ROWS

__all__ = ["Step", "segments"]


@dataclass(frozen=True, slots=True)
class Step:
    """How the axes of one tensor become those of another; an axis left out keeps its positions."""

    maps: Mapping[str, AxisMap] = field(hash=False)
    rules: Mapping[str, Reads | None] = field(hash=False)
    grid: Mapping[str, int] = field(hash=False)

    def map(self, axis: str) -> AxisMap | None:
        """How that axis moves, or None where it does not."""
        return self.maps.get(axis)

    def local(self, axis: str) -> bool:
        """True where each output reads around its own place, by a rule that repeats."""
        return axis not in self.maps or self.rules.get(axis) is not None

    def reads(self, axis: str) -> Reads:
        """The rule, borders aside."""
        found = self.rules.get(axis)
        return Reads.identity() if found is None else found

    def rows(self, axis: str, length: int) -> AxisMap:
        """What each output reads, borders included; `length` outputs where the axis stays."""
        found = self.maps.get(axis)
        if found is not None:
            return found
        size = self.grid[axis]
        return Local(Reads.identity(), size, length or size)

    def length(self, axis: str) -> int:
        """How many positions the axis has before the step."""
        return self.grid[axis]

    def then(self, moves: Mapping[str, AxisMap]) -> Step:
        """This step and one more."""
        maps, rules = dict(self.maps), dict(self.rules)
        for axis, outer in moves.items():
            rule = outer.reads if isinstance(outer, Local) else None
            inner = maps.get(axis)
            if inner is None:
                maps[axis], rules[axis] = outer, rule
                continue
            before = rules.get(axis)
            rules[axis] = None if rule is None or before is None else _after(rule, before)
            maps[axis] = _composed(outer, inner)
        return Step(maps, rules, self.grid)

    def union(self, other: Step) -> Step:
        """Both steps joined: what comes out reads what either reads."""
        if self.maps == other.maps and self.rules == other.rules:
            return self
        maps, rules = {}, {}
        for axis in {**self.maps, **other.maps}:
            outputs = [s.maps[axis].outputs for s in (self, other) if axis in s.maps]
            one, two = self.rows(axis, outputs[0]), other.rows(axis, outputs[0])
            rule: Reads | None = None
            if self.local(axis) and other.local(axis):
                try:
                    rule = self.reads(axis).union(other.reads(axis))
                except GeometryError:
                    rule = None
            rules[axis] = rule
            maps[axis] = _added(one, two)
        return Step(maps, rules, self.grid)


def segments(
    network: Network, inputs: Sequence[str], held: Collection[str], node: Node | None = None
) -> list[dict[str, Step]]:
    """For each input of `node`, the held tensors that it is made of, and how it reads them.

    Without a node, the inputs themselves. A tensor in `held` stands for itself.
    """
    known: dict[str, dict[str, Step]] = {}

    def back(name: str) -> dict[str, Step]:
        tensor = network.tensor(name)
        if name in held:
            return {name: Step({}, {}, tensor.grid)}
        if name in known:
            return known[name]
        found: dict[str, Step] = {}
        maker = network.maker(name)
        if maker is not None:
            for at, source in enumerate(maker.inputs):
                for anchor, step in back(source).items():
                    more = step.then(_moves(maker, at))
                    found[anchor] = more if anchor not in found else found[anchor].union(more)
        known[name] = found
        return found

    out: list[dict[str, Step]] = []
    for index, name in enumerate(inputs):
        steps = back(name)
        if node is not None:
            steps = {a: step.then(_moves(node, index)) for a, step in steps.items()}
        out.append(steps)
    return out


def _moves(node: Node, index: int) -> Mapping[str, AxisMap]:
    """How the axes of an operand move; those that are laid into rows, or out of them, are lost."""
    seam = node.seam(index)
    if seam is None:
        return node.moves[index]
    ends = {ROWS: seam.start + seam.length} if seam.out else seam.axes
    return {**node.moves[index], **{axis: Everything(n, 1) for axis, n in ends.items()}}


def _after(outer: Reads, inner: Reads) -> Reads | None:
    try:
        return outer.after(inner)
    except GeometryError:
        return None


def _composed(outer: AxisMap, inner: AxisMap) -> AxisMap:
    rows = []
    for output in range(outer.outputs):
        read: dict[int, int] = {}
        for middle, paths in outer.at(output).items():
            if not 0 <= middle < inner.outputs:
                continue
            for position, more in inner.at(middle).items():
                read[position] = read.get(position, 0) + paths * more
        rows.append(Taps.of(read))
    return Table(inner.inputs, tuple(rows))


def _added(one: AxisMap, two: AxisMap) -> AxisMap:
    rows = []
    for output in range(min(one.outputs, two.outputs)):
        read = dict(one.at(output).items())
        for position, more in two.at(output).items():
            read[position] = read.get(position, 0) + more
        rows.append(Taps.of(read))
    return Table(one.inputs, tuple(rows))
