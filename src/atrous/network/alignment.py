"""How the digits of several tensors line up where an operation joins them, or multiplies them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from atrous.geometry import AxisMap
from atrous.network.layout import (
    Atom,
    Dim,
    Layout,
    Unrepresentable,
    axis_atoms,
    digits_map,
    dim_size,
    grid_of,
    has_axes,
    merged,
)

__all__ = ["gathered", "joined", "product_layout"]

MOST_PAIRED = 1 << 14
"""The most positions of an axis that tensors hold in different dimensions, each pair as one."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """One digit of a dimension as each operand has it; None where that holds no positions."""

    size: int
    atoms: tuple[Atom | None, ...]

    @property
    def held(self) -> Atom | None:
        """What the first operand that holds positions here has."""
        return next((atom for atom in self.atoms if atom is not None), None)

    @property
    def axes(self) -> set[str]:
        """The axes that operands hold here."""
        return {str(atom.axis) for atom in self.atoms if atom is not None}


def _slots(dims: Sequence[Dim]) -> list[_Slot]:
    """Dimensions of one size cut at the same places, the most significant digit first.

    One of size 1 is broadcast. Raises `Unrepresentable` where a digit would be cut apart.
    """
    size = max(map(dim_size, dims))
    stacks = [
        None if dim_size(dim) < size else [atom for atom in dim if atom.size > 1] for dim in dims
    ]
    slots: list[_Slot] = []
    while any(stacks):
        least = min(stack[-1].size for stack in stacks if stack)
        taken: list[Atom | None] = []
        for stack in stacks:
            if stack is None:
                taken.append(None)
                continue
            atom = stack.pop()
            if atom.size % least:
                names = sorted({a.axis or "channels" for dim in dims for a in dim})
                raise Unrepresentable(f"joins {' and '.join(names)} in one dimension")
            if atom.size > least:
                weight = atom.weight * least if atom.axis else 1
                stack.append(Atom(atom.axis, atom.size // least, weight))
                atom = Atom(atom.axis, least, atom.weight)
            taken.append(atom if atom.axis is not None else None)
        slots.append(_Slot(least, tuple(taken)))
    return slots[::-1]


def joined(layouts: Sequence[Layout]) -> tuple[Layout, list[dict[str, AxisMap]]]:
    """The layout of an elementwise operation with broadcasting, and what each operand is read at.

    An axis that operands hold in different dimensions has a position for each pair of theirs.
    Raises `Unrepresentable` where one dimension would hold two different axes.
    """
    if all(layout == layouts[0] for layout in layouts[1:]):
        return layouts[0], [{} for _ in layouts]
    rank = max(len(layout) for layout in layouts)
    padded = [((),) * (rank - len(layout)) + layout for layout in layouts]
    cut = [_slots([layout[index] for layout in padded]) for index in range(rank)]
    for slot in (slot for slots in cut for slot in slots):
        if len(slot.axes) > 1:
            raise Unrepresentable(f"joins {' and '.join(sorted(slot.axes))} in one dimension")
    weights = _weights(cut, len(layouts))
    longest = {axis: max(grid_of(x).get(axis, 1) for x in layouts) for axis in _axes(cut)}
    for axis, places in weights.items():
        length = prod(cut[index][at].size for index, at in places)
        if length > max(longest[axis], MOST_PAIRED):
            raise Unrepresentable(f"joins tensors that hold {axis} in different dimensions")
    dims: list[Dim] = []
    for index, slots in enumerate(cut):
        held = [layout[index] for layout in padded]
        atoms = [_atom(slot, weights, (index, at)) for at, slot in enumerate(slots)]
        dims.append(merged(atoms) if slots else max(held, key=has_axes))
    return tuple(dims), [_read_at(cut, weights, x, number) for number, x in enumerate(padded)]


Places = dict[str, dict[tuple[int, int], int]]
"""For each axis the weight of each of its digits, by dimension and place in it."""


def _axes(cut: Sequence[Sequence[_Slot]]) -> set[str]:
    return {axis for slots in cut for slot in slots for axis in slot.axes}


def _weights(cut: Sequence[Sequence[_Slot]], operands: int) -> Places:
    """Weights in the order of the operand with the most digits; digits of others lie below."""
    found: Places = {}
    for axis in _axes(cut):
        by_operand = [
            [
                (-atom.weight, (index, at))
                for index, slots in enumerate(cut)
                for at, slot in enumerate(slots)
                if (atom := slot.atoms[number]) is not None and atom.axis == axis
            ]
            for number in range(operands)
        ]
        order: dict[tuple[int, int], None] = {}
        for digits in sorted(by_operand, key=len, reverse=True):
            order.update(dict.fromkeys(place for _, place in sorted(digits)))
        weight = 1
        found[axis] = {}
        for index, at in reversed(order):
            found[axis][index, at] = weight
            weight *= cut[index][at].size
    return found


def _atom(slot: _Slot, weights: Places, place: tuple[int, int]) -> Atom:
    first = slot.held
    if first is None:
        return Atom(None, slot.size)
    return Atom(first.axis, slot.size, weights[str(first.axis)][place], first.parts)


def _read_at(
    cut: Sequence[Sequence[_Slot]], weights: Places, operand: Layout, number: int
) -> dict[str, AxisMap]:
    maps: dict[str, AxisMap] = {}
    for axis, length in grid_of(operand).items():
        digits = []
        for (index, at), weight in weights.get(axis, {}).items():
            atom = cut[index][at].atoms[number]
            digits.append((cut[index][at].size, weight, 0 if atom is None else atom.weight))
        outputs = prod(size for size, _, _ in digits)
        if outputs != length or any(here != there for _, here, there in digits):
            maps[axis] = digits_map(length, digits, [])
    return maps


def gathered(out: Layout, operand: Layout, becomes: Sequence[int | None]) -> dict[str, AxisMap]:
    """What each axis of an operand is read at by a product of tensors.

    Dimension `i` of the operand lines up with dimension `becomes[i]` of the output, index by index,
    or is summed over where that is None. Dimensions line up digit by digit; the digits may lie
    other distances apart on each side, as those of windows and of the pooled queries inside them
    do. Digits that the output does not have there are read as a whole. Raises `Unrepresentable`
    where the output does not hold all digits of an axis.
    """
    for axis, atoms in axis_atoms(out).items():
        weight = 1
        for _, atom in sorted(atoms, key=lambda a: a[1].weight):
            if atom.size > 1 and atom.weight != weight:
                raise Unrepresentable(f"multiplies parts of {axis}")
            weight *= atom.size
    free: dict[str, list[tuple[int, int]]] = {axis: [] for axis in grid_of(operand)}
    digits: dict[str, list[tuple[int, int, int]]] = {axis: [] for axis in free}
    targets = {target: index for index, target in enumerate(becomes) if target is not None}
    for target, dim in enumerate(out):
        mine = operand[targets[target]] if target in targets else ()
        for here, there in _digit_pairs(dim, mine):
            same = here is not None and there is not None and here.axis == there.axis
            if here is not None and here.axis in digits:
                digits[here.axis].append(
                    (here.size, here.weight, there.weight if same and there is not None else 0)
                )
            if there is not None and not same:
                free[str(there.axis)].append((there.size, there.weight))
    for dim in (operand[index] for index, at in enumerate(becomes) if at is None):
        for atom in dim:
            if atom.axis is not None and atom.size > 1:
                free[atom.axis].append((atom.size, atom.weight))
    maps: dict[str, AxisMap] = {}
    for axis, length in grid_of(operand).items():
        outputs = prod(size for size, _, _ in digits[axis])
        kept = all(here == there for _, here, there in digits[axis])
        if free[axis] or not kept or outputs != length:
            maps[axis] = digits_map(length, digits[axis], free[axis])
    return {a: m for a, m in maps.items() if not (m.inputs == m.outputs == 1)}


def _digit_pairs(out: Dim, operand: Dim) -> list[tuple[Atom | None, Atom | None]]:
    """The digits of a dimension of the output and of an operand that line up, None for channels."""
    alone: list[tuple[Atom | None, Atom | None]] = [
        (atom, None) for atom in out if atom.axis is not None and atom.size > 1
    ]
    if not has_axes(operand) or dim_size(operand) == 1:
        return alone
    try:
        slots = _slots((out, operand))
    except Unrepresentable:
        # They do not line up: all of what the operand holds there is read.
        return alone + [(None, atom) for atom in operand if atom.axis is not None]
    return [(slot.atoms[0], slot.atoms[1]) for slot in slots]


def product_layout(left: str, right: str, result: str, layouts: Sequence[Layout]) -> Layout:
    """The layout of a product of two tensors, a letter for each dimension as in einsum.

    Rows keep their positions. Columns that would bring the same positions again (the keys of an
    attention map) count as channels, so whoever reads a row reads that operand as a whole. Digits
    that are left of an axis count afresh.
    """
    shared = [letter for letter in result if letter in left and letter in right]
    kept: dict[str, list[_Slot]] = {}
    rows: list[Atom] = []
    for letter in (*shared, *(x for x in result if x not in shared)):
        dims = [
            layout[term.index(letter)]
            for term, layout in zip((left, right), layouts, strict=True)
            if letter in term
        ]
        try:
            slots = _slots(dims)
        except Unrepresentable:
            one = _slots(dims[:1] if has_axes(dims[0]) else dims[1:])
            slots = [_Slot(slot.size, slot.atoms * 2) for slot in one]
        if letter not in left:
            slots = [
                _Slot(slot.size, (None,)) if _again(slot.atoms[0], rows) else slot for slot in slots
            ]
        rows += [atom for slot in slots if letter in left and (atom := _alone(slot)) is not None]
        kept[letter] = slots
    weights: dict[tuple[str, int], int] = {}
    for axis in {axis for slots in kept.values() for slot in slots for axis in slot.axes}:
        # Digits that only the right operand has lie among its own.
        side = -1 if any(axis in s.axes for x, found in kept.items() for s in found
                         if x not in left) else 0  # fmt: skip
        places = [
            (_weight_at(slot, axis, side), slot.size, (letter, at))
            for letter, slots in kept.items()
            for at, slot in enumerate(slots)
            if (atom := slot.held) is not None and atom.axis == axis
        ]
        weight = 1
        for _, size, place in sorted(places):
            weights[place] = weight
            weight *= size
    dims_out: list[Dim] = []
    for letter in result:
        made = []
        for at, slot in enumerate(kept[letter]):
            atom = slot.held
            made.append(
                Atom(None, slot.size)
                if atom is None
                else Atom(atom.axis, slot.size, weights[letter, at], atom.parts)
            )
        whole = max(
            (
                layout[term.index(letter)]
                for term, layout in zip((left, right), layouts, strict=True)
                if letter in term
            ),
            key=has_axes,
        )
        dims_out.append(merged(made) if made else whole)
    return tuple(dims_out)


def _weight_at(slot: _Slot, axis: str, side: int) -> int:
    """How far apart the digit's positions lie, on that side where it holds the axis."""
    atom = slot.atoms[side]
    if atom is None or atom.axis != axis:
        atom = slot.held
    assert atom is not None
    return atom.weight


def _alone(slot: _Slot) -> Atom | None:
    """What only the first operand holds in a slot."""
    return slot.atoms[0] if len(slot.atoms) == 1 or slot.atoms[1] is None else None


def _again(atom: Atom | None, rows: Sequence[Atom]) -> bool:
    """True where a digit stands for positions that some row stands for already."""
    return atom is not None and any(
        atom.axis == row.axis
        and atom.weight < row.weight * row.size
        and row.weight < atom.weight * atom.size
        for row in rows
    )
