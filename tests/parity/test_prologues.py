"""Layers that make the pass before them give what they give behind it."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.operators.kernels import native
from atrous.operators.kernels.strassen import multiplies_rows_natively
from atrous.optimization.known import KnownWhole
from atrous.optimization.layer.prologue import fed_by
from tests.parity.test_optimize import assert_same, calibrated, optimized

pytestmark = pytest.mark.skipif(not multiplies_rows_natively(), reason=native().reason)

FIRST = ("prologue, row kernel", "row kernel")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("atrous.optimization.candidates._MUCH", math.inf)
    monkeypatch.setattr("atrous.optimization.layer.with_strassen._LEAST_PRODUCTS", 0)


class Dense(nn.Module):
    """A dense block: each layer behind a norm of the join of all maps so far."""

    def __init__(self, layers=4, given=16, grown=8):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(given + at * grown),
                nn.ReLU(),
                nn.Conv2d(given + at * grown, 32, 1, bias=False),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.Conv2d(32, grown, 3, padding=1, bias=False),
            )
            for at in range(layers)
        )

    def forward(self, x):
        maps = [x]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return torch.cat(maps, 1)


class Separating(nn.Module):
    """The end of a separator's block: a global norm that two layers of one tap read."""

    def __init__(self, channels=24):
        super().__init__()
        self.into = nn.Conv1d(channels, 40, 1)
        self.norm = nn.GroupNorm(1, 40)
        self.on, self.out = nn.Conv1d(40, channels, 1), nn.Conv1d(40, 12, 1)
        self.slope = nn.PReLU()

    def forward(self, x):
        y = self.norm(self.slope(self.into(x)))
        return x + self.on(y), self.out(y)


class Gated(nn.Module):
    """A map times a gate of channels, and another of positions, read by one layer and `more`."""

    def __init__(self, more=False):
        super().__init__()
        self.gate = nn.Conv2d(16, 16, 1)
        self.where = nn.Conv2d(16, 1, 3, padding=1)
        self.out = nn.Conv2d(16, 24, 1)
        self.more = more

    def forward(self, x):
        gate = torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        y = x * gate * torch.sigmoid(self.where(x))
        made = functional.hardswish(self.out(y))
        return (made, y.amax()) if self.more else made


class Mixing(nn.Module):
    """A linear map behind a pass."""

    def __init__(self):
        super().__init__()
        self.gate, self.out = nn.Linear(16, 16), nn.Linear(16, 24)

    def forward(self, x):
        return self.out(x * torch.tanh(self.gate(x)) + x)


def fed(fast):
    return [row for row in fast.explain().layers if fed_by(row.strategy)]


def test_a_dense_block_reads_its_join_where_it_multiplies():
    torch.manual_seed(0)
    model, x = calibrated(Dense()), torch.randn(2, 16, 14, 15)
    fast = optimized(model, x, first=FIRST)
    rows = fed(fast)
    assert [row.op for row in rows] == ["pass, conv k1 + relu"] * 4
    assert {row.strategy for row in rows} == {"prologue, row kernel"}
    for _ in range(2):
        assert_same(fast, model, x)
    assert_same(fast, model, torch.randn(2, 16, 14, 15))


def test_two_layers_that_read_one_pass_are_known_the_second_time():
    torch.manual_seed(0)
    model, x = Separating().eval(), torch.randn(2, 24, 150)
    first, again = (optimized(model, x, first=FIRST) for _ in range(2))
    assert len(fed(again)) == 2
    assert [row.candidates for row in fed(again)] == [row.candidates for row in fed(first)]


def test_two_layers_each_make_the_norm_that_both_read():
    torch.manual_seed(0)
    model, x = Separating().eval(), torch.randn(2, 24, 150)
    fast = optimized(model, x, first=FIRST)
    assert [row.op for row in fed(fast)] == ["pass, conv k1 + add", "pass, conv k1"]
    for _ in range(2):
        assert_same(fast, model, x)


def test_gates_of_channels_and_positions_are_made_there_unless_somebody_else_reads_them():
    torch.manual_seed(0)
    x = torch.randn(3, 16, 12, 13)
    model = Gated().eval()
    fast = optimized(model, x, first=FIRST)
    assert [row.op for row in fed(fast)] == ["pass, conv k1 + hardswish"]
    assert_same(fast, model, x)
    model = Gated(more=True).eval()
    fast = optimized(model, x, first=FIRST)
    assert not fed(fast)
    assert_same(fast, model, x)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_linear_maps_make_their_pass_in_either_layout(layout):
    torch.manual_seed(0)
    model, x = Mixing().eval(), torch.randn(2, 150, 16)
    fast = optimized(model, x, first=FIRST, layout=layout)
    assert [row.op for row in fed(fast)] == ["pass, linear"]
    assert_same(fast, model, x)


def test_the_pass_stays_apart_where_that_takes_less_and_in_planes():
    torch.manual_seed(0)
    model, x = calibrated(Dense()), torch.randn(1, 16, 20, 20)
    assert not fed(optimized(model, x, first=("pass and layers", "row kernel")))
    assert not fed(optimized(model, x, first=FIRST, layout="contiguous"))


def test_fewer_products_are_taken_only_where_rounding_may_be_another(monkeypatch):
    monkeypatch.setattr("atrous.optimization.layer.with_strassen._LEAST_WIDE", {0: 1, 1: 1, 2: 1})
    torch.manual_seed(0)
    model, x = calibrated(Dense()), torch.randn(1, 16, 16, 18)
    first = ("prologue, strassen 1", "strassen 1", "prologue, row kernel")
    rows = fed(optimized(model, x, first=first))
    assert {row.strategy for row in rows} == {"prologue, strassen 1"}
    assert all(0 < row.error <= 8 * row.direct_error for row in rows)
    # The product that is tried is the fastest of those on rows, also where another was chosen.
    rows = fed(optimized(model, x, first=("onednn", *first)))
    assert all(0 < row.error <= 8 * row.direct_error for row in rows)
    # What was measured before for other sums is no hindrance.
    rows = fed(optimized(model, x, first=first, rounding="direct"))
    assert {(row.strategy, row.error) for row in rows} == {("prologue, row kernel", None)}


def test_new_weights_reach_fed_layers_and_so_do_copies():
    torch.manual_seed(0)
    model, x = calibrated(Dense()), torch.randn(1, 16, 14, 14)
    fast = optimized(model, x, first=FIRST)
    assert fed(fast)
    with torch.no_grad():
        for part in (model, fast):
            for name, value in part.named_parameters():
                if name.endswith(("0.weight", "0.bias", "2.weight")):
                    value.mul_(0.5)
    for one in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert_same(one, model, x)


def test_a_second_time_the_same_is_chosen_without_measuring():
    torch.manual_seed(0)
    model, x = calibrated(Dense()), torch.randn(1, 16, 14, 14)
    first = optimized(model, x, first=FIRST)
    again = optimized(model, x, first=("pass and layers",))
    assert [(row.layer, row.strategy) for row in fed(again)] == [
        (row.layer, row.strategy) for row in fed(first)
    ]
    assert [row.candidates for row in fed(again)] == [row.candidates for row in fed(first)]
    assert_same(again, model, x)


@pytest.mark.parametrize("kept", ["prologue, strassen 9", "prologue, strassen 2", "prologue, "])
def test_a_kept_product_that_there_is_not_is_chosen_anew(monkeypatch, kept):
    torch.manual_seed(0)
    model, x = calibrated(Dense()), torch.randn(1, 16, 14, 14)
    optimized(model, x, first=FIRST)
    real = KnownWhole.layers

    def layers(self, layout):
        found = real(self, layout)
        return {n: replace(k, strategy=kept) if fed_by(k.strategy) else k for n, k in found.items()}

    monkeypatch.setattr(KnownWhole, "layers", layers)
    again = optimized(model, x, first=FIRST)
    assert {row.strategy for row in fed(again)} == {"prologue, row kernel"}
    assert_same(again, model, x)
