"""ONNX operators that read or write at places: stored ones are followed, computed ones may be any.

Where a place is computed from the input, whoever reads there may read all along that dimension, and
reads what the place was computed from.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from atrous.errors import ReadError
from atrous.network.layout import has_axes
from atrous.network.ops import (
    Elementwise,
    Expand,
    Lookup,
    Pad,
    Permute,
    Reduce,
    Reorder,
    Reshape,
    Slice,
)
from atrous.network.records import Tensor
from atrous.readers.call import NotUnderstood
from atrous.readers.onnx.call import OnnxCall, Result, translates
from atrous.readers.onnx.values import Const, Live
from atrous.shown import how_many

if TYPE_CHECKING:
    from atrous.readers.onnx.values import Array

__all__: list[str] = []


@translates("Gather")
def _gather(call: OnnxCall) -> Result:
    """Output `o` reads `indices[o]` along `axis`; of a constant table, index `o`."""
    data, index = call.value(0), call.value(1)
    dim = call.axis(call.integer("axis"), len(data.shape))
    if isinstance(data, Const):
        return _looked_up(call, data, call.tensor(1), dim)
    x = data.tensor
    after = (*x.shape[:dim], *index.shape, *x.shape[dim + 1 :])
    if isinstance(index, Live):
        ones = (1,) * dim, (1,) * (len(x.shape) - dim - 1)
        read = call.step(Reduce((dim,), label="gather"), x)
        shape = (*read.shape[:dim], *(1,) * len(index.shape), *read.shape[dim:])
        where = call.step(Reshape((*ones[0], *index.shape, *ones[1])), index.tensor)
        return _chosen(call, call.step(Reshape(shape), read), where, after)
    params = call.params(1)
    if index.array is None:
        y = call.step(Reorder(dim, index.elements), x, params=params)
        return call.emit(Reshape(after), y)
    places = [int(place) for place in index.array.reshape(-1)]
    if len(index.shape) < 2:
        return call.picked(x, dim, places, drop=not index.shape)
    return call.emit(Reshape(after), call.picked(x, dim, places, out=None), params=params)


def _chosen(call: OnnxCall, read: Tensor, where: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What is read, in dimensions of its own, and the places in others.

    Places that lie along an axis that is read as well cannot be told apart: they are read whole.
    """
    if read.grid.keys() & where.grid.keys():
        everything = tuple(range(len(where.shape)))
        where = call.step(Reduce(everything, label="gather"), where)
        return call.emit(Expand(shape), call.step(Elementwise("gather"), read, where))
    return call.emit(Elementwise("gather"), read, where)


def _looked_up(call: OnnxCall, table: Const, index: Tensor, dim: int) -> Tensor:
    """Output `o` reads index `o`, for a row of the table in new dimensions."""
    params = call.params(0)
    if len(table.shape) == 1:
        return call.emit(Elementwise("gather"), index, params=params)
    before, behind = table.shape[:dim], table.shape[dim + 1 :]
    rest = (*before, *behind)
    if len(rest) == 1 and not dim:
        return call.emit(Lookup(rest[0]), index, params=params)
    rows = call.step(Lookup(prod(rest)), index, params=params)
    shape = (*index.shape, *rest)
    if not dim:
        return call.emit(Reshape(shape), rows)
    rank = len(index.shape)
    order = (*range(rank, rank + dim), *range(rank), *range(rank + dim, len(shape)))
    return call.emit(Permute(order), call.step(Reshape(shape), rows))


@translates("GatherElements")
def _gather_elements(call: OnnxCall) -> Tensor:
    """Output `o` reads along `axis` at the place that `indices` have at `o`, else at `o`."""
    data, index = call.value(0), call.value(1)
    dim = call.axis(call.integer("axis"), len(data.shape))
    if len(index.shape) != len(data.shape):
        raise ReadError(f"places of {index.shape} do not fit a tensor of {data.shape}.")
    x = call.tensor(0)
    for i, (size, held) in enumerate(zip(index.shape, data.shape, strict=True)):
        if i != dim and size > held:
            raise ReadError(f"places of {index.shape} do not fit a tensor of {data.shape}.")
        if i != dim and size < held:
            x = call.step(Slice(i, 0, size), x)
    read = call.step(Reduce((dim,), True, "gather"), x)
    if isinstance(index, Live):
        return call.emit(Elementwise("gather"), read, index.tensor)
    if has_axes(x.layout[dim]):
        array = index.array
        if array is None or (array != _leading(array, dim)).any():
            raise NotUnderstood("picks another position for each channel")
        return call.picked(x, dim, [int(place) for place in _line(array, dim)])
    return call.emit(Expand(index.shape), read)


@translates("GatherND")
def _gather_nd(call: OnnxCall) -> Tensor:
    """Output `o` reads at the indices that the last dimension of `indices` holds for it."""
    data, index = call.value(0), call.value(1)
    if call.integer("batch_dims"):
        raise NotUnderstood("picks other places in each image of the batch")
    x, count = call.tensor(0), index.shape[-1] if index.shape else 0
    if not 1 <= count <= len(data.shape):
        raise ReadError(f"places of {index.shape} do not fit a tensor of {data.shape}.")
    outer, rest = index.shape[:-1], data.shape[count:]
    dims = tuple(range(count))
    if isinstance(index, Const):
        columns = None if index.array is None else _places_apart(index.array)
        if columns is not None:
            return _picked_apart(call, x, columns, (*outer, *rest))
        if any(has_axes(x.layout[dim]) for dim in dims):
            raise NotUnderstood("picks positions that follow no rule")
        read = call.step(Reduce(dims, label="gather"), x)
        shape = (*(1,) * len(outer), *rest)
        return call.emit(Expand((*outer, *rest)), call.step(Reshape(shape), read))
    read = call.step(Reduce(dims, label="gather"), x)
    where = call.step(Reduce((len(outer),), label="gather"), index.tensor)
    left = call.step(Reshape((*(1,) * len(outer), *rest)), read)
    right = call.step(Reshape((*outer, *(1,) * len(rest))), where)
    return _chosen(call, left, right, (*outer, *rest))


def _places_apart(array: Array) -> list[tuple[int | None, list[int]]] | None:
    """For each index of the last dimension: along which dimension it varies, and its values there.

    None where one varies along several, or two along the same.
    """
    found: list[tuple[int | None, list[int]]] = []
    for column in range(array.shape[-1]):
        held = array[..., column]
        varies = [
            dim for dim in range(held.ndim) if (held != _leading(held, dim, rest=False)).any()
        ]
        if len(varies) > 1:
            return None
        dim = varies[0] if varies else None
        values = [int(held.reshape(-1)[0])] if dim is None else [int(v) for v in _line(held, dim)]
        found.append((dim, values))
    used = [dim for dim, _ in found if dim is not None]
    return found if len(set(used)) == len(used) else None


def _leading(array: Array, dim: int, *, rest: bool = True) -> Array:
    """The array as its first line along `dim` has it, or where not `rest` as its first slice."""
    if rest:
        line = _line(array, dim)
        return line.reshape([-1 if i == dim else 1 for i in range(array.ndim)])
    first: Array = array.take([0], axis=dim)
    return first


def _line(array: Array, dim: int) -> Array:
    """The numbers along `dim` at index 0 of all other dimensions."""
    line: Array = array[tuple(slice(None) if i == dim else 0 for i in range(array.ndim))]
    return line


def _picked_apart(
    call: OnnxCall,
    x: Tensor,
    columns: Sequence[tuple[int | None, list[int]]],
    shape: tuple[int, ...],
) -> Tensor:
    """Places that are a product of one list for each dimension, laid into the output's."""
    for dim, (_, places) in enumerate(columns):
        x = call.picked(x, dim, places, out=None)
    count = len(columns)
    targets = [-1 if target is None else target for target, _ in columns]
    order = sorted(range(count), key=targets.__getitem__)
    x = call.step(Permute((*order, *range(count, len(x.shape)))), x)
    sizes = {target: len(places) for target, places in columns if target is not None}
    outer = len(shape) - (len(x.shape) - count)
    inner = tuple(sizes.get(i, 1) for i in range(outer))
    return call.emit(Expand(shape), call.step(Reshape((*inner, *x.shape[count:])), x))


@translates("ScatterND")
def _scatter_nd(call: OnnxCall) -> Tensor:
    """Output `o` reads the data at `o`, and the update for it; where places are computed, any."""
    data, index, updates = call.value(0), call.value(1), call.value(2)
    array = index.array if isinstance(index, Const) else None
    columns = None if array is None else _places_apart(array)
    if columns is not None and len(updates.shape) == len(data.shape) and len(columns):
        starts = _block(columns, data.shape, updates.shape)
        if starts is not None:
            return _written(call, starts)
    return _scattered(call)


def _block(
    columns: Sequence[tuple[int | None, list[int]]],
    shape: tuple[int, ...],
    updates: tuple[int, ...],
) -> list[int] | None:
    """Where a block that is written starts along each dimension; None for what is no block."""
    starts = []
    for dim, (target, places) in enumerate(columns):
        if target not in (None, dim) or places != list(range(places[0], places[0] + len(places))):
            return None
        if len(places) != updates[dim] or places[0] < 0:
            return None
        starts.append(places[0])
    starts += [0] * (len(shape) - len(columns))
    fits = all(s + n <= size for s, n, size in zip(starts, updates, shape, strict=True))
    return starts if fits else None


def _written(call: OnnxCall, starts: Sequence[int]) -> Tensor:
    """A block of channels written over: output `o` reads both at `o`."""
    data, updates = call.tensor(0), call.tensor(2)
    ends = zip(starts, updates.shape, data.shape, strict=True)
    pads = [(start, size - start - width) for start, width, size in ends]
    for dim, pad in enumerate(pads):
        if pad != (0, 0) and (has_axes(data.layout[dim]) or has_axes(updates.layout[dim])):
            raise NotUnderstood("writes over a part of the positions")
    first = min((dim for dim, pad in enumerate(pads) if pad != (0, 0)), default=None)
    if first is None:
        return call.emit(Elementwise("scatter"), data, updates)
    placed = call.step(Pad(tuple(pads[first:])), updates)
    return call.emit(Elementwise("scatter"), data, placed)


@translates("ScatterElements", "Scatter")
def _scatter_elements(call: OnnxCall) -> Tensor:
    """Output `o` reads the data at `o`, and any update along `axis`."""
    return _scattered(call)


def _scattered(call: OnnxCall) -> Tensor:
    """Output `o` reads the data at `o`, and of updates and places all that there is."""
    places, operands = call.value(1), [call.tensor(0)]
    if isinstance(places, Const) and any(has_axes(dim) for x in call.tensors() for dim in x.layout):
        raise NotUnderstood("writes at places that follow no rule, or are too many to be read")
    for value in (call.value(1), call.value(2)):
        if isinstance(value, Live):
            everything = tuple(range(len(value.shape)))
            operands.append(call.step(Reduce(everything, label="scatter"), value.tensor))
    return call.emit(Elementwise("scatter"), *operands, params=call.params(2))


@translates("TopK")
def _top_k(call: OnnxCall) -> list[Result]:
    """Each output reads all of `axis`."""
    x = call.tensor(0)
    dim = call.axis(call.integer("axis", -1), len(x.shape))
    k = (call.integer("k"),) if call.version < 10 else call.integers_at(1, "k")
    if k is None or len(k) != 1:
        raise ReadError("TopK needs one k.")
    if not 0 < k[0] <= x.shape[dim]:
        raise ReadError(f"keeps the best {k[0]} of {x.shape[dim]} along dimension {dim}.")
    if not has_axes(x.layout[dim]):
        op = Reorder(dim, k[0])
        return [call.emit(op, x, out=i) if used else None for i, used in enumerate(call.used)]
    read = call.step(Reduce((dim,), True, "topk"), x)
    best = Expand((*x.shape[:dim], k[0], *x.shape[dim + 1 :]))
    return [call.emit(best, read, out=i) if used else None for i, used in enumerate(call.used)]


@translates("ReverseSequence")
def _reverse_sequence(call: OnnxCall) -> Tensor:
    """Output `o` reads from the end of its sequence along `time_axis`; of lengths by data, any."""
    x, lengths = call.tensor(0), call.value(1)
    dim = call.axis(call.integer("time_axis"), len(x.shape))
    if isinstance(lengths, Live):
        read = call.step(Reduce((dim,), True, "reverse"), x)
        whole = call.step(Reduce((0,), label="reverse"), lengths.tensor)
        return call.emit(Expand(x.shape), call.step(Elementwise("reverse"), read, whole))
    array = lengths.array
    if array is None or (array != array.reshape(-1)[0]).any():
        raise NotUnderstood("reverses another length in each image of the batch")
    length, size = int(array.reshape(-1)[0]), x.shape[dim]
    if not 1 <= length <= size:
        raise ReadError(f"reverses {length} of {how_many(size, 'position')}.")
    return call.picked(x, dim, [*range(length)[::-1], *range(length, size)])
