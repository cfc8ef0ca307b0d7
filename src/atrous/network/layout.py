"""Where the positions of a tensor live: each dimension as digits of named spatial axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from atrous.geometry import AxisMap, Border, Everything, Local, Reads, Table, Taps

__all__ = [
    "ROWS",
    "Atom",
    "Dim",
    "Grid",
    "Layout",
    "Seam",
    "Unrepresentable",
    "channels",
    "laid_end_to_end",
    "spatial",
    "taken_out",
]

ROWS = "rows"
"""The axis along which parts that hold different positions lie end to end."""


class Unrepresentable(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside the op table where positions cannot be followed; the node becomes opaque."""


@dataclass(frozen=True, slots=True)
class Atom:
    """One digit of a dimension: `size` values that lie `weight` positions apart along `axis`.

    `axis` is None for batch and channels. A dimension is a sequence of atoms, the most significant
    first; so a height of 56 is `(Atom("h", 56),)`, and the same height cut into 8 windows of 7 is
    `(Atom("h", 8, 7),)` and `(Atom("h", 7),)`. The axis `rows` is made of `parts`, dimensions
    that were laid end to end.
    """

    axis: str | None
    size: int
    weight: int = 1
    parts: tuple[tuple[Atom, ...], ...] = ()


Dim = tuple[Atom, ...]
Layout = tuple[Dim, ...]
Grid = dict[str, int]


@dataclass(frozen=True, slots=True)
class Seam:
    """Where the positions of an operand lie along `rows`, and where they are taken out again.

    Index `start + i` of the rows is the `i`-th combination of the `digits` of the other side. The
    rows are the output's where the operand is laid into them; they are the operand's where a part
    is `out` of them.
    """

    start: int
    digits: Dim
    out: bool = False

    @property
    def length(self) -> int:
        """How many rows the part takes."""
        return dim_size(self.digits)

    @property
    def axes(self) -> dict[str, int]:
        """The axes that the part holds, and how long they are."""
        return grid_of((self.digits,))


def channels(size: int) -> Dim:
    """A dimension that holds no positions."""
    return () if size == 1 else (Atom(None, size),)


def spatial(axis: str, size: int) -> Dim:
    """A dimension that is a whole spatial axis."""
    return (Atom(axis, size),)


def dim_size(dim: Dim) -> int:
    """The number of indices of a dimension."""
    size = 1
    for atom in dim:
        size *= atom.size
    return size


def shape_of(layout: Layout) -> tuple[int, ...]:
    """The shape of a tensor of this layout."""
    return tuple(dim_size(dim) for dim in layout)


def grid_of(layout: Layout) -> Grid:
    """The length of each spatial axis that a layout holds, in the order of its dimensions."""
    grid: Grid = {}
    for dim in layout:
        for atom in dim:
            if atom.axis is not None:
                grid[atom.axis] = grid.get(atom.axis, 1) * atom.size
    return grid


def has_axes(dim: Dim) -> bool:
    """True where a dimension holds digits of a spatial axis."""
    return any(atom.axis is not None for atom in dim)


def whole_axis(dim: Dim, grid: Grid) -> str | None:
    """The axis that a dimension is, digit for digit; None for channels; else it cannot be said.

    Raises `Unrepresentable` for a dimension that mixes axes, or holds part of one.
    """
    if not has_axes(dim):
        return None
    if len(dim) == 1 and grid[str(dim[0].axis)] == dim[0].size:
        return dim[0].axis
    names = sorted({atom.axis or "channels" for atom in dim})
    if len(names) == 1:
        raise Unrepresentable(f"works along a dimension that holds a part of {names[0]}")
    raise Unrepresentable(f"works along a dimension that holds {' and '.join(names)} together")


def along(
    layout: Layout, index: int, reads: Reads, outputs: int, border: Border
) -> tuple[Layout, dict[str, AxisMap]]:
    """The layout after dimension `index` was read by `reads`, and what its axis then reads.

    The dimension may be one digit of an axis (positions inside windows, or one phase of a grid);
    the digits above it then count afresh. Raises `Unrepresentable` where it holds more than one.
    """
    dim = layout[index]
    if not has_axes(dim):
        return (*layout[:index], channels(outputs), *layout[index + 1 :]), {}
    if len(dim) > 1:
        whole_axis(dim, grid_of(layout))
    axis, size, weight = str(dim[0].axis), dim[0].size, dim[0].weight
    length = grid_of(layout)[axis]
    block = size * weight
    moved: AxisMap
    if block == length and (weight == 1 or border in ("drop", "wrap")):
        # The highest digit: what overhangs it overhangs the axis, so the rule itself is kept.
        if weight > 1:
            phases = tuple(
                Taps.of({p * weight + low: m for p, m in taps.items()})
                for taps in reads.phases
                for low in range(weight)
            )
            reads = Reads(reads.period * weight, reads.shift * weight, phases).reduced()
        moved = Local(reads, length, outputs * weight, border)
    else:
        inside = Local(reads, size, outputs, border)
        rows = [tuple(inside.at(o).items()) for o in range(outputs)]
        phases = tuple(
            Taps.of({p * weight + low: m for p, m in row}) for row in rows for low in range(weight)
        )
        spread = Reads(outputs * weight, block, phases)
        moved = Local(spread.reduced(), length, length // size * outputs)
    out = [
        tuple(
            Atom(a.axis, a.size, a.weight // size * outputs)
            if a.axis == axis and a.weight >= block
            else a
            for a in d
        )
        for d in layout
    ]
    out[index] = (Atom(axis, outputs, weight),)
    return tuple(out), {axis: moved}


def merged(atoms: Iterable[Atom]) -> Dim:
    """A dimension with adjacent digits of one axis fused where they count on."""
    out: list[Atom] = []
    for atom in atoms:
        if out:
            last = out[-1]
            if last.axis == atom.axis and (
                atom.axis is None or last.weight == atom.weight * atom.size
            ):
                out[-1] = Atom(atom.axis, last.size * atom.size, atom.weight if atom.axis else 1)
                continue
        out.append(atom)
    return tuple(atom for atom in out if atom.size > 1 or atom.axis is not None)


def reshape(layout: Layout, shape: Sequence[int]) -> Layout:
    """The same elements under a new shape. Raises `Unrepresentable` where a digit would be cut."""
    old = shape_of(layout)
    if prod(old) != prod(shape):
        raise Unrepresentable(f"reshapes {old} to {tuple(shape)}")
    dims: list[Dim] = []
    i = j = 0
    while i < len(old) or j < len(shape):
        if i < len(old) and j < len(shape) and old[i] == shape[j]:
            dims.append(layout[i])
            i, j = i + 1, j + 1
            continue
        if j < len(shape) and shape[j] == 1:
            dims.append(())
            j += 1
            continue
        if i < len(old) and old[i] == 1:
            i += 1
            continue
        first_old, first_new = i, j
        left, right = old[i], shape[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left *= old[i]
                i += 1
            else:
                right *= shape[j]
                j += 1
        atoms = [atom for dim in layout[first_old:i] for atom in dim if atom.size > 1]
        dims += _regroup(atoms, shape[first_new:j])
    return tuple(dims)


def _regroup(atoms: list[Atom], sizes: Sequence[int]) -> list[Dim]:
    atoms = list(reversed(atoms))
    dims = []
    for size in sizes:
        taken: list[Atom] = []
        while size > 1:
            atom = atoms.pop()
            if size % atom.size == 0:
                taken.append(atom)
                size //= atom.size
            elif atom.size % size == 0:
                rest = atom.size // size
                taken.append(Atom(atom.axis, size, atom.weight * rest if atom.axis else 1))
                atoms.append(Atom(atom.axis, rest, atom.weight))
                size = 1
            else:
                raise Unrepresentable(
                    f"cuts {atom.axis or 'channels'} of {atom.size} into pieces of {size}"
                )
        dims.append(merged(taken))
    return dims


def refined(layout: Layout) -> tuple[Layout, dict[str, int]]:
    """The layout with channels that became low digits of an axis counted as positions of it.

    Depth-to-space spelled as reshape-permute-reshape ends in a dimension such as (h, channels):
    the axis then has that many times the positions. Returns the factor of each axis so refined.
    """
    factors: dict[str, int] = {}
    dims = list(layout)
    for index, dim in enumerate(dims):
        if len(dim) < 2 or dim[0].axis is None or dim[-1].axis is not None:
            continue
        axes = {atom.axis for atom in dim[:-1]}
        if len(axes) != 1 or dim[-2].weight != 1:
            continue
        axis, factor = dim[0].axis, dim[-1].size
        assert axis is not None
        factors[axis] = factors.get(axis, 1) * factor
        dims[index] = (*dim[:-1], Atom("\0" + axis, factor))
        dims = [
            tuple(Atom(a.axis, a.size, a.weight * factor) if a.axis == axis else a for a in d)
            for d in dims
        ]
        dims[index] = (*dims[index][:-1], Atom(axis, factor))
    return tuple(merged(dim) for dim in dims), factors


def digits_map(
    length: int, digits: Sequence[tuple[int, int, int]], free: Sequence[tuple[int, int]]
) -> AxisMap:
    """What outputs read whose coordinate shares some digits with the input and ranges over others.

    `digits` holds `(size, output weight, input weight)`: with digit values `d`, output
    `sum(d * output weight)` reads `sum(d * input weight)` plus every combination of the `free`
    digits `(size, input weight)`.
    """
    ordered = sorted((d for d in digits if d[0] > 1), key=lambda d: -d[1])
    outputs = prod(d[0] for d in ordered)
    spread = prod(f[0] for f in free)
    if spread == length:
        return Everything(length, outputs)
    offsets = [
        sum(v * w for v, (_, w) in zip(values, free, strict=True))
        for values in product(*(range(size) for size, _ in free))
    ]

    def row(digit_values: Sequence[tuple[int, int]]) -> Taps:
        base = sum(value * weight for value, weight in digit_values)
        return Taps.of(base + offset for offset in offsets)

    if ordered and ordered[0][2] > 0:
        (_, period, shift), rest = ordered[0], ordered[1:]
        phases = tuple(
            row([(v, d[2]) for v, d in zip(values, rest, strict=True)])
            for values in product(*(range(d[0]) for d in rest))
        )
        return Local(Reads(period, shift, phases).reduced(), length, outputs)
    rows = tuple(
        row([(v, d[2]) for v, d in zip(values, ordered, strict=True)])
        for values in product(*(range(d[0]) for d in ordered))
    )
    return Table(length, rows)


def axis_atoms(layout: Layout) -> dict[str, list[tuple[int, Atom]]]:
    """For each axis, its atoms with the dimension that holds each."""
    found: dict[str, list[tuple[int, Atom]]] = {}
    for index, dim in enumerate(layout):
        for atom in dim:
            if atom.axis is not None:
                found.setdefault(atom.axis, []).append((index, atom))
    return found


def contracted(layout: Layout, dims: Iterable[int]) -> tuple[Layout, dict[str, AxisMap]]:
    """The layout after the digits in `dims` were summed over, and what each axis then reads.

    The dimensions stay, with size 1. Digits that remain count afresh, so that the low digit of an
    axis held in the channels and summed over leaves a coarser axis.
    """
    gone = set(dims)
    maps: dict[str, AxisMap] = {}
    weights: dict[Atom, int] = {}
    for axis, atoms in axis_atoms(layout).items():
        free = [(atom.size, atom.weight) for index, atom in atoms if index in gone]
        if not free:
            continue
        kept = sorted((a for index, a in atoms if index not in gone), key=lambda a: a.weight)
        weight = 1
        digits = []
        for atom in kept:
            weights[atom] = weight
            digits.append((atom.size, weight, atom.weight))
            weight *= atom.size
        maps[axis] = digits_map(prod(a.size for _, a in atoms), digits, free)
    dims_out = tuple(
        () if index in gone else merged(replace(a, weight=weights.get(a, a.weight)) for a in dim)
        for index, dim in enumerate(layout)
    )
    return dims_out, maps


def chained(
    first: Mapping[str, AxisMap], then: Mapping[str, AxisMap], grid: Mapping[str, int]
) -> dict[str, AxisMap]:
    """The moves of two steps in one, `first` being a gathering of digits."""
    out = dict(first)
    for axis, outer in then.items():
        inner = first.get(axis)
        if inner is None:
            out[axis] = outer
        elif isinstance(inner, Local) and isinstance(outer, Local) and _keeps_ends(inner, outer):
            out[axis] = Local(outer.reads.after(inner.reads), grid[axis], outer.outputs)
        else:
            rows = []
            for output in range(outer.outputs):
                read: dict[int, int] = {}
                for middle, paths in outer.at(output).items():
                    for position, more in inner.at(middle).items():
                        read[position] = read.get(position, 0) + paths * more
                rows.append(Taps.of(read))
            out[axis] = Table(grid[axis], tuple(rows))
    return out


def _keeps_ends(inner: Local, outer: Local) -> bool:
    # Blocks laid end to end: what the outer step would read outside lies outside here as well.
    blocks = inner.reads
    return outer.border == "drop" and all(
        taps.first >= 0 and taps.last < blocks.shift for taps in blocks.phases
    )


def mixed(layout: Layout, dims: Iterable[int]) -> dict[str, AxisMap]:
    """What each axis reads after an operation that lets all positions in `dims` see one another."""
    inside = set(dims)
    maps: dict[str, AxisMap] = {}
    for axis, atoms in axis_atoms(layout).items():
        free = [(atom.size, atom.weight) for index, atom in atoms if index in inside]
        if not free:
            continue
        digits = [(a.size, a.weight, 0 if index in inside else a.weight) for index, a in atoms]
        maps[axis] = digits_map(prod(a.size for _, a in atoms), digits, free)
    return maps


def laid_end_to_end(
    parts: Sequence[Dim], grids: Sequence[Grid], rest: Layout
) -> tuple[Dim, list[Seam | int]]:
    """The dimension `rows` made of these parts, and where each operand lies along it.

    A part that is rows already keeps them, from the index given on. `grids` are the axes of each
    operand, `rest` the other dimensions. Raises `Unrepresentable` where a part holds an axis in
    this dimension and in another one too.
    """
    seams: list[Seam | int] = []
    held: list[Dim] = []
    start = 0
    for dim, grid in zip(parts, grids, strict=True):
        own = grid_of((dim,))
        if any(grid[axis] != length for axis, length in own.items()):
            raise Unrepresentable(f"lays parts of {' and '.join(own)} end to end")
        if ROWS not in own:
            seams.append(Seam(start, dim))
            held.append(dim)
        elif len(dim) == 1:
            seams.append(start)
            held += dim[0].parts or (dim,)
        else:
            raise Unrepresentable("lays flattened rows end to end")
        start += dim_size(dim)
    if any(atom.axis == ROWS for dim in rest for atom in dim):
        raise Unrepresentable("lays parts end to end along two dimensions")
    return (Atom(ROWS, start, 1, tuple(held)),), seams


def taken_out(dim: Dim, start: int, length: int) -> Dim | None:
    """What indices `start` up to `start + length` of a dimension of parts hold, where it is known.

    One part is the dimension that it was; several are rows of these parts.
    """
    if len(dim) != 1 or not dim[0].parts:
        return None
    kept: list[Dim] = []
    place = 0
    for part in dim[0].parts:
        if start <= place and place + dim_size(part) <= start + length:
            kept.append(part)
        place += dim_size(part)
    if sum(map(dim_size, kept)) != length:
        return None
    return kept[0] if len(kept) == 1 else (Atom(ROWS, length, 1, tuple(kept)),)
