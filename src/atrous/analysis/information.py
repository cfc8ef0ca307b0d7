"""How much of the input reaches the output: how many outputs read each input position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from atrous.analysis.unread import keep
from atrous.errors import UnsupportedError
from atrous.geometry import AxisMap, Everything
from atrous.network import Network, Node
from atrous.network.layout import ROWS
from atrous.shown import Shown, how_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Information", "information_of"]

MOST_BOXES = 10
MOST_PAIRS = 1 << 28

Rows = tuple[int, ...]
"""What each output position along one axis reads, as the bits of an integer."""

Box = Mapping[str, Rows]
"""Reads that are a product of axes: `o` reads `p` where it does along every axis."""


@dataclass(frozen=True, slots=True)
class Information(Shown):
    """How many positions of an output read each position of the input, borders included.

    `least`, `mean` and `most` are over all input positions, `never_read` is the share of them that
    no output position reads, `elements_out / elements_in` the elements (channels included) of the
    output and of the input. `product` says that the reads are a product of axes; otherwise they
    are a union of `boxes` such products, and overlaps are counted once.

    >>> import atrous
    >>> found = atrous.inspect("stack:k3s2x8", (1, 3, 8, 8)).information()
    >>> found.least, found.most, found.never_read, found.elements_out, found.elements_in
    (1, 4, Fraction(0, 1), 128, 192)
    """

    output: str
    least: int
    mean: Fraction
    most: int
    never_read: Fraction
    elements_in: int
    elements_out: int
    boxes: int

    @property
    def product(self) -> bool:
        """True where the reads are a product of axes."""
        return self.boxes == 1

    @property
    def ratio(self) -> Fraction:
        """Elements out over elements in."""
        return Fraction(self.elements_out, self.elements_in)

    def to_dict(self) -> dict[str, object]:
        """Plain data; fractions become floats."""
        return {
            "output": self.output,
            "least": self.least,
            "mean": float(self.mean),
            "most": self.most,
            "never_read": float(self.never_read),
            "elements_in": self.elements_in,
            "elements_out": self.elements_out,
            "ratio": float(self.ratio),
            "product": self.product,
        }

    def __str__(self) -> str:
        never = f", {float(self.never_read):.1%} never read" if self.never_read else ""
        return (
            f"{self.output}: each input position is read by {self.least} to {self.most} output "
            f"positions, {float(self.mean):.4g} on the mean{never}; {self.elements_out:,} elements "
            f"of {self.elements_in:,}, {float(self.ratio):.3g} times"
        )


def information_of(network: Network, tensor: str, source: str, name: str = "") -> Information:
    """How the positions of `tensor` read the input `source`, at their actual sizes.

    Reads are carried down the graph as unions of boxes, each a boolean matrix per axis; a box that
    lies in another is dropped, so that most networks keep one. How many outputs read a position is
    then a sum over intersections of boxes, which are boxes (inclusion and exclusion). Raises
    `UnsupportedError` behind an opaque op, where more than 10 boxes overlap, and along axes too
    long for a matrix (about 16,000 positions).
    """
    counts, boxes = readers(network, tensor, source)
    start, end = network.tensor(source), network.tensor(tensor)
    total = int(counts.sum())
    return Information(
        output=name or tensor,
        least=int(counts.min()),
        mean=Fraction(total, counts.size),
        most=int(counts.max()),
        never_read=Fraction(int(np.count_nonzero(counts == 0)), counts.size),
        elements_in=start.elements,
        elements_out=end.elements,
        boxes=boxes,
    )


def readers(network: Network, tensor: str, source: str) -> tuple[NDArray[np.int64], int]:
    """For each input position the number of positions of `tensor` that read it; and the boxes."""
    grid = network.tensor(source).grid
    own: Box = {axis: tuple(1 << i for i in range(n)) for axis, n in grid.items()}
    found: dict[str, list[Box]] = {source: [own]}
    memo: dict[tuple[int, int], tuple[AxisMap, Rows, Rows]] = {}
    for node in network.nodes:
        if tensor in found:
            break
        for axis, length in grid.items():
            if length * node.output.grid.get(axis, 1) > MOST_PAIRS:
                raise UnsupportedError(
                    f"{node.name}: {how_many(node.output.grid[axis], 'position')} along "
                    f"{axis} of an input of "
                    f"{length} are too many to count one by one; ask with a shorter input."
                )
        boxes: list[Box] = []
        for index, (name, moves) in enumerate(zip(node.inputs, node.moves, strict=True)):
            if name in found:
                _check_rows(node, index, found[name])
            for box in found.get(name, ()):
                if node.opaque:
                    raise UnsupportedError(
                        f"{node.name}: {node.opaque}, so what is read through it is not known."
                    )
                moved = {axis: _moved(box[axis], axis, node, moves, memo) for axis in grid}
                keep(boxes, moved, _covers)
        if len(boxes) > MOST_BOXES:
            raise UnsupportedError(
                f"{node.name}: its reads are a union of {len(boxes)} boxes, too many to count; "
                "ask for a layer before it, or for footprints."
            )
        if boxes:
            found[node.output.name] = boxes
    if ROWS in network.tensor(tensor).grid:
        raise UnsupportedError(
            "its positions are parts laid end to end, which are not counted; ask for the layers "
            "that make the parts."
        )
    shape = tuple(grid.values())
    return _counted(found.get(tensor, []), grid), len(found.get(tensor, [])) if shape else 1


def _check_rows(node: Node, index: int, boxes: list[Box]) -> None:
    """Raises where a node picks some of the rows that parts were laid into: they count as one."""
    seam, step = node.seam(index), node.moves[index].get(ROWS)
    picks = step is not None and not isinstance(step, Everything)
    if not picks and (seam is None or not seam.out or not seam.axes):
        return
    for box in boxes:
        for rows in box.values():
            if len(set(rows)) > 1 or (rows and not _is_full(rows[0])):
                raise UnsupportedError(
                    f"{node.name}: takes some of the parts that were laid end to end, which are "
                    "not counted; ask for footprints."
                )


def _is_full(row: int) -> bool:
    return not row & (row + 1)


def _moved(
    rows: Rows,
    axis: str,
    node: Node,
    moves: Mapping[str, AxisMap],
    memo: dict[tuple[int, int], tuple[AxisMap, Rows, Rows]],
) -> Rows:
    step = moves.get(axis)
    outputs = node.output.grid.get(axis, 1)
    if step is None:
        return rows if len(rows) == outputs else (_any(rows),) * outputs
    known = memo.get((id(step), id(rows)))
    if known is None:
        made = tuple(_any([rows[p] for p in step.at(o)]) for o in range(step.outputs))
        if len(made) != outputs:
            made = (_any(made),) * outputs
        # The operands are kept so that their ids stay theirs.
        known = memo[id(step), id(rows)] = (step, rows, made)
    return known[2]


def _any(rows: Sequence[int]) -> int:
    result = 0
    for row in rows:
        result |= row
    return result


def _covers(outer: Box, inner: Box) -> bool:
    return all(
        rows is outer[axis] or all(not a & ~b for a, b in zip(rows, outer[axis], strict=True))
        for axis, rows in inner.items()
    )


def _counted(boxes: list[Box], grid: Mapping[str, int]) -> NDArray[np.int64]:
    shape = tuple(grid.values())
    total = np.zeros(shape, dtype=np.int64)
    # Equal axes of one box are one object: their columns are summed once.
    sums: dict[tuple[int, ...], NDArray[np.int64]] = {}
    for size in range(1, len(boxes) + 1):
        for chosen in combinations(boxes, size):
            term: NDArray[np.int64] = np.ones((1,) * len(shape), dtype=np.int64)
            for place, axis in enumerate(grid):
                key = tuple(id(box[axis]) for box in chosen)
                if key not in sums:
                    sums[key] = _columns([box[axis] for box in chosen], grid[axis])
                along = [1] * len(shape)
                along[place] = grid[axis]
                term = term * sums[key].reshape(along)
            total += term if size % 2 else -term
    assert prod(shape) == total.size
    return total


def _columns(rows: list[Rows], length: int) -> NDArray[np.int64]:
    """How many outputs along an axis read each input in all of the given reads."""
    width = (length + 7) // 8
    data = bytearray()
    for together in zip(*rows, strict=True):
        row = together[0]
        for other in together[1:]:
            row &= other
        data += row.to_bytes(width, "little")
    bits = np.frombuffer(bytes(data), dtype=np.uint8).reshape(-1, width)
    unpacked = np.unpackbits(bits, axis=1, bitorder="little")[:, :length]
    columns: NDArray[np.int64] = unpacked.sum(axis=0, dtype=np.int64)
    return columns
