"""RegSeg's backbone: residual blocks whose channels are split between two rates."""

from __future__ import annotations

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.blocks import crop
from atrous.network.zoo.registry import known

_GROUP = 16
# Channels, stride and rates of each block.
_BLOCKS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (48, 2, (1,)),
    (128, 2, (1,)),
    (128, 1, (1,)),
    (128, 1, (1,)),
    (256, 2, (1,)),
    (256, 1, (1,)),
    (256, 1, (1, 2)),
    *((256, 1, (1, 4)),) * 4,
    *((256, 1, (1, 14)),) * 6,
    (320, 1, (1, 14)),
)


@known(
    "regseg_backbone",
    "RegSeg's backbone at output stride 16: blocks of rates 1 and 2, 1 and 4, 1 and 14",
    shape=(1, 3, 1024, 2048),
    source="Gao 2021",
)
def _regseg_backbone(b: Builder, x: Tensor) -> Tensor:
    with b.scope("stem"):
        x = b.relu(b.batch_norm(b.conv(x, 32, 3, stride=2, padding=1)))
    for index, (channels, stride, rates) in enumerate(_BLOCKS):
        with b.scope(f"blocks.{index}"):
            x = _d_block(b, x, channels, stride, rates)
    return x


def _d_block(b: Builder, x: Tensor, channels: int, stride: int, rates: tuple[int, ...]) -> Tensor:
    y = b.relu(b.batch_norm(b.conv(x, channels, 1, name="conv1"), "bn1"), "relu1")
    y = _split(b, y, stride, rates)
    y = b.relu(b.batch_norm(y, "bn2"), "relu2")
    y = _excited(b, y, x.shape[1] // 4)
    y = b.batch_norm(b.conv(y, channels, 1, name="conv3"), "bn3")
    if stride > 1 or x.shape[1] != channels:
        with b.scope("shortcut"):
            if stride > 1:
                x = b.pool(x, stride, ceil=True, average=True, name="avg")
            x = b.batch_norm(b.conv(x, channels, 1))
    return b.relu(b.join(y, x), "relu3")


def _split(b: Builder, x: Tensor, stride: int, rates: tuple[int, ...]) -> Tensor:
    """A share of the channels at each rate, side by side."""
    channels = x.shape[1] // len(rates)
    parts = []
    for index, rate in enumerate(rates):
        name = f"conv2.{index}" if len(rates) > 1 else "conv2"
        part = x
        if len(rates) > 1:
            part = crop(b, x, (index * channels,), (channels,), f"{name}.split", dim=1)
        parts.append(
            b.conv(
                part,
                channels,
                3,
                stride=stride,
                dilation=rate,
                padding=rate,
                groups=channels // _GROUP,
                name=name,
            )
        )
    return parts[0] if len(parts) == 1 else b.concat(*parts, name="conv2")


def _excited(b: Builder, x: Tensor, hidden: int) -> Tensor:
    with b.scope("se"):
        y = b.global_pool(x)
        y = b.relu(b.conv(y, hidden, 1, bias=True, name="reduce"))
        y = b.conv(y, x.shape[1], 1, bias=True, name="expand")
        return b.join(x, b.pointwise(y, label="sigmoid"), label="mul")
