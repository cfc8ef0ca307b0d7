"""What one input size gives: whether it runs, what is dropped, which joins do not line up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Any

from atrous.analysis.findings.evidence import Evidence
from atrous.analysis.findings.joins import misaligned_join
from atrous.analysis.inspection import inspect_network
from atrous.geometry import AxisMap, Everything, Local, Table
from atrous.network import Network, Node
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
    outputs = tuple(
        max((network.tensor(name).grid.get(axis, 0) for axis in axes), default=0)
        for name in network.outputs
    )
    found = inspect_network(network)
    evidence = Evidence(network, found.input, found.layers, found.outputs)
    shifted = tuple(finding.layer for finding in misaligned_join(evidence))
    return Trial(length, "", outputs, tuple(_dropped(network, axes)), shifted)


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

    That is the product of the strides that lead to a map, whether or not it is enlarged again, and
    the windows that maps are cut into; the largest, of all maps.

    >>> import atrous
    >>> period_of(atrous.read("zoo:unet"), ["h"])
    16
    """
    held = {t.name: dict.fromkeys(t.grid, 1) for t in network.inputs}
    found = 1
    for node in network.nodes:
        here: dict[str, int] = {}
        for name, moves in zip(node.inputs, node.moves, strict=True):
            for axis, period in held[name].items():
                here[axis] = lcm(here.get(axis, 1), period * _own_period(node, moves.get(axis)))
        for dim in node.output.layout:
            for atom in dim:
                if atom.axis is not None and atom.weight > 1:
                    here[atom.axis] = here.get(atom.axis, 1) * atom.weight
        # What lost its positions here may still be cut and pooled; it has its lengths no more.
        held[node.output.name] = {axis: n for axis, n in here.items() if axis in node.output.grid}
        found = lcm(found, *(n for axis, n in here.items() if axis in axes))
    return found


def _own_period(node: Node, step: AxisMap | None) -> int:
    """After how many positions of its input one op does the same again."""
    if isinstance(node.op, Resize):
        scale = next(iter(node.op.scales), None)
        return scale.denominator if scale is not None else 1
    return step.reads.stride.numerator if isinstance(step, Local) else 1


_SLIDES = (Conv, ConvTranspose, Pad, Pool, Roll, Shuffle, Slice, Unfold)


def layers_of(network: Network, axes: Sequence[str]) -> tuple[Any, ...]:
    """What slides along these axes, layer by layer, the lengths of maps left out."""
    found: list[Any] = []
    for node in network.nodes:
        scaled = isinstance(node.op, Resize) and any(node.op.scales)
        if not scaled and not isinstance(node.op, _SLIDES):
            found.append(node.kind)  # what it reads follows from the lengths
            continue
        steps = [
            (step.reads, step.border, step.phases)
            for moves in node.moves
            for axis, step in moves.items()
            if axis in axes and isinstance(step, Local)
        ]
        found.append((node.kind, tuple(steps)))
    return tuple(found)


def _dropped(network: Network, axes: Sequence[str]) -> list[str]:
    """The layers that leave the last positions of a tensor unread which no other layer reads."""
    readers: dict[str, list[tuple[Node, int]]] = {}
    for node in network.nodes:
        for index, name in enumerate(node.inputs):
            readers.setdefault(name, []).append((node, index))
    found: dict[str, None] = {}
    for name, users in readers.items():
        if name in network.outputs:
            continue
        for axis in axes:
            length = network.tensor(name).grid.get(axis)
            if length is None:
                continue
            left = [_left(node, index, axis, length) for node, index in users]
            if min(left) > 0:
                found.update(dict.fromkeys(node.name for node, _ in users))
    return list(found)


def _left(node: Node, index: int, axis: str, length: int) -> int:
    """How many of the last positions along an axis the node does not read."""
    if node.opaque:
        return 0
    step = node.moves[index].get(axis)
    if step is None or isinstance(step, Everything):
        return 0
    if isinstance(step, Table):
        last = max((taps.last for taps in step.rows if taps.mask), default=-1)
        return length - 1 - last
    if not isinstance(step, Local) or step.border != "drop":
        return 0
    reads = step.reads
    lasts = [reads.at(o) for o in range(max(step.outputs - reads.period, 0), step.outputs)]
    reach = max((taps.last for taps in lasts if taps.mask), default=-1)
    # A stride wider than its window leaves out as much between windows as behind the last.
    gap = max(reads.shift - reads.period * max(t.size for t in reads.phases), 0)
    return max(length - 1 - reach - gap, 0)
