"""Which ops that mix all positions of an axis only look back along it."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.geometry import Prefix
from atrous.network import Network
from atrous.network.ops import Pick

__all__ = ["one_side", "reorders", "scans_back"]


def one_side(network: Network, names: Sequence[str], axes: Sequence[str]) -> str:
    """`before` or `behind` where all these ops are scans that way along the axes, else empty."""
    # Operands that have no such axis, as initial states, say nothing of it.
    steps = [
        move[axis]
        for node in network.nodes
        if node.name in names
        for move in node.moves
        for axis in axes
        if axis in node.mixes and axis in move
    ]
    scans = [step for step in steps if isinstance(step, Prefix)]
    ways = {step.reverse for step in scans}
    if not scans or len(scans) < len(steps) or len(ways) > 1:
        return ""
    return "behind" if ways.pop() else "before"


def reorders(network: Network, names: Sequence[str]) -> bool:
    """Whether all these ops lay positions in another order, so that each reads few of them."""
    return all(isinstance(node.op, Pick) for node in network.nodes if node.name in names)


def scans_back(network: Network, names: Sequence[str], axis: str) -> bool:
    """Whether all these ops are scans that carry the past on, and nothing else."""
    return one_side(network, names, (axis,)) == "before"
