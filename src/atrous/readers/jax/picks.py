"""What indices choose: gathers, look-ups in tables, scatters; indices must be constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atrous.network.layout import has_axes
from atrous.network.ops import Elementwise, Lookup, Reorder, Reshape
from atrous.readers.call import NotUnderstood
from atrous.readers.jax.arrays import laid_over
from atrous.readers.jax.call import JaxCall, translates
from atrous.readers.jax.windows import cut
from atrous.readers.placed import Held, Placed


@translates("gather")
def _gather(call: JaxCall) -> Placed:
    """Output `o` reads the slice whose start the indices have at `o`."""
    x, places = call[0], call[1]
    if isinstance(x, Held) and isinstance(places, Placed):
        return _rows_of_table(call, x, places)
    if not isinstance(x, Placed):
        raise NotUnderstood("picks from a constant")
    numbers = np.asarray(call.numbers(1))
    how = call.setting("dimension_numbers")
    sizes = tuple(call.setting("slice_sizes"))
    if how.operand_batching_dims:
        raise NotUnderstood("picks other places for each item of a batch")
    starts = _inside(call, x, numbers, how.start_index_map, sizes)
    picked = _cut_to(call, x, how.start_index_map, sizes)
    kept = [dim for dim in range(len(x.order)) if dim not in how.collapsed_slice_dims]
    free = [dim for dim in range(len(call.shape)) if dim not in how.offset_dims]
    if not free:  # one slice
        at = dict(zip(how.start_index_map, map(int, starts), strict=True))
        lengths = list(sizes)
        made = cut(call, x, [at.get(d, 0) for d in range(len(sizes))], lengths, [1] * len(sizes))
        return _without(call, made, how.collapsed_slice_dims)
    along = _separate(starts)
    if any(sizes[dim] != 1 for dim in how.start_index_map):
        raise NotUnderstood("picks slices of several places that overlap")
    if len(along) != len(how.start_index_map) or any(
        dim not in how.collapsed_slice_dims for dim in how.start_index_map
    ):
        raise NotUnderstood("picks places whose coordinates go together")
    # Each mapped dimension goes to the dimensions of the indices that it follows.
    tensor, shape_of = picked.tensor, {}
    for dim, (axes, places_of) in zip(how.start_index_map, along, strict=True):
        own = picked.order[dim]
        if has_axes(tensor.layout[own]):
            tensor = call.picked(tensor, own, places_of, out=None)
        elif list(places_of) != list(range(tensor.shape[own])):
            tensor = call.step(Reorder(own, len(places_of)), tensor)
        shape_of[dim] = axes
    batch = starts.shape[:-1]
    claimed = [axis for axes in shape_of.values() for axis in axes]
    rest = [axis for axis in range(len(batch)) if axis not in claimed]
    if len(claimed) != len(set(claimed)) or any(batch[axis] > 1 for axis in rest):
        raise NotUnderstood("picks places whose coordinates go together")
    # In the order that the result has them; dimensions of one are put in by a reshape.
    source: dict[int, tuple[int, ...]] = dict.fromkeys(how.collapsed_slice_dims, ())
    for dim, axes in shape_of.items():
        source[dim] = tuple(free[axis] for axis in axes)
    for dim, target in zip(kept, how.offset_dims, strict=True):
        source[dim] = (target,)
    behind = [dim for dim in source if source[dim]]
    behind.sort(key=lambda dim: source[dim])
    gone = [dim for dim in source if not source[dim]]
    sequence = [*behind, *gone]
    flat = [axis for dim in behind for axis in source[dim]]
    if flat != sorted(flat):
        raise NotUnderstood("picks places into dimensions that do not lie together")
    value = Placed(tensor, picked.order)
    single = all(len(source[dim]) == 1 for dim in behind) and not gone
    if single and len(flat) == len(call.shape):
        return Placed(tensor, tuple(value.order[dim] for dim in sequence))
    moved = Placed(tensor, tuple(value.order[dim] for dim in sequence))
    return call.made(Reshape(call.shape), call.plain(moved))


def _rows_of_table(call: JaxCall, table: Held, places: Placed) -> Placed:
    """Rows of a table that the source holds, at indices that depend on the input."""
    how, sizes = call.setting("dimension_numbers"), tuple(call.setting("slice_sizes"))
    rank = len(call.shape)
    rows = how.start_index_map == (0,) and how.collapsed_slice_dims == (0,)
    if len(table.shape) != 2 or not rows or sizes != (1, table.shape[1]):
        raise NotUnderstood("picks parts of a table that are no rows")
    if how.offset_dims != (rank - 1,):
        raise NotUnderstood("lays rows of a table along another dimension than the last")
    indices = call.plain(places)
    tokens = indices.shape[:-1]
    if indices.shape[-1:] == (1,):
        indices = call.step(Reshape(tokens), indices)
    return call.made(Lookup(table.shape[1]), indices, params=table.params)


def _inside(
    call: JaxCall, x: Placed, numbers: Any, mapped: Sequence[int], sizes: Sequence[int]
) -> Any:
    """The starts, each moved inside; what would be filled is not followed."""
    starts = numbers.astype(np.int64)
    highest = np.array([x.shape[dim] - sizes[dim] for dim in mapped])
    if "FILL" in str(call.setting("mode")) and ((starts < 0) | (starts > highest)).any():
        raise NotUnderstood("picks places outside, which are filled")
    return np.clip(starts, 0, highest)


def _cut_to(call: JaxCall, x: Placed, mapped: Sequence[int], sizes: Sequence[int]) -> Placed:
    """The tensor with the dimensions that no index moves along cut to their slices."""
    lengths = [x.shape[dim] if dim in mapped else size for dim, size in enumerate(sizes)]
    if lengths == list(x.shape):
        return x
    return cut(call, x, [0] * len(lengths), lengths, [1] * len(lengths))


def _without(call: JaxCall, x: Placed, dims: Sequence[int]) -> Placed:
    """Without dimensions of one."""
    if not dims:
        return x
    order = [place for dim, place in enumerate(x.order) if dim not in dims]
    gone = {x.order[dim] for dim in dims}
    shape = tuple(n for place, n in enumerate(x.tensor.shape) if place not in gone)
    made = call.step(Reshape(shape), x.tensor)
    return Placed(made, tuple(sorted(order).index(place) for place in order))


def _separate(starts: Any) -> list[tuple[tuple[int, ...], list[int]]]:
    """For each coordinate, the dimensions of the indices that it follows, and its numbers there.

    Empty where coordinates cannot be told apart.
    """
    found = []
    for index in range(starts.shape[-1]):
        values = starts[..., index]
        axes = tuple(
            axis
            for axis in range(values.ndim)
            if values.shape[axis] > 1 and (values != values.take([0], axis)).any()
        )
        if starts.shape[-1] == 1:  # the only one has all dimensions
            axes = tuple(range(values.ndim))
        elif len(axes) > 1:
            return []
        line = values[tuple(slice(None) if a in axes else 0 for a in range(values.ndim))]
        found.append((axes, [int(v) for v in line.reshape(-1)]))
    return found


@translates("scatter scatter_add scatter-add scatter_sub scatter_mul scatter-mul scatter_min")
@translates("scatter-min scatter_max scatter-max")
def _scatter(call: JaxCall) -> Placed:
    """An update over a part of the first operand, or joined with it, where constants say."""
    x, updates = call[0], call[2]
    numbers = np.asarray(call.numbers(1))
    how = call.setting("dimension_numbers")
    if numbers.ndim != 1 or how.operand_batching_dims:
        raise NotUnderstood("puts values to several places")
    rank = len(x.shape)
    inserted = tuple(how.inserted_window_dims)
    kept = [dim for dim in range(rank) if dim not in inserted]
    sizes = [1] * rank
    for dim, size in zip(kept, updates.shape, strict=True):
        sizes[dim] = size
    starts = [0] * rank
    for dim, start in zip(how.scatter_dims_to_operand_dims, numbers.tolist(), strict=True):
        if not 0 <= start <= x.shape[dim] - sizes[dim]:
            raise NotUnderstood("puts values to places outside")
        starts[dim] = int(start)
    if isinstance(updates, Placed) and inserted:
        updates = Placed.plain(call.step(Reshape(tuple(sizes)), call.plain(updates)))
    elif isinstance(updates, Held):
        updates = Held(tuple(sizes), updates.params)
    if call.op == "scatter":
        return laid_over(call, x, updates, starts)
    whole = x if isinstance(x, Placed) else Placed.plain(call.constant(x))
    there = cut(call, whole, starts, sizes, [1] * rank)
    if isinstance(updates, Placed):
        parts = [there.tensor, call.turned(updates, there.order)]
        there = Placed(call.step(Elementwise("add"), *parts), there.order)
    return laid_over(call, whole, there, starts)
