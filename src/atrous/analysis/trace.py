"""What one position of a tensor reads of every tensor before it: reads composed up the graph."""

from __future__ import annotations

from collections.abc import Mapping

from atrous.geometry import AxisMap, Local, Taps
from atrous.network import Network

__all__ = ["Seen", "traced"]

Seen = Mapping[str, Taps]
"""The positions read along each axis, ignoring where the tensor ends."""


def traced(network: Network, tensor: str, at: Mapping[str, int], source: str) -> Mapping[str, Seen]:
    """What position `at` of `tensor` reads of each tensor between it and the input `source`.

    The other direction of `flows`, for one position: sets along each axis of the input, united
    over all consumers. Like there, reads are local: what a global op reads counts as the position
    in front of it, and only where no local operand stands beside it. Nothing is followed through
    an opaque op.

    >>> from atrous.network.stack import stack_network
    >>> net = stack_network("k3 k3d2 k3d2", (1, 1, 64))
    >>> list(traced(net, "conv3", {"t": 9}, net.inputs[0].name)["conv1"]["t"])
    [5, 7, 9, 11, 13]
    """
    axes = tuple(network.tensor(source).grid)
    reaching = {source}
    grids: dict[str, Mapping[str, int]] = {t.name: t.grid for t in network.inputs}
    for node in network.nodes:
        grids[node.output.name] = node.output.grid
        if not reaching.isdisjoint(node.inputs):
            reaching.add(node.output.name)
    done: dict[tuple[int, Taps], tuple[AxisMap, Taps]] = {}
    seen: dict[str, dict[str, Taps]] = {
        tensor: {axis: Taps.interval(at.get(axis, 0), 1) for axis in axes}
    }
    for node in reversed(network.nodes):
        views = seen.get(node.output.name)
        if views is None or node.opaque:
            continue
        operands = [(i, name) for i, name in enumerate(node.inputs) if name in reaching]
        for axis, taps in views.items():
            here: list[tuple[str, Taps]] = []
            passed: list[tuple[str, Taps]] = []
            for index, name in operands:
                step = node.moves[index].get(axis)
                if axis not in grids[name]:
                    passed.append((name, taps))
                elif step is None:
                    here.append((name, taps))
                elif isinstance(step, Local):
                    known = done.get((id(step), taps))
                    if known is None:
                        # The step is kept so that its id stays its own.
                        known = done[id(step), taps] = (step, step.reads.image(taps))
                    (here if axis in node.output.grid else passed).append((name, known[1]))
                else:
                    passed.append((name, taps))
            for name, found in here or passed:
                into = seen.setdefault(name, {})
                before = into.get(axis)
                into[axis] = found if before is None or before is found else before.united(found)
    return seen
