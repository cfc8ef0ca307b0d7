"""The five networks with a cache in front of every layer, joined by `torch.cat`, as people do it.

Each convolution keeps the last positions that it read and puts them in front of the next block.
What is padded on both sides is padded in front alone, so that its result comes later by half its
extent, and a cache delays whatever is added to it. Weights are those of the network that is given.
In the beginning a layer that looks ahead has other positions in front of it than zeros, as the
offline run has them; from there on the results are the same, `delay` outputs later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models import sound
from bench.streams import networks

__all__ = ["CACHED", "Cached", "cache_bytes"]


class Cached(nn.Module):
    """A module whose results come `delay` positions late."""

    delay: int


class Delay(Cached):
    """The input, so many positions late."""

    def __init__(self, channels: int, delay: int) -> None:
        super().__init__()
        self.delay, self.cache = delay, torch.zeros(1, channels, delay)

    def forward(self, x: Tensor) -> Tensor:
        if not self.delay:
            return x
        x = torch.cat([self.cache, x], 2)
        self.cache = x[..., -self.delay :]
        return x[..., : -self.delay]


class Conv(Cached):
    """A convolution of stride 1, late by what it is padded with behind."""

    def __init__(self, layer: nn.Conv1d, behind: int) -> None:
        super().__init__()
        self.layer, self.delay = layer, behind
        (kernel,), (self.rate,) = layer.kernel_size, layer.dilation
        self.kept = (kernel - 1) * self.rate
        self.cache = torch.zeros(1, layer.in_channels, self.kept)

    def forward(self, x: Tensor) -> Tensor:
        if self.kept:
            x = torch.cat([self.cache, x], 2)
            self.cache = x[..., -self.kept :]
        layer = self.layer
        return functional.conv1d(
            x, layer.weight, layer.bias, dilation=self.rate, groups=layer.groups
        )


def looking_back(layer: nn.Conv1d) -> Conv:
    """A layer that is padded in front alone."""
    return Conv(layer, 0)


def centred(layer: nn.Conv1d) -> Conv:
    """A layer that is padded alike on both sides."""
    return Conv(layer, cast("int", layer.padding[0]))


class Up(Cached):
    """A transposed convolution of a kernel twice its stride: one position is kept.

    Positions of its result are counted from where nothing is trimmed, late by that.
    """

    def __init__(self, layer: nn.ConvTranspose1d) -> None:
        super().__init__()
        self.layer, (self.stride,) = layer, layer.stride
        self.delay = cast("int", layer.padding[0])
        self.cache = torch.zeros(1, layer.in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        layer, count = self.layer, x.shape[2] * self.stride
        x = torch.cat([self.cache, x], 2)
        self.cache = x[..., -1:]
        made = functional.conv_transpose1d(x, layer.weight, layer.bias, self.stride)
        return made[..., self.stride : self.stride + count]


class Line(Cached):
    """One after the other; what is no cache delays nothing."""

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts, self.delay = nn.ModuleList(parts), 0
        for part in self.parts:
            if isinstance(part, Up):
                self.delay *= part.stride
            self.delay += part.delay if isinstance(part, Cached) else 0

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


class Beside(Cached):
    """A line and a shortcut that waits for it, added."""

    def __init__(self, channels: int, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.line = Line(parts)
        self.delay = self.line.delay
        self.shortcut = Delay(channels, self.delay)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.line(x)


class Averaged(Cached):
    """Several lines side by side, each waiting for the slowest, averaged."""

    def __init__(self, channels: int, lines: Iterable[Cached]) -> None:
        super().__init__()
        self.lines = nn.ModuleList(lines)
        self.delay = max(line.delay for line in self.lines)
        self.waits = nn.ModuleList(Delay(channels, self.delay - one.delay) for one in self.lines)

    def forward(self, x: Tensor) -> Tensor:
        made = [wait(line(x)) for line, wait in zip(self.lines, self.waits, strict=True)]
        return sum(made[1:], made[0]) / len(made)


def hifigan(model: sound.Generator) -> Cached:
    leaky = nn.LeakyReLU(0.1)
    parts: list[nn.Module] = [centred(model.enter)]
    for up, kernels in zip(model.up, model.mix, strict=True):
        channels = up.out_channels
        lines = [
            Line(
                Beside(channels, [leaky, centred(dilated), leaky, centred(plain)])
                for dilated, plain in zip(one.dilated, one.plain, strict=True)
            )
            for one in kernels
        ]
        parts += [leaky, Up(up), Averaged(channels, lines)]
    return Line([*parts, nn.LeakyReLU(), centred(model.leave), nn.Tanh()])


def dac(model: networks.Dac) -> Cached:
    def part(one: nn.Module) -> nn.Module:
        if isinstance(one, nn.Conv1d):
            return centred(one)
        if isinstance(one, nn.ConvTranspose1d):
            return Up(one)
        if isinstance(one, networks.DacUnit):
            return Beside(one.body[1].in_channels, map(part, one.body))
        return one

    return Line(map(part, model.layers))


class WaveNet(Cached):
    def __init__(self, model: sound.WaveNet) -> None:
        super().__init__()
        self.model, self.delay = model, 0
        self.both = nn.ModuleList(looking_back(layer.both) for layer in model.layers)

    def forward(self, signal: Tensor) -> Tensor:
        x, total = self.model.enter(signal), None
        for layer, both in zip(self.model.layers, self.both, strict=True):
            value, gate = both(x).chunk(2, 1)
            y = torch.tanh(value) * torch.sigmoid(gate)
            x, skip = x + layer.onward(y), layer.skip(y)
            total = skip if total is None else total + skip
        return self.model.head(total)


class Tcn(Cached):
    def __init__(self, model: networks.Tcn) -> None:
        super().__init__()
        self.model, self.delay = model, 0
        self.one = nn.ModuleList(looking_back(block.one) for block in model.blocks)
        self.two = nn.ModuleList(looking_back(block.two) for block in model.blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block, one, two in zip(self.model.blocks, self.one, self.two, strict=True):
            y = torch.relu(two(torch.relu(one(x))))
            x = torch.relu(y + (x if block.shortcut is None else block.shortcut(x)))
        return self.model.label(x)


class RunningNorm(Cached):
    """The cumulative norm, with the sums so far and how many frames they are of."""

    def __init__(self, norm: sound.CumulativeNorm) -> None:
        super().__init__()
        self.norm, self.delay, self.frames = norm, 0, 0
        self.cache = torch.zeros(2, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        norm, count = self.norm, x.shape[2]
        sums = torch.stack([x.sum(1, keepdim=True), x.square().sum(1, keepdim=True)])
        sums = sums.cumsum(3) + self.cache
        self.cache = sums[..., -1:]
        frames = torch.arange(self.frames + 1, self.frames + count + 1, dtype=x.dtype)
        self.frames += count
        mean, square = sums / (frames * x.shape[1])
        return (x - mean) * (square - mean.square() + norm.eps).rsqrt() * norm.weight + norm.bias


class Separator(Cached):
    def __init__(self, model: sound.Separator) -> None:
        super().__init__()
        self.model, self.delay = model, 0

        def normed(parts: nn.Module) -> nn.Module:
            return Line(
                RunningNorm(one) if isinstance(one, sound.CumulativeNorm) else one
                for one in cast("nn.Sequential", parts)
            )

        self.enter = normed(model.enter)
        self.before = nn.ModuleList(normed(block.before) for block in model.blocks)
        self.after = nn.ModuleList(normed(block.after) for block in model.blocks)
        self.depthwise = nn.ModuleList(looking_back(block.depthwise) for block in model.blocks)

    def forward(self, frames: Tensor) -> Tensor:
        y, total = self.enter(frames), None
        for block, before, depthwise, after in zip(
            self.model.blocks, self.before, self.depthwise, self.after, strict=True
        ):
            inside = after(depthwise(before(block.enter(y))))
            y, skip = y + block.onward(inside), block.skip(inside)
            total = skip if total is None else total + skip
        return self.model.mask(total)


CACHED = {
    "HiFi-GAN V1": hifigan,
    "DAC decoder": dac,
    "WaveNet": WaveNet,
    "TCN": Tcn,
    "Conv-TasNet separator": Separator,
}


def cache_bytes(model: nn.Module) -> int:
    """What all caches hold."""
    caches = (getattr(one, "cache", None) for one in model.modules())
    return sum(one.numel() * one.element_size() for one in caches if one is not None)
