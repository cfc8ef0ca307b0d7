"""Attention in a window that slides along time, as a stream."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.errors import UnsupportedError
from tests.streamed import assert_streams


def rotated(x, base=100.0):
    """Rotary positions: pairs of channels turned by the place."""
    half = x.shape[-1] // 2
    place = torch.arange(x.shape[-2], dtype=x.dtype)
    angle = place[:, None] * base ** (-torch.arange(half, dtype=x.dtype) / half)
    a, b = x[..., :half], x[..., half:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def seen(n, back, ahead):
    place = torch.arange(n)
    apart = place[None, :] - place[:, None]
    return (apart >= -back) & (apart <= ahead)


class Attended(nn.Module):
    """A layer of a transformer over frames, each seeing so many before it and behind it."""

    def __init__(self, mask, channels=8, heads=2):
        super().__init__()
        self.mask, self.heads = mask, heads
        self.norm, self.enter = nn.LayerNorm(channels), nn.Linear(channels, 3 * channels)
        self.leave = nn.Linear(channels, channels)

    def forward(self, x):
        y = self.enter(self.norm(x.transpose(1, 2)))
        parts = (one.unflatten(2, (self.heads, -1)).transpose(1, 2) for one in y.chunk(3, 2))
        q, k, v = parts
        y = functional.scaled_dot_product_attention(rotated(q), rotated(k), v, self.mask(q))
        return x + self.leave(y.transpose(1, 2).flatten(2)).transpose(1, 2)


def banded(back, ahead):
    return lambda q: seen(q.shape[2], back, ahead)


def added(q):
    """What is added to scores: less, the further back, by another slope for each head."""
    n = q.shape[2]
    place = torch.arange(n, dtype=q.dtype)
    back = place[:, None] - place[None, :]
    slope = torch.tensor([1.0, 0.25], dtype=q.dtype)[:, None, None]
    hidden = torch.full((n, n), torch.finfo(q.dtype).min, dtype=q.dtype)
    return torch.where(seen(n, 4, 0), -slope * back, hidden)


def tril(q):
    n = q.shape[2]
    return torch.ones(n, n, dtype=torch.bool).tril().triu(-3)


MASKS = {"back": banded(5, 0), "both ways": banded(4, 2), "added": added, "tril": tril}


@pytest.mark.parametrize("name", MASKS)
def test_attention_in_a_window_streams(name):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(3, 8, 4, 2), Attended(MASKS[name]), Attended(MASKS[name]), nn.Conv1d(8, 2, 3)
    )
    live = assert_streams(net, (1, 3, 60), [9, 13, 60, 97], chunkings=1, axis=2)
    wait = {"both ways": 4}.get(name, 0)
    assert (live.hop, live.latency) == (2, 3 + 2 * (2 + wait))
    kept = live.state
    live.reset()
    live.push(torch.randn(1, 3, 500, dtype=torch.float64))
    assert live.state.nbytes < 6000
    assert kept.ended


class Later(nn.Module):
    def forward(self, x):
        y = x.transpose(1, 2)
        return functional.scaled_dot_product_attention(y, y, y, self.seen(y)).transpose(1, 2)


class All(Later):
    def seen(self, y):
        return torch.ones(y.shape[1], y.shape[1], dtype=torch.bool).tril()


class Placed(Later):
    def seen(self, y):
        place = torch.arange(y.shape[1])
        return (place[None, :] // 4 == place[:, None] // 4) & (place[None, :] <= place[:, None])


class OfTheInput(Later):
    def seen(self, y):
        return y.sum(2)[:, :, None] > y.sum(2)[:, None, :]


class Causal(nn.Module):
    def forward(self, x):
        y = x.transpose(1, 2)
        made = functional.scaled_dot_product_attention(y, y, y, is_causal=True)
        return made.transpose(1, 2)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (All, "it looks back over all of time; attention in a bounded window is a stream"),
        (Placed, "what its mask hides or adds depends on the place"),
        (OfTheInput, "relates every position of time|its mask depends on the input"),
        (Causal, "it is attention over all of time.*by a mask, would be a stream"),
    ],
)
def test_what_attends_otherwise_is_refused(kind, why):
    with pytest.raises(UnsupportedError, match=why):
        atrous.stream(kind(), (1, 4, 40), axis=2)
