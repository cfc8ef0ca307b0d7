"""How far apart the positions of each tensor lie, and where tiles may begin."""

from __future__ import annotations

from collections.abc import Mapping, Set
from fractions import Fraction
from math import gcd, lcm

from atrous.geometry import Local, Reads
from atrous.network import Network, Node
from atrous.network.ops import Resize
from atrous.plan.regions import in_bins, length_along
from atrous.refusal import Refusal

__all__ = ["moved", "period", "strides"]


def strides(
    network: Network, axis: str, known: Set[str] = frozenset(), *, rates: bool = False
) -> Mapping[str, Fraction] | Refusal:
    """Input positions for each position of every tensor along `axis`; tensors without it left out.

    So are maps pooled into a few positions by a layer that is `known`, and what is made of them.
    A resize to the size of another map counts as the whole factor nearest to it: 33 to 65 as 2.
    With `rates`, further inputs that fit into the first lie as far apart as their lengths say.

    >>> from atrous.network.stack import stack_network
    >>> found = strides(stack_network("k3s2 maxk2s2 tconvk2s2", (1, 1, 64)), "t")
    >>> [str(stride) for stride in found.values()]
    ['1', '2', '4', '2']
    """
    long = {t.name: t.grid[axis] for t in network.inputs if t.grid.get(axis, 1) > 1}
    found = {name: Fraction(1) for name in long}
    if rates:
        first = next(iter(long.values()), 1)
        found = {n: Fraction(1 if first % size else first // size) for n, size in long.items()}
    for node in network.nodes:
        made = length_along(network, node.output.name, axis)
        if made == 1 or (node.name in known and in_bins(node, axis)):
            continue
        for index, name in enumerate(node.inputs):
            if name not in found:
                continue
            stride = found[name] * _positions_for_each(node, axis, index)
            there = found.setdefault(node.output.name, stride)
            if there != stride:
                reason = f"joins maps of stride {there} and {stride} along {axis}."
                return Refusal("aligned", node.name, reason)
    return found


def _positions_for_each(node: Node, axis: str, index: int) -> Fraction:
    move = node.moves[index].get(axis)
    if not isinstance(move, Local):
        return Fraction(1)
    if isinstance(node.op, Resize):
        return resized_by(move.inputs, move.outputs)
    return move.reads.stride


_LEFT_OUT, _FEW = 64, 8
"""Positions that odd sizes lose at most, and how many times as many a map has at least."""


def resized_by(inputs: int, outputs: int) -> Fraction:
    """The factor that a resize stands for: input positions for each output.

    Where strided layers and layers that bring their sizes back left a few positions out, the maps
    are as far apart as whole factors say, and the resize makes up for those positions.

    >>> [str(resized_by(*pair)) for pair in ((32, 64), (33, 65), (64, 96), (65, 33), (26, 27))]
    ['1/2', '1/2', '2/3', '2', '1']
    """
    small, large = sorted((inputs, outputs))
    near = (large // small, -(-large // small))
    # What a strided layer leaves of the larger map: with padding, or without.
    left = [n for n in near if -(-large // n) == small] + [n for n in near if large // n == small]
    if not left:
        whole = min(near, key=lambda n: abs(large - n * small))
        missing = abs(large - whole * small)
        if missing > _LEFT_OUT or _FEW * missing > large:
            return Fraction(inputs, outputs)
        left = [whole]
    return Fraction(1, left[0]) if outputs >= inputs else Fraction(left[0])


def period(network: Network, axis: str, apart: Mapping[str, Fraction]) -> int:
    """The least distance of two origins from which a tile sees the same grid in every tensor.

    >>> from atrous.network.stack import stack_network
    >>> net = stack_network("k3s2 maxk2s2 tconvk2s2", (1, 1, 64))
    >>> period(net, "t", strides(net, "t"))
    4
    """
    found = 1
    for stride in apart.values():
        found = lcm(found, stride.numerator)
    for node in network.nodes:
        if node.output.name not in apart:
            continue
        stride = apart[node.output.name]
        for move in node.moves:
            step = move.get(axis)
            if not isinstance(step, Local):
                continue
            if not isinstance(node.op, Resize):
                found = lcm(found, _every(stride, step.reads.period), _every(stride, step.phases))
            elif step.reads.stride == resized_by(step.inputs, step.outputs):
                found = lcm(found, _every(stride, step.reads.period))
    return found


def _every(stride: Fraction, turns: int) -> int:
    """The least distance that moves a tensor of this stride by a multiple of `turns` positions."""
    top = stride.numerator * turns
    return top // gcd(top, stride.denominator)


def moved(reads: Reads, inputs: int, outputs: int) -> bool:
    """Whether outputs that lie `outputs` further on read what lies `inputs` further on."""
    turns, rest = divmod(outputs, reads.period)
    return not rest and turns * reads.shift == inputs
