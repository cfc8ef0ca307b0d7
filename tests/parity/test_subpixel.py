"""Transposed convolutions by the phases of their output, each strategy against float64."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.geometry import Window
from atrous.operators.kernels import native
from atrous.optimization.candidates import candidates
from atrous.optimization.layer.activations import NONE, Activation
from atrous.optimization.layer.call import LayerCall, laid_out
from atrous.optimization.layer.ways import applying, runs_of
from atrous.optimization.optimize import optimize_model

assert candidates  # which registers the strategies

_CONVS = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))


def drawn(rng: random.Random):
    """Sizes of one layer that PyTorch takes, and what it makes in float64."""
    while True:
        rank = rng.choice([1, 2, 2, 2, 3])
        kernel, stride, sizes = (
            tuple(rng.randint(1, most) for _ in range(rank))
            for most in (5, 4, 20 if rank < 3 else 4)
        )
        cut = tuple(rng.randint(0, k - 1) for k in kernel)
        more = tuple(rng.randint(0, s - 1) for s in stride)
        axes = zip(sizes, stride, cut, kernel, more, strict=True)
        if all((n - 1) * s - 2 * p + k + o > 0 for n, s, p, k, o in axes):
            break
    x = torch.randn(rng.choice([1, 2]), rng.choice([3, 20, 128]), *sizes)
    weight = torch.randn(x.shape[1], rng.choice([1, 5, 32, 64]), *kernel)
    bias = torch.randn(weight.shape[1]) if rng.random() < 0.6 else None
    wide = None if bias is None else bias.double()
    exact = _CONVS[rank](x.double(), weight.double(), wide, stride, cut, more)
    windows = Window.of_axes(kernel, stride, (1,) * rank, [(p, p) for p in cut])
    return x, weight, bias, windows, more, exact


def test_every_strategy_computes_what_pytorch_does():
    rng, seen = random.Random(5), set()
    for _ in range(60):
        x, weight, bias, windows, more, exact = drawn(rng)
        adds, relu = rng.random() < 0.4, rng.random() < 0.5
        other = torch.randn(exact.shape)
        for layout in ("contiguous", "channels_last"):
            call = LayerCall(
                "transposed",
                tuple(x.shape),
                tuple(weight.shape),
                bias is not None,
                windows,
                activation=Activation("relu") if relu else NONE,
                adds=adds,
                layout=layout,
                output_padding=more,
            )
            given = [laid_out(x, layout), *([laid_out(other, layout)] if adds else [])]
            wanted = exact + other if adds else exact
            wanted = wanted.relu() if relu else wanted
            for way in applying(call)[0]:
                made = runs_of(way, weight, bias, call)(*(one.clone() for one in given))
                assert made.shape == wanted.shape, (way.name, call)
                error = float((made - wanted).abs().max() / wanted.abs().max().clamp(min=1))
                assert error < 2e-5, (way.name, call, error)
                seen.add(way.name)
    assert {"torch", "sub-pixel torch"} <= seen
    if native().available:
        assert {"sub-pixel product", "sub-pixel winograd 4"} <= seen


class Up(nn.Module):
    """Two transposed layers as decoders have them, with what follows folded and fused."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(32, 32, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.last = nn.ConvTranspose2d(32, 16, 2, 2)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.up(x)))).sigmoid()


@pytest.mark.skipif(not native().available, reason=native().reason)
def test_they_are_layers_of_a_program_with_their_rounding_measured():
    torch.manual_seed(0)
    model, x = Up().eval(), torch.randn(1, 32, 24, 24)

    def layers(runs):
        for run in runs.values():
            run()
        return {name: 1.0 if name.startswith("sub-pixel") else 2.0 for name in runs}

    fast = optimize_model(model, x, timer=layers)
    rows = {row.layer: row for row in fast.explain().layers}
    if fast.explain().mode == "graph":  # where the whole was faster as well
        assert rows["up"].op == "transposed k4 s2 + relu"
        assert rows["last"].op == "transposed k2 s2 + sigmoid"
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        assert float((fast(x) - exact(x.double())).abs().max()) < 1e-5


def test_the_sample_of_a_transposed_layer_says_how_far_it_is_from_float64():
    from atrous.optimization.layer.rounding import Rounded

    x, weight = torch.randn(1, 8, 30, 7), torch.randn(8, 24, 4, 3)
    windows = Window.of_axes((4, 3), (2, 2), (1, 1), ((1, 1), (0, 0)))
    call = LayerCall("transposed", tuple(x.shape), tuple(weight.shape), False, windows)
    exact = functional.conv_transpose2d(x.double(), weight.double(), None, 2, (1, 0))
    sample = Rounded(call, weight, None, (x,))
    assert sample.error(exact) < 1e-12
    for place in ((0, 0), (14, 3)):
        off = exact.clone()
        off[0, 23, place[0], place[1]] += 1e-3 * exact.abs().max()
        assert 5e-4 < sample.error(off) < 4e-3
