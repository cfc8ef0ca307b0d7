"""Which input positions no output reads, each op's own border and size taken into account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from atrous.analysis.chain import read_dropping
from atrous.analysis.paths import MOST_COUNTED, adjoint
from atrous.errors import UnsupportedError
from atrous.geometry import AxisMap
from atrous.network import Network, Node
from atrous.network.layout import ROWS, Seam

__all__ = ["keep", "read_mask", "unread_share"]

Flags = NDArray[np.bool_]
Box = tuple[Flags, ...]
"""A product of axes: the positions whose index along every axis is flagged."""

MOST_BOXES = 256

T = TypeVar("T")


def unread_share(network: Network, source: str) -> Fraction:
    """The share of the positions of the input `source` that no output of `network` reads.

    >>> import atrous
    >>> unread_share(atrous.read("stack:k1s2", (1, 1, 8, 8)), "x")
    Fraction(3, 4)
    """
    mask = read_mask(network, source)
    return Fraction(int(mask.size - np.count_nonzero(mask)), mask.size)


def read_mask(network: Network, source: str) -> Flags:
    """True at every position of the input `source` that some output of `network` reads.

    What is needed of each tensor is kept as a union of boxes and brought back node by node from
    all positions of the outputs. Raises `UnsupportedError` where an op on the way is opaque, and
    where a map is larger than can be held.
    """
    reaching = network.reached(source)
    longest = max(n for name in reaching for n in network.tensor(name).grid.values() or (1,))
    if longest > MOST_COUNTED or prod(network.tensor(source).grid.values()) > 8 * MOST_COUNTED:
        raise UnsupportedError(
            f"its maps have up to {longest:,} positions along an axis, too many to follow one by "
            "one; take a smaller input."
        )
    needed: dict[str, list[Box]] = {}
    for name in network.outputs:
        if name in reaching:
            grid = network.tensor(name).grid
            needed[name] = [tuple(np.ones(n, dtype=np.bool_) for n in grid.values())]
    pulls: dict[tuple[AxisMap, bytes], Flags] = {}
    for node in reversed(network.nodes):
        boxes = needed.pop(node.output.name, None) if node.output.name != source else None
        if not boxes:
            continue
        if node.opaque:
            raise UnsupportedError(
                f"{node.name}: {node.opaque}, so what is read through it is not known."
            )
        for index, name in enumerate(node.inputs):
            if name in reaching:
                grid = network.tensor(name).grid
                kept = needed.setdefault(name, [])
                for box in boxes:
                    for before in _boxes_before(node, index, grid, box, pulls):
                        keep(kept, before, _holds)
                if len(kept) > MOST_BOXES:
                    raise UnsupportedError(
                        f"{name}: its readers need more than {MOST_BOXES} different parts of it, "
                        "too many to follow."
                    )
    shape = tuple(network.tensor(source).grid.values())
    mask: Flags = np.zeros(shape, dtype=np.bool_)
    for box in needed.get(source, ()):
        mask[np.ix_(*box)] = True
    return mask


def _boxes_before(
    node: Node,
    index: int,
    grid: Mapping[str, int],
    box: Box,
    pulls: dict[tuple[AxisMap, bytes], Flags],
) -> list[Box]:
    flags = dict(zip(node.output.grid, box, strict=True))
    seam, moves = node.seam(index), node.moves[index]
    if seam is None:
        return [_box_before(flags, moves, grid, pulls)]
    if seam.out:
        inner = {axis: n for axis, n in grid.items() if axis != ROWS} | seam.axes
        before = dict(zip(inner, _box_before(flags, moves, inner, pulls), strict=True))
        rows = np.zeros(grid[ROWS], dtype=np.bool_)
        some = all(along.any() for along in before.values())
        rows[seam.start : seam.start + seam.length] = some & _rows_held(seam, before)
        return [tuple(rows if axis == ROWS else before[axis] for axis in grid)]
    rows = flags.pop(ROWS)[seam.start : seam.start + seam.length]
    some = all(along.any() for along in flags.values())
    rest = {axis: along for axis, along in flags.items() if axis not in seam.axes}
    return [
        _box_before({**rest, **dict(zip(seam.axes, part, strict=True))}, moves, grid, pulls)
        for part in _boxes_of_rows(seam, rows & some)
    ]


def _rows_held(seam: Seam, flags: Mapping[str, Flags]) -> Flags:
    """Which rows of a part hold positions whose index along every axis is flagged."""
    found = np.ones(1, dtype=np.bool_)
    index = np.arange(seam.length)
    places = dict.fromkeys(seam.axes, np.zeros(seam.length, dtype=np.int64))
    below = seam.length
    for atom in seam.digits:
        below //= atom.size
        if atom.axis is not None:
            places[atom.axis] = places[atom.axis] + index // below % atom.size * atom.weight
    for axis, where in places.items():
        found = found & flags[axis][where]
    return np.broadcast_to(found, seam.length)


def _boxes_of_rows(seam: Seam, rows: Flags) -> list[Box]:
    """The flagged rows of a part as boxes on its axes: one for each pattern along the last axis."""
    lengths = list(seam.axes.values())
    if not rows.any():
        return []
    if not lengths or rows.all():
        return [tuple(np.ones(n, dtype=np.bool_) for n in lengths)]
    held = np.zeros(lengths, dtype=np.bool_)
    index = np.flatnonzero(rows)
    places = {axis: np.zeros(len(index), dtype=np.int64) for axis in seam.axes}
    below = seam.length
    for atom in seam.digits:
        below //= atom.size
        if atom.axis is not None:
            places[atom.axis] += index // below % atom.size * atom.weight
    held[tuple(places.values())] = True
    lines = held.reshape(-1, lengths[-1])
    boxes: dict[bytes, tuple[Flags, Flags]] = {}
    for number in np.flatnonzero(lines.any(axis=1)):
        line = lines[number]
        first = boxes.setdefault(line.tobytes(), (np.zeros(len(lines), np.bool_), line))[0]
        first[number] = True
    found: list[Box] = []
    for first, line in boxes.values():
        if len(lengths) < 3:
            found.append((first, line) if len(lengths) == 2 else (line,))
            continue
        for at in np.argwhere(first.reshape(lengths[:-1])):
            ones = [np.arange(n) == p for n, p in zip(lengths, at, strict=False)]
            found.append((*ones, line))
    return found


def _box_before(
    flags: Mapping[str, Flags],
    moves: Mapping[str, AxisMap],
    grid: Mapping[str, int],
    pulls: dict[tuple[AxisMap, bytes], Flags],
) -> Box:
    # An empty axis makes the box empty, also where the input does not have that axis.
    some = all(along.any() for along in flags.values())
    out = []
    for axis, length in grid.items():
        along = flags.get(axis, np.full(1, some))
        step = moves.get(axis)
        if step is not None:
            along = _along(step, along, pulls)
        out.append(along if some and along.size == length else np.full(length, some))
    return tuple(out)


def _along(step: AxisMap, outputs: Flags, pulls: dict[tuple[AxisMap, bytes], Flags]) -> Flags:
    """The inputs of one axis that the flagged outputs read."""
    key = (step, outputs.tobytes())
    if key not in pulls:
        found = np.zeros(step.inputs, dtype=np.bool_)
        simple = read_dropping(step, 0, outputs.tobytes())
        if simple is not None:
            low, flags = simple
            found[low : low + len(flags)] = np.frombuffer(flags, np.bool_)
        else:
            low, counts = adjoint(step, 0, outputs.astype(np.int64))
            found[low : low + len(counts)] = counts > 0
        pulls[key] = found
    return pulls[key]


def keep(kept: list[T], box: T, holds: Callable[[T, T], bool]) -> None:
    """Adds a box to a union, unless one there holds it; those that it holds go."""
    if any(holds(other, box) for other in kept):
        return
    kept[:] = [other for other in kept if not holds(box, other)]
    kept.append(box)


def _holds(outer: Box, inner: Box) -> bool:
    if not prod(int(along.any()) for along in inner):
        return True
    return all(bool((a | ~b).all()) for a, b in zip(outer, inner, strict=True))
