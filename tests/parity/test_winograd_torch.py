"""Convolutions by minimal filtering as a part of PyTorch: layouts, gradients of every order."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.kernels import native
from atrous.operators.kernels.torch_winograd import conv_filtered

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)

LAYERS = [
    # kernel, dilation, padding, sizes
    ((3, 3), (2, 2), ((2, 2), (2, 2)), (20, 17)),
    ((3, 3), (1, 4), ((0, 2), (4, 4)), (11, 23)),
    ((5, 3), (1, 1), ((2, 2), (3, 0)), (13, 9)),
    ((1, 5), (1, 3), ((0, 0), (12, 0)), (3, 40)),
    ((3,), (8,), ((16, 0),), (100,)),
]


def made(layer, *, channels=24, filters=40, last=False):
    kernel, dilation, padding, sizes = layer
    torch.manual_seed(0)
    windows = Window.of_axes(kernel, (1,) * len(kernel), dilation, padding)
    call = Convolution(2, channels, filters, sizes, windows)
    x = torch.randn(2, channels, *sizes)
    if last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    weight = torch.randn(filters, channels, *kernel) / 10
    return call, [one.requires_grad_() for one in (x, weight, torch.randn(filters))]


def plain(call, x, weight, bias):
    pads = [p for pair in reversed(call.padding) for p in pair]
    conv = (functional.conv1d, functional.conv2d)[call.rank - 1]
    return conv(functional.pad(x, pads), weight, bias, 1, 0, call.dilation)


def close(one, two, most=2e-6):
    one, two = one.detach(), two.detach()
    assert one.shape == two.shape
    assert float((one - two).abs().max()) <= most * float(two.abs().max())


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("last", [False, True])
def test_the_result_and_both_gradients_are_those_in_float64(layer, last):
    call, given = made(layer, last=last)
    exact = [one.detach().double().requires_grad_() for one in given]
    wanted = plain(call, *exact)
    found = conv_filtered(*given, call, 4)
    close(found, wanted)
    assert found.stride() == plain(call, *given).stride() or call.rank == 1
    grad = torch.randn_like(found)
    for one, two in zip(
        torch.autograd.grad(found, given, grad),
        torch.autograd.grad(wanted, exact, grad.double()),
        strict=True,
    ):
        close(one, two, 4e-6)


def test_only_what_is_wanted_is_computed_and_no_bias_is_no_gradient():
    call, (x, weight, _) = made(LAYERS[0])
    found = conv_filtered(x.detach(), weight, None, call, 4)
    (by_weight,) = torch.autograd.grad(found.sum(), [weight])
    (wanted,) = torch.autograd.grad(plain(call, x.detach(), weight, None).sum(), [weight])
    close(by_weight, wanted, 1e-5)
    frozen = conv_filtered(x, weight.detach(), None, call, 4)
    (by_x,) = torch.autograd.grad(frozen.sum(), [x])
    close(by_x, torch.autograd.grad(plain(call, x, weight, None).sum(), [x])[0], 1e-5)


@pytest.mark.parametrize("layer", [LAYERS[0], LAYERS[2], LAYERS[4]])
def test_second_derivatives_are_pytorchs(layer):
    call, given = made(layer, channels=4, filters=3)

    def penalty(function):
        y = function()
        by_x, by_weight = torch.autograd.grad((y**2).sum(), given[:2], create_graph=True)
        return torch.autograd.grad((by_x**2).sum() + (by_weight**2).sum(), given)

    pairs = zip(
        penalty(lambda: conv_filtered(*given, call, 4)),
        penalty(lambda: plain(call, *given)),
        strict=True,
    )
    for one, two in pairs:
        close(one, two, 2e-5)


def test_negated_and_transposed_views_are_read_as_what_they_are():
    call, (x, weight, bias) = made(LAYERS[0])
    with torch.no_grad():
        negated = torch._neg_view(x)
        turned = x.transpose(2, 3).contiguous().transpose(2, 3)
        close(conv_filtered(negated, weight, bias, call, 4), plain(call, -x, weight, bias))
        close(conv_filtered(turned, weight, bias, call, 4), plain(call, x, weight, bias))
        flipped = weight.flip(0).flip(0)
        close(conv_filtered(x, flipped, bias, call, 4), plain(call, x, weight, bias))
