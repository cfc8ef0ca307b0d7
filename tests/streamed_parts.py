"""Parts of networks that run along time, for the layouts in `streamed_networks`."""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

__all__ = [
    "AntiAliased",
    "CausalConv",
    "CausalTransposed",
    "ChannelNorm",
    "CumulativeNorm",
    "InverseStft",
    "Padded",
    "Recurrent",
    "Residual",
    "Snake",
    "SnakeBeta",
    "Swapped",
    "same",
    "weighted",
]


def same(kernel: int, rate: int = 1) -> int:
    """Padding on each side that keeps the length, of an odd kernel."""
    return (kernel - 1) * rate // 2


def weighted(layer: Any) -> Any:
    """The layer with its weight split into direction and length, as vocoders are trained."""
    return parametrizations.weight_norm(layer)


class Residual(nn.Module):
    """What a body makes, added to what it got; a wider sum is cut in its middle."""

    def __init__(self, *body: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.skip = nn.Sequential(*body), skip or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y, x = self.body(x), self.skip(x)
        cut = (x.shape[-1] - y.shape[-1]) // 2
        return y + (x[..., cut:-cut] if cut else x)


class Snake(nn.Module):
    """`x + sin(a x)^2 / a` with one `a` for each channel (Ziyin et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.linspace(0.5, 1.5, channels).view(1, -1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).pow(2)


class SnakeBeta(nn.Module):
    """Snake with another parameter for its height, both as logarithms (BigVGAN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.linspace(-0.5, 0.5, channels))
        self.beta = nn.Parameter(torch.linspace(0.4, -0.4, channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha, beta = (p.exp().unsqueeze(0).unsqueeze(-1) for p in (self.alpha, self.beta))
        return x + torch.sin(x * alpha).pow(2) / (beta + 1e-9)


def low_pass(taps: int, cutoff: float) -> Tensor:
    """A windowed sinc that sums to 1."""
    places = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    found = 2 * cutoff * torch.sinc(2 * cutoff * places)
    found = found * torch.kaiser_window(taps, periodic=False, beta=4.66, dtype=torch.float64)
    return (found / found.sum()).float().view(1, 1, -1)


class AntiAliased(nn.Module):
    """An activation at twice the rate: up by a filter, the activation, down by a filter."""

    def __init__(self, activation: nn.Module, factor: int = 2, taps: int = 12) -> None:
        super().__init__()
        self.activation, self.factor, self.taps = activation, factor, taps
        self.register_buffer("wider", low_pass(taps, 0.5 / factor))
        self.register_buffer("finer", low_pass(taps, 0.5 / factor))

    def forward(self, x: Tensor) -> Tensor:
        f, k, c = self.factor, self.taps, x.shape[1]
        side = k // f - 1
        y = functional.pad(x, (side, side), mode="replicate")
        y = f * functional.conv_transpose1d(y, self.wider.expand(c, -1, -1), stride=f, groups=c)
        left = side * f + (k - f) // 2
        right = side * f + (k - f + 1) // 2
        y = self.activation(y[..., left:-right])
        y = functional.pad(y, (k // 2 - int(k % 2 == 0), k // 2), mode="replicate")
        return functional.conv1d(y, self.finer.expand(c, -1, -1), stride=f, groups=c)


class Padded(nn.Module):
    """A convolution behind a pad of `pads` in one of PyTorch's modes."""

    def __init__(self, layer: nn.Module, pads: tuple[int, int], mode: str = "constant") -> None:
        super().__init__()
        self.layer, self.pads, self.mode = layer, pads, mode

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(functional.pad(x, self.pads, mode=self.mode))


class CausalConv(nn.Module):
    """Padded in front by what the window exceeds its stride, and behind to a whole last window."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        rate: int = 1,
        mode: str = "constant",
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.layer = weighted(nn.Conv1d(inputs, outputs, kernel, stride, 0, rate, groups))
        self.extent, self.stride, self.mode = (kernel - 1) * rate + 1, stride, mode

    def forward(self, x: Tensor) -> Tensor:
        front = self.extent - self.stride
        frames = (x.shape[-1] - self.extent + front) / self.stride + 1
        whole = (ceil(frames) - 1) * self.stride + self.extent - front
        return self.layer(functional.pad(x, (front, whole - x.shape[-1]), mode=self.mode))


class CausalTransposed(nn.Module):
    """A transposed convolution whose end is trimmed to `stride` outputs for each input."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.layer = weighted(nn.ConvTranspose1d(inputs, outputs, kernel, stride))
        self.trim = kernel - stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y[..., : y.shape[-1] - self.trim]


class Recurrent(nn.Module):
    """A recurrent layer along time, channels first, added to what it got."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.layer(x.transpose(1, 2))
        return x + y.transpose(1, 2)


class Swapped(nn.Module):
    """A body that has its channels last."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.transpose(1, 2)).transpose(1, 2)


class ChannelNorm(nn.Module):
    """A norm over channels at each position, channels first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        off = x - mean
        return off / (off.pow(2).mean(1, keepdim=True) + 1e-5).sqrt() * self.weight + self.bias


class CumulativeNorm(nn.Module):
    """Mean and variance over channels and all positions up to each (Conv-TasNet, causal)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        channels, length = x.shape[1:]
        count = torch.arange(1, length + 1, dtype=x.dtype, device=x.device) * channels
        mean = x.sum(1, keepdim=True).cumsum(-1) / count
        power = x.pow(2).sum(1, keepdim=True).cumsum(-1) / count
        spread = (power - mean.pow(2) + 1e-5).sqrt()
        return (x - mean) / spread * self.weight + self.bias


class InverseStft(nn.Module):
    """Frames to a signal of as many hops, by overlap-add of windowed frames (Vocos, `same`)."""

    def __init__(self, size: int, hop: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size))

    def laid(self, frames: Tensor) -> Tensor:
        """Frames as columns, each added where it lies."""
        length = (frames.shape[-1] - 1) * self.hop + self.size
        found = functional.fold(frames, (1, length), (1, self.size), stride=(1, self.hop))
        side = (self.size - self.hop) // 2
        return found[:, 0, 0, side:-side]

    def forward(self, spectrum: Tensor) -> Tensor:
        frames = torch.fft.irfft(spectrum, self.size, dim=1, norm="backward")
        square = self.window.pow(2).expand(1, frames.shape[-1], -1).transpose(1, 2)
        return self.laid(frames * self.window[None, :, None]) / self.laid(square)
