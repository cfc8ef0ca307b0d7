"""What the readers share of ops whose reads data decides, or that lie between positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atrous.geometry import Window
from atrous.network.builder import Builder
from atrous.network.ops import Elementwise, Fold, Pool, Sample, Unpool
from atrous.network.records import Tensor
from atrous.readers.call import Call, NotUnderstood

__all__ = ["blocks", "folded_to", "unpooled"]


def blocks(windows: Sequence[Window], sizes: Sequence[int]) -> tuple[int, ...]:
    """How many windows lie along each axis of a map of these sizes."""
    return tuple(w.output_length(n) for w, n in zip(windows, sizes, strict=True))


def folded_to(windows: Sequence[Window], counts: Sequence[int], sizes: Sequence[int]) -> Fold:
    """The fold of so many windows along each axis into a map of these sizes."""
    made = (w.transposed_length(n) for w, n in zip(windows, counts, strict=True))
    extra = tuple(size - length for size, length in zip(sizes, made, strict=True))
    return Fold(tuple(windows), extra)


def unpooled(call: Call[Any], x: Tensor, places: Tensor, sizes: Sequence[int]) -> Tensor:
    """The values of `x` put to `places`: back into the windows of the pool that made these.

    Where no max pool of a map of `sizes` is seen to have made them, they may be any places.
    """
    if x.shape != places.shape:
        raise NotUnderstood("has as many places as values of another map")
    windows = _pooled_by(call.builder, places, sizes)
    if windows:
        return call.emit(Unpool(windows, tuple(sizes)), x, places)
    anywhere = Sample(tuple(sizes), "max_unpool")
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
