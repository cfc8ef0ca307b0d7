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


def test_positions_that_a_mask_leaves_out_between_are_not_seen():
    def every_third(q):
        apart = torch.arange(q.shape[2])[None, :] - torch.arange(q.shape[2])[:, None]
        return (apart <= 0) & (apart >= -6) & (apart % 3 == 0)

    torch.manual_seed(0)
    assert_streams(nn.Sequential(Attended(every_third)), (1, 8, 40), [7, 40, 61], axis=2)


class WrittenOut(Attended):
    """The same layer with its scores, mask and softmax in code."""

    def __init__(self, form, mask):
        super().__init__(mask)
        self.form = form

    def forward(self, x):
        y = self.enter(self.norm(x.transpose(1, 2)))
        parts = (one.unflatten(2, (self.heads, -1)).transpose(1, 2) for one in y.chunk(3, 2))
        q, k, v = parts
        y = self.form(rotated(q), rotated(k), v, self.mask(q))
        return x + self.leave(y.transpose(1, 2).flatten(2)).transpose(1, 2)


def filled(q, k, v, seen):
    scores = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
    return functional.dropout(scores.masked_fill(~seen, -torch.inf).softmax(-1), 0.1, False) @ v


def chosen(q, k, v, seen):
    scores = torch.matmul(q * 0.5, k.mT)
    least = torch.tensor(torch.finfo(q.dtype).min, dtype=q.dtype)
    return torch.softmax(torch.where(seen, scores, least), dim=-1).to(q.dtype) @ v


def summed(q, k, v, seen):
    n = q.shape[2]
    apart = (torch.arange(n)[:, None] - torch.arange(n)[None, :]).abs()
    hidden = torch.zeros(n, n, dtype=q.dtype).masked_fill(~seen, -1e9)
    scores = 0.3 * torch.einsum("bhid,bhjd->bhij", q, k) + hidden + apart * -0.2
    return torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)


def in_batches(q, k, v, seen):
    q, k, v = (one.flatten(0, 1) for one in (q, k, v))
    scores = torch.bmm(q, k.transpose(1, 2)).mul(0.4).masked_fill(seen.logical_not(), -1e9)
    return torch.bmm(functional.softmax(scores, -1), v).unflatten(0, (-1, 2))


@pytest.mark.parametrize("form", [filled, chosen, summed, in_batches])
def test_attention_that_is_written_out_streams(form):
    torch.manual_seed(0)
    layers = [WrittenOut(form, banded(5, 1)), WrittenOut(form, banded(3, 0))]
    net = nn.Sequential(nn.Conv1d(3, 8, 4, 2), *layers, nn.Conv1d(8, 2, 3))
    live = assert_streams(net, (1, 3, 60), [9, 13, 60, 97], chunkings=1, axis=2)
    assert (live.hop, live.latency) == (2, 3 + 2 * (2 + 1))


def test_attention_that_is_written_out_with_no_bounded_mask_is_refused():
    def causal(q, k, v, seen):
        hidden = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
        return (q @ k.mT).masked_fill(hidden, -torch.inf).softmax(-1) @ v

    def mild(q, k, v, seen):
        return (q @ k.mT).masked_fill(~seen, -10.0).softmax(-1) @ v

    with pytest.raises(UnsupportedError, match="it looks back over all of time"):
        atrous.stream(WrittenOut(causal, banded(5, 0)), (1, 8, 40), axis=2)
    with pytest.raises(UnsupportedError, match="attention over all of time"):
        atrous.stream(WrittenOut(mild, banded(5, 0)), (1, 8, 40), axis=2)


@pytest.mark.parametrize(("back", "ahead"), [(5, 0), (4, 2)])
def test_a_plan_reads_the_window_of_a_mask(back, ahead):
    torch.manual_seed(0)
    mask = banded(back, ahead)
    net = nn.Sequential(nn.Conv1d(3, 8, 4, 2), Attended(mask), Attended(mask), nn.Conv1d(8, 2, 3))
    net = net.double().eval()
    plan, live = atrous.plan_stream(net, (1, 3, 60)), atrous.stream(net, (1, 3, 60), axis=2)
    assert (plan.hop, plan.latency) == (live.hop, live.latency)
    assert plan.past == 2 * 2 * back
    assert not plan.carries
    x, made = torch.randn(1, 3, 75, dtype=torch.float64), 0
    for count in (1, 9, 10, 3, 40):
        start = live.count
        made += live.push(x[..., start : start + count]).shape[2]
        assert (made,) == plan.after(live.count)
    with torch.no_grad():
        whole, base = net(x), 20
        moved = x.clone()
        moved[..., base] += 1
        changed = (net(moved) - whole).abs().amax((0, 1)).gt(0).nonzero()[:, 0]
    # An impulse reaches the outputs that the plan says read it.
    first, last = changed[0].item(), changed[-1].item()
    assert base - first * 2 <= plan.latency
    assert last * 2 - base <= plan.past


def test_a_mask_over_all_of_time_has_no_plan():
    with pytest.raises(UnsupportedError, match="attends to positions of all times"):
        atrous.plan_stream(All(), (1, 4, 40), axis="t")


@pytest.mark.parametrize("form", [filled, summed])
def test_a_plan_reads_the_window_of_attention_that_is_written_out(form):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(3, 8, 4, 2), WrittenOut(form, banded(5, 1))).double().eval()
    plan, live = atrous.plan_stream(net, (1, 3, 60)), atrous.stream(net, (1, 3, 60), axis=2)
    assert (plan.hop, plan.latency, plan.past) == (live.hop, live.latency, 10)
