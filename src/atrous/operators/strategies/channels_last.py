"""Layouts and zero borders of tensors of any rank."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

__all__ = ["is_channels_last", "padded", "to_channels_last"]


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of one position lie side by side, and the tensor is not contiguous.

    Also with one spatial axis, for which PyTorch has no memory format.

    >>> import torch
    >>> is_channels_last(torch.zeros(2, 9, 4).transpose(1, 2))
    True
    """
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def to_channels_last(x: Tensor) -> Tensor:
    """`x`, copied where it has to be, with the channels of one position side by side."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """`x` with `(lo, hi)` more positions along each of its last axes; negative ones crop.

    More may be cropped than there is, if the other side makes up for it: the positions that are
    left then all lie in the padding.

    >>> import torch
    >>> padded(torch.tensor([1.0, 2.0]), [(-1, 1)]), padded(torch.tensor([1.0, 2.0]), [(-3, 2)])
    (tensor([2., 0.]), tensor([0.]))
    """
    if not any(lo or hi for lo, hi in pads):
        return x
    flat: list[int] = []
    for (lo, hi), size in zip(
        reversed(pads), reversed(x.shape[x.dim() - len(pads) :]), strict=True
    ):
        if -lo > size:
            hi += lo + size
            lo = -size
        elif -hi > size:
            lo += hi + size
            hi = -size
        flat += [lo, hi]
    return functional.pad(x, flat, value=value)
