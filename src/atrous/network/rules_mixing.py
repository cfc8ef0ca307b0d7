"""Rules of what computes: elementwise ops and joins, linear layers, products, reductions, scans."""

from __future__ import annotations

from collections.abc import Collection
from math import prod

from atrous.errors import NetworkError
from atrous.geometry import AxisMap, Everything, Prefix
from atrous.network.layout import (
    Dim,
    Layout,
    Unrepresentable,
    axis_atoms,
    channels,
    contracted,
    dim_size,
    grid_of,
    has_axes,
    joined,
    mixed,
    whole_axis,
)
from atrous.network.ops import (
    Attention,
    Contract,
    Elementwise,
    Linear,
    Lookup,
    Mix,
    Reduce,
    Scan,
)
from atrous.network.records import Tensor
from atrous.network.table import Effect, mixes_of, rule


@rule(Elementwise)
def _elementwise(op: Elementwise, inputs: tuple[Tensor, ...]) -> Effect:
    first = inputs[0].layout
    if all(x.layout == first for x in inputs[1:]):
        return Effect(first, ({},) * len(inputs), alias=op.in_place)
    _check_broadcast(inputs)
    layout, moves = joined([x.layout for x in inputs])
    return Effect(layout, tuple(moves), alias=op.in_place)


def _check_broadcast(inputs: tuple[Tensor, ...]) -> None:
    rank = max(len(x.shape) for x in inputs)
    padded = [(1,) * (rank - len(x.shape)) + x.shape for x in inputs]
    for sizes in zip(*padded, strict=True):
        if len(set(sizes) - {1}) > 1:
            shapes = " and ".join(str(x.shape) for x in inputs)
            raise NetworkError(f"{shapes} cannot be joined: {max(sizes)} against {min(sizes)}.")


@rule(Lookup)
def _lookup(op: Lookup, inputs: tuple[Tensor, ...]) -> Effect:
    return Effect((*inputs[0].layout, channels(op.channels)), ({},))


@rule(Linear)
def _linear(op: Linear, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    last = len(x.layout) - 1
    layout, maps = contracted(x.layout, [last])
    layout = (*layout[:last], channels(op.channels))
    macs = prod(x.shape) * op.channels
    return Effect(layout, (maps,), macs, mixes=mixes_of(maps))


@rule(Mix)
def _mix(op: Mix, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    maps = mixed(x.layout, op.dims)
    return Effect(x.layout, (maps,), mixes=mixes_of(maps))


@rule(Reduce)
def _reduce(op: Reduce, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    layout, maps = contracted(x.layout, op.dims)
    if not op.keep:
        layout = tuple(dim for i, dim in enumerate(layout) if i not in op.dims)
    return Effect(layout, (maps,), mixes=mixes_of(maps))


@rule(Scan)
def _scan(op: Scan, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    layout: Layout = x.layout
    maps: dict[str, AxisMap] = {}
    last = len(layout) - 1
    if op.channels is not None:
        layout, maps = contracted(layout, [last])
        layout = (*layout[:last], channels(op.channels))
    axis = whole_axis(x.layout[op.dim], x.grid)
    if axis is not None:
        length = x.grid[axis]
        if op.direction == "both":
            maps[axis] = Everything(length, length)
        else:
            maps[axis] = Prefix(length, length, op.direction == "reverse")
    steps = prod(x.shape[:last]) if op.channels is not None else prod(x.shape)
    return Effect(layout, (maps,), op.macs * steps, mixes=mixes_of(maps))


@rule(Attention)
def _attention(_op: Attention, inputs: tuple[Tensor, ...]) -> Effect:
    query, key, value = inputs[:3]
    rank = len(query.layout)
    tokens = rank - 2
    out: list[Dim] = list(query.layout)
    out[-1] = value.layout[-1]
    moves: list[dict[str, AxisMap]] = []
    for index, operand in enumerate((query, key, value)):
        for dim in (operand.layout[-1], *((query.layout[-1],) if index else ())):
            if has_axes(dim):
                raise Unrepresentable("attends over channels that hold positions")
        leading = (operand.layout[:tokens], query.layout[:tokens])
        if leading[0] != leading[1] and any(has_axes(d) for side in leading for d in side):
            raise Unrepresentable("attends between tensors with different leading positions")
        if index == 0:
            moves.append({})
        elif operand.layout[tokens] == query.layout[tokens]:
            moves.append(mixed(operand.layout, [tokens]))
        else:
            moves.append(_read_whole(operand, tokens))
    length, size = dim_size(key.layout[tokens]), dim_size(query.layout[-1])
    rows = prod(query.shape[:-1])
    macs = rows * length * (size + dim_size(value.layout[-1]))
    moves += [{} for _ in inputs[3:]]
    return Effect(tuple(out), tuple(moves), macs, mixes=mixes_of(*moves))


def _read_whole(operand: Tensor, dim: int) -> dict[str, AxisMap]:
    axes = {atom.axis for atom in operand.layout[dim] if atom.axis is not None}
    for axis, atoms in axis_atoms(operand.layout).items():
        if axis in axes and any(index != dim for index, _ in atoms):
            raise Unrepresentable(f"attends over a part of {axis}")
    grid = operand.grid
    return {axis: Everything(grid[axis], 1) for axis in sorted(axes)}


@rule(Contract)
def _contract(op: Contract, inputs: tuple[Tensor, ...]) -> Effect:
    left, right = op.equation.split("->")[0].split(",")
    result = op.equation.split("->")[1]
    sizes: dict[str, int] = {}
    for letters, x in zip((left, right), inputs, strict=True):
        if len(letters) != len(x.shape):
            raise NetworkError(f"{op.equation} does not fit shapes {[i.shape for i in inputs]}.")
        for letter, size in zip(letters, x.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise NetworkError(f"{op.equation}: index {letter} is {sizes[letter]} and {size}.")
    held: dict[str, Dim] = {}
    for letters, x in zip((left, right), inputs, strict=True):
        for letter, dim in zip(letters, x.layout, strict=True):
            if letter not in held or (has_axes(dim) and not has_axes(held[letter])):
                held[letter] = dim
    # Rows keep their positions. Columns that would bring the same axis again (the key positions of
    # an attention map) count as channels, so whoever reads a row reads that operand as a whole.
    kept: dict[str, Dim] = {}
    seen: set[str | None] = {None}
    shared = [letter for letter in result if letter in left and letter in right]
    ordered = shared + [x for x in result if x not in shared]
    for letter in ordered:
        axes = {atom.axis for atom in held[letter]} - {None}
        only_right = letter not in left
        if only_right and axes & seen:
            kept[letter] = channels(sizes[letter])
            continue
        kept[letter] = held[letter]
        seen |= axes
    layout = tuple(kept[letter] for letter in result)
    out_atoms = axis_atoms(layout)
    grid = grid_of(layout)
    moves = []
    for letters, x in zip((left, right), inputs, strict=True):
        gone = [
            i
            for i, letter in enumerate(letters)
            if letter not in result or kept[letter] != x.layout[i]
        ]
        moves.append(_operand_moves(x, gone, out_atoms, grid))
    for axis, atoms in out_atoms.items():
        total = prod(atom.size for _, atom in atoms)
        if not any(x.grid.get(axis) == total for x in inputs):
            raise Unrepresentable(f"multiplies parts of {axis}")
    macs = prod(sizes.values())
    return Effect(layout, tuple(moves), macs, mixes=mixes_of(*moves))


def _operand_moves(
    x: Tensor, gone: list[int], out_atoms: Collection[str], grid: dict[str, int]
) -> dict[str, AxisMap]:
    inside = set(gone)
    maps: dict[str, AxisMap] = {}
    whole = mixed(x.layout, gone)
    for axis, atoms in axis_atoms(x.layout).items():
        vanished = [atom for index, atom in atoms if index in inside]
        if not vanished:
            continue
        if axis not in out_atoms or len(vanished) == len(atoms):
            if len(vanished) != len(atoms):
                raise Unrepresentable(f"sums over a part of {axis}")
            maps[axis] = Everything(x.grid[axis], grid.get(axis, 1))
        elif grid[axis] == x.grid[axis]:
            maps[axis] = whole[axis]
        else:
            raise Unrepresentable(f"sums over a part of {axis}")
    return maps
