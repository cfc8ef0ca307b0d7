"""Tensors in another layout: planes and channels last, by the kernel where it does that."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from atrous.frameworks.torch import is_watched
from atrous.operators.kernels.library import native
from atrous.operators.kernels.threads import share_threads
from atrous.operators.kernels.transposed import transpose_natively

__all__ = ["in_channels_last", "in_planes", "part_of", "plane_strides", "strided"]

share_threads()

_LEAST, _FEW = 1 << 14, 8
"""Elements, and channels, for which a call of the kernel pays."""


def strided(x: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    """The tensor with these strides, itself where it has them.

    The kernel turns maps of float32 between planes and channels last, PyTorch does all else.

    >>> import torch
    >>> x = torch.arange(6.0).reshape(1, 3, 1, 2)
    >>> strided(x, (6, 1, 6, 3)).stride(), strided(x, x.stride()) is x
    ((6, 1, 6, 3), True)
    """
    if x.stride() == strides:
        return x
    out = x.new_empty_strided(x.shape, strides)
    if _kernel_takes(x):
        batch, channels, *sizes = x.shape
        positions = math.prod(sizes)
        two = (batch, channels, positions)
        for given, made, turned in ((x, out, two), (out, x, (batch, positions, channels))):
            if given.is_contiguous() and made.movedim(1, -1).is_contiguous():
                threads = torch.get_num_threads()
                transpose_natively(*turned, x.data_ptr(), out.data_ptr(), threads=threads)
                return out
    return out.copy_(x)


def in_channels_last(x: torch.Tensor) -> torch.Tensor:
    """`x`, copied where it has to be, with the channels of one position side by side.

    >>> in_channels_last(torch.zeros(2, 3, 4, 5)).stride()
    (60, 1, 15, 3)
    """
    turned = x.movedim(1, -1)
    if turned.is_contiguous():
        return x
    batch, *steps, one = plane_strides(turned.shape)
    return strided(x, (batch, one, *steps))


def in_planes(x: torch.Tensor) -> torch.Tensor:
    """`x`, copied where it has to be, with each channel a plane of its own."""
    return x if x.is_contiguous() else strided(x, plane_strides(x.shape))


def plane_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous tensor of that shape.

    >>> plane_strides((2, 3, 4, 5))
    (60, 20, 5, 1)
    """
    return tuple(torch.empty(shape, device="meta").stride())


def part_of(whole: torch.Tensor, at: int, shape: Sequence[int]) -> torch.Tensor:
    """The channels of `whole` from `at` on, which are of that shape; kernels may write to them.

    Raises:
        ValueError: they are not, or are no float32 with channels last.

    >>> part_of(torch.zeros(1, 2, 2, 5).movedim(-1, 1), 3, (1, 2, 2, 2)).stride()
    (20, 1, 10, 5)
    """
    part = whole[:, at : at + shape[1]]
    usual = whole.dtype == torch.float32 and whole.movedim(1, -1).is_contiguous()
    if not usual or part.shape != tuple(shape):
        raise ValueError(f"channels {at} on of {tuple(whole.shape)} are no map of {tuple(shape)}.")
    return part


def _kernel_takes(x: torch.Tensor) -> bool:
    # Other types of tensors, as those of a tracer, may have no memory.
    own = type(x) is torch.Tensor and x.device.type == "cpu" and not x._is_zerotensor()
    # A kernel tells a tracer or a transform nothing.
    if not own or is_watched() or (torch.is_grad_enabled() and x.requires_grad):
        return False
    pays = x.dim() > 2 and x.shape[1] >= _FEW and x.numel() >= _LEAST
    return pays and x.dtype == torch.float32 and not x.is_neg() and native().available
