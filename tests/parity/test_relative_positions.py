"""Attention with positions relative to the query, made of the query itself: who reads what."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

import atrous
from tests.nan_probe import read_by

SIDE, WIDTH = 4, 3


def _sheared(logits: torch.Tensor, keys: int) -> torch.Tensor:
    """Row `i` of `(rows, 2 keys - 1)` numbers by distance as `(rows, keys)` numbers by place."""
    batch, rows, many = logits.shape
    flat = F.pad(F.pad(logits, (0, 1)).flatten(1), (0, many - rows))
    return flat.reshape(batch, rows + 1, many)[:, :rows, keys - 1 :]


def _relative(query: torch.Tensor, table: torch.Tensor, side: int) -> torch.Tensor:
    """`(b, h, w, d)` queries: what the distance along the last axis of places says of each pair."""
    b, h, w, _ = query.shape
    by_distance = (query @ table.T).reshape(b * h, w, 2 * side - 1)
    by_place = _sheared(by_distance, side).reshape(b, h, 1, w, side)
    return by_place.expand(-1, -1, side, -1, -1)


class Everywhere(nn.Module):
    """Attention over a whole map, with positions along both axes."""

    def __init__(self, how: str, window: int = 0) -> None:
        super().__init__()
        self.how, self.window = how, window
        self.qkv = nn.Conv2d(2, 3 * WIDTH, 1)
        self.across = nn.Parameter(torch.randn(2 * SIDE - 1, WIDTH))
        self.down = nn.Parameter(torch.randn(2 * SIDE - 1, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, h, w = x.shape
        tokens = self.qkv(x)
        if self.window:
            k = self.window
            tokens = tokens.unflatten(2, (h // k, k)).unflatten(4, (w // k, k))
            tokens = tokens.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        rows, columns = tokens.shape[2:]
        q, k_, v = tokens.flatten(2).mT.chunk(3, dim=-1)
        bias = self._bias(q.reshape(-1, rows, columns, WIDTH))
        if self.how == "mask":
            made = F.scaled_dot_product_attention(
                q[:, None], k_[:, None], v[:, None], bias[:, None]
            )[:, 0]
        else:
            made = (q @ k_.mT + bias).softmax(-1) @ v
        out = made.mT.reshape(-1, WIDTH, rows, columns)
        if self.window:
            out = out.reshape(b, h // rows, w // columns, WIDTH, rows, columns)
            out = out.permute(0, 3, 1, 4, 2, 5).reshape(b, WIDTH, h, w)
        return out

    def _bias(self, q: torch.Tensor) -> torch.Tensor:
        across = _relative(q, self.across, SIDE).permute(0, 1, 3, 2, 4)
        down = _relative(q.transpose(1, 2), self.down, SIDE).permute(0, 3, 1, 4, 2)
        return (across + down).flatten(3).flatten(1, 2)


class Cascade(nn.Module):
    """Values turned by the attention's transpose, in windows, a convolution on the keys before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 4, 4)
        q, v = self.conv(x).flatten(2), x.flatten(2)
        made = v @ (q.mT @ v).softmax(-1).mT
        made = made.reshape(b, h // 4, w // 4, c, 4, 4).permute(0, 3, 1, 4, 2, 5)
        return made.reshape(b, c, h, w)


class Halo(nn.Module):
    """Queries in blocks, keys in blocks that overlap, each pair by its place in both."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(WIDTH, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, h, w = x.shape
        q = x.unflatten(2, (h // 4, 4)).unflatten(4, (w // 4, 4)).permute(0, 2, 4, 3, 5, 1)
        q = q.reshape(-1, 16, x.shape[1])
        k = F.pad(x, (1, 1, 1, 1)).unfold(2, 6, 4).unfold(3, 6, 4).permute(0, 2, 3, 4, 5, 1)
        k = k.reshape(-1, 36, x.shape[1])
        near = (q.reshape(-1, 4, 4, x.shape[1])[..., :1] * self.table[0]).flatten(1, 2)
        bias = near[:, :, None, :].expand(-1, -1, 6, -1).flatten(2)
        made = (q @ k.mT + bias).softmax(-1) @ k
        made = made.reshape(b, h // 4, w // 4, 4, 4, -1).permute(0, 5, 1, 3, 2, 4)
        return made.reshape(b, -1, h, w)


MODELS = {
    "a whole map": (Everywhere("product"), (1, 2, SIDE, SIDE)),
    "a whole map under a mask": (Everywhere("mask"), (1, 2, SIDE, SIDE)),
    "windows": (Everywhere("product", SIDE), (1, 2, 2 * SIDE, 2 * SIDE)),
    "windows under a mask": (Everywhere("mask", SIDE), (1, 2, 2 * SIDE, 2 * SIDE)),
    "a transposed map in windows": (Cascade(), (1, 2, 8, 8)),
    "blocks with a halo": (Halo(), (1, 2, 8, 12)),
}


@pytest.mark.parametrize("name", MODELS)
def test_attention_with_relative_positions_reads_what_the_model_shows(name: str) -> None:
    model, shape = MODELS[name]
    report = atrous.inspect(model.eval(), shape)
    assert report.complete, report.opaque
    truth = read_by(model, shape, batch=1)
    sizes = tuple(report.network.tensor(report.outputs[0].tensor).grid.values())
    every = list(product(*map(range, sizes)))
    assert len(every) == truth.shape[1]
    for at, expected in zip(every, truth.T, strict=True):
        assert (report.footprint(at=at).mask.ravel() == expected).all(), at
    assert not truth.all() or report.outputs[0].is_global


def test_sums_of_a_map_with_itself_turned_have_a_position_for_each_pair() -> None:
    class Outer(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., :, None] + 2 * x[..., None, :]

    report = atrous.inspect(Outer(), (1, 2, 6))
    truth = read_by(Outer(), (1, 2, 6), batch=1)
    for index in range(36):
        read = np.flatnonzero(report.footprint(at=index).mask)
        assert read.tolist() == np.flatnonzero(truth[:, index]).tolist()
    assert report.outputs[0].is_global
