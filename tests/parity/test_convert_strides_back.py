"""Rates traded for strides across residuals: which join holds them back, and what helps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous import ConversionError


class Residual(nn.Module):
    """Two convolutions at a rate, beside a shortcut that grows by channels of zeros."""

    def __init__(self, inward: int, outward: int, rate: int, shortcut: bool = False) -> None:
        super().__init__()
        self.one = nn.Conv2d(inward, outward, 3, padding=rate, dilation=rate)
        self.two = nn.Conv2d(outward, outward, 3, padding=rate, dilation=rate)
        self.more = outward - inward
        self.shortcut = nn.Conv2d(inward, inward, 1) if shortcut else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.shortcut(x)
        if self.more:
            kept = functional.pad(kept, (0, 0, 0, 0, 0, self.more))
        return kept + self.two(self.one(x).relu())


def blocks(*, shortcut: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        Residual(8, 8, 1, shortcut),
        Residual(8, 12, 2),
        Residual(12, 12, 2),
    ).eval()


def test_the_shortcut_that_holds_a_stride_back_is_named_with_what_would_help() -> None:
    with pytest.raises(ConversionError) as raised:
        atrous.convert(blocks(shortcut=False), 2, input=(1, 3, 33, 33))
    text = str(raised.value)
    assert text.startswith("1.add: 3.two could give up a factor of 2 of its rate 2")
    assert "1.one reads it at rate 1" in text
    assert "kernel 1" in text
    assert "[..., ::2]" in text


def test_a_shortcut_with_a_layer_of_kernel_1_is_what_helps() -> None:
    model = blocks(shortcut=True)
    made = atrous.convert(model, 2, input=(1, 3, 33, 33))
    assert made.certificate.verdict == "exact"
    assert made.model[1].shortcut.stride == (2, 2)
    x = torch.randn(1, 3, 41, 41, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before, after = (copy.deepcopy(m).double()(x) for m in (model, made.model))
    assert torch.allclose(after, before[..., ::2, ::2], atol=1e-12)


class Wave(nn.Module):
    """Causal layers of growing rates with residuals and a sum of skips."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(2, 4, 1), nn.Conv1d(4, 3, 1)
        self.layers = nn.ModuleList(nn.Conv1d(4, 4, 2, dilation=2**i) for i in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, skips = self.first(x), 0
        for i, layer in enumerate(self.layers):
            made = torch.tanh(layer(functional.pad(x, (2**i, 0))))
            x, skips = x + made, skips + made
        return self.last(skips)


def test_a_refusal_does_not_say_of_a_rate_that_divides_that_there_is_none_to_trade() -> None:
    with pytest.raises(ConversionError) as raised:
        atrous.convert(Wave(5).eval(), 2, input=(1, 2, 90))
    text = str(raised.value)
    assert text.startswith("add: layers.4 could give up a factor of 2 of its rate 16")
    assert "pads it by 1" in text
    assert "there is no dilation to trade" not in text


def test_a_rate_that_does_not_divide_is_still_the_reason_where_it_is() -> None:
    with pytest.raises(ConversionError, match="the rate here is 3 on a map"):
        atrous.convert("stack:k3s2 k3d3", 4, input=(1, 3, 64))


class Atrous(nn.Module):
    """Branches of several rates and a pooled one beside them, and a convolution behind."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.rates = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=r, dilation=r) for r in (2, 4))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Conv2d(12, 4, 3, padding=last, dilation=last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        pooled = functional.interpolate(self.pool(x), x.shape[2:], mode="bilinear")
        return self.last(torch.cat([*(rate(x) for rate in self.rates), pooled], 1))


def test_a_value_that_is_spread_over_a_map_holds_no_stride_back() -> None:
    torch.manual_seed(0)
    found = atrous.convert(Atrous(2).eval(), 4, input=(1, 3, 64, 64)).certificate
    assert found.outputs[0].factor == (1 / 2, 1 / 2)
    assert found.verdict in ("exact", "approximate")
    assert found.agrees


def test_a_layer_behind_that_has_no_rate_is_named() -> None:
    with pytest.raises(ConversionError) as raised:
        atrous.convert(Atrous(1).eval(), 4, input=(1, 3, 64, 64))
    assert str(raised.value).startswith("last: rates.1 could give up a factor of 2 of its rate 4")
    assert "last reads it at rate 1" in str(raised.value)


class _OnePlace(nn.Module):
    """A map, and one place of another before it."""

    def __init__(self, rate: int, at: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 2, 3, stride=3 - rate, padding=1)
        self.last = nn.Conv2d(2, 2, 3, dilation=rate, padding=rate)
        self.at = at

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.first(x)
        return self.last(x), x[:, :, self.at], x[..., self.at]


@pytest.mark.parametrize(("rate", "target", "at"), [(2, 2, 4), (1, 1, 3), (2, 2, 0)])
def test_one_place_of_a_map_is_the_same_place_at_another_stride(rate, target, at):
    model = _OnePlace(rate, at).double().eval()
    made = atrous.convert(model, target, input=(1, 2, 17, 19)).model
    for size in (17, 20):
        x = torch.randn(1, 2, size, size, dtype=torch.double)
        with torch.no_grad():
            fine, coarse = (made(x), model(x)) if rate == 1 else (model(x), made(x))
        torch.testing.assert_close(fine[0][..., ::2, ::2], coarse[0], rtol=1e-12, atol=1e-12)
        for one, two in zip(fine[1:], coarse[1:], strict=True):
            torch.testing.assert_close(one[..., ::2], two, rtol=1e-12, atol=1e-12)


def test_a_place_that_would_be_left_out_is_refused_with_it():
    with pytest.raises(ConversionError) as raised:
        atrous.convert(_OnePlace(2, 3).eval(), 2, input=(1, 2, 17, 19))
    assert raised.value.refusal is not None
    assert raised.value.refusal.layer == "select"
    assert "(select takes positions from 3 on)" in str(raised.value)
    with pytest.raises(ConversionError, match="picks positions in a way that cannot be edited"):
        atrous.convert(_OnePlace(2, -1).eval(), 2, input=(1, 2, 17, 17))
