"""Five networks that run live, as large as their papers have them, with random weights.

Every layer keeps about the size of its input, so that long inputs neither grow nor vanish.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from bench.models.sound import Generator, Separator, WaveNet

__all__ = ["NETWORKS", "Dac", "Network", "Tcn", "network"]


@dataclass(frozen=True, slots=True)
class Network:
    """`make` gives the model, `channels` what it takes at each step of time, `rate` steps a second.

    `length` is a number of steps that it can be recorded at, `step` what one is called; `blocks`
    are numbers of steps that come at once. `guess` is how many steps before a block and behind it
    a server takes that guesses.
    """

    name: str
    make: Callable[[], nn.Module]
    channels: int
    rate: float
    step: str
    length: int
    blocks: tuple[int, ...]
    guess: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an example."""
        return (1, self.channels, self.length)

    def model(self, seed: int = 0) -> nn.Module:
        """The model in evaluation mode, in float32, with the same weights each time."""
        torch.manual_seed(seed)
        return self.make().eval()

    def input(self, length: int, seed: int = 1) -> Tensor:
        """So many steps of noise."""
        draw = torch.Generator().manual_seed(seed)
        return torch.randn(1, self.channels, length, generator=draw)


class Snake(nn.Module):
    """`x + sin(a x)**2 / a`, with an `a` for each channel (Ziyin et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).pow(2)


def settled(module: nn.Module) -> None:
    """Weights by what one output sums up; what is added to a shortcut is little."""
    if isinstance(module, nn.ConvTranspose1d):  # two taps of each kernel meet in an output
        nn.init.normal_(module.weight, std=(1 / (3 * module.in_channels)) ** 0.5)
    elif isinstance(module, nn.Conv1d):
        nn.init.normal_(module.weight, std=(1 / module.weight[0].numel()) ** 0.5)
    elif isinstance(module, DacUnit):  # after its parts
        with torch.no_grad():
            module.body[-1].weight *= 0.25


class DacUnit(nn.Module):
    """Seven taps at a rate and a 1x1 layer, each behind a snake, beside a shortcut."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Snake(channels),
            nn.Conv1d(channels, channels, 7, padding=3 * rate, dilation=rate),
            Snake(channels),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Dac(nn.Module):
    """The decoder of DAC at 44.1 kHz (Kumar et al. 2023): latents of 1024 to 512 samples a frame.

    1536 channels, halved by each transposed convolution; units at rates 1, 3, 9 behind it.
    """

    def __init__(self, latent: int = 1024, channels: int = 1536) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv1d(latent, channels, 7, padding=3)]
        for factor in (8, 8, 4, 2):
            half = channels // 2
            up = nn.ConvTranspose1d(channels, half, 2 * factor, factor, ceil(factor / 2))
            layers += [Snake(channels), up, *(DacUnit(half, rate) for rate in (1, 3, 9))]
            channels = half
        self.layers = nn.Sequential(
            *layers, Snake(channels), nn.Conv1d(channels, 1, 7, padding=3), nn.Tanh()
        )
        self.apply(settled)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents)


class TcnBlock(nn.Module):
    """Two convolutions at a rate, padded on both sides and cut behind, beside a shortcut."""

    def __init__(self, a: int, b: int, kernel: int, rate: int) -> None:
        super().__init__()
        self.cut = (kernel - 1) * rate
        self.one = nn.Conv1d(a, b, kernel, padding=self.cut, dilation=rate)
        self.two = nn.Conv1d(b, b, kernel, padding=self.cut, dilation=rate)
        self.shortcut = nn.Conv1d(a, b, 1) if a != b else None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.one(x)[..., : -self.cut])
        y = torch.relu(self.two(y)[..., : -self.cut])
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Tcn(nn.Module):
    """Eight blocks of kernel 7 at rates 1 to 128, 25 channels, and 10 classes for each step.

    It is what Bai, Kolter and Koltun (2018) take for sequences of pixels, with a label a step.
    """

    def __init__(self, channels: int = 25, kernel: int = 7, levels: int = 8) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(TcnBlock(channels if i else 1, channels, kernel, 1 << i) for i in range(levels))
        )
        self.label = nn.Conv1d(channels, 10, 1)
        self.apply(settled)

    def forward(self, signal: Tensor) -> Tensor:
        return self.label(self.blocks(signal))


SAMPLES, FRAMES = (1, 16, 64, 256, 1024), (1, 4, 10, 16, 64)


def wavenet() -> nn.Module:
    """Three stacks of ten layers."""
    return WaveNet(stacks=3)


def separator() -> nn.Module:
    """The causal one."""
    return Separator("cumulative")


NETWORKS = (
    Network("HiFi-GAN V1", Generator, 80, 22050 / 256, "frame", 100, FRAMES, (10, 10)),
    Network("DAC decoder", Dac, 1024, 44100 / 512, "frame", 40, FRAMES, (10, 10)),
    Network("WaveNet", wavenet, 1, 16000, "sample", 4000, SAMPLES, (1024, 0)),
    Network("TCN", Tcn, 1, 16000, "sample", 4000, SAMPLES, (1024, 0)),
    Network("Conv-TasNet separator", separator, 512, 1000, "step", 2000, SAMPLES, (1000, 0)),
)
"""A Conv-TasNet of windows of 16 samples, half overlapping, at 8 kHz. TCN: a rate that we chose."""


def network(word: str) -> Network:
    """The one whose name holds a word."""
    (found,) = (one for one in NETWORKS if word.lower() in one.name.lower())
    return found
