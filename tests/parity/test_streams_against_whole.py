"""Kinds of layers and layouts as streams: what comes out is what the whole run gives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

import atrous
from atrous.errors import UnsupportedError
from tests.streamed import assert_streams
from tests.streamed_networks import MIXING


class Written(nn.Module):
    """A function of the input and some layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def rounded_up(x, conv, back):
    length = x.shape[-1]
    if length % 4:
        x = functional.pad(x, (0, -length % 4))
    y = back(conv(x))
    return y[..., :length] if y.shape[-1] > length else y


def as_encodec(x, conv, back):
    extra = (math.ceil(x.shape[-1] / 4) - 1) * 4 + 4 - x.shape[-1]
    y = back(conv(functional.pad(x, (4, extra), mode="reflect")))
    return y[..., : y.shape[-1] - 4]


def overlap_add(x, conv):
    frames = torch.fft.irfft(torch.complex(*conv(x).chunk(2, 1)), n=16, dim=1)
    window = torch.hann_window(16, dtype=x.dtype) + 0.1
    count = x.shape[-1]
    long = (count - 1) * 4 + 16
    sides = {"kernel_size": (1, 16), "stride": (1, 4)}
    y = functional.fold(frames * window[None, :, None], (1, long), **sides)[:, 0, 0, 6:-6]
    weights = window.square().expand(1, count, -1).transpose(1, 2)
    return y / functional.fold(weights, (1, long), **sides)[:, 0, 0, 6:-6]


def gated(x, filters, gates, out):
    padded = functional.pad(x, (4, 0))
    return x + out(torch.tanh(filters(padded)) * torch.sigmoid(gates(padded)))


def antialiased(x, up, down):
    y = functional.pad(x, (2, 2), mode="replicate")
    y = up(y)[..., 5:-5]
    y = y + torch.sin(y) ** 2
    return down(functional.pad(y, (2, 3), mode="replicate"))


KINDS = {
    "strided": ((lambda x, a, b: b(a(x))), nn.Conv1d(2, 4, 5, 2, 2), nn.Conv1d(4, 2, 4, 3, 1, 2)),
    "grouped, stride above kernel": (lambda x, a: a(x), nn.Conv1d(2, 4, 2, 5, 1, groups=2)),
    "same, even kernel": (lambda x, a: a(x) + x, nn.Conv1d(2, 2, 4, padding="same", dilation=3)),
    "branches of different delay": (
        lambda x, a, b: torch.cat([a(x), b(x), x.relu_() * 1], 1),
        nn.Conv1d(2, 2, 9, padding=4),
        nn.Conv1d(2, 1, 3, padding=1),
    ),
    "transposed, output padding": (
        lambda x, a, b: b(a(x)),
        nn.ConvTranspose1d(2, 3, 5, 3, 2, output_padding=1, dilation=2),
        nn.Conv1d(3, 1, 3),
    ),
    "transposed, kernel below stride": (lambda x, a: a(x), nn.ConvTranspose1d(2, 3, 2, 4, 1, 1)),
    "pools": (
        lambda x, a, b, c: torch.cat([a(x), b(x), c(x)], 1),
        nn.MaxPool1d(3, 2, 1),
        nn.AvgPool1d(3, 2, 1),
        nn.AvgPool1d(3, 2, 1, count_include_pad=False),
    ),
    "pools that round up": (
        lambda x, a, b: torch.cat([a(x), b(x)], 1),
        nn.MaxPool1d(3, 2, 1, ceil_mode=True),
        nn.AvgPool1d(3, 2, 1, ceil_mode=True),
    ),
    "reflected": (lambda x, a: a(functional.pad(x, (3, 4), mode="reflect")), nn.Conv1d(2, 3, 5, 2)),
    "repeated ends": (
        lambda x, a: a(functional.pad(x, (3, 4), mode="replicate")),
        nn.Conv1d(2, 3, 5, 2),
    ),
    "constants and crops": (
        lambda x, a: a(functional.pad(x, (3, 4), value=0.7))[..., 2:-3],
        nn.Conv1d(2, 3, 5),
    ),
    "a token in front": (
        lambda x, a: a(torch.cat([x.new_ones(1, 2, 3), x], 2)),
        nn.Conv1d(2, 3, 5, 2),
    ),
    "recurrent": (
        lambda x, a, b: a(b(x).transpose(1, 2))[0],
        nn.LSTM(3, 4, 2, batch_first=True),
        nn.Conv1d(2, 3, 4, 2),
    ),
    "gru first": (lambda x, a: a(x.permute(2, 0, 1))[0].permute(1, 2, 0), nn.GRU(2, 4)),
    "linear resize": (
        lambda x, a: a(functional.interpolate(x, scale_factor=2.0, mode="linear")),
        nn.Conv1d(2, 1, 3),
    ),
    "uneven resize": (
        lambda x, a: functional.interpolate(a(x), scale_factor=1.5, mode="linear"),
        nn.Conv1d(2, 1, 3),
    ),
    "nearest": (lambda x, a: functional.interpolate(a(x), scale_factor=3.0), nn.Conv1d(2, 1, 3)),
    "nearest in the middle": (
        lambda x, a: functional.interpolate(a(x), scale_factor=1.5, mode="nearest-exact"),
        nn.Conv1d(2, 1, 3),
    ),
    "each several times": (lambda x, a: a(x.repeat_interleave(3, 2)), nn.Conv1d(2, 1, 3)),
    "shuffled": (
        lambda x, a: a(x).view(1, 2, 3, -1).transpose(2, 3).reshape(1, 2, -1),
        nn.Conv1d(2, 6, 3),
    ),
    "framed": (lambda x, a: a(x).unfold(2, 5, 2).square().sum(-1), nn.Conv1d(2, 3, 3)),
    "sums so far": (lambda x, a: a(x).cumsum(2), nn.Conv1d(2, 3, 3)),
    "counted": (
        lambda x, a: a(x + torch.arange(x.shape[2], dtype=x.dtype).add(1).log()),
        nn.Conv1d(2, 3, 3),
    ),
    "norms of channels": (
        lambda x, a, b, c: b(c(a(x)).transpose(1, 2)),
        nn.Conv1d(2, 4, 3),
        nn.LayerNorm(4),
        nn.BatchNorm1d(4),
    ),
    "weights of weights": (
        lambda x, a, b: b(a(x)),
        weight_norm(nn.Conv1d(2, 4, 3)),
        weight_norm(nn.ConvTranspose1d(4, 1, 4, 2, 1)),
    ),
    "gated": (
        gated,
        nn.Conv1d(2, 2, 3, dilation=2),
        nn.Conv1d(2, 2, 3, dilation=2),
        nn.Conv1d(2, 2, 1),
    ),
    "anti-aliased": (
        antialiased,
        nn.ConvTranspose1d(2, 2, 6, 2, groups=2),
        nn.Conv1d(2, 2, 6, 2, groups=2),
    ),
    "rounded up": (rounded_up, nn.Conv1d(2, 4, 8, 4, 2), nn.ConvTranspose1d(4, 2, 8, 4, 2)),
    "padded to frames": (as_encodec, nn.Conv1d(2, 4, 8, 4), nn.ConvTranspose1d(4, 2, 8, 4)),
    "cut to the input": (
        lambda x, a, b: b(a(x))[..., : x.shape[2]],
        nn.Conv1d(2, 4, 4, 3, 3),
        nn.ConvTranspose1d(4, 2, 5, 3),
    ),
    "overlap-add": (overlap_add, nn.Conv1d(2, 18, 3, padding=1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_gives_what_the_whole_gives(kind):
    torch.manual_seed(0)
    function, *layers = KINDS[kind]
    shape = (1, 2, 41)
    model = Written(function, *layers)
    axis = 2 if kind.startswith("pools") else None
    assert_streams(model, shape, [1, 3, 6, 11, 18, 57, 100], axis=axis, chunkings=1)


def test_pictures_of_sound_stream_along_one_axis():
    torch.manual_seed(0)
    wide = nn.Sequential(
        nn.Conv2d(1, 4, (3, 5), (2, 2), (1, 2)), nn.ReLU(True), nn.BatchNorm2d(4),
        nn.ConvTranspose2d(4, 2, (3, 4), (2, 2), 1), nn.MaxPool2d((2, 3), (2, 1)),
    )  # fmt: skip
    assert_streams(wide, (2, 1, 12, 40), [7, 20, 33], axis=3)
    high = nn.Sequential(nn.Conv2d(1, 4, (5, 3), (2, 1), (2, 1)), nn.AvgPool2d(2))
    assert_streams(high, (1, 1, 40, 12), [9, 20, 33], axis=2)


def test_channels_may_come_last():
    torch.manual_seed(0)
    model = Written(
        lambda x, a, b: b(a(x.transpose(1, 2)).transpose(1, 2).relu()),
        nn.Conv1d(3, 4, 5, 2), nn.Linear(4, 2),
    )  # fmt: skip
    assert assert_streams(model, (2, 40, 3), [5, 20, 33]).axis == 1


@pytest.mark.parametrize("name", MIXING)
def test_a_layout_that_sees_the_whole_clip_is_refused_by_the_name_of_the_layer(name):
    layout = MIXING[name]
    with pytest.raises(UnsupportedError) as refused:
        atrous.stream(layout.model(), layout.shape, axis=layout.time)
    assert refused.value.subject.startswith(layout.mixes)
