"""Layouts that run along time, with few channels, for tests of streams: each as its paper has it.

A clip of `shape` is long enough that its ends do not meet; all run at other lengths as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.streamed_parts import (
    AntiAliased,
    CausalConv,
    CausalTransposed,
    ChannelNorm,
    CumulativeNorm,
    InverseStft,
    Padded,
    Recurrent,
    Residual,
    Snake,
    SnakeBeta,
    Swapped,
    same,
    weighted,
)

__all__ = ["LIBRARY", "MIXING", "NETWORKS", "RUNNING", "Layout", "random_graph"]

Make = Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class Layout:
    """`make` gives the model, `shape` is a clip's, `time` the dimension along which it streams.

    `least` is the shortest clip that runs. `mixes` is a part of the name of the layer that sees
    the whole clip, where one does.
    """

    make: Make
    shape: tuple[int, ...]
    time: int = -1
    least: int = 1
    mixes: str = ""

    @property
    def length(self) -> int:
        """Positions of the clip along time."""
        return self.shape[self.time]

    def resized(self, length: int) -> tuple[int, ...]:
        """The shape of a clip of another length."""
        shape = list(self.shape)
        shape[self.time] = length
        return tuple(shape)

    def model(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The model in evaluation mode, with the same weights each time."""
        torch.manual_seed(seed)
        return self.make().to(dtype).eval()


# Vocoders.


def kernels_averaged(
    channels: int, kernels: Sequence[int], block: Callable[[int, int, int], nn.Module]
) -> nn.Module:
    """Residual blocks of several kernels side by side, each at rates 1 and 3, averaged."""

    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(*(block(channels, kernel, rate) for rate in (1, 3)))
                for kernel in kernels
            )

        def forward(self, x: Tensor) -> Tensor:
            total = self.blocks[0](x)
            for one in self.blocks[1:]:
                total = total + one(x)
            return total / len(self.blocks)

    return Averaged()


def leaky_block(channels: int, kernel: int, rate: int) -> nn.Module:
    return Residual(
        nn.LeakyReLU(0.1),
        weighted(nn.Conv1d(channels, channels, kernel, 1, same(kernel, rate), rate)),
        nn.LeakyReLU(0.1),
        weighted(nn.Conv1d(channels, channels, kernel, 1, same(kernel))),
    )


def aliased_block(channels: int, kernel: int, rate: int) -> nn.Module:
    return Residual(
        AntiAliased(SnakeBeta(channels)),
        weighted(nn.Conv1d(channels, channels, kernel, 1, same(kernel, rate), rate)),
        AntiAliased(SnakeBeta(channels)),
        weighted(nn.Conv1d(channels, channels, kernel, 1, same(kernel))),
    )


def hifigan(factors: Sequence[int] = (4, 2), widths: Sequence[int] = (8, 6, 4)) -> nn.Module:
    """Transposed convolutions, each before averaged blocks of several kernels (HiFi-GAN)."""
    layers: list[nn.Module] = [weighted(nn.Conv1d(8, widths[0], 7, 1, 3))]
    for factor, (before, behind) in zip(factors, pairwise(widths), strict=True):
        kernel = 2 * factor + factor % 2
        up = nn.ConvTranspose1d(before, behind, kernel, factor, (kernel - factor) // 2)
        layers += [nn.LeakyReLU(0.1), weighted(up), kernels_averaged(behind, (3, 7), leaky_block)]
    return nn.Sequential(
        *layers, nn.LeakyReLU(), weighted(nn.Conv1d(widths[-1], 1, 7, 1, 3)), nn.Tanh()
    )


def bigvgan() -> nn.Module:
    """HiFi-GAN whose activations run at twice the rate (BigVGAN)."""
    layers: list[nn.Module] = [weighted(nn.Conv1d(8, 6, 7, 1, 3))]
    for before, behind in ((6, 4), (4, 3)):
        layers += [
            weighted(nn.ConvTranspose1d(before, behind, 4, 2, 1)),
            kernels_averaged(behind, (3,), aliased_block),
        ]
    last = [AntiAliased(SnakeBeta(3)), weighted(nn.Conv1d(3, 1, 7, 1, 3)), nn.Tanh()]
    return nn.Sequential(*layers, *last)


def nearest_vocoder() -> nn.Module:
    """Frames repeated, then smoothed behind a reflected border (MelGAN without checkerboards)."""
    return nn.Sequential(
        Padded(nn.Conv1d(8, 6, 7), (3, 3), "reflect"),
        nn.Upsample(scale_factor=4, mode="nearest"),
        Padded(nn.Conv1d(6, 4, 9), (4, 4), "reflect"),
        nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2, mode="linear"),
        nn.Conv1d(4, 1, 5, padding=2, padding_mode="replicate"),
        nn.Tanh(),
    )


class NextBlock(nn.Module):
    """A depthwise window, then a norm and two linear layers with channels last (ConvNeXt)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.window = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.wide, self.narrow = (
            nn.Linear(channels, 2 * channels),
            nn.Linear(2 * channels, channels),
        )
        self.gamma = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.window(x).transpose(1, 2))
        y = self.gamma * self.narrow(functional.gelu(self.wide(y)))
        return x + y.transpose(1, 2)


class Vocos(nn.Module):
    """ConvNeXt blocks and a head of magnitudes and phases, to a signal by an inverse STFT.

    `centred` takes PyTorch's, which cuts half a window from both ends.
    """

    def __init__(self, *, centred: bool = False, channels: int = 8) -> None:
        super().__init__()
        self.size, self.hop, self.centred = 16, 4, centred
        self.enter = nn.Conv1d(6, channels, 7, padding=3)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.blocks = nn.Sequential(NextBlock(channels), NextBlock(channels))
        self.last, self.out = nn.LayerNorm(channels), nn.Linear(channels, self.size + 2)
        self.inverse = InverseStft(self.size, self.hop)

    def forward(self, mel: Tensor) -> Tensor:
        y = self.norm(self.enter(mel).transpose(1, 2)).transpose(1, 2)
        y = self.out(self.last(self.blocks(y).transpose(1, 2))).transpose(1, 2)
        height, phase = y.chunk(2, dim=1)
        height = torch.exp(height).clip(max=100.0)
        spectrum = height * torch.complex(torch.cos(phase), torch.sin(phase))
        if self.centred:
            window = self.inverse.window
            return torch.istft(spectrum, self.size, self.hop, self.size, window, center=True)
        return self.inverse(spectrum)


# Codecs.


def dac_unit(channels: int, rate: int) -> nn.Module:
    return Residual(
        Snake(channels),
        weighted(nn.Conv1d(channels, channels, 7, 1, same(7, rate), rate)),
        Snake(channels),
        weighted(nn.Conv1d(channels, channels, 1)),
    )


def dac_encoder(strides: Sequence[int] = (2, 3)) -> nn.Module:
    """Residual units at rates 1 and 3 before each strided layer (DAC)."""
    layers: list[nn.Module] = [weighted(nn.Conv1d(1, 4, 7, padding=3))]
    for stride in strides:
        down = nn.Conv1d(4, 4, 2 * stride, stride, ceil(stride / 2))
        layers += [dac_unit(4, 1), dac_unit(4, 3), Snake(4), weighted(down)]
    return nn.Sequential(*layers, Snake(4), weighted(nn.Conv1d(4, 6, 3, padding=1)))


def dac_decoder(strides: Sequence[int] = (3, 2)) -> nn.Module:
    """Transposed layers, those of odd strides with one output more (DAC)."""
    layers: list[nn.Module] = [weighted(nn.Conv1d(6, 4, 7, padding=3))]
    for stride in strides:
        up = nn.ConvTranspose1d(4, 4, 2 * stride, stride, ceil(stride / 2), stride % 2)
        layers += [Snake(4), weighted(up), dac_unit(4, 1), dac_unit(4, 3)]
    return nn.Sequential(*layers, Snake(4), weighted(nn.Conv1d(4, 1, 7, padding=3)), nn.Tanh())


def codec_unit(channels: int, mode: str) -> nn.Module:
    body = [
        nn.ELU(),
        CausalConv(channels, channels, 3, mode=mode),
        nn.ELU(),
        CausalConv(channels, channels, 1, mode=mode),
    ]
    return Residual(*body, skip=CausalConv(channels, channels, 1, mode=mode))


def codec_encoder(
    strides: Sequence[int] = (2, 4), *, mode: str = "reflect", middle: nn.Module | None = None
) -> nn.Module:
    """Causal convolutions, padded behind to whole windows (SoundStream, EnCodec)."""
    layers: list[nn.Module] = [CausalConv(1, 4, 7, mode=mode)]
    for stride in strides:
        layers += [
            codec_unit(4, mode),
            nn.ELU(),
            CausalConv(4, 4, 2 * stride, stride, mode=mode),
        ]
    layers += [middle] if middle is not None else []
    return nn.Sequential(*layers, nn.ELU(), CausalConv(4, 6, 7, mode=mode))


def codec_decoder(
    strides: Sequence[int] = (4, 2), *, mode: str = "reflect", middle: nn.Module | None = None
) -> nn.Module:
    """Transposed convolutions trimmed at their ends (SoundStream, EnCodec)."""
    layers: list[nn.Module] = [CausalConv(6, 4, 7, mode=mode)]
    layers += [middle] if middle is not None else []
    for stride in strides:
        layers += [nn.ELU(), CausalTransposed(4, 4, 2 * stride, stride), codec_unit(4, mode)]
    return nn.Sequential(*layers, nn.ELU(), CausalConv(4, 1, 7, mode=mode))


def lstm(channels: int = 4, layers: int = 1, *, both: bool = False) -> nn.Module:
    width = channels // 2 if both else channels
    return Recurrent(nn.LSTM(channels, width, layers, batch_first=True, bidirectional=both))


class Rave(nn.Module):
    """Bands, a strided encoder, a decoder of a wave, its loudness and noise, and bands joined.

    The three branches look ahead by different lengths, and the noise is made from a smaller map.
    """

    def __init__(self, *, causal: bool = False, bands: int = 4) -> None:
        super().__init__()
        taps = 8 * bands
        side = (taps - bands, 0) if causal else (taps // 2 - bands // 2, taps // 2 - bands // 2)
        self.split = Padded(nn.Conv1d(1, bands, taps, bands, bias=False), side)
        self.down = nn.ModuleList(self.conv(a, 6, 5, 2, causal) for a in (bands, 6))
        self.up = nn.ModuleList(nn.ConvTranspose1d(6, 6, 4, 2, 0 if causal else 1) for _ in "12")
        self.trim = 2 if causal else 0
        self.mix = Residual(nn.LeakyReLU(0.2), self.conv(6, 6, 3, 1, causal, 3))
        self.wave = self.conv(6, bands, 7, 1, causal)
        self.loud = self.conv(6, 1, 3, 1, causal)
        self.noise = nn.Sequential(self.conv(6, 6, 3, 2, causal), nn.LeakyReLU(0.2))
        self.spread = nn.Conv1d(6, 2 * bands, 1)
        self.join = nn.ConvTranspose1d(bands, 1, taps, bands, bias=False)
        self.cut = (0, taps - bands) if causal else (side[0], taps - bands - side[0])

    @staticmethod
    def conv(a: int, b: int, kernel: int, stride: int, causal: bool, rate: int = 1) -> nn.Module:
        extent = (kernel - 1) * rate + 1
        pads = (extent - stride, stride - 1) if causal else (extent // 2, extent // 2)
        return Padded(nn.Conv1d(a, b, kernel, stride, dilation=rate), pads)

    def forward(self, x: Tensor) -> Tensor:
        y = self.split(x)
        for down in self.down:
            y = functional.leaky_relu(down(y), 0.2)
        for up in self.up:
            y = up(y)
            y = y[..., : y.shape[-1] - self.trim] if self.trim else y
        y = self.mix(y)
        small = self.spread(self.noise(y))
        b, c, n = small.shape
        noise = small.reshape(b, c // 2, 2, n).transpose(2, 3).reshape(b, c // 2, 2 * n)
        wave = torch.tanh(self.wave(y)) * torch.sigmoid(self.loud(y))
        y = self.join(wave + noise[..., : wave.shape[-1]])
        return y[..., self.cut[0] : y.shape[-1] - self.cut[1]]


# Sequences of samples, frames and tokens.


class WaveNet(nn.Module):
    """Gated causal convolutions at doubled rates, whose skips are summed.

    With `valid` nothing is padded: what is added is cut in front to the length of what is left.
    """

    def __init__(self, *, valid: bool = False, depth: int = 5, channels: int = 4) -> None:
        super().__init__()
        self.valid = valid
        self.enter = nn.Conv1d(1, channels, 1)
        self.layers = nn.ModuleList(
            nn.Conv1d(channels, 2 * channels, 2, dilation=1 << i) for i in range(depth)
        )
        self.mix = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 1) for _ in range(depth))
        self.leave = nn.Sequential(nn.ReLU(), nn.Conv1d(channels, 4, 1), nn.ReLU())
        self.last = nn.Conv1d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.enter(x), []
        for step, (layer, mix) in enumerate(zip(self.layers, self.mix, strict=True)):
            inside = x if self.valid else functional.pad(x, (1 << step, 0))
            value, gate = layer(inside).chunk(2, 1)
            more, skip = mix(torch.tanh(value) * torch.sigmoid(gate)).chunk(2, 1)
            x = x[..., -more.shape[-1] :] + more
            skips.append(skip)
        total = sum(skip[..., -x.shape[-1] :] for skip in skips)
        return self.last(self.leave(total))


class Chomped(nn.Module):
    """Padded on both sides by PyTorch, its last outputs cut off (as TCNs are written)."""

    def __init__(self, layer: nn.Conv1d, cut: int) -> None:
        super().__init__()
        self.layer, self.cut = layer, cut

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, :, : -self.cut].contiguous()


def tcn(*, causal: bool = True) -> nn.Module:
    """Two convolutions a block, rates doubled, a residual around both (Bai et al. 2018)."""

    def conv(a: int, b: int, rate: int) -> nn.Module:
        side = 2 * rate if causal else rate
        layer = weighted(nn.Conv1d(a, b, 3, 1, side, rate))
        return Chomped(layer, side) if causal else layer

    def block(a: int, b: int, rate: int) -> nn.Module:
        body = [conv(a, b, rate), nn.ReLU(), nn.Dropout(0.2), conv(b, b, rate), nn.ReLU()]
        return Residual(*body, skip=nn.Conv1d(a, b, 1) if a != b else None)

    pairs = ((3, 5, 1), (5, 5, 2), (5, 6, 4))
    return nn.Sequential(*(block(a, b, rate) for a, b, rate in pairs), nn.Conv1d(6, 2, 1))


class TasNet(nn.Module):
    """An encoder, masks of a dilated separator, a decoder for each source (Conv-TasNet)."""

    def __init__(self, norm: Callable[[int], nn.Module], *, causal: bool) -> None:
        super().__init__()
        self.encode = nn.Conv1d(1, 6, 8, 4, bias=False)
        self.enter = nn.Sequential(norm(6), nn.Conv1d(6, 4, 1))
        self.blocks = nn.ModuleList(self.block(norm, rate, causal) for rate in (1, 2, 4))
        self.skips = nn.ModuleList(nn.Conv1d(8, 5, 1) for _ in self.blocks)
        self.mix = nn.ModuleList(nn.Conv1d(8, 4, 1) for _ in self.blocks)
        self.mask = nn.Sequential(nn.PReLU(), nn.Conv1d(5, 12, 1), nn.ReLU())
        self.decode = nn.ConvTranspose1d(6, 1, 8, 4, bias=False)

    @staticmethod
    def block(norm: Callable[[int], nn.Module], rate: int, causal: bool) -> nn.Module:
        side = 2 * rate if causal else rate
        window = nn.Conv1d(8, 8, 3, padding=side, dilation=rate, groups=8)
        wide = [nn.Conv1d(4, 8, 1), nn.PReLU(), norm(8)]
        middle = Chomped(window, side) if causal else window
        return nn.Sequential(*wide, middle, nn.PReLU(), norm(8))

    def forward(self, signal: Tensor) -> Tensor:
        frames = functional.relu(self.encode(signal))
        y, total = self.enter(frames), 0
        for block, skip, mix in zip(self.blocks, self.skips, self.mix, strict=True):
            inside = block(y)
            y, total = y + mix(inside), total + skip(inside)
        masks = self.mask(total).chunk(2, 1)
        return torch.cat([self.decode(frames * mask) for mask in masks], 1)


def bytenet(*, decoder: bool) -> nn.Module:
    """Residual blocks of norm, 1x1, a dilated window and 1x1, a set of rates twice (ByteNet)."""

    def block(rate: int) -> nn.Module:
        pads = (4 * rate, 0) if decoder else (2 * rate, 2 * rate)
        return Residual(
            ChannelNorm(6),
            nn.ReLU(),
            nn.Conv1d(6, 3, 1),
            ChannelNorm(3),
            nn.ReLU(),
            Padded(nn.Conv1d(3, 3, 5, dilation=rate), pads),
            ChannelNorm(3),
            nn.ReLU(),
            nn.Conv1d(3, 6, 1),
        )

    return nn.Sequential(*(block(rate) for rate in (1, 2, 4) * 2), nn.Conv1d(6, 5, 1))


class DemucsLike(nn.Module):
    """Strided layers and gates, a recurrent middle, transposed layers with skips (Demucs).

    The clip is padded behind to a length that loses nothing, and the output is cut back to it.
    """

    def __init__(self, *, both: bool = False, depth: int = 2) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for step in range(depth):
            a, b = (4 << (step - 1), 4 << step) if step else (1, 4)
            gated = [nn.ReLU(), nn.Conv1d(b, 2 * b, 1), nn.GLU(1)]
            self.down.append(nn.Sequential(nn.Conv1d(a, b, 8, 4), *gated))
            up = [nn.Conv1d(b, 2 * b, 1), nn.GLU(1), nn.ConvTranspose1d(b, a, 8, 4)]
            self.up.insert(0, nn.Sequential(*up, *([nn.ReLU()] if step else [])))
        self.middle = lstm(4 << (depth - 1), 2, both=both)

    def padded(self, length: int) -> int:
        for _ in self.down:
            length = max(ceil((length - 8) / 4) + 1, 1)
        for _ in self.up:
            length = (length - 1) * 4 + 8
        return length

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        x = functional.pad(x, (0, self.padded(length) - length))
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = self.middle(x)
        for up in self.up:
            skip = skips.pop()
            x = up(x + skip[..., : x.shape[-1]])
        return x[..., :length]


class WaveUNet(nn.Module):
    """Every second position kept on the way down, linear interpolation on the way up."""

    def __init__(self, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.down = nn.ModuleList(nn.Conv1d(a, b, 7) for a, b in ((1, 4), (4, 6)))
        self.middle = nn.Conv1d(6, 6, 7)
        self.up = nn.ModuleList(nn.Conv1d(a, b, 5) for a, b in ((12, 4), (8, 4)))
        self.leave = nn.Conv1d(5, 1, 1)

    def padded(self, layer: nn.Conv1d, x: Tensor) -> Tensor:
        side = layer.kernel_size[0] - 1
        pads = (side, 0) if self.causal else (side // 2, side // 2)
        return functional.leaky_relu(layer(functional.pad(x, pads)), 0.2)

    def forward(self, x: Tensor) -> Tensor:
        first, skips = x, []
        for layer in self.down:
            x = self.padded(layer, x)
            skips.append(x)
            x = x[..., ::2]
        x = self.padded(self.middle, x)
        for layer, skip in zip(self.up, skips[::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="linear", align_corners=False)
            x = self.padded(layer, torch.cat([x[..., : skip.shape[-1]], skip], 1))
        return torch.tanh(self.leave(torch.cat([x, first], 1)))


def front_end(*, grouped: bool = False) -> nn.Module:
    """Seven strided layers without padding (wav2vec 2.0): by 320, a field of 400.

    As in the large models every layer has a norm over channels; `grouped` has one over time.
    """
    layers: list[nn.Module] = []
    kernels = [(10, 5)] + [(3, 2)] * 4 + [(2, 2)] * 2
    for index, (kernel, stride) in enumerate(kernels):
        layers.append(nn.Conv1d(4 if index else 1, 4, kernel, stride, bias=False))
        if not grouped:
            layers.append(Swapped(nn.LayerNorm(4)))
        elif not index:
            layers.append(nn.GroupNorm(4, 4))
        layers.append(nn.GELU())
    return nn.Sequential(*layers)


def subpixel() -> nn.Module:
    """Channels laid out as positions: upsampling without zeros (as pixel shuffle, along time)."""

    class Shuffle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            b, c, n = x.shape
            return x.view(b, c // 3, 3, n).permute(0, 1, 3, 2).reshape(b, c // 3, 3 * n)

    return nn.Sequential(
        nn.Conv1d(4, 12, 5, padding=2), nn.ELU(), Shuffle(), nn.Conv1d(4, 2, 7, padding=3)
    )


def pooled() -> nn.Module:
    """Pools of both kinds, overlapping and not, padded and with a ceiling."""
    return nn.Sequential(
        nn.Conv1d(2, 6, 5, padding=2, padding_mode="reflect"),
        nn.MaxPool1d(3, 2, 1),
        nn.Conv1d(6, 6, 4, 3, dilation=2, groups=2),
        nn.AvgPool1d(4, 1, 2, count_include_pad=False),
        nn.SiLU(),
        nn.MaxPool1d(2, ceil_mode=True),
        nn.Conv1d(6, 3, 3, padding=(2), dilation=2, padding_mode="replicate"),
    )


def recurrent() -> nn.Module:
    """A front of frames without overlap before a GRU and a plain recurrent layer."""
    return nn.Sequential(
        nn.Conv1d(1, 6, 4, 4),
        nn.ReLU(),
        Recurrent(nn.GRU(6, 6, batch_first=True)),
        Padded(nn.Conv1d(6, 6, 3), (1, 1)),
        Recurrent(nn.RNN(6, 6, batch_first=True)),
        nn.ConvTranspose1d(6, 1, 4, 4),
    )


class BlockAttention(nn.Module):
    """Attention of four heads inside blocks of eight positions, between convolutions."""

    def __init__(self, channels: int = 8, block: int = 8) -> None:
        super().__init__()
        self.block = block
        self.enter = CausalConv(2, channels, 3)
        self.three, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.leave = CausalConv(channels, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x).transpose(1, 2)
        b, n, c = y.shape
        parts = self.three(y).view(b, n // self.block, self.block, 3, 4, c // 4)
        q, k, v = parts.permute(3, 0, 1, 4, 2, 5)
        seen = functional.scaled_dot_product_attention(q, k, v)
        y = y + self.out(seen.transpose(2, 3).reshape(b, n, c))
        return self.leave(y.transpose(1, 2))


class Squeezed(nn.Module):
    """Channels weighed by their means over the whole clip."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv1d(4, 6, 3, padding=1)
        self.squeeze, self.weigh = nn.AdaptiveAvgPool1d(1), nn.Conv1d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x)
        return y * torch.sigmoid(self.weigh(self.squeeze(y)))


# Networks of two dimensions.


class Keywords(nn.Module):
    """Depthwise blocks over a spectrogram, causal along time, frequencies averaged at the end.

    `rows` has frames as rows, the third dimension; else they are columns.
    """

    def __init__(self, *, rows: bool = False) -> None:
        super().__init__()
        self.rows = rows

        def turned(time: Any, freq: Any) -> tuple[Any, Any]:
            return (time, freq) if rows else (freq, time)

        self.turned = turned
        self.enter = nn.Conv2d(1, 6, turned(5, 4), turned(2, 2), turned(0, 1))
        self.windows = nn.ModuleList(
            nn.Conv2d(6, 6, 3, 1, turned(0, 1), turned(rate, 1), groups=6) for rate in (1, 2, 4)
        )
        self.mix = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6))
            for _ in self.windows
        )
        self.leave = nn.Conv1d(6, 4, 1)

    def early(self, x: Tensor, more: int) -> Tensor:
        return functional.pad(x, (0, 0, more, 0) if self.rows else (more, 0))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.enter(self.early(x, 3)))
        for window, mix in zip(self.windows, self.mix, strict=True):
            rate = window.dilation[0 if self.rows else 1]
            x = x + mix(window(self.early(x, 2 * rate)))
        return self.leave(x.mean(3 if self.rows else 2))


def eeg() -> nn.Module:
    """Filters along time, then across electrodes, then pools and a dense classifier (EEGNet)."""
    return nn.Sequential(
        nn.ZeroPad2d((15, 16, 0, 0)),
        nn.Conv2d(1, 4, (1, 32), bias=False),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 8, (5, 1), groups=4, bias=False),
        nn.BatchNorm2d(8),
        nn.ELU(),
        nn.AvgPool2d((1, 4)),
        nn.Dropout(0.25),
        nn.Conv2d(8, 8, (1, 16), padding=(0, 8), groups=8, bias=False),
        nn.Conv2d(8, 8, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ELU(),
        nn.AvgPool2d((1, 8), (1, 2)),
        nn.Conv2d(8, 3, (1, 4)),
    )


class Shallow(nn.Module):
    """Band power: filters, squares, means over long windows, logarithms (ShallowFBCSPNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.space = nn.Conv2d(1, 4, (1, 13)), nn.Conv2d(4, 4, (5, 1), bias=False)
        self.norm, self.pool = nn.BatchNorm2d(4), nn.AvgPool2d((1, 30), (1, 7))
        self.out = nn.Conv2d(4, 2, (1, 5), dilation=(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.space(self.time(x)))
        y = torch.log(torch.clamp(self.pool(y * y), min=1e-6))
        return torch.log_softmax(self.out(y), 1)[:, :, 0]


# Graphs that nobody laid out.


class RandomGraph(nn.Module):
    """Branches of different delay at up to three strides, joined by sums and by channels."""

    def __init__(self, seed: int, steps: int = 9, channels: int = 3) -> None:
        super().__init__()
        rng = random.Random(seed)
        self.levels = [0]
        self.plan: list[tuple[str, int, int, int]] = []
        self.layers = nn.ModuleList()
        for _ in range(steps):
            source = rng.randrange(max(0, len(self.levels) - 4), len(self.levels))
            kinds = ["conv", "conv", "late", "early", "sum", "cat", "pool"]
            kinds += ["down"] if self.levels[source] < 2 else []
            kinds += ["up", "tconv"] if self.levels[source] else []
            self.add(rng, rng.choice(kinds), source, channels)
        alike = [i for i, level in enumerate(self.levels) if level == self.levels[-1]]
        self.ends = alike[-3:]

    def add(self, rng: random.Random, kind: str, source: int, c: int) -> None:
        level, layer, side = self.levels[source], nn.Identity(), 0
        other = rng.choice([i for i, one in enumerate(self.levels) if one == level])
        if kind == "conv":
            kernel, rate = rng.choice((1, 3, 5)), rng.choice((1, 2, 3))
            layer = nn.Conv1d(c, c, kernel, 1, same(kernel, rate), rate, groups=rng.choice((1, c)))
        elif kind in ("late", "early"):
            side = rng.randint(1, 5)
            layer = nn.Conv1d(c, c, side + 1)
        elif kind == "pool":
            layer = nn.MaxPool1d(3, 1, 1) if rng.random() < 0.5 else nn.AvgPool1d(3, 1, 1)
        elif kind == "down":
            layer, level = nn.Conv1d(c, c, 3, 2, 1), level + 1
        elif kind == "up":
            mode = rng.choice(("nearest", "linear"))
            layer, level = nn.Upsample(scale_factor=2, mode=mode), level - 1
        elif kind == "tconv":
            layer, level = nn.ConvTranspose1d(c, c, 4, 2, 1), level - 1
        elif kind == "cat":
            layer = nn.Conv1d(2 * c, c, 1)
        self.layers.append(layer)
        self.plan.append((kind, source, other, side))
        self.levels.append(level)

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for level, layer, (kind, source, other, side) in zip(
            self.levels[1:], self.layers, self.plan, strict=True
        ):
            y = made[source]
            if kind == "cat":
                y = layer(torch.cat([y, made[other]], 1))
            elif kind == "sum":
                y = y + torch.tanh(made[other])
            elif kind in ("late", "early"):
                y = layer(functional.pad(y, (side, 0) if kind == "late" else (0, side)))
            else:
                y = layer(y)
            if kind in ("up", "tconv"):
                y = y[..., : made[self.levels.index(level)].shape[-1]]
            made.append(functional.leaky_relu(y, 0.2))
        return torch.cat([made[i] for i in self.ends], 1)


def random_graph(seed: int) -> Layout:
    """A graph by its number."""
    return Layout(partial(RandomGraph, seed), (1, 3, 96), least=8)


# Those of a library, where it is installed.


def _encodec(part: str) -> nn.Module:
    from transformers import EncodecConfig, EncodecModel

    config = EncodecConfig(
        num_filters=2, upsampling_ratios=[4, 2], hidden_size=8, codebook_dim=8, num_lstm_layers=1
    )
    return getattr(EncodecModel(config), part)


def _dac(part: str) -> nn.Module:
    from transformers import DacConfig, DacModel

    config = DacConfig(
        encoder_hidden_size=4, downsampling_ratios=[2, 3], decoder_hidden_size=8, hidden_size=16
    )
    return getattr(DacModel(config), part)


def _mimi(part: str) -> nn.Module:
    from transformers import MimiConfig, MimiModel

    config = MimiConfig(
        num_filters=2,
        upsampling_ratios=[4, 2],
        hidden_size=8,
        codebook_dim=8,
        vector_quantization_hidden_dimension=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=8,
        upsample_groups=8,
        sliding_window=6,
    )
    return getattr(MimiModel(config), part)


def _vits() -> nn.Module:
    from transformers import VitsConfig
    from transformers.models.vits.modeling_vits import VitsHifiGan

    config = VitsConfig(
        flow_size=8,
        upsample_initial_channel=8,
        upsample_rates=[4, 2],
        upsample_kernel_sizes=[8, 4],
        resblock_kernel_sizes=[3, 5],
        resblock_dilation_sizes=[[1, 3], [1, 3]],
    )
    return VitsHifiGan(config)


def channels(count: int, length: int, *before: int) -> tuple[int, ...]:
    return (1, *before, count, length)


NETWORKS: dict[str, Layout] = {
    "HiFi-GAN": Layout(hifigan, channels(8, 48)),
    "HiFi-GAN, odd factors": Layout(partial(hifigan, (5, 3)), channels(8, 40)),
    "BigVGAN": Layout(bigvgan, channels(8, 48)),
    "vocoder of repeated frames": Layout(nearest_vocoder, channels(8, 40), least=8),
    "Vocos": Layout(Vocos, channels(6, 48), least=4),
    "Vocos, centred": Layout(partial(Vocos, centred=True), channels(6, 48), least=4),
    "DAC encoder": Layout(dac_encoder, channels(1, 240), least=12),
    "DAC decoder": Layout(dac_decoder, channels(6, 48), least=2),
    "SoundStream encoder": Layout(partial(codec_encoder, mode="constant"), channels(1, 240)),
    "SoundStream decoder": Layout(partial(codec_decoder, mode="constant"), channels(6, 40)),
    "EnCodec encoder": Layout(lambda: codec_encoder(middle=lstm()), channels(1, 240), least=64),
    "EnCodec decoder": Layout(lambda: codec_decoder(middle=lstm()), channels(6, 40), least=8),
    "RAVE": Layout(Rave, channels(1, 640), least=64),
    "RAVE, causal": Layout(partial(Rave, causal=True), channels(1, 640), least=64),
    "WaveNet": Layout(WaveNet, channels(1, 128)),
    "WaveNet without padding": Layout(partial(WaveNet, valid=True), channels(1, 128), least=32),
    "TCN": Layout(tcn, channels(3, 96)),
    "TCN that looks ahead": Layout(partial(tcn, causal=False), channels(3, 96)),
    "Conv-TasNet with batch norms": Layout(
        partial(TasNet, nn.BatchNorm1d, causal=False), channels(1, 320), least=8
    ),
    "Conv-TasNet, causal": Layout(
        partial(TasNet, ChannelNorm, causal=True), channels(1, 320), least=8
    ),
    "ByteNet encoder": Layout(partial(bytenet, decoder=False), channels(6, 128)),
    "ByteNet decoder": Layout(partial(bytenet, decoder=True), channels(6, 128)),
    "Demucs with an LSTM": Layout(DemucsLike, channels(1, 480), least=8),
    "Wave-U-Net": Layout(WaveUNet, channels(1, 160), least=4),
    "Wave-U-Net, causal": Layout(partial(WaveUNet, causal=True), channels(1, 160), least=4),
    "wav2vec 2.0 front end": Layout(front_end, channels(1, 2800), least=400),
    "subpixel": Layout(subpixel, channels(4, 48)),
    "pools": Layout(pooled, channels(2, 144), least=24),
    "GRU": Layout(recurrent, channels(1, 160), least=4),
    "keywords": Layout(Keywords, channels(12, 96, 1), least=2),
    "keywords, frames as rows": Layout(
        partial(Keywords, rows=True), (1, 1, 96, 12), time=2, least=2
    ),
    "EEGNet": Layout(eeg, channels(5, 320, 1), least=96),
    "ShallowFBCSPNet": Layout(Shallow, channels(5, 320, 1), least=128),
    "attention in blocks": Layout(BlockAttention, channels(2, 96), least=8),
}
"""Streamed exactly; the clip of `attention in blocks` is of whole blocks."""

RUNNING: dict[str, Layout] = {
    "Conv-TasNet, cumulative": Layout(
        partial(TasNet, CumulativeNorm, causal=True), channels(1, 320), least=8
    ),
}
"""Causal sums over all of the past."""

MIXING: dict[str, Layout] = {
    "Conv-TasNet": Layout(
        partial(TasNet, partial(nn.GroupNorm, 1), causal=False),
        channels(1, 320),
        least=8,
        mixes="enter.0",
    ),
    "wav2vec 2.0 with a group norm": Layout(
        partial(front_end, grouped=True), channels(1, 2800), least=400, mixes="1"
    ),
    "Demucs that listens both ways": Layout(
        partial(DemucsLike, both=True), channels(1, 480), least=8, mixes="middle"
    ),
    "squeeze and excite": Layout(Squeezed, channels(4, 96), mixes="squeeze"),
}
"""A layer sees all of the clip, so no stream gives what the clip gives."""

LIBRARY: dict[str, Layout] = {
    "transformers: EnCodec encoder": Layout(partial(_encodec, "encoder"), channels(1, 240)),
    "transformers: EnCodec decoder": Layout(partial(_encodec, "decoder"), channels(8, 40)),
    "transformers: DAC encoder": Layout(partial(_dac, "encoder"), channels(1, 240), least=12),
    "transformers: DAC decoder": Layout(partial(_dac, "decoder"), channels(16, 48)),
    "transformers: Mimi encoder": Layout(partial(_mimi, "encoder"), channels(1, 240)),
    "transformers: Mimi decoder": Layout(partial(_mimi, "decoder"), channels(8, 40)),
    "transformers: VITS decoder": Layout(_vits, channels(8, 48)),
}
"""Classes of `transformers` with random weights; `make` raises ImportError without it."""
