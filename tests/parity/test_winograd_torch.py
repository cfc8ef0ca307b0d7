"""Convolutions by minimal filtering as a part of PyTorch: layouts, gradients of every order."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.errors import ArgumentError
from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.directions import conv_filtered
from atrous.operators.kernels import native
from atrous.operators.kernels.torch_winograd import prepare_winograd
from atrous.operators.tiles import tiled
from atrous.optimization.contest import Turns
from atrous.optimization.layer.rounding import ALLOWED
from atrous.optimization.optimize import optimize_model

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))


LAYERS = [
    # kernel, dilation, padding, sizes
    ((3, 3), (2, 2), ((2, 2), (2, 2)), (20, 17)),
    ((3, 3), (1, 4), ((0, 2), (4, 4)), (11, 23)),
    ((5, 3), (1, 1), ((2, 2), (3, 0)), (13, 9)),
    ((1, 5), (1, 3), ((0, 0), (12, 0)), (3, 40)),
    ((3,), (8,), ((16, 0),), (100,)),
    # In parts.
    ((7, 4), (1, 2), ((3, 3), (3, 3)), (15, 12)),
    ((11,), (3,), ((30, 0),), (90,)),
    ((3, 3), (1, 2), ((1, 1), (2, 2)), (17, 20), (2, 2)),
    ((7,), (1,), ((2, 3),), (60,), (4,)),
]


def made(layer, *, channels=24, filters=40, last=False):
    kernel, dilation, padding, sizes, *rest = layer
    torch.manual_seed(0)
    windows = Window.of_axes(kernel, *(rest or [(1,) * len(kernel)]), dilation, padding)
    call = Convolution(2, channels, filters, sizes, windows)
    x = torch.randn(2, channels, *sizes)
    if last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    weight = torch.randn(filters, channels, *kernel) / 10
    return call, [one.requires_grad_() for one in (x, weight, torch.randn(filters))]


def plain(call, x, weight, bias):
    pads = [p for pair in reversed(call.padding) for p in pair]
    conv = (functional.conv1d, functional.conv2d)[call.rank - 1]
    return conv(functional.pad(x, pads), weight, bias, call.stride, 0, call.dilation)


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


@pytest.mark.parametrize("layer", [LAYERS[0], LAYERS[2], LAYERS[4], LAYERS[7]])
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
        across = weight.transpose(0, 1).contiguous().transpose(0, 1)
        close(conv_filtered(x, across, bias, call, 4), plain(call, x, weight, bias))


def test_what_is_prepared_runs_on_the_threads_of_the_moment_and_refuses_other_inputs():
    call, (x, weight, bias) = made(LAYERS[0])
    tiling = tiled(call, 4)
    assert tiling is not None
    runs = prepare_winograd(weight, bias, call, tiling)
    x = x.detach()
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(runs(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)
    close(results[0], plain(call, x, weight, bias))
    for wrong in (x[..., 1:], x.double(), x[0]):
        with pytest.raises(ValueError, match="prepared for"):
            runs(wrong)
    with pytest.raises(ValueError, match="prepared for"):
        runs(x, x)


class Net(nn.Module):
    """Dense layers that tiles fit, one whose input has no batch, and one of stride 2 in parts."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(32, 48, 3, padding=2, dilation=2)
        self.two = nn.Conv2d(48, 32, 3, stride=2)
        self.three = nn.Conv2d(32, 32, 3, padding=1)

    def forward(self, x):
        return self.three(self.two(torch.relu(self.one(x)))[0])


def by(is_fast):
    """A timer that runs everything once, and by which these are fast."""

    def timer(runs):
        for run in runs.values():
            run()
        return {name: 1.0 if is_fast(name) else 2.0 for name in runs}

    return timer


def optimized(model, x, **more):
    layers, rest = by(lambda name: name.startswith("winograd")), by(lambda name: name != "before")

    def whole(runs):
        return {name: Turns(ms, ms, ms) for name, ms in rest(runs).items()}

    return optimize_model(model, x, timer=layers, whole_timer=whole, **more)


def test_dense_layers_are_exchanged_for_training_where_they_may_be():
    torch.manual_seed(0)
    model, x = Net(), torch.randn(2, 32, 41, 41)
    fast = optimized(model, x, training=True)
    rows = {row.layer: row for row in fast.explain().layers}
    one, two, three = (rows[name].strategy for name in ("one", "two", "three"))
    assert all(way.startswith("winograd") for way in one.split(" | "))
    assert (two, three) == ("winograd 4 | torch | torch", "torch")
    assert 0 < rows["one"].error <= 8 * rows["one"].direct_error
    assert "no batch" in rows["three"].why[0]
    exact = copy.deepcopy(model).double()
    wanted = torch.autograd.grad(exact(x.double()).square().sum(), list(exact.parameters()))
    found = torch.autograd.grad(fast(x).square().sum(), list(fast.parameters()))
    for one, two in zip(found, wanted, strict=True):
        close(one, two, 1e-5)
    kept = optimized(model, x, training=True, rounding="direct")
    assert {row.strategy for row in kept.explain().layers} == {"torch"}


def test_rounding_is_one_of_three():
    with pytest.raises(ArgumentError, match="rounding='fast' names no sums; give 'direct'"):
        atrous.optimize(Net().eval(), torch.randn(2, 32, 41, 41), rounding="fast")


def test_rounding_decides_for_a_whole_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(32, 48, 3, padding=2, dilation=2), nn.ReLU()).eval()
    x = torch.randn(1, 32, 41, 41)
    for rounding, taken in ((None, True), ("winograd", True), ("direct", False)):
        (row,) = optimized(model, x, rounding=rounding).explain().layers
        assert row.strategy.startswith("winograd") is taken
        assert (row.error is not None) is taken


def test_where_roundings_add_up_to_too_much_each_layer_does_less(monkeypatch):
    torch.manual_seed(0)
    layers = [m for _ in range(4) for m in (nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())]
    model, x = nn.Sequential(*layers).eval(), torch.randn(1, 64, 24, 24)

    def six(runs):
        for run in runs.values():
            run()
        return {name: 1.0 if name == "winograd 6" else 2.0 for name in runs}

    def strategies():
        fast = optimize_model(model, x, timer=six, whole_timer=by_whole, rounding="winograd")
        return {row.strategy for row in fast.explain().layers}

    def by_whole(runs):
        return {name: Turns(ms, ms, ms) for name, ms in by(lambda n: n != "before")(runs).items()}

    assert strategies() == {"winograd 6"}
    monkeypatch.setattr("atrous.optimization.judge._WIDER", 0.05)
    with torch.no_grad():  # another model, of which nothing is known
        model[0].weight.mul_(1.001)
    assert "winograd 6" not in strategies()


RANGES = {
    "normal": lambda x: x,
    "behind a ReLU": lambda x: torch.relu(x + 0.5),
    "positions from 1e-3 to 1e3": lambda x: x * mixed(1, 1, *x.shape[2:]),
    "channels from 1e-3 to 1e3": lambda x: x * mixed(1, x.shape[1], 1, 1),
    "values from 1e-3 to 1e3": lambda x: x * mixed(*x.shape),
}


def mixed(*shape):
    return 10 ** (torch.rand(shape) * 6 - 3)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("rate", [1, 4])
def test_the_finest_tiles_round_off_little_on_any_range(name, rate):
    torch.manual_seed(0)
    call = Convolution(1, 64, 64, (30, 30), (Window(3, 1, rate, rate, rate),) * 2)
    x = RANGES[name](torch.randn(1, 64, 30, 30))
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3) / 24
    exact = plain(call, x.double(), weight.double(), None)
    direct = float((plain(call, x, weight, None) - exact).abs().max())
    found = float((conv_filtered(x, weight, None, call, 4) - exact).abs().max())
    assert found <= ALLOWED * direct


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["torch", "numpy"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, "same"), (7, 2, "causal")])
def test_conv_takes_fewer_products_where_it_is_asked_to(kind, last, kernel, stride, padding):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 20, 23, 19), torch.randn(9, 20, kernel, kernel) / 30
    bias = torch.randn(9)
    if last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    given = [one.numpy() if kind == "numpy" else one for one in (x, weight, bias)]
    options = {"stride": stride, "dilation": 2, "padding": padding}
    exact = atrous.conv(x.double(), weight.double(), bias.double(), **options)
    few = atrous.conv(*given, **options, rounding="winograd")
    usual = atrous.conv(*given, **options)
    assert few.dtype == usual.dtype
    assert torch.as_tensor(few).stride() == torch.as_tensor(usual).stride()
    close(torch.as_tensor(few), exact)
    assert not bool((few == usual).all())


def test_conv_sums_directly_where_there_are_no_tiles_and_says_what_rounding_is():
    x, weight = torch.randn(1, 4, 9, 9), torch.randn(4, 2, 3, 3)
    for one, other, groups in (
        (x, weight, 2),
        (x.double(), weight.double(), 2),
        (x, torch.randn(2, 4, 1, 1), 1),
        (x[..., None], torch.randn(2, 4, 3, 3, 1), 1),
        (x[:0], torch.randn(2, 4, 3, 3), 1),
    ):
        few = atrous.conv(one, other, groups=groups, rounding="winograd")
        assert torch.equal(few, atrous.conv(one, other, groups=groups))
    with pytest.raises(ArgumentError, match="rounding is 'fast'; give 'direct', or 'winograd'"):
        atrous.conv(x, weight, groups=2, rounding="fast")
