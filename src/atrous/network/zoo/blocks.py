"""Pieces that several families share."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.network.builder import Builder, Padding, PerAxis
from atrous.network.ops import Mix, Slice
from atrous.network.records import Param, Tensor

__all__ = ["centre_crop", "channel_norm", "conv_bn_act", "crop"]


def conv_bn_act(
    b: Builder,
    x: Tensor,
    channels: int,
    kernel: PerAxis = 1,
    *,
    name: str,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Padding = "same",
    groups: int = 1,
    act: str = "relu",
    first: int = 0,
) -> Tensor:
    """Convolution, batch norm and activation in a row, named `name.0`, `name.1`, `name.2`.

    The numbering starts at `first`; with `act` empty there is no activation. `same` padding is
    that of the kernel alone, so strides leave `ceil(length / stride)` outputs for odd kernels.
    """
    with b.scope(name):
        x = b.conv(
            x,
            channels,
            kernel,
            stride=stride,
            dilation=dilation,
            padding=padding,
            groups=groups,
            name=str(first),
        )
        x = b.batch_norm(x, str(first + 1))
        if act:
            x = b.pointwise(x, label=act, in_place=True, name=str(first + 2))
    return x


def crop(
    b: Builder, x: Tensor, starts: Sequence[int], sizes: Sequence[int], name: str, dim: int = 2
) -> Tensor:
    """`sizes` elements of the dimensions from `dim` on, each from its start."""
    name = b.qualified(name)
    for at, (start, size) in enumerate(zip(starts, sizes, strict=True), dim):
        x = b.add(Slice(at, start, size), x, name=name)
    return x


def centre_crop(b: Builder, x: Tensor, sizes: Sequence[int], name: str) -> Tensor:
    """The middle of `x`, `sizes` large."""
    starts = [(have - want) // 2 for have, want in zip(x.shape[2:], sizes, strict=True)]
    return crop(b, x, starts, sizes, name)


def channel_norm(b: Builder, x: Tensor, name: str) -> Tensor:
    """Layer norm over the channels of each position, so that no position sees another."""
    name = b.qualified(name)
    params = (Param(f"{name}.weight", x.shape[1]), Param(f"{name}.bias", x.shape[1]))
    return b.add(Mix((1,), "layer_norm"), x, name=name, params=params)
