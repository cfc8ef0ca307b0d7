"""What one position of a tensor reads of every tensor before it: reads composed up the graph."""

from __future__ import annotations

from collections.abc import Mapping

from atrous.geometry import AxisMap, Local, Taps
from atrous.network import Network

__all__ = ["Seen", "traced"]

Seen = Mapping[str, Taps]
"""The positions read along each axis, ignoring where the tensor ends."""

_ONE = Taps.interval(0, 1)


def traced(network: Network, tensor: str, at: Mapping[str, int]) -> dict[str, Seen]:
    """What position `at` of `tensor` reads of each tensor that it depends on, by tensor name.

    The other direction of `flows`, for one position: sets, axis by axis, united over all
    consumers. Local reads only: what a global op reads counts as the position in front of it, and
    only where no local path leads there. Nothing is followed through an opaque op.

    >>> from atrous.network.stack import stack_network
    >>> net = stack_network("k3 k3d2 k3d2", (1, 1, 64))
    >>> {name: list(seen["t"]) for name, seen in traced(net, "conv3", {"t": 9}).items()}["conv1"]
    [5, 7, 9, 11, 13]
    """
    grids = {t.name: tuple(t.grid) for t in network.inputs}
    grids.update((node.output.name, tuple(node.output.grid)) for node in network.nodes)
    done: dict[tuple[int, Taps], tuple[AxisMap, Taps]] = {}
    local: dict[str, dict[str, Taps]] = {
        tensor: {axis: Taps.interval(at.get(axis, 0), 1) for axis in grids[tensor]}
    }
    passed: dict[str, dict[str, Taps]] = {}
    for node in reversed(network.nodes):
        name = node.output.name
        views = _settled(local, passed, name)
        if views is None or node.opaque:
            continue
        for source, moves in zip(node.inputs, node.moves, strict=True):
            here = local.setdefault(source, {})
            for axis in grids[source]:
                taps = views.get(axis)
                step = moves.get(axis)
                kept = taps is not None
                if taps is None:
                    taps = _ONE
                if isinstance(step, Local):
                    key = (id(step), taps)
                    known = done.get(key)
                    if known is None:
                        # The step is kept so that its id stays its own.
                        known = done[key] = (step, step.reads.image(taps))
                    taps = known[1]
                elif step is not None:
                    kept = False
                into = here if kept else passed.setdefault(source, {})
                before = into.get(axis)
                into[axis] = taps if before is None or before is taps else before.united(taps)
    for found in network.inputs:
        _settled(local, passed, found.name)
    return dict(local)


def _settled(
    local: dict[str, dict[str, Taps]], passed: dict[str, dict[str, Taps]], name: str
) -> dict[str, Taps] | None:
    views = local.get(name)
    for axis, taps in passed.pop(name, {}).items():
        if views is None:
            views = local[name] = {}
        views.setdefault(axis, taps)
    return views
