"""Residual networks, in the two placements of their strides that weights exist for.

torchvision strides in a stage's first block; TF-Slim in its last unit, and nowhere in the fourth
stage, so that one stride comes a stage earlier: the same layers see further.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.registry import known

__all__ = ["resnet_stages"]

_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_IMAGE = (1, 3, 224, 224)


def resnet_stages(
    b: Builder, x: Tensor, depth: int, dilate: Sequence[bool] = (False, False, False)
) -> list[Tensor]:
    """The outputs of the four stages, with torchvision's strides and names.

    `dilate` says for stages two to four whether dilation takes the place of their stride: blocks
    after the one whose stride is removed read at twice the rate.
    """
    x = b.conv(x, 64, 7, stride=2, padding=3, name="conv1")
    x = b.relu(b.batch_norm(x, "bn1"))
    x = b.pool(x, 3, stride=2, padding=1, name="maxpool")
    block = _bottleneck if depth >= 50 else _basic
    outputs = []
    rate = 1
    for stage, blocks in enumerate(_BLOCKS[depth]):
        stride, before = (2 if stage else 1), rate
        if stage and dilate[stage - 1]:
            rate, stride = rate * stride, 1
        for index in range(blocks):
            with b.scope(f"layer{stage + 1}.{index}"):
                first = index == 0
                x = block(b, x, 64 << stage, stride if first else 1, before if first else rate)
        outputs.append(x)
    return outputs


def _basic(b: Builder, x: Tensor, planes: int, stride: int, rate: int) -> Tensor:
    y = b.conv(x, planes, 3, stride=stride, dilation=rate, padding=rate, name="conv1")
    y = b.relu(b.batch_norm(y, "bn1"))
    y = b.conv(y, planes, 3, dilation=rate, padding=rate, name="conv2")
    y = b.batch_norm(y, "bn2")
    return b.relu(b.join(y, _shortcut(b, x, planes, stride)))


def _bottleneck(b: Builder, x: Tensor, planes: int, stride: int, rate: int) -> Tensor:
    y = b.relu(b.batch_norm(b.conv(x, planes, 1, name="conv1"), "bn1"))
    y = b.conv(y, planes, 3, stride=stride, dilation=rate, padding=rate, name="conv2")
    y = b.relu(b.batch_norm(y, "bn2"))
    y = b.batch_norm(b.conv(y, 4 * planes, 1, name="conv3"), "bn3")
    return b.relu(b.join(y, _shortcut(b, x, 4 * planes, stride)))


def _shortcut(b: Builder, x: Tensor, channels: int, stride: int) -> Tensor:
    if stride == 1 and x.shape[1] == channels:
        return x
    with b.scope("downsample"):
        return b.batch_norm(b.conv(x, channels, 1, stride=stride, name="0"), "1")


def _resnet(b: Builder, x: Tensor, *, depth: int) -> Tensor:
    x = resnet_stages(b, x, depth)[-1]
    return b.linear(b.flatten(b.global_pool(x)), 1000)


def _slim(b: Builder, x: Tensor, *, depth: int) -> Tensor:
    x = _slim_conv(b, x, 64, 7, name="conv1", stride=2)
    x = b.pool(x, 3, stride=2, padding="same_upper", name="pool1")
    for stage, units in enumerate(_BLOCKS[depth]):
        for index in range(units):
            stride = 2 if index == units - 1 and stage < 3 else 1
            with b.scope(f"block{stage + 1}.unit_{index + 1}"):
                x = _slim_unit(b, x, 64 << stage, stride)
    return x


def _slim_unit(b: Builder, x: Tensor, planes: int, stride: int) -> Tensor:
    shortcut = x
    if x.shape[1] != 4 * planes:
        shortcut = _slim_conv(b, x, 4 * planes, 1, name="shortcut", stride=stride, relu=False)
    elif stride > 1:
        shortcut = b.pool(x, 1, stride=stride, name="shortcut")
    y = _slim_conv(b, x, planes, 1, name="conv1")
    y = _slim_conv(b, y, planes, 3, name="conv2", stride=stride)
    y = _slim_conv(b, y, 4 * planes, 1, name="conv3", relu=False)
    return b.relu(b.join(y, shortcut))


def _slim_conv(
    b: Builder,
    x: Tensor,
    channels: int,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    relu: bool = True,
) -> Tensor:
    x = b.conv(x, channels, kernel, stride=stride, padding="same", name=name)
    x = b.batch_norm(x, f"{name}.bn")
    return b.relu(x, f"{name}.relu") if relu else x


for _depth in _BLOCKS:
    known(
        f"resnet{_depth}",
        f"ResNet-{_depth}, stride in the "
        + ("3x3 convolutions" if _depth >= 50 else "first block of a stage"),
        shape=_IMAGE,
        source="He et al. 2015, as in torchvision",
    )(partial(_resnet, depth=_depth))

for _depth in (50, 101, 152):
    known(
        f"slim_resnet_v1_{_depth}",
        f"ResNet-{_depth}, stride in the last unit of a stage, no head",
        shape=_IMAGE,
        source="He et al. 2015, as in TF-Slim",
    )(partial(_slim, depth=_depth))
