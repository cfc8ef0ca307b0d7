"""Dilated residual networks: residual blocks that keep stride 8, and a tail that removes holes."""

from __future__ import annotations

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.registry import known


@known(
    "drn_c_26",
    "DRN-C-26: rates 2 and 4, then 2 and 1 without shortcuts against gridding",
    shape=(1, 3, 224, 224),
    source="Yu et al. 2017",
)
def _drn_c_26(b: Builder, x: Tensor) -> Tensor:
    x = b.relu(b.batch_norm(b.conv(x, 16, 7, padding=3, name="conv1"), "bn1"))
    # channels, blocks, stride of the first block, rate
    for level, (channels, blocks, stride, rate) in enumerate(
        (
            (16, 1, 1, 1),
            (32, 1, 2, 1),
            (64, 2, 2, 1),
            (128, 2, 2, 1),
            (256, 2, 1, 2),
            (512, 2, 1, 4),
            (512, 1, 1, 2),
            (512, 1, 1, 1),
        ),
        1,
    ):
        for index in range(blocks):
            with b.scope(f"layer{level}.{index}"):
                x = _drn_block(b, x, channels, 1 if index else stride, rate, residual=level < 7)
    x = b.global_pool(x)
    return b.flatten(b.conv(x, 1000, 1, bias=True, name="fc"))


def _drn_block(
    b: Builder, x: Tensor, channels: int, stride: int, rate: int, *, residual: bool
) -> Tensor:
    y = b.conv(x, channels, 3, stride=stride, dilation=rate, padding=rate, name="conv1")
    y = b.relu(b.batch_norm(y, "bn1"))
    y = b.batch_norm(b.conv(y, channels, 3, dilation=rate, padding=rate, name="conv2"), "bn2")
    if not residual:
        return b.relu(y)
    if stride > 1 or x.shape[1] != channels:
        x = b.conv(x, channels, 1, stride=stride, name="downsample.0")
        x = b.batch_norm(x, "downsample.1")
    return b.relu(b.join(y, x))
