"""Pieces that several families share."""

from __future__ import annotations

from atrous.network.builder import Builder, Padding, PerAxis
from atrous.network.records import Tensor

__all__ = ["conv_bn_act"]


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
