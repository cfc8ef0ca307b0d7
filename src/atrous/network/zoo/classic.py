"""AlexNet and VGG: plain chains with a fully connected head, named as in torchvision."""

from __future__ import annotations

from itertools import count

from atrous.network.builder import Builder
from atrous.network.ops import AdaptivePool
from atrous.network.records import Tensor
from atrous.network.zoo.registry import known

_IMAGE = (1, 3, 224, 224)


@known(
    "alexnet",
    "AlexNet, one column",
    shape=_IMAGE,
    source="Krizhevsky 2014, as in torchvision",
)
def _alexnet(b: Builder, x: Tensor) -> Tensor:
    with b.scope("features"):
        x = b.conv(x, 64, 11, stride=4, padding=2, bias=True, name="0")
        x = b.relu(x, "1")
        x = b.pool(x, 3, stride=2, name="2")
        x = b.conv(x, 192, 5, padding=2, bias=True, name="3")
        x = b.relu(x, "4")
        x = b.pool(x, 3, stride=2, name="5")
        for index, channels in ((6, 384), (8, 256), (10, 256)):
            x = b.conv(x, channels, 3, padding=1, bias=True, name=str(index))
            x = b.relu(x, str(index + 1))
        x = b.pool(x, 3, stride=2, name="12")
    # Dropout does nothing at inference, but it counts where layers are numbered.
    return _head(b, x, pooled=6, layers=(1, 4, 6))


@known(
    "vgg16",
    "VGG-16 without batch norm",
    shape=_IMAGE,
    source="Simonyan and Zisserman 2014, as in torchvision",
)
def _vgg16(b: Builder, x: Tensor) -> Tensor:
    place = count()
    with b.scope("features"):
        for convs, channels in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            for _ in range(convs):
                x = b.conv(x, channels, 3, padding=1, bias=True, name=str(next(place)))
                x = b.relu(x, str(next(place)))
            x = b.pool(x, 2, name=str(next(place)))
    return _head(b, x, pooled=7, layers=(0, 3, 6))


def _head(b: Builder, x: Tensor, *, pooled: int, layers: tuple[int, int, int]) -> Tensor:
    x = b.add(AdaptivePool((pooled, pooled)), x, name="avgpool")
    x = b.flatten(x)
    with b.scope("classifier"):
        for index in layers[:2]:
            x = b.linear(x, 4096, name=str(index))
            x = b.relu(x, str(index + 1))
        return b.linear(x, 1000, name=str(layers[2]))
