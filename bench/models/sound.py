"""Networks along time: the separator of Conv-TasNet, WaveNet, and the generator of HiFi-GAN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Generator", "Separator", "WaveNet"]


class CumulativeNorm(nn.Module):
    """Each frame normalized by the mean and variance of all channels and frames up to it."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.shape[2] + 1, dtype=x.dtype) * x.shape[1]
        mean = x.sum(1, keepdim=True).cumsum(2) / count
        square = x.square().sum(1, keepdim=True).cumsum(2) / count
        scale = (square - mean.square() + self.eps).rsqrt()
        return (x - mean) * scale * self.weight + self.bias


def norm(kind: str, channels: int) -> nn.Module:
    """Over all frames, over those so far, or by running statistics."""
    if kind == "global":
        return nn.GroupNorm(1, channels)
    if kind == "cumulative":
        return CumulativeNorm(channels)
    if kind == "batch":
        return nn.BatchNorm1d(channels)
    raise ValueError(f"no norm is named {kind!r}; there are global, cumulative and batch")


class SeparatorBlock(nn.Module):
    """1x1, depthwise at a rate, and two 1x1: what goes on, and what goes out."""

    def __init__(self, channels: int, hidden: int, kernel: int, rate: int, kind: str) -> None:
        super().__init__()
        self.enter = nn.Conv1d(channels, hidden, 1)
        self.before = nn.Sequential(nn.PReLU(), norm(kind, hidden))
        self.rate, self.causal, self.reach = rate, kind == "cumulative", (kernel - 1) * rate
        padding = 0 if self.causal else self.reach // 2
        self.depthwise = nn.Conv1d(
            hidden, hidden, kernel, padding=padding, dilation=rate, groups=hidden
        )
        self.after = nn.Sequential(nn.PReLU(), norm(kind, hidden))
        self.onward, self.skip = nn.Conv1d(hidden, channels, 1), nn.Conv1d(hidden, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.before(self.enter(x))
        if self.causal:
            y = functional.pad(y, (self.reach, 0))
        y = self.after(self.depthwise(y))
        return x + self.onward(y), self.skip(y)


class Separator(nn.Module):
    """The masks of Conv-TasNet (Luo and Mesgarani 2019): N 512, B 128, H 512, P 3, X 8, R 3.

    With the cumulative norm it is causal.
    """

    def __init__(self, kind: str = "global", speakers: int = 2) -> None:
        super().__init__()
        basis, channels, hidden, kernel, depth, repeats = 512, 128, 512, 3, 8, 3
        self.enter = nn.Sequential(norm(kind, basis), nn.Conv1d(basis, channels, 1))
        self.blocks = nn.ModuleList(
            SeparatorBlock(channels, hidden, kernel, 1 << step, kind)
            for _ in range(repeats)
            for step in range(depth)
        )
        self.mask = nn.Sequential(
            nn.PReLU(), nn.Conv1d(channels, speakers * basis, 1), nn.Sigmoid()
        )

    def forward(self, frames: Tensor) -> Tensor:
        y = self.enter(frames)
        total = torch.zeros_like(y)
        for block in self.blocks:
            y, skip = block(y)
            total = total + skip
        return self.mask(total)


class Gated(nn.Module):
    """A causal convolution of two taps, whose halves are a value and its gate."""

    def __init__(self, channels: int, skips: int, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.both = nn.Conv1d(channels, 2 * channels, 2, dilation=rate)
        self.onward, self.skip = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, skips, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, gate = self.both(functional.pad(x, (self.rate, 0))).chunk(2, 1)
        y = torch.tanh(value) * torch.sigmoid(gate)
        return x + self.onward(y), self.skip(y)


class WaveNet(nn.Module):
    """Stacks of rates 1 to 512 (van den Oord et al. 2016), run over a whole signal."""

    def __init__(
        self, channels: int = 64, skips: int = 256, levels: int = 256, stacks: int = 2
    ) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, channels, 1)
        self.layers = nn.ModuleList(
            Gated(channels, skips, 1 << step) for _ in range(stacks) for step in range(10)
        )
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv1d(skips, skips, 1), nn.ReLU(), nn.Conv1d(skips, levels, 1)
        )

    def forward(self, signal: Tensor) -> Tensor:
        x = self.enter(signal)
        x, total = self.layers[0](x)
        for layer in self.layers[1:]:
            x, skip = layer(x)
            total = total + skip
        return self.head(total)


class Receptive(nn.Module):
    """Pairs of one kernel, at a rate and at rate 1, each beside a shortcut."""

    def __init__(self, channels: int, kernel: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.dilated, self.plain = nn.ModuleList(), nn.ModuleList()
        for rate in rates:
            pad = (kernel - 1) // 2
            self.dilated.append(nn.Conv1d(channels, channels, kernel, 1, pad * rate, rate))
            self.plain.append(nn.Conv1d(channels, channels, kernel, 1, pad))

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            y = dilated(functional.leaky_relu(x, 0.1))
            x = x + plain(functional.leaky_relu(y, 0.1))
        return x


class Generator(nn.Module):
    """HiFi-GAN's generator, V1 (Kong et al. 2020): 80 mel bands to 256 samples a frame.

    Each upsampling is followed by three kernels whose results are averaged. Weights are drawn so
    that every layer keeps the size of its input, and the sums grow little.
    """

    def __init__(self, bands: int = 80, channels: int = 512) -> None:
        super().__init__()
        kernels, rates = (3, 7, 11), (1, 3, 5)
        self.enter = nn.Conv1d(bands, channels, 7, padding=3)
        self.up, self.mix = nn.ModuleList(), nn.ModuleList()
        for factor in (8, 8, 2, 2):
            self.up.append(
                nn.ConvTranspose1d(channels, channels // 2, 2 * factor, factor, factor // 2)
            )
            channels //= 2
            self.mix.append(nn.ModuleList(Receptive(channels, k, rates) for k in kernels))
        self.leave = nn.Conv1d(channels, 1, 7, padding=3)
        self.apply(settled)

    def forward(self, mel: Tensor) -> Tensor:
        y = self.enter(mel)
        for up, kernels in zip(self.up, self.mix, strict=True):
            y = up(functional.leaky_relu(y, 0.1))
            y = sum((one(y) for one in kernels[1:]), kernels[0](y)) / len(kernels)
        return torch.tanh(self.leave(functional.leaky_relu(y)))


def settled(module: nn.Module) -> None:
    """Weights by what one output sums up; what is added to a shortcut is half of that."""
    if isinstance(module, nn.ConvTranspose1d):  # two taps of each kernel meet in an output
        nn.init.normal_(module.weight, std=(2 / (2 * module.in_channels)) ** 0.5)
    elif isinstance(module, nn.Conv1d):
        nn.init.normal_(module.weight, std=(1 / module.weight[0].numel()) ** 0.5)
    elif isinstance(module, Receptive):  # after its parts
        with torch.no_grad():
            for layer in module.plain:
                layer.weight *= 0.5
