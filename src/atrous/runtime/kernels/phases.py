"""Depthwise layers by PyTorch alone: what runs where the native kernels do not.

A layer of rate d and stride 1 is d^n undilated layers on the phases of the grid, run as one batch:
the products and their order are the same, and PyTorch has no fast path that a rate leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from atrous.geometry import Window

__all__ = ["by_framework", "data_by_framework", "plain", "weight_by_framework"]

Pairs = Sequence[tuple[int, int]]
_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def _flat(padding: Pairs) -> list[int]:
    return [edge for pair in reversed(tuple(padding)) for edge in pair]


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
    if max(dilation) > 1 and set(stride) == {1} and x.numel() > 0:
        return _phases(x, weight, bias, dilation, padding)
    return plain(x, weight, bias, stride, dilation, padding)


def plain(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
) -> torch.Tensor:
    """The layer as one convolution of PyTorch, as other formats know it."""
    conv, even = _CONV[x.dim() - 2], all(lo == hi >= 0 for lo, hi in padding)
    if not even:
        x = functional.pad(x, _flat(padding))
    pads = tuple(lo if even else 0 for lo, _ in padding)
    return conv(x, weight, bias, tuple(stride), pads, tuple(dilation), x.shape[1])


def _phases(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    dilation: Sequence[int],
    padding: Pairs,
) -> torch.Tensor:
    batch, channels, *sizes = x.shape
    dims = len(sizes)
    # Padding up to a whole number of phases; what it adds at the end is cut off again.
    edges, counts, lengths = [], [], []
    for n, kernel, d, (lo, hi) in zip(sizes, weight.shape[2:], dilation, padding, strict=True):
        padded = n + lo + hi
        rest = -padded % d
        edges.append((lo, hi + rest))
        counts.append((padded + rest) // d)
        lengths.append(Window(kernel, dilation=d).output_length(padded))
    x = functional.pad(x, _flat(edges))
    split = [size for count, d in zip(counts, dilation, strict=True) for size in (count, d)]
    x = x.reshape(batch, channels, *split)
    outer, inner = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    x = x.permute(*inner, 0, 1, *outer).reshape(-1, channels, *counts)
    out = _CONV[dims](x, weight, bias, groups=channels)
    found = out.shape[2:]
    out = out.reshape(*dilation, batch, out.shape[1], *found)
    order = [dims, dims + 1]
    for axis in range(dims):
        order += [dims + 2 + axis, axis]
    whole = [n * d for n, d in zip(found, dilation, strict=True)]
    out = out.permute(*order).reshape(batch, -1, *whole)
    for axis, length in enumerate(lengths):
        out = out.narrow(axis + 2, 0, length)
    return out.contiguous()


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
    padded = grad.new_empty((*grad.shape[:2], *shape))
    found = _backward(grad, padded, weight, stride, dilation, 0)
    return functional.pad(found, [-edge for edge in _flat(padding)])


def weight_by_framework(
    x: torch.Tensor,
    grad: torch.Tensor,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Pairs,
    kernel: Sequence[int],
) -> torch.Tensor:
    """The gradient by the weights, (C m, 1, *kernel)."""
    padded = functional.pad(x, _flat(padding))
    weight = x.new_empty((grad.shape[1], 1, *kernel))
    return _backward(grad, padded, weight, stride, dilation, 1)


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
