"""ATen ops that read or write at places: stored ones are followed, computed ones may be any.

Where a place is computed from the input, whoever reads there may read all along that dimension, and
reads what the place was computed from.
"""

from __future__ import annotations

from typing import Any

from atrous.network import Tensor
from atrous.network.layout import has_axes
from atrous.network.ops import Elementwise, Expand, Mix, Reduce, Reorder, Reshape, Slice
from atrous.readers.call import NotUnderstood
from atrous.readers.torch.call import TorchCall, translates
from atrous.readers.torch.values import Const, Value


@translates("flip")
def _flip(call: TorchCall) -> Value:
    """Output `o` reads from the end along each of `dims`."""
    x = call.x
    for dim in call["dims"]:
        if x.shape[dim] > 1:
            x = call.picked(x, dim % len(x.shape), range(x.shape[dim])[::-1])
    return x


@translates("index_select")
def _index_select(call: TorchCall) -> Value:
    """Output `o` reads `index[o]` along `dim`."""
    return _indexed(call, call.x, call.dim, call["index"])


@translates("index")
def _index(call: TorchCall) -> Value:
    """Output `o` reads `index[o]` along the one dimension that has an index."""
    x, indices = call.x, call["indices"]
    given = [i for i, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        raise NotUnderstood("picks along several dimensions at once")
    return _indexed(call, x, given[0], indices[given[0]])


def _indexed(call: TorchCall, x: Tensor, dim: int, index: Any) -> Value:
    """The dimensions of the index in place of `dim`."""
    if isinstance(index, Tensor):
        read = call.step(Reduce((dim,), label="gather"), x)
        before, behind = x.shape[:dim], x.shape[dim + 1 :]
        rank = len(index.shape)
        read = call.step(Reshape((*before, *(1,) * rank, *behind)), read)
        where = (*(1,) * len(before), *index.shape, *(1,) * len(behind))
        places = call.step(Reshape(where), index)
        if x.grid.keys() & index.grid.keys():
            # Places that lie along an axis that is read as well are read whole.
            places = call.step(Reduce(tuple(range(len(where))), label="gather"), places)
            return call.emit(Expand(call.shape), call.step(Elementwise("gather"), read, places))
        return call.emit(Elementwise("gather"), read, places)
    if not isinstance(index, Const):
        raise NotUnderstood("picks places that depend on data")
    if not has_axes(x.layout[dim]):
        length = call.shape[dim]
        if len(index.shape) == 1:
            return call.emit(Reorder(dim, length), x)
        picked = call.step(Reorder(dim, _count(index)), x)
        return call.emit(Reshape(call.shape), picked)
    if index.data is None:
        raise NotUnderstood("picks positions by an index that is not stored in the model")
    held = index.data.flatten()
    chosen = held.nonzero().flatten() if str(held.dtype) == "torch.bool" else held
    numbers = [int(place) for place in chosen.tolist()]
    if len(index.shape) == 1:
        return call.picked(x, dim, numbers)
    return call.emit(Reshape(call.shape), call.picked(x, dim, numbers, out=None))


def _count(index: Const) -> int:
    """How many places an index of several dimensions has."""
    count = 1
    for size in index.shape:
        count *= size
    return count


@translates("gather", "take_along_dim")
def _gather(call: TorchCall) -> Value:
    """Output `o` reads along `dim` at the place that the index has at `o`, else at `o`."""
    x, index = call.x, call["indices"] if call["index"] is None else call["index"]
    if call["dim"] is None:
        raise NotUnderstood("picks from all dimensions as one")
    dim = call.dim
    if not isinstance(index, Tensor):
        raise NotUnderstood("picks places that are stored for each element")
    for i, (size, held) in enumerate(zip(index.shape, x.shape, strict=True)):
        if i != dim and size < held:
            x = call.step(Slice(i, 0, size), x)
    read = call.step(Reduce((dim,), True, "gather"), x)
    return call.emit(Elementwise("gather"), read, index)


@translates("scatter", "scatter_", "scatter_add", "scatter_add_", "index_put", "index_put_")
def _scatter(call: TorchCall) -> Value:
    """Output `o` reads the first operand at `o`, and of the rest, by data, all that there is."""
    places = call["index"] if call["indices"] is None else call["indices"]
    listed = places if isinstance(places, list | tuple) else [places]
    if not any(isinstance(place, Tensor) for place in listed):
        raise NotUnderstood("writes at places that are stored")
    base = call.materialized(call["self"])
    rest = [x for x in call.tensors() if x is not base]
    read = [call.step(Reduce(tuple(range(len(x.shape))), label="scatter"), x) for x in rest]
    return call.emit(Elementwise("scatter"), base, *read, params=call.params())


@translates("sort", "topk", "argsort")
def _sort(call: TorchCall) -> Value:
    """Each output reads all of `dim`; the best few as well."""
    x = call.x
    dim = call["dim"]
    dim = (-1 if dim is None else dim) % len(x.shape)
    if call.shape == x.shape or not has_axes(x.layout[dim]):
        out = call.step(Mix((dim,), "sort"), x)
        if call.shape != x.shape:
            out = call.emit(Reorder(dim, call.shape[dim]), out)
    else:
        read = call.step(Reduce((dim,), True, call.label), x)
        out = call.emit(Expand(call.shape), read)
    return [out, out] if call.several else out
