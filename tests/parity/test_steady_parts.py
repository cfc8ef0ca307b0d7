"""Parts of joins that are the same everywhere: what the model gives, by fewer products."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.optimization.graph.export import exported
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.passes import lowered
from tests.made_times import optimized_by


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    monkeypatch.setattr("atrous.optimization.candidates._MUCH", math.inf)


class Pyramid(nn.Module):
    """Two branches and the mean, spread out in one of the ways in which networks do that."""

    def __init__(self, spread, stride=1, bias=True):
        super().__init__()
        self.one, self.two = nn.Conv2d(6, 10, 1), nn.Conv2d(6, 12, 3, padding=4, dilation=4)
        self.mean = nn.Conv2d(6, 7, 1)
        self.project = nn.Conv2d(29, 9, 1, stride=stride, bias=bias)
        self.norm = nn.BatchNorm2d(9)
        self.spread = spread
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        mean = self.spread(self.mean(x.mean((2, 3), keepdim=True)).relu(), x.shape[2:])
        return self.norm(self.project(torch.cat([self.one(x), mean, self.two(x)], 1))).relu()


SPREADS = {
    "expand": lambda y, size: y.expand(-1, -1, *size),
    "bilinear": lambda y, size: functional.interpolate(
        y, size=size, mode="bilinear", align_corners=False
    ),
    "corners": lambda y, size: functional.interpolate(
        y, size=size, mode="bilinear", align_corners=True
    ),
    "nearest": lambda y, size: functional.interpolate(y, size=size),
}


def inputs_of(graph):
    """How many channels each layer with weights reads, and at how many positions."""
    calls = [node.meta["call"] for node in graph.nodes if is_layer(node)]
    return sorted((call.input[1], math.prod(call.input[2:])) for call in calls if call.weight)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("stride", "bias"), [(1, True), (2, False)])
def test_what_is_the_same_everywhere_is_multiplied_once(spread, stride, bias, layout):
    torch.manual_seed(0)
    model = Pyramid(SPREADS[spread], stride, bias).eval()
    x = torch.randn(3, 6, 17, 14)
    found = inputs_of(lowered(exported(model, [x]).graph))
    assert found == [(6, 1), (6, 17 * 14), (6, 17 * 14), (7, 1), (22, 17 * 14)]
    fast = optimized_by(model, x, "torch", layout=layout)
    for _ in range(2):
        assert torch.allclose(fast(x), model(x), atol=1e-5)
        with torch.no_grad():
            model.project.weight.mul_(-1.5)


class Others(nn.Module):
    """Joins that stay: of three taps, of groups, read twice, of nothing but means, of a batch."""

    def __init__(self):
        super().__init__()
        self.wide, self.grouped = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(8, 4, 1, groups=2)
        self.padded, self.plain = nn.Conv2d(8, 4, 1, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        mean = x.mean((2, 3), keepdim=True).expand_as(x)
        whole = [conv(torch.cat([x, mean], 1)) for conv in (self.wide, self.grouped, self.padded)]
        twice = torch.cat([x, mean], 1)
        whole += [self.plain(twice) + twice[:, :4], self.plain(torch.cat([mean, mean], 1))]
        rows = x.mean(3, keepdim=True).expand_as(x)
        first = x[:1].mean((2, 3), keepdim=True).expand(len(x), -1, *x.shape[2:])
        return *whole, *(self.plain(torch.cat([x, one], 1)) for one in (rows, first))


def test_what_differs_by_position_stays():
    torch.manual_seed(0)
    model, x = Others().eval(), torch.randn(2, 4, 9, 11)
    found = inputs_of(lowered(exported(model, [x]).graph))
    assert [channels for channels, _ in found] == [8] * 7
    fast = optimized_by(model, x, "torch", layout="channels_last")
    for made, wanted in zip(fast(x), model(x), strict=True):
        assert torch.allclose(made, wanted, atol=1e-5)
