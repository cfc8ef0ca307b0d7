"""Which output reads which inputs, layer by layer, along one axis: the dot-and-line picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from atrous.errors import UnsupportedError
from atrous.geometry import AxisMap
from atrous.network import Network

__all__ = ["DotRow", "Dots", "dots_of"]


@dataclass(frozen=True, slots=True)
class DotRow:
    """A map of the chain: its layer, its length along the axis, and what each position reads.

    `reads` has, for each position, the positions of the row below that it reads, clipped to it;
    the input reads nothing.
    """

    name: str
    length: int
    reads: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Dots:
    """The maps of a chain of layers along one axis, the input first.

    >>> import atrous
    >>> dots = dots_of(atrous.read("stack:k3d2 k3", (1, 1, 9)), "t")
    >>> [row.length for row in dots.rows], dots.rows[1].reads[4], dots.reaches(4)
    ([9, 9, 9], (2, 4, 6), (1, 2, 3, 4, 5, 6, 7))
    """

    axis: str
    rows: tuple[DotRow, ...]

    def reaches(self, output: int) -> tuple[int, ...]:
        """The input positions that position `output` of the last map reads."""
        lit = {output}
        for row in reversed(self.rows[1:]):
            lit = {read for position in lit for read in row.reads[position]}
        return tuple(sorted(lit))

    def to_dict(self) -> Mapping[str, object]:
        """Plain data, for a page."""
        return {
            "axis": self.axis,
            "rows": [
                {"name": row.name, "length": row.length, "reads": row.reads} for row in self.rows
            ],
        }


def dots_of(network: Network, axis: str) -> Dots:
    """The rows of a chain. Raises `UnsupportedError` where a layer has more or less than one input.

    Positions are told apart one by one, so this is for small inputs.
    """
    [source, *more] = network.inputs
    rows = [DotRow(source.name, source.grid[axis])]
    below = source
    for node in network.nodes:
        if more or node.inputs != (below.name,) or node.opaque or axis not in node.output.grid:
            raise UnsupportedError(
                f"{node.name}: only a chain of layers that keep their axes is drawn as dots."
            )
        length = node.output.grid[axis]
        reads = _reads_along(node.moves[0].get(axis), below.grid[axis], length)
        rows.append(DotRow(node.name, length, reads))
        below = node.output
    return Dots(axis, tuple(rows))


@lru_cache(32)
def _reads_along(move: AxisMap | None, below: int, length: int) -> tuple[tuple[int, ...], ...]:
    """What each of `length` positions reads of `below`; layers that are alike read alike."""
    inside = range(below)
    return tuple(
        (at,) if move is None else tuple(p for p in move.at(at) if p in inside)
        for at in range(length)
    )
