"""Products, windows and pooled attention as models spell them, through the torch reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

import atrous
from tests.oracles import assert_reads_as_run


class Model(nn.Module):
    """A function between two pointwise layers, so that the spatial axes are known."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.first = nn.Conv2d(2, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.first(x))


def in_windows(x: torch.Tensor, side: int = 2) -> torch.Tensor:
    b, c, h, w = x.shape
    x = x.view(b, c, h // side, side, w // side, side).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(b, (h // side) * (w // side), side * side, c)


def pooled_queries(x: torch.Tensor, fused: bool) -> torch.Tensor:
    """Attention inside windows whose queries are pooled in pairs, as in Hiera."""
    tokens = in_windows(x, 4)
    b, windows, _, c = tokens.shape
    query = tokens.view(b, windows, 2, 8, c).amax(dim=2)
    if fused:
        return F.scaled_dot_product_attention(query, tokens, tokens)
    return (query @ tokens.transpose(-1, -2)).softmax(-1) @ tokens


def windows_around(x: torch.Tensor) -> torch.Tensor:
    """Queries in blocks of two, keys in overlapping windows of four, as in HaloNet."""
    b, c, h, w = x.shape
    keys = F.pad(x, (1, 1, 1, 1)).unfold(2, 4, 2).unfold(3, 4, 2)
    keys = keys.reshape(b, c, (h // 2) * (w // 2), 16).permute(0, 2, 3, 1)
    return (in_windows(x) @ keys.transpose(-1, -2)).softmax(-1) @ keys


CASES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "pooled queries, fused": lambda x: pooled_queries(x, True),
    "pooled queries, spelled out": lambda x: pooled_queries(x, False),
    "keys in overlapping windows": windows_around,
    "windows end to end": lambda x: x.unfold(2, 2, 2).unfold(3, 4, 4)[..., 1],
    "windows end to end that leave a rest": lambda x: x.unfold(3, 5, 5)[..., 0],
    "windows apart": lambda x: x.unfold(2, 2, 3).sum(-1),
    "windows that overlap": lambda x: x.unfold(3, 3, 2).amax(-1),
    "flattened positions pooled in blocks": lambda x: F.avg_pool1d(x.flatten(2), 4),
    "flattened positions pooled by rows": lambda x: F.avg_pool1d(x.flatten(2), 24),
    "einsum of one": lambda x: torch.einsum("bchw->bhw", x),
    "einsum of one that turns": lambda x: torch.einsum("bchw->bwhc", x),
    "einsum over rows": lambda x: torch.einsum("bchw,bchv->bcwv", x, x.mean(3, keepdim=True)),
    "einsum of three": lambda x: torch.einsum(
        "bchw,cd,de->behw", x, torch.ones(4, 3), torch.ones(3, 5)
    ),
    "einsum of three that sums a row": lambda x: torch.einsum(
        "bchw,bdhw,wd->bch", x, x, torch.ones(12, 4)
    ),
    "einsum with an ellipsis": lambda x: torch.einsum("bc...,cd->bd...", x, torch.ones(4, 3)),
    "einsum without an arrow": lambda x: torch.einsum("bchw,cd", x, torch.ones(4, 3)),
    "a weight made from the input": lambda x: F.linear(x.permute(0, 2, 3, 1), x.mean((2, 3))),
}


@pytest.mark.parametrize("name", CASES)
def test_it_reads_what_torch_reads(name: str) -> None:
    model = Model(CASES[name]).eval()
    network = atrous.read(model, (1, 2, 8, 12))
    with torch.no_grad():
        assert_reads_as_run(network, model)


@pytest.mark.parametrize(
    ("make", "axes"),
    [
        (lambda x: torch.einsum("bnc,cd->bnd", x, torch.ones(6, 3)), [10]),
        (lambda x: F.scaled_dot_product_attention(x, x, x), [10]),
        (lambda x: torch.einsum("bchw,cd->bdhw", x, torch.ones(6, 3)), [8, 12]),
    ],
    ids=["product of tokens", "attention", "product of a map"],
)
def test_products_tell_which_dimensions_are_positions(make: Any, axes: list[int]) -> None:
    class Bare(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return make(x)

    shape = (1, 10, 6) if len(axes) == 1 else (1, 6, *axes)
    assert list(atrous.read(Bare(), shape).inputs[0].grid.values()) == axes
