"""Convolutions of NumPy arrays: native kernels for depthwise ones, blocked products for the rest.

16-bit elements are computed in float32, the others in their own precision. Products work on blocks
of output positions, for which the inputs under each tap are gathered, at most `_MOST` elements at
once; taps that lie in the padding everywhere are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.operators.arguments import Sums
from atrous.operators.convolution import Convolution
from atrous.operators.kernels import native
from atrous.operators.kernels.arrays import (
    dense,
    depthwise,
    depthwise_transposed,
    in_layout,
    is_channels_last,
    new_array,
)
from atrous.operators.tiles import saving

__all__ = ["conv", "conv_transpose"]

Array = NDArray[Any]
Taps = list[tuple[int, ...]]

_MOST = 2**20


def conv(
    x: Array, weight: Array, bias: Array | None, call: Convolution, rounding: Sums = "direct"
) -> Array:
    """The convolution, in the layout and of the elements of `x`."""
    last = is_channels_last(x)
    fewer = rounding == "winograd" and x.dtype.name == "float32" and native().available
    if fewer and (tiling := saving(call)) is not None:
        one = None if bias is None else _widened(bias)
        result: Array = dense(_widened(x), _widened(weight), one, call, tiling)
        return result
    wide, weight = _widened(x, last), np.ascontiguousarray(_widened(weight))
    bias = None if bias is None else np.ascontiguousarray(_widened(bias))
    if call.depthwise and native().available and 0 not in x.shape:
        made: Array = depthwise(
            wide, weight, bias, stride=call.stride, dilation=call.dilation, padding=call.padding
        )
        return made.astype(x.dtype, copy=False)
    y = new_array(call.shape, wide.dtype, last, np.zeros)
    taps = _read_taps(call)
    if call.depthwise:
        _each_channel(wide, weight, y, call, taps)
    else:
        _products(wide, weight, y, call, taps, last)
    return _add_bias(y, bias).astype(x.dtype, copy=False)


def conv_transpose(x: Array, weight: Array, bias: Array | None, call: Convolution) -> Array:
    """The transposed convolution, in the layout and of the elements of `x`."""
    last = is_channels_last(x)
    wide, weight = _widened(x, last), _widened(weight)
    one_each = call.depthwise and call.out_channels == call.groups
    if one_each and native().available and 0 not in x.shape and 0 not in call.outputs:
        result: Array = depthwise_transposed(
            wide,
            weight,
            None if bias is None else _widened(bias),
            stride=call.stride,
            dilation=call.dilation,
            padding=call.padding,
            sizes=call.outputs,
        )
        return result.astype(x.dtype, copy=False)
    y = new_array(call.shape, wide.dtype, last, np.zeros)
    taps = _read_taps(call)
    groups = call.groups
    inward, outward = call.in_channels // groups, call.out_channels // groups
    inputs = _by_group(wide, groups)
    outputs = _by_group(y, groups)
    matrix = _of_taps(weight, taps).reshape(groups, inward, outward * len(taps))
    matrix = np.ascontiguousarray(matrix.swapaxes(1, 2))
    for n in range(call.batch):
        for block in _blocks(call.sizes, _MOST // max(call.out_channels * len(taps), 1)):
            sizes = tuple(map(len, block))
            read = inputs[n][_index(_slices(block))]
            made = matrix @ read.reshape(groups, inward, prod(sizes))
            made = made.reshape(groups, outward, len(taps), *sizes)
            for place, tap in enumerate(taps):
                cut = _meet(call.reached(tap), block)
                if all(cut):
                    part = made[:, :, place][_index(_slices(cut, block))]
                    outputs[n][_index(call.read(tap, cut))] += part
    return _add_bias(y, None if bias is None else _widened(bias)).astype(x.dtype, copy=False)


def _products(x: Array, weight: Array, y: Array, call: Convolution, taps: Taps, last: bool) -> None:
    """Adds to `y`, group by group, weight times the gathered inputs."""
    groups = call.groups
    inward, outward = call.in_channels // groups, call.out_channels // groups
    depth = inward * len(taps)
    inputs, outputs = _by_group(x, groups), _by_group(y, groups)
    # (group, out, in, tap); with channels last the product is the other way round.
    matrix: Array = _of_taps(weight, taps).reshape(groups, outward, inward, len(taps))
    if last:
        matrix = matrix.transpose(0, 3, 2, 1).reshape(groups, depth, outward)
    else:
        matrix = matrix.reshape(groups, outward, depth)
    for n in range(call.batch):
        for block in _blocks(call.outputs, _MOST // max(groups * depth, 1)):
            sizes = tuple(map(len, block))
            if last:
                held = np.zeros((groups, *sizes, len(taps), inward), x.dtype)
                gathered = np.moveaxis(held, (-1, -2), (1, 2))
            else:
                held = gathered = np.zeros((groups, inward, len(taps), *sizes), x.dtype)
            for place, tap in enumerate(taps):
                cut = _meet(call.reached(tap), block)
                if all(cut):
                    read = inputs[n][_index(call.read(tap, cut))]
                    gathered[:, :, place][_index(_slices(cut, block))] = read
            written = outputs[n][_index(_slices(block))]
            if last:
                made = held.reshape(groups, prod(sizes), depth) @ matrix
                written[...] = np.moveaxis(made.reshape(groups, *sizes, outward), -1, 1)
            else:
                made = matrix @ held.reshape(groups, depth, prod(sizes))
                written[...] = made.reshape(groups, outward, *sizes)


def _each_channel(x: Array, weight: Array, y: Array, call: Convolution, taps: Taps) -> None:
    """Adds to `y`, tap by tap, each channel times its own weights."""
    outputs = _by_group(y, call.groups)
    matrix = _of_taps(weight, taps).reshape(*outputs.shape[1:3], len(taps))
    for place, tap in enumerate(taps):
        cut = call.reached(tap)
        read = x[_index(call.read(tap, cut))][:, :, None]
        scale = matrix[:, :, place].reshape(*matrix.shape[:2], *(1,) * call.rank)
        outputs[_index(_slices(cut))] += read * scale


def _read_taps(call: Convolution) -> Taps:
    """The taps that lie on an input for some output."""
    return [tap for tap in product(*map(range, call.kernel)) if all(call.reached(tap))]


def _of_taps(weight: Array, taps: Taps) -> Array:
    """`weight` as `(channels, channels, taps)`, of these taps only."""
    flat = weight.reshape(*weight.shape[:2], prod(weight.shape[2:]))
    places = [int(np.ravel_multi_index(tap, weight.shape[2:])) for tap in taps]
    return flat[:, :, places]


def _blocks(sizes: tuple[int, ...], most: int) -> Iterator[tuple[range, ...]]:
    """Boxes of at most `most` positions (but at least one) that cover a map of these sizes."""
    steps = list(sizes)
    for axis in range(len(sizes)):
        rest = prod(sizes[axis + 1 :])
        steps[axis] = max(min(most // max(rest, 1), sizes[axis]), 1)
        if most >= rest:
            break
    for start in product(*(range(0, n, step) for n, step in zip(sizes, steps, strict=True))):
        every = zip(start, steps, sizes, strict=True)
        yield tuple(range(at, min(at + step, n)) for at, step, n in every)


def _meet(reached: tuple[range, ...], block: tuple[range, ...]) -> tuple[range, ...]:
    return tuple(
        range(max(one.start, other.start), min(one.stop, other.stop))
        for one, other in zip(reached, block, strict=True)
    )


def _slices(cut: tuple[range, ...], origin: tuple[range, ...] | None = None) -> tuple[slice, ...]:
    """The positions of `cut`, counted from where `origin` starts."""
    starts = [one.start for one in origin] if origin else [0] * len(cut)
    return tuple(slice(one.start - at, one.stop - at) for one, at in zip(cut, starts, strict=True))


def _index(last: tuple[slice, ...]) -> tuple[Any, ...]:
    """An index into the last axes."""
    return (..., *last)


def _widened(array: Array, last: bool | None = None) -> Array:
    """As float32 or float64 in the machine's byte order; with `last` also in one of the layouts."""
    wide = np.float64 if array.dtype.name == "float64" else np.float32
    made: Array = in_layout(array, last, wide) if last is not None else np.asarray(array, wide)
    return made


def _by_group(array: Array, groups: int) -> Array:
    """A view `(batch, group, channel, *sizes)`: splitting an axis copies in no layout."""
    return array.reshape(array.shape[0], groups, array.shape[1] // groups, *array.shape[2:])


def _add_bias(y: Array, bias: Array | None) -> Array:
    if bias is not None:
        y += bias.reshape(-1, *(1,) * (y.ndim - 2))
    return y
