"""Depthwise layers by PyTorch alone: what runs where the native kernels do not.

Dilated ones run as phases (`operators.strategies`): the products are the same, and PyTorch has no
fast path that a rate leaves.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.strategies import STRATEGIES, padded

__all__ = ["by_framework", "data_by_framework", "plain", "weight_by_framework"]

Pairs = Sequence[tuple[int, int]]


def by_framework(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
) -> torch.Tensor:
    """The layer's output; differentiable, on any device and in any dtype of PyTorch.

    >>> import torch
    >>> x, w = torch.arange(6.0).reshape(1, 1, 6), torch.ones(1, 1, 2)
    >>> by_framework(x, w, None, (1,), (2,), ((0, 1),)).flatten().tolist()
    [2.0, 4.0, 6.0, 8.0, 4.0]
    """
    call = _call(x, weight, stride, dilation, padding)
    by = "phases" if 0 not in x.shape and STRATEGIES["phases"].applies(call) else "framework"
    return STRATEGIES[by].run(x, weight, bias, call)


def plain(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
) -> torch.Tensor:
    """The layer as one convolution of PyTorch, as other formats know it."""
    with warnings.catch_warnings():
        # An export by tracing has tensors for sizes; nothing here depends on what they become.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        call = _call(x, weight, stride, dilation, padding)
        return STRATEGIES["framework"].run(x, weight, bias, call)


def data_by_framework(
    grad: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
    sizes: Sequence[int],
) -> torch.Tensor:
    """The gradient by an input of spatial `sizes`, with a channel for each filter.

    At stride 1 it is the convolution with the kernel turned round, padded by what the window
    reaches beyond; so it runs as phases too.
    """
    if set(stride) == {1}:
        kernel = weight.shape[2:]
        reach = [Window(k, dilation=d).extent - 1 for k, d in zip(kernel, dilation, strict=True)]
        around = [(r - lo, r - hi) for r, (lo, hi) in zip(reach, padding, strict=True)]
        turned = weight.flip(tuple(range(2, weight.dim())))
        return by_framework(grad, turned, None, stride, dilation, around)
    shape = [n + lo + hi for n, (lo, hi) in zip(sizes, padding, strict=True)]
    whole = grad.new_empty((*grad.shape[:2], *shape))
    found = _backward(grad, whole, weight, stride, dilation, 0)
    return padded(found, [(-lo, -hi) for lo, hi in padding])


def weight_by_framework(
    x: torch.Tensor,
    grad: torch.Tensor,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
    kernel: Sequence[int],
) -> torch.Tensor:
    """The gradient by the weights, (C m, 1, *kernel)."""
    weight = x.new_empty((grad.shape[1], 1, *kernel))
    return _backward(grad, padded(x, padding), weight, stride, dilation, 1)


def _call(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
) -> Convolution:
    batch, channels, *sizes = map(int, x.shape)
    kernel = [int(size) for size in weight.shape[2:]]
    windows = Window.of_axes(kernel, stride, dilation, padding)
    return Convolution(batch, channels, int(weight.shape[0]), tuple(sizes), windows, channels)


def _backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    dilation: Sequence[int],
    which: int,
) -> torch.Tensor:
    none, mask = [0] * len(stride), [which == 0, which == 1, False]
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, None, list(stride), none, list(dilation), False, none, x.shape[1], mask
    )
    wanted: torch.Tensor = found[which]
    return wanted
