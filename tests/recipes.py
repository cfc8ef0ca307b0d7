"""Architectures as recipes, built in more than one framework, and what their reports must share.

A recipe is written in a few words (`conv`, `pool`, `join`); `InTorch` has them as PyTorch does, and
pads by hand what `same` pads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

from atrous import Inspection
from atrous.geometry import same_upper

Recipe = Callable[[Any, Any], Any]


class InTorch(nn.Module):
    """The words of a recipe as PyTorch has them; layers are made where it first runs."""

    def __init__(self, recipe: Recipe, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.recipe, self.at = recipe, 0
        self.made = nn.ModuleList()
        with torch.no_grad():
            self.forward(torch.zeros(shape))
        self.eval()

    def forward(self, x: torch.Tensor) -> Any:
        self.at = 0
        return self.recipe(self, x)

    def layer(self, make: Callable[[], nn.Module]) -> nn.Module:
        if self.at == len(self.made):
            self.made.append(make())
        self.at += 1
        return self.made[self.at - 1]

    def conv(self, x: Any, channels: int, kernel: Any, stride: int = 1, **given: Any) -> Any:
        rank = x.ndim - 2
        kernels = (kernel,) * rank if isinstance(kernel, int) else tuple(kernel)
        rate, groups = given.get("rate", 1), given.get("groups", 1)
        padding = given.get("padding", "same")
        if padding == "same":
            x = self.padded(x, kernels, stride, rate)
        elif padding == "causal":
            x = F.pad(x, ((kernels[0] - 1) * rate, 0))
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        taken = x.shape[1]
        return self.layer(
            lambda: kind(
                taken,
                channels,
                kernels,
                stride,
                dilation=rate,
                groups=groups,
                bias=given.get("bias", True),
            )
        )(x)

    def padded(self, x: Any, kernels: Any, stride: int, rate: int = 1, value: float = 0) -> Any:
        pads: list[int] = []
        for length, kernel in zip(reversed(x.shape[2:]), reversed(kernels), strict=True):
            pads += same_upper(length, kernel, stride, rate)
        return F.pad(x, pads, value=value) if any(pads) else x

    def depthwise(self, x: Any, kernel: int, bias: bool = False) -> Any:
        return self.conv(x, x.shape[1], kernel, groups=x.shape[1], bias=bias)

    def back(self, x: Any, channels: int, kernel: int, stride: int) -> Any:
        cut = (kernel - stride) // 2
        return self.layer(lambda: nn.ConvTranspose2d(x.shape[1], channels, kernel, stride, cut))(x)

    def norm(self, x: Any, scale: bool = True) -> Any:
        if not scale:
            return self.layer(lambda: Shift(x.shape[1]))(x)
        kind = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[x.ndim - 3]
        return self.layer(lambda: kind(x.shape[1]))(x)

    def act(self, x: Any, name: str = "relu") -> Any:
        return getattr(torch, name)(x)

    def pool(self, x: Any, kernel: int, stride: int) -> Any:
        x = self.padded(x, (kernel, kernel), stride, value=float("-inf"))
        return F.max_pool2d(x, kernel, stride)

    def average(self, x: Any) -> Any:
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    def image(self, x: Any) -> Any:
        return x.mean((2, 3), keepdim=True)

    def like(self, x: Any, other: Any) -> Any:
        return F.interpolate(x, other.shape[2:], mode="bilinear")

    def join(self, *parts: Any) -> Any:
        return torch.cat(parts, 1)

    def channels(self, x: Any) -> int:
        return int(x.shape[1])

    def vector(self, x: Any) -> Any:
        return x.mean(tuple(range(2, x.ndim)))

    def dense(self, x: Any, channels: int) -> Any:
        return self.layer(lambda: nn.Linear(x.shape[1], channels))(x)


class Shift(nn.Module):
    """A batch norm without a scale, at inference: an offset for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bias[:, None, None]


# Recipes built in both


def unet(at: Any, x: Any) -> Any:
    held = []
    for width in (8, 16, 32):
        x = at.act(at.conv(at.act(at.conv(x, width, 3)), width, 3))
        held.append(x)
        x = at.pool(x, 2, 2)
    x = at.act(at.conv(x, 64, 3))
    for width in (32, 16, 8):
        x = at.join(at.back(x, width, 4, 2), held.pop())
        x = at.act(at.conv(at.act(at.conv(x, width, 3)), width, 3))
    return at.conv(x, 2, 1)


def deeplab(at: Any, x: Any) -> Any:
    start = x
    x = at.pool(at.act(at.norm(at.conv(x, 16, 7, 2, bias=False))), 3, 2)
    for width, stride, rate in ((16, 1, 1), (32, 2, 1), (32, 1, 2), (64, 1, 4)):
        y = at.act(at.norm(at.conv(x, width, 3, stride, rate=rate, bias=False)))
        y = at.norm(at.conv(y, width, 3, rate=rate, bias=False))
        x = at.act(y + at.conv(x, width, 1, stride))
    parts = [at.conv(x, 16, 1), *(at.conv(x, 16, 3, rate=rate) for rate in (6, 12, 18))]
    parts.append(at.like(at.conv(at.image(x), 16, 1), x))
    return at.like(at.conv(at.join(*parts), 21, 1), start)


def wavenet(at: Any, x: Any) -> Any:
    x = at.conv(x, 8, 2, padding="causal")
    total = None
    for block, rate in enumerate((1, 2, 4, 8, 16) * 2):
        gates = [
            at.act(at.conv(x, 8, 2, rate=rate, padding="causal"), name)
            for name in ("tanh", "sigmoid")
        ]
        y = gates[0] * gates[1]
        skip = at.conv(y, 8, 1)
        total = skip if total is None else total + skip
        x = x + at.conv(y, 8, 1) if block < 9 else x
    return at.conv(at.act(at.conv(at.act(total), 16, 1)), 32, 1)


def tcn(at: Any, x: Any) -> Any:
    for level, width in enumerate((8, 8, 16)):
        y = x
        for _ in range(2):
            y = at.act(at.conv(y, width, 3, rate=2**level, padding="causal"))
        x = at.act(y + (x if level == 1 else at.conv(x, width, 1)))
    return at.conv(x, 4, 1)


def assert_same_report(report: Inspection, other: Inspection, starts: bool = True) -> None:
    """Both cost, hold and see alike, layer by layer; where `starts`, from the same place on."""
    assert report.complete
    assert other.complete
    assert (report.macs, report.params) == (other.macs, other.params)
    assert _costly(report, starts) == _costly(other, starts)
    ends = [one.outputs[-1] for one in (report, other)]
    assert _fields(ends[0], starts) == _fields(ends[1], starts)
    assert ends[0].is_global == ends[1].is_global


def _costly(report: Inspection, starts: bool) -> Counter[Any]:
    """What all layers that multiply see, cost and hold."""
    return Counter((layer.macs, _fields(layer, starts)) for layer in report.layers if layer.macs)


def _fields(layer: Any, starts: bool) -> tuple[Any, ...]:
    return tuple(
        (f.size, f.taps, f.stride, f.coverage, f.max_gap, f.step, f.start if starts else None)
        for f in layer.field
    )
