"""Rules of what data or all positions decide: folds, unpooling, sampling, Fourier transforms."""

from __future__ import annotations

from math import prod

from atrous.errors import NetworkError
from atrous.geometry import AxisMap, Everything, Local
from atrous.network.layout import (
    Dim,
    Layout,
    Unrepresentable,
    along,
    chained,
    channels,
    contracted,
    dim_size,
    has_axes,
    spatial,
    whole_axis,
)
from atrous.network.ops import Deform, Fold, Sample, Transform, Unpool
from atrous.network.records import Tensor
from atrous.network.rules.windows import transposed_reads
from atrous.network.table import Effect, mixes_of, rule
from atrous.shown import how_many


@rule(Fold)
def _fold(op: Fold, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    rank = len(op.windows)
    channel = len(x.layout) - rank - 1
    taps = prod(op.kernel)
    held = x.shape[channel]
    if channel < 0 or held % taps:
        raise NetworkError(
            f"{how_many(held, 'channel')} {'does' if held == 1 else 'do'} not hold windows of "
            f"{how_many(taps, 'tap')} each."
        )
    layout, gathered = x.layout, dict[str, AxisMap]()
    if has_axes(layout[channel]):
        layout, gathered = contracted(layout, [channel])
    extra = op.output_padding or (0,) * rank
    sizes = [
        w.transposed_length(dim_size(layout[i - rank]), extra[i]) for i, w in enumerate(op.windows)
    ]
    layout, maps = _covered(layout, op, sizes)
    layout = (*layout[:channel], channels(held // taps), *layout[channel + 1 :])
    moves = chained(gathered, maps, x.grid)
    return Effect(layout, (moves,), mixes=mixes_of(moves))


@rule(Unpool)
def _unpool(op: Unpool, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    if any(other.layout != x.layout for other in inputs[1:]):
        raise Unrepresentable("puts values to places that lie in other dimensions")
    layout, maps = _covered(x.layout, op, op.sizes)
    return Effect(layout, (maps,) * len(inputs), mixes=mixes_of(maps))


def _covered(
    layout: Layout, op: Fold | Unpool, sizes: tuple[int, ...] | list[int]
) -> tuple[Layout, dict[str, AxisMap]]:
    """The layout of what windows cover, each output reading those windows that it lies in."""
    maps: dict[str, AxisMap] = {}
    for i, (window, size) in enumerate(zip(op.windows, sizes, strict=True)):
        index = i - len(op.windows) + len(layout)
        reads = transposed_reads(window)
        if reads.is_identity and size == dim_size(layout[index]):
            continue
        layout, moved = along(layout, index, reads, size, "drop")
        if maps.keys() & moved.keys():
            raise Unrepresentable("works along two dimensions that hold parts of one axis")
        maps |= moved
    return layout, maps


@rule(Sample)
def _sample(op: Sample, inputs: tuple[Tensor, ...]) -> Effect:
    x, grids = inputs[0], inputs[1:]
    rank = len(op.sizes)
    lead = len(x.layout) - rank
    sampled = {axis: i for i in range(rank) if (axis := whole_axis(x.layout[lead + i], x.grid))}
    dims: list[Dim] = []
    moves: list[dict[str, AxisMap]] = [{}]
    taken = {atom.axis for dim in x.layout[:lead] for atom in dim}
    for i, size in enumerate(op.sizes):
        dim: Dim = channels(size)
        for grid in grids:
            place = grid.layout[i - rank - 1]
            if has_axes(place):
                whole_axis(place, grid.grid)
                dim = place
        if not has_axes(dim):
            # A map that is sampled stays a map: its axis goes on, with as many outputs.
            axis = next((a for a, index in sampled.items() if index == i), None)
            elsewhere = {a.axis for grid in grids for d in grid.layout for a in d}
            if axis is not None and axis not in taken | elsewhere:
                dim = spatial(axis, size)
        if taken & {atom.axis for atom in dim} - {None}:
            raise Unrepresentable("samples at outputs that lie along one axis twice")
        taken |= {atom.axis for atom in dim}
        dims.append(dim)
    layout: Layout = (*x.layout[:lead], *dims)
    made = {atom.axis: atom.size for dim in dims for atom in dim}
    for axis, i in sampled.items():
        moves[0][axis] = Everything(x.grid[axis], made.get(axis, 1))
        if op.reads and made.get(axis) == op.sizes[i]:
            moves[0][axis] = Local(op.reads[i], x.grid[axis], op.sizes[i])
    for grid in grids:
        if has_axes(grid.layout[0]):
            raise Unrepresentable("samples at places that lie in the batch")
        moves.append(contracted(grid.layout, [len(grid.layout) - 1])[1])
    return Effect(layout, tuple(moves), mixes=mixes_of(*moves))


@rule(Deform)
def _deform(op: Deform, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    rank = len(op.windows)
    lead = len(x.layout) - rank
    if has_axes(x.layout[lead - 1]):
        raise Unrepresentable("slides over channels that hold positions")
    dims: list[Dim] = []
    first: dict[str, AxisMap] = {}
    for window, dim in zip(op.windows, x.layout[lead:], strict=True):
        axis, size = whole_axis(dim, x.grid), window.output_length(dim_size(dim))
        dims.append(channels(size) if axis is None else spatial(axis, size))
        if axis is not None:
            first[axis] = Everything(x.grid[axis], size)
    moves = [first]
    for other in inputs[1:]:
        held, maps = contracted(other.layout, [1])
        for mine, wanted in zip(held[2:], dims, strict=True):
            if has_axes(mine) and mine != wanted:
                raise Unrepresentable("is moved by offsets that lie at other places")
        moves.append(maps)
    layout: Layout = (*x.layout[: lead - 1], channels(op.channels), *dims)
    return Effect(layout, tuple(moves), mixes=mixes_of(*moves))


@rule(Transform)
def _transform(op: Transform, inputs: tuple[Tensor, ...]) -> Effect:
    x = inputs[0]
    dims = list(x.layout)
    maps: dict[str, AxisMap] = {}
    for index, size in zip(op.dims, op.sizes, strict=True):
        axis = whole_axis(x.layout[index], x.grid)
        dims[index] = channels(size)
        if axis is not None and x.grid[axis] == size == 1:
            dims[index] = x.layout[index]
        elif axis is not None:
            dims[index] = spatial(axis, size)
            maps[axis] = Everything(x.grid[axis], size)
    return Effect(tuple(dims), (maps,), mixes=mixes_of(maps))
