"""Which input positions no output reads, each op's own border and size taken into account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from atrous.analysis.paths import adjoint
from atrous.errors import UnsupportedError
from atrous.geometry import AxisMap
from atrous.network import Network, Node

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
    all positions of the outputs. Raises `UnsupportedError` where an op on the way is opaque.
    """
    reaching = network.reached(source)
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
        for name, moves in zip(node.inputs, node.moves, strict=True):
            if name in reaching:
                grid = network.tensor(name).grid
                kept = needed.setdefault(name, [])
                for box in boxes:
                    keep(kept, _box_before(node, moves, grid, box, pulls), _holds)
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


def _box_before(
    node: Node,
    moves: Mapping[str, AxisMap],
    grid: Mapping[str, int],
    box: Box,
    pulls: dict[tuple[AxisMap, bytes], Flags],
) -> Box:
    flags = dict(zip(node.output.grid, box, strict=True))
    # An empty axis makes the box empty, also where the input does not have that axis.
    some = all(along.any() for along in box)
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
        low, counts = adjoint(step, 0, outputs.astype(np.int64))
        found = np.zeros(step.inputs, dtype=np.bool_)
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
