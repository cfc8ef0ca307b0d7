"""What a stretch of the outputs needs of every tensor along one axis, borders included."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from atrous.geometry import AxisMap, Local
from atrous.network import Network, Node
from atrous.network.ops import AdaptivePool, Resize
from atrous.refusal import Refusal

__all__ = ["Needs", "in_bins", "is_given", "length_along", "mixes_all", "needs"]

ONE = range(1)


@dataclass(frozen=True, slots=True)
class Needs:
    """The positions that are needed of each tensor along one axis, as one stretch each.

    `begins` and `ends` say whether anything at the low and the high end of a map took part:
    padding, or positions that a border reflects or repeats.
    """

    stretches: Mapping[str, range]
    begins: bool
    ends: bool


def length_along(network: Network, tensor: str, axis: str) -> int:
    """How many positions a tensor has along an axis; 1 where it has no such axis."""
    return network.tensor(tensor).grid.get(axis, 1)


def needs(
    network: Network, axis: str, outputs: Mapping[str, range], known: Set[str] = frozenset()
) -> Needs | Refusal:
    """What `outputs`, a stretch of positions for each tensor, need of all tensors along `axis`.

    A node that is `known` mixes all positions, and what it makes of them is given: of a sum or a
    mean nothing is needed, of a norm the positions themselves. Every other node must be local.

    >>> from atrous.network.stack import stack_network
    >>> net = stack_network("k3s2 k3d4", (1, 1, 64))
    >>> needs(net, "t", {net.outputs[0]: range(16, 32)}).stretches["x"]
    range(23, 64)
    """
    beside = _beside(network, axis, known)
    found = {name: outputs[name] for name in outputs if len(outputs[name])}
    begins = ends = False
    for node in reversed(network.nodes):
        wanted = found.get(node.output.name)
        if wanted is None:
            continue
        refused = _not_followed(node, axis)
        if refused is not None:
            return refused
        for index, name in enumerate(node.inputs):
            length = length_along(network, name, axis)
            move = node.moves[index].get(axis)
            if is_given(node, index, axis, known):
                if length_along(network, node.output.name, axis) != length:
                    continue
                move = None
            if length == 1:
                stretch = ONE
            elif name in beside:
                stretch = range(length)
            elif move is None:
                stretch = wanted
            elif isinstance(move, Local):
                reads = move.reads.needed(wanted)
                if move.border == "wrap" and (reads.start < 0 or reads.stop > length):
                    return _no("wraps round the end", node, axis)
                begins |= reads.start < 0
                ends |= reads.stop > length
                stretch = _stretch_inside(reads, move)
            else:
                reason = (
                    f"lets all positions see one another along {axis}, so no halo is wide enough; "
                    "memory=... instead of a tile's size cuts the network before it."
                )
                return Refusal("local", node.name, reason)
            before = found.get(name)
            found[name] = stretch if before is None else _hull(before, stretch)
    return Needs(found, begins, ends)


def _not_followed(node: Node, axis: str) -> Refusal | None:
    if node.opaque:
        why = node.opaque.rstrip(".")
        return Refusal("local", node.name, f"{why}, so what a tile needs is not known.")
    if any(node.seams):
        return _no("lays parts end to end", node, axis)
    return None


def _no(what: str, node: Node, axis: str) -> Refusal:
    return Refusal("local", node.name, f"{what} along {axis}, so it cannot run by tiles.")


def _stretch_inside(reads: range, move: Local) -> range:
    """The positions inside a map that a stretch of reads falls on, by what its border does."""
    length = move.inputs
    low, high = max(reads.start, 0), min(reads.stop, length)
    if move.border == "reflect":
        turns = move.phases
        if reads.start < 0:
            high = max(high, min(turns - reads.start, length))
        if reads.stop > length:
            low = min(low, max(2 * length - reads.stop - turns, 0))
    if low >= high:  # padding alone: the map's end beside it stands for it
        low = min(max(reads.start, 0), length - 1)
        return range(low, low + 1)
    return range(low, high)


def _hull(one: range, other: range) -> range:
    return range(min(one.start, other.start), max(one.stop, other.stop))


def is_given(node: Node, index: int, axis: str, known: Set[str]) -> bool:
    """Whether what a node makes of an operand is given along an axis, since it is `known`."""
    move = node.moves[index].get(axis)
    return node.name in known and (mixes_all(move) or in_bins(node, axis))


_BINS = 8


def in_bins(node: Node, axis: str) -> bool:
    """Whether a node pools an axis into a few positions, as many for a map of any size.

    A pool to a share of the map's size is none: it makes more of them.
    """
    move = node.moves[0].get(axis) if node.moves else None
    few = move is not None and 1 < move.outputs <= _BINS and move.outputs < move.inputs
    return few and isinstance(node.op, AdaptivePool)


def _beside(network: Network, axis: str, known: Set[str]) -> set[str]:
    """Small maps that are given whole, and what is made of them at their own size."""
    found: set[str] = set()
    for node in network.nodes:
        pooled = node.name in known and in_bins(node, axis)
        held = {name for name in node.inputs if length_along(network, name, axis) > 1}
        # To a size that was given, a resize may follow the size of a map; by a factor it does not.
        to_size = isinstance(node.op, Resize) and (not node.op.scales or None in node.op.scales)
        if pooled or (held and held <= found and not to_size):
            found.add(node.output.name)
    return found


def mixes_all(move: AxisMap | None) -> bool:
    """Whether positions see all others along an axis: through a window, if it is the whole map."""
    if isinstance(move, Local):
        return move.outputs == 1 < move.inputs and move.reads.needed(range(1)) == range(move.inputs)
    return move is not None and move.inputs > 1


def is_local(move: AxisMap | None) -> bool:
    """Whether positions stay among their neighbours along an axis."""
    return move is None or isinstance(move, Local) or move.inputs == 1
