"""D-LinkNet: a residual encoder, a cascade of rates in its middle, a decoder that adds."""

from __future__ import annotations

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.registry import known
from atrous.network.zoo.resnet import resnet_stages


@known(
    "d_linknet34",
    "D-LinkNet-34: rates 1, 2, 4, 8 in the middle, for roads from above",
    shape=(1, 3, 1024, 1024),
    source="Zhou et al. 2018",
)
def _d_linknet34(b: Builder, x: Tensor) -> Tensor:
    with b.scope("encoder"):
        stages = resnet_stages(b, x, 34)
    x = _center(b, stages[3])
    for level, skip in zip((4, 3, 2), reversed(stages[:3]), strict=True):
        x = b.join(_decoder(b, x, skip.shape[1], f"decoder{level}"), skip)
    x = _decoder(b, x, 64, "decoder1")
    x = b.conv_transpose(x, 32, 4, stride=2, padding=1, bias=True, name="finaldeconv1")
    x = b.relu(x, "finalrelu1")
    x = b.relu(b.conv(x, 32, 3, padding=1, bias=True, name="finalconv2"), "finalrelu2")
    x = b.conv(x, 1, 3, padding=1, bias=True, name="finalconv3")
    return b.pointwise(x, label="sigmoid")


def _center(b: Builder, x: Tensor) -> Tensor:
    with b.scope("dblock"):
        total = y = x
        for index, rate in enumerate((1, 2, 4, 8), 1):
            y = b.conv(
                y,
                x.shape[1],
                3,
                dilation=rate,
                padding=rate,
                bias=True,
                name=f"dilate{index}",
            )
            y = b.pointwise(y, label="relu")
            total = b.join(total, y)
    return total


def _decoder(b: Builder, x: Tensor, channels: int, name: str) -> Tensor:
    with b.scope(name):
        hidden = x.shape[1] // 4
        x = b.conv(x, hidden, 1, bias=True, name="conv1")
        x = b.relu(b.batch_norm(x, "norm1"), "relu1")
        x = b.conv_transpose(
            x,
            hidden,
            3,
            stride=2,
            padding=1,
            output_padding=1,
            bias=True,
            name="deconv2",
        )
        x = b.relu(b.batch_norm(x, "norm2"), "relu2")
        x = b.conv(x, channels, 1, bias=True, name="conv3")
        return b.relu(b.batch_norm(x, "norm3"), "relu3")
