"""Layers that run as one give what they give one by one, and only where nothing is lost."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.operators.kernels import native
from atrous.operators.kernels.bottleneck import bottlenecks_natively
from atrous.optimization.layer.chain import CHAINED
from tests.parity.test_optimize import assert_same, calibrated, optimized

pytestmark = pytest.mark.skipif(not bottlenecks_natively(), reason=native().reason)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("atrous.optimization.candidates._MUCH", math.inf)
    monkeypatch.setattr("atrous.optimization.layer.chain._LEAST_PRODUCTS", 0)


class Bottleneck(nn.Module):
    """A block of MobileNetV2 at any rate and stride."""

    def __init__(self, channels, wide, filters, kernel=3, stride=1, rate=1, act=nn.ReLU6):
        super().__init__()
        pad = (kernel - 1) // 2 * rate
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            act(),
            nn.Conv2d(wide, wide, kernel, stride, pad, rate, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            act(),
            nn.Conv2d(wide, filters, 1, bias=False),
            nn.BatchNorm2d(filters),
        )
        self.adds = stride == 1 and channels == filters

    def forward(self, x):
        y = self.body(x)
        return x + y if self.adds else y


class FeedForward(nn.Module):
    """The half of a block of ConvNeXt or of a transformer that mixes channels."""

    def __init__(self, channels, wide):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.into, self.out = nn.Linear(channels, wide), nn.Linear(wide, channels)

    def forward(self, x):
        return x + self.out(functional.gelu(self.into(self.norm(x))))


class Seen(nn.Module):
    """The hidden map is read by somebody else, too."""

    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Conv2d(8, 24, 1), nn.Conv2d(24, 8, 1)

    def forward(self, x):
        hidden = functional.relu(self.into(x))
        return self.out(hidden), hidden.mean()


def chained(fast):
    return [row for row in fast.explain().layers if row.strategy == CHAINED]


@pytest.mark.parametrize(
    ("block", "size"),
    [
        (lambda: Bottleneck(12, 40, 12, rate=2), (9, 11)),
        (lambda: Bottleneck(12, 40, 20, stride=2), (9, 12)),
        (lambda: Bottleneck(7, 33, 7, kernel=5, rate=3, act=nn.Hardswish), (14, 6)),
        (lambda: nn.Sequential(Bottleneck(8, 24, 8), Bottleneck(8, 24, 8, rate=4)), (8, 8)),
    ],
)
def test_inverted_bottlenecks_run_as_one(block, size):
    torch.manual_seed(0)
    model, x = calibrated(block()), torch.randn(2, next(block().parameters()).shape[1], *size)
    fast = optimized(model, x, first=(CHAINED, "onednn"))
    rows = chained(fast)
    assert len(rows) == sum(isinstance(part, Bottleneck) for part in model.modules())
    assert all("depthwise" in row.op and row.layer.count(",") == 2 for row in rows)
    assert {name for row in rows for name, _ in row.candidates} == {CHAINED, "separate layers"}
    for _ in range(2):
        assert_same(fast, model, x)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_two_linear_maps_run_as_one_in_either_layout(layout):
    torch.manual_seed(0)
    model = nn.Sequential(FeedForward(16, 48), FeedForward(16, 40)).eval()
    x = torch.randn(2, 5, 16)
    fast = optimized(model, x, first=(CHAINED,), layout=layout)
    assert [row.op for row in chained(fast)] == ["linear + gelu, linear + add"] * 2
    assert_same(fast, model, x)


def test_lines_run_as_one_too():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(10, 40, 1),
        nn.ReLU(),
        nn.Conv1d(40, 40, 5, padding=(8), dilation=4, groups=40),
        nn.SiLU(),
        nn.Conv1d(40, 10, 1),
    ).eval()
    x = torch.randn(2, 10, 37)
    fast = optimized(model, x, first=(CHAINED,))
    assert len(chained(fast)) == 1
    assert_same(fast, model, x)


def test_the_layers_stay_apart_where_that_takes_less_or_their_maps_are_read():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 6, 6)
    model = calibrated(Bottleneck(8, 24, 8))
    assert not chained(optimized(model, x, first=("onednn", "separate layers")))
    seen = Seen().eval()
    fast = optimized(seen, x, first=(CHAINED,))
    assert not chained(fast)
    assert_same(fast, seen, x)


def test_new_weights_reach_the_joined_layers_and_so_do_copies():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 9, 9)
    model = calibrated(Bottleneck(8, 24, 8, rate=2))
    fast = optimized(model, x, first=(CHAINED,))
    assert chained(fast)
    with torch.no_grad():
        for part in (model, fast):
            for name, value in part.named_parameters():
                if name.endswith(("body.3.weight", "body.6.weight")):
                    value.mul_(0.5)
    for one in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert_same(one, model, x)
