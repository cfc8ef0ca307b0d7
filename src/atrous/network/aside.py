"""Maps beside the ones that outputs hold: what attention reads as a whole, and pyramid pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from atrous.geometry import Local
from atrous.network.ops import AdaptivePool, Attention, Contract, Resize
from atrous.network.records import Network, Node
from atrous.network.walk import ancestors, strides

__all__ = ["aside", "coarsest"]


def aside(network: Network, outputs: Sequence[str] | None = None) -> Mapping[str, frozenset[str]]:
    """For each tensor, the axes along which it lies aside, so that its stride is nobody's.

    Along such an axis no output has positions of the tensor in step with its own: whatever reads it
    reads all of it at each place (keys and values), or it holds so many positions at every size of
    its map (a pool to 2x2), until it is resampled.

    >>> from atrous.network import Builder
    >>> b = Builder()
    >>> x = b.conv(b.input("x", (1, 8, 30, 30)), 8, 3, stride=2, padding=1)
    >>> pooled = b.add(AdaptivePool((2, 2)), x, name="pool")
    >>> net = b.build(b.concat(x, b.resize(pooled, (15, 15))))
    >>> sorted(aside(net)[pooled.name]), sorted(aside(net)[x.name])
    (['h', 'w'], [])
    """
    wanted = network.outputs if outputs is None else tuple(outputs)
    held = ancestors(network, wanted)
    nodes = [node for node in network.nodes if node.output.name in held]
    placed = _in_step(network, nodes, wanted)
    pooled = _of_fixed_size(network, nodes)
    names = [*(t.name for t in network.inputs), *(node.output.name for node in nodes)]
    return {
        name: frozenset(
            axis
            for axis in network.tensor(name).grid
            if axis in pooled.get(name, ()) or axis not in placed.get(name, ())
        )
        for name in names
    }


def coarsest(network: Network) -> dict[str, Fraction]:
    """The coarsest stride along each axis, of all maps that do not lie aside."""
    beside = aside(network)
    found: dict[str, Fraction] = {}
    for name, here in strides(network).items():
        for axis, stride in here.items():
            if axis not in beside.get(name, ()):
                found[axis] = max(found.get(axis, Fraction(1)), stride)
    return found


def _in_step(
    network: Network, nodes: Sequence[Node], outputs: Sequence[str]
) -> dict[str, set[str]]:
    """By tensor, the axes that some output, or what ends them, reads position by position."""
    found: dict[str, set[str]] = {name: set(network.tensor(name).grid) for name in outputs}
    for node in reversed(nodes):
        after = found.get(node.output.name, set())
        for name, moves in zip(node.inputs, node.moves, strict=True):
            here = found.setdefault(name, set())
            for axis in network.tensor(name).grid:
                if axis not in node.output.grid:
                    here.add(axis)  # it ends here: a global pool
                elif axis in after and _follows(node, moves.get(axis)):
                    here.add(axis)
    return found


def _follows(node: Node, move: object) -> bool:
    """Whether positions come out where they went in, though each may see all others."""
    return move is None or isinstance(move, Local) or not isinstance(node.op, Attention | Contract)


def _of_fixed_size(network: Network, nodes: Sequence[Node]) -> dict[str, set[str]]:
    """By tensor, the axes that hold so many positions whatever the map had."""
    found: dict[str, set[str]] = {}
    for node in nodes:
        grid = node.output.grid
        if isinstance(node.op, AdaptivePool):
            found[node.output.name] = set(grid)
        elif node.inputs and not (isinstance(node.op, Resize) and not any(node.op.scales)):
            held = [name for name in node.inputs if not network.tensor(name).constant]
            found[node.output.name] = {
                axis
                for axis in grid
                if (mine := [n for n in held if axis in network.tensor(n).grid])
                and all(axis in found.get(name, ()) for name in mine)
            }
    return found
