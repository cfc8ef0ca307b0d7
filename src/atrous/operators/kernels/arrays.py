"""The kernels on NumPy arrays, in both layouts: depthwise, and dense by minimal filtering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atrous.operators.convolution import Convolution
from atrous.operators.kernels import layer as kernels
from atrous.operators.kernels import winograd
from atrous.operators.kernels.layer import Depthwise, layer_of, output_size
from atrous.operators.tiles import Tiling

__all__ = [
    "dense",
    "depthwise",
    "depthwise_transposed",
    "in_layout",
    "is_channels_last",
    "new_array",
]

_ALIGNED = 64
_Pairs = Sequence[tuple[int, int]]


def depthwise(
    x: Any,
    weight: Any,
    bias: Any,
    *,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: _Pairs,
    activation: str = "none",
    threads: int | None = None,
) -> Any:
    """`activation(bias + x * weight)` for `x` (N, C, *sizes) and `weight` (C m, 1, *kernel).

    The result has the layout of `x`: channels last where the channels lie closest. Arguments are
    valid (`operators.conv` checks them), and the kernels are there.

    >>> import numpy as np
    >>> from atrous.operators.kernels import native
    >>> x, w = np.arange(5.0).reshape(1, 1, 5), np.ones((1, 1, 2))
    >>> def run():
    ...     return depthwise(x, w, None, stride=(1,), dilation=(3,), padding=((0, 0),))
    >>> run().ravel().tolist() if native().available else [3.0, 5.0]
    [3.0, 5.0]
    """
    channels, last = weight.shape[0], is_channels_last(x)
    if channels != x.shape[1]:
        x = np.repeat(x, channels // x.shape[1], axis=1)
    sizes = output_size(x.shape[2:], weight.shape[2:], stride, dilation, padding)
    x = in_layout(x, last)
    out = new_array((x.shape[0], channels, *sizes), x.dtype, last)
    kernel = weight.shape[2:]
    layer = layer_of(x, sizes, kernel, stride, dilation, padding, last, activation, threads)
    _run(kernels.forward, layer, x, weight, bias, out)
    return out


def depthwise_transposed(
    x: Any,
    weight: Any,
    bias: Any,
    *,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: _Pairs,
    sizes: tuple[int, ...],
    threads: int | None = None,
) -> Any:
    """The transposed convolution of one filter a channel, to spatial `sizes`.

    It is the data gradient of the convolution that reads maps of `sizes` and gives maps like `x`.
    """
    last = is_channels_last(x)
    x = in_layout(x, last)
    out = new_array((*x.shape[:2], *sizes), x.dtype, last)
    kernel = weight.shape[2:]
    layer = layer_of(out, x.shape[2:], kernel, stride, dilation, padding, last, threads=threads)
    _run(kernels.data_gradient, layer, x, weight, bias, out)
    return out


def dense(x: Any, weight: Any, bias: Any, call: Convolution, tiling: Tiling) -> Any:
    """A dense float32 convolution by minimal filtering, in the layout of `x`."""
    layer = winograd.dense_layer(call, tiling)
    held = np.empty(winograd.packed_size(layer) + _ALIGNED // 4, np.float32)
    packed = held.ctypes.data + -held.ctypes.data % _ALIGNED
    weight = np.ascontiguousarray(weight)
    winograd.pack(layer, weight.ctypes.data, packed)
    given = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    out = np.empty((call.batch, *call.outputs, call.out_channels), np.float32)
    bias = None if bias is None else np.ascontiguousarray(bias)
    at = None if bias is None else bias.ctypes.data
    winograd.filtered(layer, given.ctypes.data, packed, at, None, out.ctypes.data)
    return in_layout(np.moveaxis(out, -1, 1), is_channels_last(x))


def _run(kernel: Any, layer: Depthwise, x: Any, weight: Any, bias: Any, out: Any) -> None:
    weight = np.ascontiguousarray(weight)
    bias = None if bias is None else np.ascontiguousarray(bias)
    at = None if bias is None else bias.ctypes.data
    kernel(layer, x.ctypes.data, weight.ctypes.data, at, out.ctypes.data)


def is_channels_last(x: Any) -> bool:
    """Whether the channels of one position lie side by side, and the array is not contiguous."""
    if x.ndim < 3 or x.flags.c_contiguous:
        return False
    return bool(np.moveaxis(x, 1, -1).flags.c_contiguous)


def in_layout(x: Any, last: bool, dtype: Any = None) -> Any:
    """`x` with its channels last or contiguous, copied only where it has to be."""
    if not last:
        return np.ascontiguousarray(x, dtype=dtype)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1), dtype=dtype), -1, 1)


def new_array(shape: tuple[int, ...], dtype: Any, last: bool, make: Any = np.empty) -> Any:
    """An array in that layout, empty or what else `make` makes."""
    if not last:
        return make(shape, dtype)
    return np.moveaxis(make((shape[0], *shape[2:], shape[1]), dtype), -1, 1)
