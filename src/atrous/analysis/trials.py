"""What one input size gives: whether it runs, what is dropped, which joins do not line up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm
from typing import Any

from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.joins import misaligned_along
from atrous.analysis.inspection import inspect_network
from atrous.geometry import AxisMap, Everything, Local, Reads, Table
from atrous.network import Network, Node, Tensor
from atrous.network.ops import (
    Conv,
    ConvTranspose,
    Pad,
    Pool,
    Resize,
    Roll,
    Shuffle,
    Slice,
    Unfold,
)
from atrous.shown import Plain

__all__ = ["Trial", "layers_of", "period_of", "symmetric", "trial_of"]


@dataclass(frozen=True, slots=True)
class Trial(Plain):
    """What the network does with an input of `length` positions along an axis.

    `refusal` says why it does not run, empty where it does. `outputs` has the length of each output
    that has positions along the axis, 0 for one that has none. `dropped` names the layers behind
    which the last positions are lost, `shifted` the joins whose branches do not line up.
    """

    length: int
    refusal: str = ""
    outputs: tuple[int, ...] = ()
    dropped: tuple[str, ...] = ()
    shifted: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether the network takes this length."""
        return not self.refusal

    @property
    def lossless(self) -> bool:
        """Whether it runs, and no layer loses the last positions of what it is given."""
        return self.runs and not self.dropped

    @property
    def aligned(self) -> bool:
        """Whether it runs, and the branches of every join line up."""
        return self.runs and not self.shifted

    @property
    def same(self) -> bool:
        """Whether it runs, and every output with positions is as long as the input."""
        held = [length for length in self.outputs if length]
        return self.runs and bool(held) and all(length == self.length for length in held)

    def moved(self, length: int, outputs: tuple[int, ...]) -> Trial:
        """The same at a length one or more periods further on."""
        return replace(self, length=length, outputs=outputs)


def trial_of(network: Network, axes: Sequence[str]) -> Trial:
    """What a network, read at some size, does with it along these axes, which are alike.

    >>> import atrous
    >>> trial_of(atrous.read("stack:maxk2s2valid maxk2s2valid", (1, 1, 30)), ["t"])
    Trial(length=30, refusal='', outputs=(7,), dropped=('max2',), shifted=())
    """
    length = next(t.grid[axis] for t in network.inputs for axis in axes if axis in t.grid)
    outputs = tuple(_longest(network, name, axes) for name in network.outputs)
    found = inspect_network(network)
    evidence = Evidence(network, found.input, found.layers, found.outputs)
    shifted = tuple(finding.layer for finding in misaligned_along(evidence, axes))
    return Trial(length, "", outputs, tuple(_dropped(network, axes)), shifted)


def _longest(network: Network, name: str, axes: Sequence[str]) -> int:
    """How long an output is along the longest of the axes; 0 where it has no positions there.

    Dimensions are told by their order, that of the first input: a transposed map is as long along
    its first axis as the input along its second. One that is made by what is not understood has
    all its positions in the dimensions that the input has them in.
    """
    output, first = network.tensor(name), network.inputs[0]
    own, given = _single_axes(output), _single_axes(first)
    if own != given and sorted(own) == sorted(given):
        return max(output.grid[own[given.index(axis)]] for axis in axes)
    if not output.grid and len(output.shape) == len(first.shape) and _is_lost(network, name):
        places = [i for i, dim in enumerate(first.layout) if any(a.axis in axes for a in dim)]
        return max((output.shape[i] for i in places), default=0)
    return max((output.grid.get(axis, 0) for axis in axes), default=0)


def _single_axes(tensor: Tensor) -> list[str]:
    """The axes that dimensions are, in the order of these."""
    return [dim[0].axis for dim in tensor.layout if len(dim) == 1 and dim[0].axis]


def _is_lost(network: Network, name: str) -> bool:
    """Whether what made a tensor, or a part of it without positions, is not understood."""
    node = network.maker(name)
    while node is not None:
        if node.opaque:
            return True
        node = next((network.maker(n) for n in node.inputs if not network.tensor(n).grid), None)
    return False


def symmetric(network: Network, axes: Sequence[str]) -> bool:
    """Whether layers do the same along all these axes, each as long as the others."""
    lengths = [[t.grid.get(axis) for t in network.inputs] for axis in axes]
    steps = [
        [moves[axis] for node in network.nodes for moves in node.moves if axis in moves]
        for axis in axes
    ]
    return all(one == lengths[0] for one in lengths) and all(one == steps[0] for one in steps)


def period_of(network: Network, axes: Sequence[str]) -> int:
    """After how many positions a network does the same again.

    A map of the input's length n has `rise` positions more at n + `period`. A stride, or a window
    that it is cut into, multiplies both by what the rise lacks to be a multiple of it; enlarging
    makes the rise larger. The least common multiple, of all maps.

    >>> import atrous
    >>> period_of(atrous.read("zoo:unet"), ["h"])
    16
    """
    held = {t.name: dict.fromkeys(t.grid, _Rise(1, 1)) for t in network.inputs}
    found = 1
    for node in network.nodes:
        here: dict[str, _Rise] = {}
        for name, moves in zip(node.inputs, node.moves, strict=True):
            for axis, rise in held[name].items():
                moved = rise.scaled(*_own_scale(node, axis, moves.get(axis)))
                here[axis] = here[axis].joined(moved) if axis in here else moved
        for dim in node.output.layout:
            for atom in dim:
                if atom.axis is not None and atom.weight > 1:
                    here[atom.axis] = here.get(atom.axis, _Rise(1, 1)).cut(atom.weight)
        # What lost its positions here may still be cut and pooled; it has its lengths no more.
        held[node.output.name] = {axis: r for axis, r in here.items() if axis in node.output.grid}
        found = lcm(found, *(rise.period for axis, rise in here.items() if axis in axes))
    return found


@dataclass(frozen=True, slots=True)
class _Rise:
    """How many positions a map gains when the input gains `period`; at least a divisor of that."""

    period: int
    positions: int

    def cut(self, by: int) -> _Rise:
        """The same over as many periods as make the positions a multiple of `by`."""
        times = by // gcd(by, self.positions)
        return _Rise(self.period * times, self.positions * times)

    def scaled(self, over: int, under: int) -> _Rise:
        """That of a map with `over` positions for each `under` of these."""
        whole = self.cut(under)
        return _Rise(whole.period, whole.positions // under * over)

    def joined(self, other: _Rise) -> _Rise:
        """That of a map which is read beside another."""
        period = lcm(self.period, other.period)
        one, two = (r.positions * (period // r.period) for r in (self, other))
        return _Rise(period, gcd(one, two))


def _own_scale(node: Node, axis: str, step: AxisMap | None) -> tuple[int, int]:
    """How many positions an op makes along an axis, of how many that it reads."""
    if isinstance(node.op, Resize):
        dims = node.output.layout[-len(node.op.scales) :] if node.op.scales else ()
        found = [
            scale
            for dim, scale in zip(dims, node.op.scales, strict=True)
            if scale is not None and any(atom.axis == axis for atom in dim)
        ]
        return (found[0].numerator, found[0].denominator) if found else (1, 1)
    stride = step.reads.stride if isinstance(step, Local) else Fraction(1)
    return stride.denominator, stride.numerator


_SLIDES = (Conv, ConvTranspose, Pad, Pool, Roll, Shuffle, Slice, Unfold)


def layers_of(network: Network, axes: Sequence[str]) -> tuple[Any, ...]:
    """What slides along these axes, layer by layer: the windows, and where the last one ends.

    The end is counted from that of the map, so that all is the same at two lengths where a layer
    pads, cuts and leaves over the same at both.
    """
    found: list[Any] = []
    for node in network.nodes:
        scaled = isinstance(node.op, Resize) and any(node.op.scales)
        if not scaled and not isinstance(node.op, _SLIDES):
            found.append(node.kind)  # what it reads follows from the lengths
            continue
        steps = [
            (step.reads, step.border, step.phases, _end(step, network.tensor(name).grid.get(axis)))
            for name, moves in zip(node.inputs, node.moves, strict=True)
            for axis, step in moves.items()
            if axis in axes and isinstance(step, Local)
        ]
        found.append((node.kind, tuple(steps)))
    return tuple(found)


def _end(step: Local, length: int | None) -> int | None:
    """How far behind the last position the last output would read."""
    if length is None:
        return None
    tail = range(max(step.outputs - step.reads.period, 0), step.outputs)
    ends = [step.reads.at(o).last for o in tail if step.reads.at(o).mask]
    return max(ends) - length if ends else None


def _dropped(network: Network, axes: Sequence[str]) -> list[str]:
    """The layers that leave the last positions of a tensor unread which no other layer reads."""
    found: dict[str, None] = {}
    for axis in axes:
        for name, users in _readers(network, axis).items():
            length = network.tensor(name).grid.get(axis)
            if name in network.outputs or length is None:
                continue
            lost = [_lost(node, index, axis, length) for node, index in users]
            if set.intersection(*lost):
                found.update(dict.fromkeys(node.name for node, _ in users))
    return list(found)


def _readers(network: Network, axis: str) -> dict[str, list[tuple[Node, int]]]:
    """Who reads each tensor, and as which input.

    A part that is cut out along other axes alone is the same positions of this one: who reads the
    part reads the tensor.
    """
    found: dict[str, list[tuple[Node, int]]] = {}
    whole: dict[str, str] = {}
    for node in network.nodes:
        for index, name in enumerate(node.inputs):
            source, moves = whole.get(name, name), node.moves[index]
            if isinstance(node.op, Slice) and moves and axis not in moves:
                whole[node.output.name] = source
            else:
                found.setdefault(source, []).append((node, index))
    return found


def _lost(node: Node, index: int, axis: str, length: int) -> set[int]:
    """The positions along an axis that the node does not read because its outputs end.

    One more output would read them. What windows leave out between them is not among these.
    """
    step = node.moves[index].get(axis)
    if node.opaque or step is None or isinstance(step, Everything):
        return set()
    if isinstance(step, Table):
        last = max((taps.last for taps in step.rows if taps.mask), default=-1)
        return set(range(last + 1, length))
    if not isinstance(step, Local) or step.border != "drop":
        return set()
    missing = set(_read_from(step.reads, step.outputs, length))
    for past in range(step.outputs - 1, -1, -1):
        if not missing:
            break
        # A whole period that ends before what is missing: none further back reaches it.
        if (step.outputs - past) % step.reads.period == 0:
            held = range(past, min(past + step.reads.period, step.outputs))
            if all(step.reads.at(o).last < min(missing) for o in held if step.reads.at(o).mask):
                break
        missing -= set(step.reads.at(past))
    return missing


def _read_from(reads: Reads, output: int, length: int) -> Iterator[int]:
    """What outputs from one on would read of `length` positions, if they went on."""
    idle = 0
    while idle < reads.period:
        taps = reads.at(output)
        inside = [at for at in taps if 0 <= at < length]
        yield from inside
        idle = 0 if inside else idle + 1
        output += 1
