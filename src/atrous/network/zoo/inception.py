"""Inception-v3: branches of unlike windows side by side, named as in torchvision."""

from __future__ import annotations

from atrous.network.builder import Builder, Padding, PerAxis
from atrous.network.records import Tensor
from atrous.network.zoo.registry import known

_WIDE = ((1, 7), (0, 3))
_HIGH = ((7, 1), (3, 0))


@known(
    "inception_v3",
    "Inception v3, without its auxiliary head",
    shape=(1, 3, 299, 299),
    source="Szegedy et al. 2015, as in torchvision",
)
def _inception_v3(b: Builder, x: Tensor) -> Tensor:
    x = _conv(b, x, 32, 3, stride=2, name="Conv2d_1a_3x3")
    x = _conv(b, x, 32, 3, name="Conv2d_2a_3x3")
    x = _conv(b, x, 64, 3, padding=1, name="Conv2d_2b_3x3")
    x = b.pool(x, 3, stride=2, name="maxpool1")
    x = _conv(b, x, 80, 1, name="Conv2d_3b_1x1")
    x = _conv(b, x, 192, 3, name="Conv2d_4a_3x3")
    x = b.pool(x, 3, stride=2, name="maxpool2")
    for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        with b.scope(name):
            x = _square(b, x, pooled)
    with b.scope("Mixed_6a"):
        x = _first_reduction(b, x)
    for letter, channels in zip("bcde", (128, 160, 160, 192), strict=True):
        with b.scope(f"Mixed_6{letter}"):
            x = _factorised(b, x, channels)
    with b.scope("Mixed_7a"):
        x = _second_reduction(b, x)
    for letter in "bc":
        with b.scope(f"Mixed_7{letter}"):
            x = _spread(b, x)
    return b.linear(b.flatten(b.global_pool(x)), 1000)


def _square(b: Builder, x: Tensor, pooled: int) -> Tensor:
    one = _conv(b, x, 64, 1, name="branch1x1")
    five = _conv(b, x, 48, 1, name="branch5x5_1")
    five = _conv(b, five, 64, 5, padding=2, name="branch5x5_2")
    three = _conv(b, x, 64, 1, name="branch3x3dbl_1")
    three = _conv(b, three, 96, 3, padding=1, name="branch3x3dbl_2")
    three = _conv(b, three, 96, 3, padding=1, name="branch3x3dbl_3")
    return b.concat(one, five, three, _pooled(b, x, pooled))


def _first_reduction(b: Builder, x: Tensor) -> Tensor:
    one = _conv(b, x, 384, 3, stride=2, name="branch3x3")
    two = _conv(b, x, 64, 1, name="branch3x3dbl_1")
    two = _conv(b, two, 96, 3, padding=1, name="branch3x3dbl_2")
    two = _conv(b, two, 96, 3, stride=2, name="branch3x3dbl_3")
    return b.concat(one, two, b.pool(x, 3, stride=2))


def _factorised(b: Builder, x: Tensor, channels: int) -> Tensor:
    one = _conv(b, x, 192, 1, name="branch1x1")
    seven = _conv(b, x, channels, 1, name="branch7x7_1")
    seven = _conv(b, seven, channels, *_WIDE, name="branch7x7_2")
    seven = _conv(b, seven, 192, *_HIGH, name="branch7x7_3")
    twice = _conv(b, x, channels, 1, name="branch7x7dbl_1")
    twice = _conv(b, twice, channels, *_HIGH, name="branch7x7dbl_2")
    twice = _conv(b, twice, channels, *_WIDE, name="branch7x7dbl_3")
    twice = _conv(b, twice, channels, *_HIGH, name="branch7x7dbl_4")
    twice = _conv(b, twice, 192, *_WIDE, name="branch7x7dbl_5")
    return b.concat(one, seven, twice, _pooled(b, x, 192))


def _second_reduction(b: Builder, x: Tensor) -> Tensor:
    one = _conv(b, x, 192, 1, name="branch3x3_1")
    one = _conv(b, one, 320, 3, stride=2, name="branch3x3_2")
    two = _conv(b, x, 192, 1, name="branch7x7x3_1")
    two = _conv(b, two, 192, *_WIDE, name="branch7x7x3_2")
    two = _conv(b, two, 192, *_HIGH, name="branch7x7x3_3")
    two = _conv(b, two, 192, 3, stride=2, name="branch7x7x3_4")
    return b.concat(one, two, b.pool(x, 3, stride=2))


def _spread(b: Builder, x: Tensor) -> Tensor:
    one = _conv(b, x, 320, 1, name="branch1x1")
    three = _conv(b, x, 384, 1, name="branch3x3_1")
    three = _cross(b, three, "branch3x3_2")
    twice = _conv(b, x, 448, 1, name="branch3x3dbl_1")
    twice = _conv(b, twice, 384, 3, padding=1, name="branch3x3dbl_2")
    twice = _cross(b, twice, "branch3x3dbl_3")
    return b.concat(one, three, twice, _pooled(b, x, 192))


def _cross(b: Builder, x: Tensor, name: str) -> Tensor:
    wide = _conv(b, x, 384, (1, 3), (0, 1), name=f"{name}a")
    high = _conv(b, x, 384, (3, 1), (1, 0), name=f"{name}b")
    return b.concat(wide, high, name=f"{name}.concat")


def _pooled(b: Builder, x: Tensor, channels: int) -> Tensor:
    x = b.pool(x, 3, stride=1, padding=1, average=True)
    return _conv(b, x, channels, 1, name="branch_pool")


def _conv(
    b: Builder,
    x: Tensor,
    channels: int,
    kernel: PerAxis,
    padding: Padding = 0,
    *,
    stride: int = 1,
    name: str,
) -> Tensor:
    with b.scope(name):
        x = b.conv(x, channels, kernel, stride=stride, padding=padding, name="conv")
        return b.relu(b.batch_norm(x))
