"""What slides along axes: convolutions, pools, padding, crops."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, Literal

from atrous.geometry import Window
from atrous.network import Tensor
from atrous.network.ops import Conv, ConvTranspose, Fold, Linear, Pad, Pool, Slice
from atrous.readers.call import NotUnderstood
from atrous.readers.jax.call import JaxCall, translates
from atrous.readers.placed import Held, Order, Placed, channels_first


@translates("conv_general_dilated")
def _conv(call: JaxCall) -> Placed:
    """Output `o` reads `o * stride - pad + dilation * j`, `j < kernel`, of the dilated input."""
    x, kernel = call[0], call[1]
    if not isinstance(x, Placed) or not isinstance(kernel, Held):
        raise NotUnderstood("slides a kernel that the input decides")
    if call.setting("batch_group_count") != 1:
        raise NotUnderstood("has groups of the batch, as gradients of kernels do")
    numbers = call.setting("dimension_numbers")
    order, after = _places(numbers.lhs_spec), _places(numbers.out_spec)
    call.builder.channels_at(x.tensor, x.order[numbers.lhs_spec[1]])
    tensor = call.turned(x, order)
    moved = kernel.moved(numbers.rhs_spec)
    channels, taps = moved.shape[0], moved.shape[2:]
    groups = call.setting("feature_group_count")
    if not taps:
        if groups > 1:
            raise NotUnderstood("multiplies groups of channels without sliding")
        return call.made(Linear(channels), tensor, order=after, params=kernel.params)
    strides, rates = call.setting("window_strides"), call.setting("rhs_dilation")
    spread, pads = (
        call.setting("lhs_dilation"),
        _pads_of(call.setting("padding")),
    )
    unread = call.zeros(moved, taps)
    if max(spread) > 1 and max(strides) == 1:
        back = _taps_backwards(taps, spread, rates, pads, channels, groups, unread)
        return call.made(back, tensor, order=after, params=kernel.params)
    tensor = _spread(call, tensor, spread)
    op = Conv(Window.of_axes(taps, strides, rates, pads), channels, groups, unread=unread)
    return call.made(op, tensor, order=after, params=kernel.params)


def _pads_of(given: Any) -> list[tuple[int, int]]:
    return [(int(lo), int(hi)) for lo, hi in given]


def _places(spec: Sequence[int]) -> Order:
    """Where each dimension stands in batch, channels, positions."""
    return tuple(spec.index(dim) for dim in range(len(spec)))


def _taps_backwards(
    taps: Sequence[int],
    spread: Sequence[int],
    rates: Sequence[int],
    pads: Sequence[tuple[int, int]],
    channels: int,
    groups: int,
    unread: Sequence[tuple[int, ...]],
) -> ConvTranspose:
    """A convolution of a dilated input, as the transposed one that it is: its taps run backwards.

    Padding by `extent - 1` leaves all that the kernels reach; what is less is cut off.
    """
    windows, behind = [], []
    for k, s, d, (lo, hi) in zip(taps, spread, rates, pads, strict=True):
        reach = Window(k, 1, d).extent - 1
        windows.append(Window(k, s, d, reach - lo, max(reach - hi, 0)))
        behind.append(max(hi - reach, 0))
    flipped = tuple(
        sorted(tuple(k - 1 - at for k, at in zip(taps, tap, strict=True)) for tap in unread)
    )
    return ConvTranspose(tuple(windows), channels, groups, tuple(behind), flipped)


def _first_behind(order: Order) -> int:
    """The first dimension behind one that holds no positions: the channels, or the batch."""
    return 2 if len(order) > 2 and order == channels_first(len(order)) else 1


def _spread(call: JaxCall, x: Tensor, factors: Sequence[int]) -> Tensor:
    """The last dimensions with `factor - 1` constants between two positions."""
    if max(factors) == 1:
        return x
    return call.step(Fold(tuple(Window(1, stride=factor) for factor in factors)), x)


@translates("reduce_window_max reduce_window_min reduce_window_sum reduce_window")
def _pool(call: JaxCall) -> Any:
    """Output `o` reads `o * stride - pad + dilation * j`, `j < size`, of the dilated input."""
    x = call.first
    if len(call.outputs) > 1:
        raise NotUnderstood("reduces several operands in step")
    rank = len(x.order)
    sizes = call.setting("window_dimensions")
    strides = call.setting("window_strides") or (1,) * rank
    rates = call.setting("window_dilation") or (1,) * rank
    spread = call.setting("base_dilation") or (1,) * rank
    pads = _pads_of(call.setting("padding"))
    dims = [
        dim
        for dim in range(rank)
        if (sizes[dim], strides[dim], spread[dim], pads[dim]) != (1, 1, 1, (0, 0))
    ]
    if not dims:
        return [x] if call.several else x
    if spread[0] > 1:
        raise NotUnderstood("puts constants between items of the first dimension")
    order, count = _ending_with(x, dims)
    tensor = call.turned(x, order)
    last = [order.index(place) for place in range(rank - count, rank)]
    between = [order.index(place) for place in range(_first_behind(order), rank)]
    tensor = _spread(call, tensor, [spread[dim] for dim in between])
    windows = tuple(
        Window(sizes[dim], strides[dim], rates[dim] if sizes[dim] > 1 else 1, *pads[dim])
        for dim in last
    )
    how: Literal["max", "average"] = "average" if call.op == "reduce_window_sum" else "max"
    made = call.made(Pool(windows, how), tensor, order=order)
    return [made] if call.several else made


def _ending_with(x: Placed, dims: Sequence[int]) -> tuple[Order, int]:
    """An order of the dimensions whose last are `dims`, and how many these are with others."""
    rank = len(x.order)
    start = min(x.order[dim] for dim in dims)
    if start > 1 or (start == 1 and len(dims) == rank - 1):
        return x.order, rank - start
    if rank > 2 and set(dims) <= set(range(1, rank - 1)):
        return channels_first(rank), rank - 2
    kept = [dim for dim in range(rank) if dim not in dims]
    places = [*kept, *dims]
    return tuple(places.index(dim) for dim in range(rank)), len(dims)


@translates("pad")
def _pad(call: JaxCall) -> Placed:
    """Output `o` reads `o - lo` of the dimension, with constants between its positions."""
    x, value = call.first, call[1]
    if isinstance(value, Placed):
        raise NotUnderstood("pads with what the input decides")
    rank = len(x.order)
    config = [(int(lo), int(hi), int(gap)) for lo, hi, gap in call.setting("padding_config")]
    own = [config[x.order.index(place)] for place in range(rank)]
    tensor = x.tensor
    inside = [place for place in range(rank) if own[place][2]]
    if inside:
        if not inside[0]:
            raise NotUnderstood("puts constants between items of the first dimension")
        tensor = _spread(call, tensor, [part[2] + 1 for part in own[_first_behind(x.order) :]])
    pads = [(lo, hi) for lo, hi, _ in own]
    while len(pads) > 1 and pads[0] == (0, 0):
        pads = pads[1:]
    if pads == [(0, 0)]:
        return Placed(tensor, x.order)
    number = float(value.load()) if isinstance(value, Held) and value.load else 0.0
    op = Pad(tuple(pads), value=number if isfinite(number) else 0.0)
    return call.made(op, tensor, order=x.order)


@translates("slice")
def _slice(call: JaxCall) -> Placed:
    """Output `o` reads `start + step * o` along each dimension that is cut."""
    x = call.first
    steps = call.setting("strides") or (1,) * len(x.order)
    starts = call.setting("start_indices")
    return cut(call, x, starts, call.shape, steps)


def cut(
    call: JaxCall, x: Placed, starts: Sequence[int], lengths: Sequence[int], steps: Sequence[int]
) -> Placed:
    """So many indices of each dimension from a start, as the framework counts dimensions."""
    tensor = x.tensor
    for dim, (start, length, step) in enumerate(zip(starts, lengths, steps, strict=True)):
        if length == 0:
            raise NotUnderstood("cuts out nothing")
        if length != x.shape[dim]:
            step = step if length > 1 else 1
            tensor = call.step(Slice(x.order[dim], int(start), length, step), tensor)
    return Placed(tensor, x.order)


__all__ = ["cut"]
