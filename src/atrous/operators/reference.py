"""What every convolution computes: slow, obvious and permanent, in float64 loops.

Every fast path is tested against this file, and nothing else uses it. One equation stands behind
all of it. Along each axis, output `o` reads input `p = o * stride - pad_lo + dilation * j` with tap
`j`, wherever `p` is a position of the input; padding holds zeros, and negative padding crops:

`y[n, k, o] = bias[k] + sum over c, j of weight[k, c, j] * x[n, c, p(o, j)]`

The data gradient moves along the same pairs `(o, p)` from `y` to `x`, the weight gradient sums over
them, and the transposed convolution is the data gradient, given a name and a bias.

`stride` and `dilation` are tuples with one number for each axis and `padding` one with a pair
`(lo, hi)`. Arrays are `(batch, channels, *sizes)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atrous.geometry import Window

__all__ = [
    "ACTIVATIONS",
    "conv",
    "conv_data_gradient",
    "conv_transpose",
    "conv_transpose_data_gradient",
    "conv_transpose_weight_gradient",
    "conv_weight_gradient",
]

Array = NDArray[np.float64]
Pads = Sequence[tuple[int, int]]
Index = tuple[Any, ...]


def conv(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pads,
    groups: int = 1,
) -> Array:
    """`y[o] = bias + sum of weight[j] * x[o * stride - pad_lo + dilation * j]`.

    `weight` is `(out_channels, in_channels / groups, *kernel)`.

    >>> x = [[[1.0, 2.0, 3.0, 4.0, 5.0]]]
    >>> conv(x, [[[1.0, 10.0]]], stride=(2,), dilation=(2,), padding=[(1, 1)]).tolist()
    [[[20.0, 42.0, 4.0]]]
    """
    x, weight = _float64(x), _float64(weight)
    windows = Window.of_axes(weight.shape[2:], stride, dilation, padding)
    sizes = x.shape[2:]
    made = tuple(w.output_length(n) for w, n in zip(windows, sizes, strict=True))
    y = np.zeros((x.shape[0], weight.shape[0], *made))
    x, weight, grouped = _grouped(x, 1, groups), _grouped(weight, 0, groups), _grouped(y, 1, groups)
    for o, j, p in _pairs(windows, made, sizes):
        grouped[o] += _product("gkc,ngc->ngk", weight[j], x[p])
    return _biased(y, bias)


def conv_data_gradient(
    gradient: ArrayLike,
    weight: ArrayLike,
    sizes: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pads,
    groups: int = 1,
) -> Array:
    """`dx[p] = sum of weight[j] * gradient[o]` over the pairs with `p = o * stride - pad_lo + ...`.

    `sizes` are those of the input, which a strided output does not tell.

    >>> conv_data_gradient(
    ...     [[[1.0, 2.0]]], [[[1.0, 10.0]]], [4], stride=(2,), dilation=(2,), padding=[(1, 1)]
    ... ).tolist()
    [[[0.0, 12.0, 0.0, 20.0]]]
    """
    gradient, weight = _float64(gradient), _float64(weight)
    windows = Window.of_axes(weight.shape[2:], stride, dilation, padding)
    x = np.zeros((gradient.shape[0], weight.shape[1] * groups, *sizes))
    gradient, weight = _grouped(gradient, 1, groups), _grouped(weight, 0, groups)
    grouped = _grouped(x, 1, groups)
    for o, j, p in _pairs(windows, gradient.shape[3:], sizes):
        grouped[p] += _product("gkc,ngk->ngc", weight[j], gradient[o])
    return x


def conv_weight_gradient(
    x: ArrayLike,
    gradient: ArrayLike,
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pads,
    groups: int = 1,
) -> Array:
    """`dweight[j] = sum of gradient[o] * x[p]` over batch and the pairs that tap `j` joins.

    The gradient of a bias is that of the output, summed over batch and positions.

    >>> conv_weight_gradient(
    ...     [[[1.0, 2.0, 3.0]]], [[[1.0, 1.0, 1.0]]], [2], stride=(1,), dilation=(1,),
    ...     padding=[(1, 0)],
    ... ).tolist()
    [[[3.0, 6.0]]]
    """
    x, gradient = _float64(x), _float64(gradient)
    windows = Window.of_axes(kernel, stride, dilation, padding)
    weight = np.zeros((gradient.shape[1], x.shape[1] // groups, *kernel))
    x, gradient = _grouped(x, 1, groups), _grouped(gradient, 1, groups)
    grouped = _grouped(weight, 0, groups)
    for o, j, p in _pairs(windows, gradient.shape[3:], x.shape[3:]):
        grouped[j] += _product("ngk,ngc->gkc", gradient[o], x[p])
    return weight


def conv_transpose(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pads,
    output_padding: Sequence[int] = (),
    groups: int = 1,
) -> Array:
    """Input `i` adds `weight[j] * x[i]` to output `i * stride - pad_lo + dilation * j`.

    That is the data gradient of `conv`. `weight` is `(in_channels, out_channels / groups, *kernel)`
    and there are `(n - 1) * stride - pad_lo - pad_hi + extent + output_padding` outputs.

    >>> conv_transpose(
    ...     [[[1.0, 2.0]]], [[[1.0, 10.0, 100.0]]], stride=(2,), dilation=(1,), padding=[(1, 0)]
    ... ).tolist()
    [[[10.0, 102.0, 20.0, 200.0]]]
    """
    x, weight = _float64(x), _float64(weight)
    windows = Window.of_axes(weight.shape[2:], stride, dilation, padding)
    more = output_padding or (0,) * len(windows)
    made = [w.transposed_length(n, m) for w, n, m in zip(windows, x.shape[2:], more, strict=True)]
    y = conv_data_gradient(
        x, weight, made, stride=stride, dilation=dilation, padding=padding, groups=groups
    )
    return _biased(y, bias)


def conv_transpose_data_gradient(
    gradient: ArrayLike,
    weight: ArrayLike,
    sizes: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pads,
    groups: int = 1,
) -> Array:
    """`dx[i] = sum of weight[j] * gradient[i * stride - pad_lo + dilation * j]`.

    That is `conv` of the gradient, kept to the first `sizes` positions: output padding adds
    positions that no further input made.

    >>> conv_transpose_data_gradient(
    ...     [[[1.0, 2.0, 3.0]]], [[[1.0, 10.0]]], [2], stride=(1,), dilation=(1,), padding=[(0, 0)]
    ... ).tolist()
    [[[21.0, 32.0]]]
    """
    gradient, weight = _float64(gradient), _float64(weight)
    windows = Window.of_axes(weight.shape[2:], stride, dilation, padding)
    x = np.zeros((gradient.shape[0], weight.shape[0], *sizes))
    gradient, weight = _grouped(gradient, 1, groups), _grouped(weight, 0, groups)
    grouped = _grouped(x, 1, groups)
    for i, j, p in _pairs(windows, sizes, gradient.shape[3:]):
        grouped[i] += _product("gck,ngk->ngc", weight[j], gradient[p])
    return x


def conv_transpose_weight_gradient(
    x: ArrayLike,
    gradient: ArrayLike,
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pads,
    groups: int = 1,
) -> Array:
    """`dweight[j] = sum of x[i] * gradient[p]`: `conv_weight_gradient` with its arrays swapped.

    >>> conv_transpose_weight_gradient(
    ...     [[[1.0, 2.0]]], [[[1.0, 1.0, 5.0]]], [2], stride=(1,), dilation=(1,), padding=[(0, 0)]
    ... ).tolist()
    [[[3.0, 11.0]]]
    """
    return conv_weight_gradient(
        gradient, x, kernel, stride=stride, dilation=dilation, padding=padding, groups=groups
    )


def _erf(x: Array) -> Array:
    return np.array([math.erf(value) for value in x.ravel()]).reshape(x.shape)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "hardswish": lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6,
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
"""What may follow a convolution, by name; `gelu` is the exact one, with the error function.

>>> ACTIVATIONS["hardswish"](np.array([-4.0, 0.0, 1.5, 4.0])).tolist()
[-0.0, 0.0, 1.125, 4.0]
"""


def _pairs(
    windows: Sequence[Window], outputs: Sequence[int], inputs: Sequence[int]
) -> Iterator[tuple[Index, Index, Index]]:
    """Every (output, tap, input) along all axes, the input being a position and not padding.

    Each is an index into the last axes of an array.
    """
    for o in product(*map(range, outputs)):
        for j in product(*(range(w.kernel) for w in windows)):
            p = tuple(w.taps(at)[tap] for w, at, tap in zip(windows, o, j, strict=True))
            if all(0 <= at < n for at, n in zip(p, inputs, strict=True)):
                yield (..., *o), (..., *j), (..., *p)


def _grouped(array: Array, axis: int, groups: int) -> Array:
    """A view in which the groups of channels are an axis of their own, in front of `axis`."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def _product(formula: str, left: Any, right: Any) -> Array:
    found: Array = np.einsum(formula, left, right)
    return found


def _float64(array: Any) -> Array:
    return np.asarray(array, dtype=np.float64)


def _biased(y: Array, bias: ArrayLike | None) -> Array:
    return y if bias is None else y + _float64(bias).reshape(-1, *(1,) * (y.ndim - 2))
