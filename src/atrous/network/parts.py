"""Parts: what an op whose weight is 0 in places reads of its input, as a union of boxes."""

from __future__ import annotations

from math import prod

from atrous.geometry import AxisMap, Table, Taps, boxes
from atrous.network.layout import axis_atoms, dim_size
from atrous.network.ops import Filtered, Linear, Op
from atrous.network.records import Tensor

__all__ = ["linear_parts", "once_a_part"]


def once_a_part(op: Op, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The operands of an op: its first input once for each part of it that is read.

    What is read around a hole is no product of axes, but a union of products. Each is an operand
    of its own, as the branches of a join are.
    """
    parts = 1
    if isinstance(op, Filtered):
        parts = len(op.parts)
    elif isinstance(op, Linear) and op.unread:
        parts = len(linear_parts(op, inputs[0])) or 1
    return (inputs[0],) * (parts - 1) + inputs if parts > 1 else inputs


def linear_parts(op: Linear, x: Tensor) -> tuple[dict[str, AxisMap], ...]:
    """What a matrix reads of the positions that lie in the last dimension, a map for each part.

    Empty where it reads all of them, or where an axis lies there in part.
    """
    if not op.unread:
        return ()
    atoms = axis_atoms((*((),) * (len(x.layout) - 1), x.layout[-1]))
    held = {axis: prod(atom.size for _, atom in found) for axis, found in atoms.items()}
    if not held or any(size != x.grid[axis] for axis, size in held.items()):
        return ()
    gone = set(op.unread)
    kept = {_coordinates(x, index) for index in range(dim_size(x.layout[-1])) if index not in gone}
    if len(kept) == prod(held.values()):
        return ()
    return tuple(
        {
            axis: Table(x.grid[axis], (Taps.of(places),))
            for axis, places in zip(held, box, strict=True)
        }
        for box in boxes(kept)
    )


def _coordinates(x: Tensor, index: int) -> tuple[int, ...]:
    """Where index `index` of the last dimension lies along each axis that it holds."""
    found: dict[str, int] = {}
    for atom in reversed(x.layout[-1]):
        index, digit = divmod(index, atom.size)
        if atom.axis is not None:
            found[atom.axis] = found.get(atom.axis, 0) + digit * atom.weight
    return tuple(found[axis] for axis in dict.fromkeys(a.axis for a in x.layout[-1]) if axis)
