"""One axis cut into tiles: where each begins, what it reads and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from math import ceil, isqrt

from atrous.errors import GeometryError
from atrous.geometry import Local
from atrous.network import Network, Node
from atrous.network.ops import Constant, Resize
from atrous.plan.regions import Needs, is_given, length_along, needs
from atrous.plan.strides import moved, period, strides
from atrous.refusal import Refusal
from atrous.shown import Plain

__all__ = ["AxisTiles", "Cell", "along", "narrowed", "placed"]


@dataclass(frozen=True, slots=True)
class Cell(Plain):
    """One tile along one axis.

    The model runs on the input positions `read`; of output `name` the positions `keep[name]` are
    kept, which are the positions `local[name]` of what the model makes.
    """

    index: int
    read: range
    keep: Mapping[str, range]
    local: Mapping[str, range]


@dataclass(frozen=True)
class AxisTiles:
    """How one axis of `length` input positions is cut.

    Origins are multiples of `period`; each tile stands for `step` input positions, and the model
    runs on `size` of them, all tiles alike: `halo` is what lies before and behind a tile that
    touches no end. `size` differs from `length` by a multiple of `period`, so that windows fall
    on the same places in every tile.
    """

    axis: str
    length: int
    period: int
    step: int
    size: int
    halo: tuple[int, int]
    count: int
    strides: Mapping[str, Fraction] = field(repr=False)
    outputs: Mapping[str, int] = field(repr=False)
    """The length of each output along the axis."""

    def origin(self, index: int) -> int:
        """The first input position on which the model runs for tile `index`."""
        wanted = index * self.step - _up(self.halo[0], self.period)
        return min(max(wanted, 0), self.length - self.size)

    def cell(self, index: int) -> Cell:
        """Tile `index`, from 0."""
        if not 0 <= index < self.count:
            raise GeometryError(f"tile {index} is none of {self.count} along {self.axis}.")
        origin = self.origin(index)
        keep = {name: self.kept(name, index) for name in self.outputs}
        local = {
            name: range(part.start - off, part.stop - off)
            for name, part in keep.items()
            for off in (self.offset(name, origin),)
        }
        return Cell(index, range(origin, origin + self.size), keep, local)

    def kept(self, name: str, index: int) -> range:
        """The positions of a tensor that tile `index` stands for; the last has all that is left."""
        length, stride = self.outputs[name], self.strides[name]
        start = min(int(index * self.step / stride), length)
        last = index == self.count - 1
        return range(start, length if last else min(int((index + 1) * self.step / stride), length))

    def offset(self, name: str, origin: int) -> int:
        """The position of a tensor at which a run from input position `origin` begins."""
        return int(origin / self.strides[name])

    def reads(self, name: str, origin: int, made: int) -> range:
        """The `made` positions of a tensor that a run from input position `origin` is given."""
        start = self.offset(name, origin) if name in self.strides else origin
        return range(start, start + made)

    @cached_property
    def share(self) -> Fraction:
        """Positions that are run for each position of the input."""
        return Fraction(self.count * self.size, self.length)

    @property
    def fewer(self) -> int:
        """The step of tiles of about a quarter, of which the last begins a prime of periods later.

        What a model repeats along the axis, every second position say, lies otherwise in these.
        """
        turns = self.step // self.period
        apart = next((n for n in range(3 * turns // 4, 2, -1) if _is_prime(n)), 1)
        return max(self.step - apart * self.period, self.period)

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "axis": self.axis,
            "length": self.length,
            "period": self.period,
            "step": self.step,
            "size": self.size,
            "halo": list(self.halo),
            "count": self.count,
        }


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % one for one in range(2, isqrt(n) + 1))


def along(
    network: Network,
    axis: str,
    outputs: Mapping[str, int],
    step: int,
    known: Set[str] = frozenset(),
    *,
    anyhow: bool = False,
) -> AxisTiles | Refusal:
    """The axis in tiles of about `step` input positions, rounded to what the network allows.

    `outputs` has the tensors that are cut, and their lengths. The result holds where the network,
    read at the size of a tile, is the same layer by layer: see `placed`. Where a halo leaves
    nothing to cut the axis is left whole, or, `anyhow`, each tile reads all of it.
    """
    length = next((t.grid[axis] for t in network.inputs if t.grid.get(axis, 1) > 1), 1)
    apart = strides(network, axis, known)
    if isinstance(apart, Refusal):
        return apart
    every = period(network, axis, apart)
    apart = {name: apart.get(name, Fraction(length)) for name in {*apart, *outputs}}
    whole = AxisTiles(axis, length, every, length, length, (0, 0), 1, apart, dict(outputs))
    step = max(step // every, 1) * every
    if step >= length:
        return whole
    # A tile in the middle says how far it looks; where none fits, the axis is not cut.
    covered = max((int(n * apart[name]) for name, n in outputs.items()), default=length)
    count = -(-max(covered, 1) // step)
    trial = AxisTiles(axis, length, every, step, length, (0, 0), count, apart, dict(outputs))
    halo = _halo(network, trial, known)
    if isinstance(halo, Refusal):
        return halo
    found = with_halo(trial, halo)
    if count < 2 or (found.size >= length and not anyhow):
        return whole
    return replace(found, size=min(found.size, length))


def with_halo(cut: AxisTiles, halo: tuple[int, int]) -> AxisTiles:
    """The same tiles with that much before and behind, rounded to where windows fall alike."""
    before, behind = (_up(side, cut.period) for side in halo)
    size = before + cut.step + behind
    size += (cut.length - size) % cut.period
    return replace(cut, halo=halo, size=size)


def narrowed(
    part: Network, cut: AxisTiles, outputs: Mapping[str, int], known: Set[str]
) -> AxisTiles | Refusal:
    """The tiles of a cut, as far as `part` of the network needs them to make `outputs`.

    Windows of the part alone are to fall alike, so origins may be multiples of less. Sides of the
    halo are rounded up to a power of two of these, so that few sizes differ.
    """
    held = {tensor.name for tensor in part.inputs} | {node.output.name for node in part.nodes}
    apart = {
        name: stride
        for name, stride in cut.strides.items()
        if name in held and length_along(part, name, cut.axis) > 1
    }
    narrow = replace(cut, outputs=dict(outputs), period=period(part, cut.axis, apart))
    halo = _halo(part, narrow, known)
    if isinstance(halo, Refusal):
        return halo
    sides = (-(-side // narrow.period) for side in halo)
    rounded = tuple(narrow.period << (turns - 1).bit_length() if turns else 0 for turns in sides)
    found = with_halo(narrow, (rounded[0], rounded[1]))
    return found if found.size < cut.size else replace(cut, outputs=dict(outputs))


def _halo(part: Network, cut: AxisTiles, known: Set[str]) -> tuple[int, int] | Refusal:
    """What tiles need at most before and behind the input positions that they stand for."""
    before = behind = 0
    for index in _telling(cut.count):
        wanted = {name: cut.kept(name, index) for name in cut.outputs}
        found = needs(part, cut.axis, wanted, known)
        if isinstance(found, Refusal):
            return found
        for name, stretch in found.stretches.items():
            made = length_along(part, name, cut.axis)
            if made == 1 or name not in cut.strides:
                continue
            # Of a map that the network crops, a tile lacks as much at its ends as the image does.
            stride = cut.strides[name]
            before = max(before, ceil(index * cut.step - stretch.start * stride))
            left = cut.length - (made - stretch.stop) * stride
            behind = max(behind, ceil(left - (index + 1) * cut.step))
    return before, behind


_ALL = 64


def _telling(count: int) -> list[int]:
    """The tiles that are looked at: all, or of very many those near the ends and in the middle."""
    if count <= _ALL:
        return list(range(count))
    half = _ALL // 2
    return [*range(half), count // 2, *range(count - half, count)]


def placed(
    whole: Network, tile: Network, cut: AxisTiles, known: Set[str] = frozenset()
) -> tuple[str, ...] | Refusal:
    """The resizes that a tile must do at the whole map's places; a refusal where more differs.

    `tile` is the network at the size of one tile. Layer by layer its windows must slide as those
    of `whole` do, every map must begin at a whole position, and all that is kept of a tile must
    be made of positions that the tile has, and of ends that are the whole map's.
    """
    axis, apart = cut.axis, cut.length - cut.size
    if not apart:
        return ()
    if len(whole.nodes) != len(tile.nodes):
        name = next((a.name for a, b in zip(whole, tile, strict=False) if a.name != b.name), "")
        return Refusal("same", name, f"the model does something else at {cut.size} along {axis}.")
    found: list[str] = []
    for node, other in zip(whole.nodes, tile.nodes, strict=True):
        if node.name != other.name or type(node.op) is not type(other.op):
            reason = f"the model does something else at {cut.size} along {axis}."
            return Refusal("same", node.name, reason)
        refused = _unlike(whole, tile, node, other, cut, known, found)
        if refused is not None:
            return refused
    for index in _telling(cut.count):
        cell = cut.cell(index)
        asked = needs(whole, axis, cell.keep, known)
        if isinstance(asked, Refusal):
            return asked
        refused = _lacks(whole, tile, cut, cell, asked)
        if refused is not None:
            return refused
    return tuple(found)


def _unlike(
    whole: Network,
    tile: Network,
    node: Node,
    other: Node,
    cut: AxisTiles,
    known: Set[str],
    found: list[str],
) -> Refusal | None:
    """Why a node does not do the same in a tile; notes a resize that does it elsewhere."""
    axis = cut.axis
    if isinstance(node.op, Constant) and node.output.shape != other.output.shape:
        reason = f"makes numbers for a size of {cut.length} along {axis}; pass them as an input."
        return Refusal("same", node.name, reason)
    off = _offset(whole, tile, node.output.name, cut)
    if off is None:
        made = length_along(tile, node.output.name, axis)
        reason = f"makes {made} positions of {cut.size} along {axis}, at no whole position."
        return Refusal("aligned", node.name, reason)
    for index, name in enumerate(node.inputs):
        step, beside = node.moves[index].get(axis), other.moves[index].get(axis)
        if is_given(node, index, axis, known) and is_given(other, index, axis, known):
            continue
        if not isinstance(step, Local) or not isinstance(beside, Local):
            if type(step) is not type(beside):
                return Refusal("same", node.name, f"reads otherwise in a tile along {axis}.")
            continue
        before = _offset(whole, tile, name, cut)
        if before is None or step.inputs == 1:
            continue
        alike = step.reads == beside.reads and moved(step.reads, before, off)
        alike &= step.border == beside.border and step.phases == beside.phases
        alike &= not before % step.phases
        if isinstance(node.op, Resize):
            # Equal reads at another factor would weigh them otherwise.
            factors = (step.inputs * beside.outputs, step.outputs * beside.inputs)
            if not alike or (factors[0] != factors[1] and not node.op.scales):
                found.append(node.name)
        elif not alike:
            reason = (
                f"reads other places in a tile of {cut.size} than in {cut.length} along {axis}."
            )
            return Refusal("same", node.name, reason)
    return None


def _offset(whole: Network, tile: Network, name: str, cut: AxisTiles) -> int | None:
    """By how many positions a tensor moves for each period of the origin; None for no whole one."""
    there, here = (length_along(one, name, cut.axis) for one in (whole, tile))
    moves, rest = divmod((there - here) * cut.period, cut.length - cut.size)
    stride = cut.strides.get(name)
    if rest or (stride is not None and there > 1 and moves * stride != cut.period):
        return None
    return moves


def _lacks(
    whole: Network, tile: Network, cut: AxisTiles, cell: Cell, asked: Needs
) -> Refusal | None:
    """What a tile has not of what is needed for what is kept of it."""
    axis, origin = cut.axis, cell.read.start
    for name, stretch in asked.stretches.items():
        there, here = (length_along(one, name, axis) for one in (whole, tile))
        off = origin * (there - here) // (cut.length - cut.size)
        if stretch.start < off or stretch.stop > off + here:
            maker = whole.maker(name)
            reason = f"a tile of {cut.size} along {axis} lacks positions that it needs."
            return Refusal("whole", maker.name if maker else name, reason)
    if (asked.begins and origin) or (asked.ends and cell.read.stop != cut.length):
        reason = (
            f"a tile of {cut.size} along {axis} ends within a map whose end it reads; "
            f"give tiles of at least {cut.length // 2 + 1}, or of another size."
        )
        return Refusal("whole", "", reason)
    return None


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
