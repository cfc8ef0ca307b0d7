"""Random networks with branches of different delay: a stream gives what the whole gives."""

from __future__ import annotations

import random

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tests.oracles import drawing
from tests.streamed import assert_streams


class Branchy(nn.Module):
    """Layers drawn one behind another, with branches that join again where they fit."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = self.draw = random.Random(seed)
        torch.manual_seed(seed)
        self.layers = nn.ModuleList()
        self.plan = []
        for _ in range(draw.randint(2, 5)):
            kind = draw.choice(["conv", "strided", "up", "branch", "pool", "pad", "resize", "skip"])
            self.plan.append((kind, len(self.layers)))
            k, d = draw.randint(1, 6), draw.randint(1, 3)
            if kind == "conv":
                self.layers.append(nn.Conv1d(2, 2, k, padding=draw.randint(0, 4), dilation=d))
            elif kind == "strided":
                self.layers.append(nn.Conv1d(2, 2, k, draw.randint(2, 3), draw.randint(0, 3), d))
            elif kind == "up":
                s = draw.randint(2, 3)
                self.layers.append(nn.ConvTranspose1d(2, 2, k, s, draw.randint(0, k // 2), s - 1))
            elif kind == "branch":
                self.layers.append(nn.Conv1d(2, 2, 2 * k - 1, padding=(k - 1) * d, dilation=d))
                self.layers.append(nn.Conv1d(2, 2, 3, padding=1))
            elif kind == "pool":
                pool = draw.choice([nn.MaxPool1d, nn.AvgPool1d])
                self.layers.append(pool(3, draw.randint(1, 4), 1, ceil_mode=draw.random() < 0.5))
            elif kind == "skip":
                self.layers.append(nn.Conv1d(2, 2, k + 1))
        self.modes = [draw.choice(["constant", "reflect", "replicate"]) for _ in self.plan]
        self.sides = [(draw.randint(0, 3), draw.randint(0, 3)) for _ in self.plan]

    def forward(self, x):
        for (kind, at), mode, sides in zip(self.plan, self.modes, self.sides, strict=True):
            if kind == "pad":
                x = functional.pad(x, sides, mode=mode)
            elif kind == "resize":
                x = functional.interpolate(x, scale_factor=2.0, mode="linear")
            elif kind == "branch":
                x = self.layers[at](x) * torch.sigmoid(self.layers[at + 1](x)) + x
            elif kind == "skip":
                made = self.layers[at](x)
                x = (
                    torch.cat([made, x[..., sides[0] : sides[0] + made.shape[2]]], 1)[:, 1:3]
                    if sides[0] < self.layers[at].kernel_size[0]
                    else made
                )
            else:
                x = functional.leaky_relu(self.layers[at](x), 0.1, inplace=True)
        return x


@given(st.integers(0, 100_000))
@drawing(8)
def test_a_random_network_streams_as_it_runs_whole(seed):
    draw = random.Random(seed)
    lengths = [draw.randint(20, 60), draw.randint(60, 150), 83]
    assert_streams(Branchy(seed), (1, 2, 60), lengths, axis=2, chunkings=1, most=50)
