"""MobileNets: depthwise convolutions between 1x1 ones."""

from __future__ import annotations

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.blocks import conv_bn_act
from atrous.network.zoo.registry import known

__all__ = ["mobilenet_v2_features"]

_IMAGE = (1, 3, 224, 224)


@known(
    "mobilenet_v1",
    "MobileNet v1, width 1.0",
    shape=_IMAGE,
    source="Howard et al. 2017, padded as in TF-Slim",
)
def _mobilenet_v1(b: Builder, x: Tensor) -> Tensor:
    x = _slim_conv6(b, x, 32, 3, name="Conv2d_0", stride=2)
    layers = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    layers += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    for index, (channels, stride) in enumerate(layers, 1):
        name = f"Conv2d_{index}_depthwise"
        held = x.shape[1]
        x = _slim_conv6(b, x, held, 3, name=name, stride=stride, groups=held)
        x = _slim_conv6(b, x, channels, 1, name=f"Conv2d_{index}_pointwise")
    return b.linear(b.flatten(b.global_pool(x)), 1000)


def _slim_conv6(
    b: Builder,
    x: Tensor,
    channels: int,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    groups: int = 1,
) -> Tensor:
    x = b.conv(x, channels, kernel, stride=stride, padding="same_upper", groups=groups, name=name)
    x = b.batch_norm(x, f"{name}.bn")
    return b.pointwise(x, label="relu6", in_place=True, name=f"{name}.relu6")


@known(
    "mobilenet_v2",
    "MobileNet v2, width 1.0",
    shape=_IMAGE,
    source="Sandler et al. 2018, as in torchvision",
)
def _mobilenet_v2(b: Builder, x: Tensor) -> Tensor:
    x = mobilenet_v2_features(b, x)
    x = conv_bn_act(b, x, 1280, act="relu6", name="features.18")
    return b.linear(b.flatten(b.global_pool(x)), 1000, name="classifier.1")


def mobilenet_v2_features(b: Builder, x: Tensor, stride: int = 32) -> Tensor:
    """The last 320 channels, with torchvision's names, at an output stride of 2 to 32.

    Behind that stride blocks read at the rate of the strides that are missing; the block whose
    stride is missing keeps its rate.
    """
    x = conv_bn_act(b, x, 32, 3, stride=2, act="relu6", name="features.0")
    index, reached, rate = 1, 2, 1
    # expansion, channels, blocks, stride of the first block
    for expansion, channels, blocks, first in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for block in range(blocks):
            asked = 1 if block else first
            taken = asked if reached < stride else 1
            with b.scope(f"features.{index}"):
                x = _inverted(b, x, expansion, channels, taken, rate)
            reached *= taken
            rate *= asked // taken
            index += 1
    return x


def _inverted(
    b: Builder, x: Tensor, expansion: int, channels: int, stride: int, rate: int
) -> Tensor:
    hidden = expansion * x.shape[1]
    y = x
    with b.scope("conv"):
        place = 0
        if expansion > 1:
            y = conv_bn_act(b, y, hidden, act="relu6", name="0")
            place = 1
        y = conv_bn_act(
            b,
            y,
            hidden,
            3,
            stride=stride,
            dilation=rate,
            groups=hidden,
            act="relu6",
            name=str(place),
        )
        y = b.batch_norm(b.conv(y, channels, 1, name=str(place + 1)), str(place + 2))
    return b.join(x, y) if stride == 1 and x.shape[1] == channels else y
