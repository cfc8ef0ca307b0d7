"""Rules of what moves elements without computing: reshape, permute, expand, concat, roll."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from atrous.errors import NetworkError
from atrous.geometry import AxisMap, Everything, Local, Reads, Table, Taps, Window
from atrous.network.alignment import joined
from atrous.network.layout import (
    ROWS,
    Atom,
    Dim,
    Layout,
    Seam,
    Unrepresentable,
    along,
    chained,
    channels,
    contracted,
    dim_size,
    grid_of,
    has_axes,
    laid_end_to_end,
    refined,
    reshape,
    spatial,
    whole_axis,
)
from atrous.network.ops import (
    Concat,
    Constant,
    Expand,
    Permute,
    Pick,
    Reorder,
    Repeat,
    Reshape,
    Roll,
)
from atrous.network.records import Tensor
from atrous.network.rules.windows import transposed_reads, window_reads
from atrous.network.table import Effect, mixes_of, rule


@rule(Constant)
def _constant(op: Constant, inputs: tuple[Tensor, ...]) -> Effect:
    return Effect(tuple(channels(size) for size in op.shape), ({},) * len(inputs))


@rule(Reshape)
def _reshape(op: Reshape, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    if prod(op.shape) != prod(x.shape):
        raise NetworkError(f"{x.shape} cannot be reshaped to {op.shape}: the sizes differ.")
    try:
        layout, factors = refined(reshape(x.layout, op.shape))
    except Unrepresentable:
        # Positions are cut apart: what comes out has none, and as a whole it reads them all.
        layout = tuple(channels(size) for size in op.shape)
        moves: dict[str, AxisMap] = {a: Everything(n, 1) for a, n in x.grid.items()}
        return Effect(layout, (moves,), alias=True, mixes=mixes_of(moves))
    maps: dict[str, AxisMap] = {}
    for axis, factor in factors.items():
        length = x.grid[axis]
        reads = transposed_reads(Window(factor, stride=factor))
        maps[axis] = Local(reads, length, length * factor)
    # A size-1 axis that the new shape leaves out keeps its only position.
    kept = {atom.axis for dim in layout for atom in dim}
    for axis, length in x.grid.items():
        if axis not in kept:
            maps[axis] = Local(Reads.identity(), length, 1)
    return Effect(layout, (maps,), alias=True)


@rule(Permute)
def _permute(op: Permute, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    if sorted(op.order) != list(range(len(x.layout))):
        raise NetworkError(f"order {op.order} is no permutation of {len(x.layout)} dimensions.")
    return Effect(tuple(x.layout[i] for i in op.order), ({},), alias=True)


@rule(Expand)
def _expand(op: Expand, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    extra = len(op.shape) - len(x.layout)
    layout: list[Dim] = [channels(size) for size in op.shape[:extra]]
    maps: dict[str, AxisMap] = {}
    for dim, size in zip(x.layout, op.shape[extra:], strict=True):
        if dim_size(dim) == size:
            layout.append(dim)
            continue
        if dim_size(dim) != 1:
            raise NetworkError(f"{x.shape} cannot be expanded to {op.shape}.")
        layout.append(channels(size))
        for atom in dim:
            # One digit of an axis goes without a trace; an axis of one position is read there.
            if atom.axis is not None and x.grid[atom.axis] == 1:
                maps[atom.axis] = Local(Reads.identity(), 1, 1)
    return Effect(tuple(layout), (maps,), alias=True)


@rule(Reorder)
def _reorder(op: Reorder, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    if has_axes(x.layout[op.dim]):
        raise Unrepresentable("picks positions one by one")
    return Effect((*x.layout[: op.dim], channels(op.length), *x.layout[op.dim + 1 :]), ({},))


@rule(Pick)
def _pick(op: Pick, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    held = x.shape[op.dim]
    if not op.places or not 0 <= min(op.places) <= max(op.places) < held:
        raise NetworkError(f"picks places that a dimension of {held} does not have.")
    axis = whole_axis(x.layout[op.dim], x.grid)
    out, maps = channels(len(op.places)), {}
    if axis is not None:
        out = spatial(axis, len(op.places))
        maps = {axis: Table(held, tuple(Taps(place, 1) for place in op.places))}
    layout = (*x.layout[: op.dim], out, *x.layout[op.dim + 1 :])
    return Effect(layout, (maps,), mixes=mixes_of(maps))


@rule(Roll)
def _roll(op: Roll, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    if not has_axes(x.layout[op.dim]):
        return Effect(x.layout, ({},))
    # A shift by all but one is a shift by one the other way: take the shorter.
    length = x.shape[op.dim]
    shift = (op.shift + length // 2) % length - length // 2
    reads = window_reads(Window(1, pad_lo=shift))
    layout, maps = along(x.layout, op.dim, reads, length, "wrap")
    return Effect(layout, (maps,))


@rule(Repeat)
def _repeat(op: Repeat, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    dim = x.layout[op.dim]
    length = dim_size(dim)
    if op.each:
        reads = transposed_reads(Window(op.times, stride=op.times))
        layout, moves = along(x.layout, op.dim, reads, length * op.times, "drop")
        return Effect(layout, (moves,))
    axis = whole_axis(dim, x.grid)
    out: Dim = channels(length * op.times)
    maps: dict[str, AxisMap] = {}
    if axis is not None:
        out = (Atom(axis, length * op.times),)
        maps[axis] = Local(Reads.identity(), length, length * op.times, "wrap")
    return Effect((*x.layout[: op.dim], out, *x.layout[op.dim + 1 :]), (maps,))


@rule(Concat)
def _concat(op: Concat, inputs: tuple[Tensor, ...]) -> Effect:
    others = [x.shape[: op.dim] + x.shape[op.dim + 1 :] for x in inputs]
    if any(shape != others[0] for shape in others):
        shapes = " and ".join(str(x.shape) for x in inputs)
        raise NetworkError(f"{shapes} cannot be concatenated along dimension {op.dim}.")
    total = sum(x.shape[op.dim] for x in inputs)
    parts = [x.layout[op.dim] for x in inputs]
    axes = {atom.axis for dim in parts for atom in dim} - {None}
    whole = all(
        not has_axes(dim) or (len(dim) == 1 and dim_size(dim) == x.grid[str(dim[0].axis)])
        for dim, x in zip(parts, inputs, strict=True)
    )
    beside = any(
        not has_axes(dim) and dim_size(dim) and not x.constant
        for dim, x in zip(parts, inputs, strict=True)
    )
    layouts = [x.layout for x in inputs]
    if axes and (len(axes) > 1 or not whole or beside or axes == {ROWS}):
        if _whole_digits(parts, inputs):
            return _parts(op.dim, parts, inputs)
        return _mixed_parts(op.dim, total, inputs)
    layout, moves = joined(_without(op.dim, layouts))
    out = _lined_up(str(next(iter(axes))), parts, total, moves) if axes else channels(total)
    return Effect((*layout[: op.dim], out, *layout[op.dim + 1 :]), tuple(moves))


def _without(dim: int, layouts: Sequence[Layout]) -> list[Layout]:
    return [(*layout[:dim], (), *layout[dim + 1 :]) for layout in layouts]


def _whole_digits(parts: Sequence[Dim], inputs: Sequence[Tensor]) -> bool:
    """True where each part holds all digits of the axes that it holds any of."""
    return all(
        x.grid[axis] == length
        for dim, x in zip(parts, inputs, strict=True)
        for axis, length in grid_of((dim,)).items()
    )


def _parts(dim: int, parts: Sequence[Dim], inputs: Sequence[Tensor]) -> Effect:
    """Parts that hold positions of their own, end to end: each keeps what it reads."""
    layout, moves = joined(_without(dim, [x.layout for x in inputs]))
    rows, places = laid_end_to_end(parts, [x.grid for x in inputs], layout)
    total = dim_size(rows)
    seams: list[Seam | None] = []
    for place, x, move in zip(places, inputs, moves, strict=True):
        if isinstance(place, int):
            shift = window_reads(Window(1, pad_lo=place))
            move[ROWS] = Local(shift, x.shape[dim], total)
        seams.append(None if isinstance(place, int) else place)
    return Effect((*layout[:dim], rows, *layout[dim + 1 :]), tuple(moves), seams=tuple(seams))


def _mixed_parts(dim: int, total: int, inputs: Sequence[Tensor]) -> Effect:
    """Places along the dimension are lost: whoever reads a part reads it as a whole."""
    gathered = [contracted(x.layout, [dim]) for x in inputs]
    layout, joins = joined(_without(dim, [layout for layout, _ in gathered]))
    moves = [
        chained(first, then, x.grid)
        for (_, first), then, x in zip(gathered, joins, inputs, strict=True)
    ]
    out = (*layout[:dim], channels(total), *layout[dim + 1 :])
    return Effect(out, tuple(moves), mixes=mixes_of(*moves))


def _lined_up(axis: str, parts: list[Dim], total: int, moves: list[dict[str, AxisMap]]) -> Dim:
    """The dimension made of parts of one axis laid end to end, entering in `moves` what each does.

    Parts keep their places. The longest carries the local field, which the others share where
    they see alike (a circular pad spelled as a concatenation).
    """
    sizes = [dim_size(dim) if has_axes(dim) else 0 for dim in parts]
    longest = sizes.index(max(sizes))
    before = 0
    for part, dim in enumerate(parts):
        length = dim_size(dim)
        if part == longest:
            moves[part][axis] = Local(window_reads(Window(1, pad_lo=before)), length, total)
        elif has_axes(dim):
            rows = tuple(
                Taps(o - before, 1) if before <= o < before + length else Taps(0, 0)
                for o in range(total)
            )
            moves[part][axis] = Table(length, rows)
        before += length
    return spatial(axis, total)
