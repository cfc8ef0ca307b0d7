"""What the readers share of ops whose reads data decides, or that lie between positions."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, Literal, cast, get_args

from atrous.geometry import Outside, Reads, Window, sampled
from atrous.network.builder import Builder
from atrous.network.ops import Elementwise, Fold, Pool, Sample, Unpool
from atrous.network.records import Tensor
from atrous.readers.call import Call, NotUnderstood

__all__ = ["blocks", "folded_to", "grid_reads", "unpooled"]

_FAR = 1e6


def blocks(windows: Sequence[Window], sizes: Sequence[int]) -> tuple[int, ...]:
    """How many windows lie along each axis of a map of these sizes."""
    return tuple(w.output_length(n) for w, n in zip(windows, sizes, strict=True))


def folded_to(windows: Sequence[Window], counts: Sequence[int], sizes: Sequence[int]) -> Fold:
    """The fold of so many windows along each axis into a map of these sizes."""
    made = (w.transposed_length(n) for w, n in zip(windows, counts, strict=True))
    extra = tuple(size - length for size, length in zip(sizes, made, strict=True))
    return Fold(tuple(windows), extra)


def grid_reads(
    numbers: Any, lengths: Sequence[int], how: str, outside: str, align_corners: bool
) -> tuple[Reads, ...]:
    """What is read along each axis by a stored grid, an array of batch, outputs and coordinates.

    Empty where a coordinate follows more than one dimension, or images differ. The last coordinate
    is that of the first axis.
    """
    kinds: dict[str, Literal["linear", "nearest"]] = {"linear": "linear", "nearest": "nearest"}
    if how not in kinds or outside not in get_args(Outside):
        return ()
    rank, found = len(lengths), []
    for axis, length in enumerate(lengths):
        held = numbers[..., rank - 1 - axis]
        line = held[tuple(slice(None) if i == axis + 1 else 0 for i in range(rank + 1))]
        wide = line.reshape([-1 if i == axis else 1 for i in range(rank)])
        if not bool((held == wide).all()):
            return ()
        places = [float(place) for place in line.tolist()]
        if not all(isfinite(place) and abs(place) < _FAR for place in places):
            return ()
        found.append(
            sampled(places, length, kinds[how], cast(Outside, outside), align_corners=align_corners)
        )
    return tuple(found)


def unpooled(call: Call[Any], x: Tensor, places: Tensor, sizes: Sequence[int]) -> Tensor:
    """The values of `x` put to `places`: back into the windows of the pool that made these.

    Where no max pool of a map of `sizes` is seen to have made them, they may be any places.
    """
    if x.shape != places.shape:
        raise NotUnderstood("has as many places as values of another map")
    windows = _pooled_by(call.builder, places, sizes)
    if windows:
        return call.emit(Unpool(windows, tuple(sizes)), x, places)
    anywhere = Sample(tuple(sizes), label="max_unpool")
    parts = [call.step(anywhere, tensor) for tensor in (x, places)]
    return call.emit(Elementwise("max_unpool"), *parts)


def _pooled_by(builder: Builder, places: Tensor, sizes: Sequence[int]) -> tuple[Window, ...]:
    """The windows of the max pool of a map of `sizes` that made these places, or none."""
    maker = builder.maker(places)
    if maker is None or not isinstance(maker.op, Pool) or maker.op.how != "max":
        return ()
    before = next(t for t in builder.tensors() if t.name == maker.inputs[0])
    rank = len(maker.op.windows)
    return maker.op.windows if before.shape[len(before.shape) - rank :] == tuple(sizes) else ()
