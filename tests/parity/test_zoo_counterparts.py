"""Known networks that torchvision does not have, against PyTorch code of one channel.

Every weight of such a counterpart is positive, no activation bends it and maxima are averages, so
the gradient of an output position is positive exactly where it reads the input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as nnf

import atrous

CONVS = {1: nnf.conv1d, 2: nnf.conv2d, 3: nnf.conv3d}
TRANSPOSED = {1: nnf.conv_transpose1d, 2: nnf.conv_transpose2d, 3: nnf.conv_transpose3d}
POOLS = {2: nnf.avg_pool2d, 3: nnf.avg_pool3d}


def weight(x: Tensor, kernel: int) -> Tensor:
    rank = x.ndim - 2
    # Far from what a float cannot hold, however deep the network is.
    return torch.full((1, 1, *[kernel] * rank), 1 / kernel, dtype=x.dtype)


def conv(x: Tensor, kernel: int, stride: int = 1, rate: int = 1, padding: int | None = None):
    if padding is None:
        padding = rate * (kernel - 1) // 2
    function = CONVS[x.ndim - 2]
    return function(x, weight(x, kernel), stride=stride, padding=padding, dilation=rate)


def up(x: Tensor, kernel: int, stride: int, padding: int = 0, extra: int = 0) -> Tensor:
    function = TRANSPOSED[x.ndim - 2]
    return function(x, weight(x, kernel), stride=stride, padding=padding, output_padding=extra)


def pool(x: Tensor, kernel: int, stride: int, padding: int = 0, ceil: bool = False) -> Tensor:
    return POOLS[x.ndim - 2](x, kernel, stride, padding, ceil_mode=ceil)


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Linear interpolation in which all samples that are weighed at all are weighed alike."""
    h, w = (
        reads_of_linear(n, m).to(x.dtype) for n, m in zip(x.shape[2:], like.shape[2:], strict=True)
    )
    return h @ x @ w.T


@cache
def reads_of_linear(n: int, m: int) -> Tensor:
    probes = torch.eye(n, dtype=torch.float64)[:, None]
    weights = nnf.interpolate(probes, m, mode="linear", align_corners=False)[:, 0].T
    return (weights > 1e-12) / 2


def basic(x: Tensor, stride: int = 1, rate: int = 1, residual: bool = True) -> Tensor:
    y = conv(conv(x, 3, stride, rate), 3, 1, rate)
    return y + conv(x, 1, stride) if residual else y


def drn_c_26(x: Tensor) -> Tensor:
    x = conv(x, 7)
    for blocks, stride, rate, residual in (
        (1, 1, 1, True),
        (1, 2, 1, True),
        (2, 2, 1, True),
        (2, 2, 1, True),
        (2, 1, 2, True),
        (2, 1, 4, True),
        (1, 1, 2, False),
        (1, 1, 1, False),
    ):
        for index in range(blocks):
            x = basic(x, 1 if index else stride, rate, residual)
    return x


def fcn8s(x: Tensor) -> Tensor:
    y = nnf.pad(x, (99, 99, 99, 99))
    maps = []
    for convs in (2, 2, 3, 3, 3):
        for _ in range(convs):
            y = conv(y, 3)
        y = pool(y, 2, 2, ceil=True)
        maps.append(y)
    y = up(conv(y, 7, padding=0), 4, 2)
    h, w = y.shape[2:]
    y = up(y + maps[3][:, :, 5 : 5 + h, 5 : 5 + w], 4, 2)
    h, w = y.shape[2:]
    y = up(y + maps[2][:, :, 9 : 9 + h, 9 : 9 + w], 16, 8)
    return y[:, :, 31 : 31 + x.shape[2], 31 : 31 + x.shape[3]]


def dense(x: Tensor, layers: int, rate: int = 1) -> Tensor:
    for _ in range(layers):
        x = x + conv(x, 3, 1, rate)
    return x


def denseaspp121(x: Tensor) -> Tensor:
    y = pool(conv(x, 7, 2), 3, 2, 1)
    y = pool(dense(y, 6), 2, 2)
    y = dense(dense(dense(y, 12), 24, 2), 16, 4)
    for rate in (3, 6, 12, 18, 24):
        y = y + conv(y, 3, 1, rate)
    return resize(y, x)


def d_linknet34(x: Tensor) -> Tensor:
    x = pool(conv(x, 7, 2), 3, 2, 1)
    maps = []
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for index in range(blocks):
            x = basic(x, 2 if stage and not index else 1)
        maps.append(x)
    y = x
    for rate in (1, 2, 4, 8):
        y = conv(y, 3, 1, rate)
        x = x + y
    for skip in (maps[2], maps[1], maps[0]):
        x = up(x, 3, 2, 1, 1) + skip
    return conv(conv(up(up(x, 3, 2, 1, 1), 4, 2, 1), 3), 3)


def pyramid(x: Tensor, stride: int = 1) -> Tensor:
    x = conv(x, 3, 2) if stride > 1 else x
    return sum(conv(x, 3, 1, rate) for rate in (1, 2, 4, 8, 16))


def espnet(x: Tensor) -> Tensor:
    half = pool(x, 3, 2, 1)
    first = conv(x, 3, 2) + half
    y = second = pyramid(first, 2)
    for _ in range(2):
        y = y + pyramid(y)
    second = second + y + pool(half, 3, 2, 1)
    y = third = pyramid(second, 2)
    for _ in range(8):
        y = y + pyramid(y)
    y = pyramid(up(third + y, 2, 2) + second)
    return up(conv(up(y, 2, 2) + first, 3), 2, 2)


def van_b0(x: Tensor) -> Tensor:
    for stage, blocks in enumerate((3, 3, 5, 2)):
        x = conv(x, 3, 2) if stage else conv(x, 7, 4)
        for _ in range(blocks):
            x = x + conv(conv(x, 5), 7, 1, 3)
            x = x + conv(x, 3)
    return x


def unet3d(x: Tensor) -> Tensor:
    maps = []
    for _ in range(3):
        x = conv(x, 5, padding=0)
        maps.append(x)
        x = pool(x, 2, 2)
    x = conv(x, 5, padding=0)
    for skip in reversed(maps):
        x = up(x, 2, 2)
        for dim, size in enumerate(x.shape[2:], 2):
            skip = skip.narrow(dim, (skip.shape[dim] - size) // 2, size)
        x = conv(x + skip, 5, padding=0)
    return x


def bytenet_decoder(x: Tensor) -> Tensor:
    for block in range(30):
        rate = 1 << block % 5
        x = x + conv(nnf.pad(x, (2 * rate, 0)), 3, 1, rate, padding=0)
    return x


def rave(x: Tensor) -> Tensor:
    x = conv(x, 7)
    for ratio in (4, 4, 4, 2):
        x = conv(x, 2 * ratio + 1, ratio)
    x = conv(conv(x, 5), 7)
    for ratio in (2, 4, 4, 4):
        x = up(x, 2 * ratio, ratio, ratio // 2)
        for rate in (1, 3, 5):
            x = x + conv(x, 3, 1, rate)
    return conv(x, 7)


# What is compared, the layer of the known network, and an input that fields do not fill.
COUNTERPARTS: dict[str, tuple[Callable[[Tensor], Tensor], str | None, tuple[int, ...]]] = {
    "drn_c_26": (drn_c_26, "layer8.0.relu@1", (75, 650)),
    "fcn8s": (fcn8s, None, (70, 513)),
    "d_linknet34": (d_linknet34, None, (64, 2112)),
    "espnet": (espnet, None, (48, 3000)),
    "van_b0": (van_b0, "norm4", (72, 4800)),
    "unet3d": (unet3d, None, (92, 92, 108)),
    "bytenet_decoder": (bytenet_decoder, None, (512,)),
    "rave": (rave, None, (8192,)),
    "denseaspp121": (denseaspp121, None, (72, 3000)),
}


def bottlenecks(x: Tensor, rates: tuple[int, int, int]) -> list[Tensor]:
    """ResNet-50's stages; a stage whose rate is not the one before lost its stride to it."""
    x = pool(conv(x, 7, 2), 3, 2, 1)
    maps, before = [], 1
    for stage, (blocks, rate) in enumerate(zip((3, 4, 6, 3), (1, *rates), strict=True)):
        for index in range(blocks):
            stride = 2 if stage and not index and rate == before else 1
            x = conv(x, 3, stride, rate if index else before) + conv(x, 1, stride)
        before = rate
        maps.append(x)
    return maps


def spread(x: Tensor, rates: tuple[int, ...]) -> Tensor:
    return x + sum(conv(x, 3, 1, rate) for rate in rates)


def deeplabv3plus_resnet50(x: Tensor) -> Tensor:
    maps = bottlenecks(x, (1, 1, 2))
    return conv(conv(resize(spread(maps[3], (6, 12, 18)), maps[0]) + maps[0], 3), 3)


def deeplabv3plus_resnet50_os8(x: Tensor) -> Tensor:
    maps = bottlenecks(x, (1, 2, 4))
    return conv(conv(resize(spread(maps[3], (12, 24, 36)), maps[0]) + maps[0], 3), 3)


def deeplabv3_mobilenet_v2(x: Tensor) -> Tensor:
    x = conv(conv(x, 3, 2), 3)
    for blocks, stride, rate in ((2, 2, 1), (3, 2, 1), (4, 2, 1), (3, 1, 1), (3, 1, 2), (1, 1, 2)):
        for index in range(blocks):
            # The first block of the stage that lost its stride still reads at rate 1.
            lost = blocks == 3 and rate == 2 and not index
            x = conv(x, 3, 1 if index else stride, 1 if lost else rate)
    return x


def regseg_backbone(x: Tensor) -> Tensor:
    x = conv(x, 3, 2)
    for stride in (2, 2, 1, 1, 2):
        shortcut = pool(x, 2, 2, ceil=True) if stride > 1 else x
        x = conv(x, 3, stride) + shortcut
    for rate in (1, 2, *(4,) * 4, *(14,) * 7):
        x = x + conv(x, 3) + conv(x, 3, 1, rate)
    return x


# Global pooling is left out of these: what is compared is the field that stays local.
LOCAL: dict[str, tuple[Callable[[Tensor], Tensor], str, int]] = {
    "deeplabv3plus_resnet50": (deeplabv3plus_resnet50, "decoder.classifier", 2048),
    "deeplabv3plus_resnet50_os8": (deeplabv3plus_resnet50_os8, "decoder.classifier", 2048),
    "deeplabv3_mobilenet_v2": (deeplabv3_mobilenet_v2, "classifier.1", 1024),
    "regseg_backbone": (regseg_backbone, "blocks.17.relu3", 8192),
}


def read_by(function: Callable[[Tensor], Tensor], sizes: tuple[int, ...], at: tuple[int, ...]):
    # PyTorch has no fast 3-D convolution of doubles.
    dtype = torch.float32 if len(sizes) == 3 else torch.float64
    x = torch.ones(1, 1, *sizes, dtype=dtype, requires_grad=True)
    function(x)[(0, 0, *at)].backward()
    return x.grad[0, 0].numpy() != 0


def assert_reads_the_same(
    function: Callable[[Tensor], Tensor], report: atrous.Inspection, layer: str | None
) -> None:
    sizes = report.network.inputs[0].shape[2:]
    found = report[layer] if layer else report.outputs[-1]
    with torch.no_grad():
        out = function(torch.ones(1, 1, *sizes)).shape[2:]
    assert found.output_shape[2:] == out
    for at in {
        tuple(n // 2 + 1 for n in out),
        tuple(0 for _ in out),
        tuple(n - 1 for n in out),
    }:
        mask = report.footprint(layer, at).mask
        assert np.array_equal(mask, read_by(function, sizes, at)), at


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_a_known_network_reads_what_its_counterpart_reads(name):
    function, layer, sizes = COUNTERPARTS[name]
    channels = atrous.read(f"zoo:{name}").inputs[0].shape[1]
    report = atrous.inspect(f"zoo:{name}", (1, channels, *sizes))
    assert_reads_the_same(function, report, layer)


@pytest.mark.parametrize("name", LOCAL)
def test_the_local_field_of_a_known_network_is_its_counterparts(name):
    function, layer, length = LOCAL[name]
    field = atrous.inspect(f"zoo:{name}", (1, 3, 32, length))[layer].field[1]
    middle = length // (2 * int(field.stride))
    seen = [
        np.flatnonzero(read_by(function, (32, length), (0, middle + phase)).any(axis=0))
        for phase in range(4)
    ]
    assert field.size == max(read[-1] - read[0] + 1 for read in seen) < length
    assert field.taps == max(len(read) for read in seen)
    assert field.coverage == min(len(read) / (read[-1] - read[0] + 1) for read in seen)


def test_the_check_notices_a_rate_that_is_wrong():
    report = atrous.inspect("zoo:drn_c_26", (1, 3, 75, 650))
    with pytest.raises(AssertionError):
        assert_reads_the_same(lambda x: conv(drn_c_26(x), 3), report, "layer8.0.relu@1")
