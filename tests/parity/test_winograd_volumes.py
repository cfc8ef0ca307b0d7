"""Dense layers along three axes by minimal filtering along two, against PyTorch in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.geometry import Window
from atrous.operators.kernels import native, torch_volumes
from atrous.optimization.layer.activations import Activation
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.with_winograd import applies, prepared
from atrous.refusal import Refusal
from tests.made_times import optimized_by

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)

LAYERS = [
    # batch, channels, filters, sizes, kernel, stride, dilation, padding
    (1, 16, 16, (6, 20, 20), (3, 3, 3), (1, 1, 1), (1, 1, 1), ((1, 1),) * 3),
    (2, 17, 24, (5, 21, 19), (3, 3, 3), (1, 1, 1), (2, 2, 2), ((2, 2),) * 3),
    # Slices beyond the map on one side, more than half of them, a stride, an even kernel.
    (1, 16, 20, (5, 24, 24), (3, 3, 3), (1, 1, 1), (4, 6, 6), ((8, 0), (6, 6), (6, 6))),
    (2, 16, 16, (9, 20, 24), (4, 3, 3), (2, 1, 1), (1, 1, 1), ((2, 1), (1, 1), (1, 1))),
    (1, 20, 16, (7, 20, 20), (3, 3, 3), (3, 1, 1), (2, 1, 1), ((-1, 3), (1, 1), (1, 1))),
    # No tap but the middle one meets a slice.
    (1, 16, 16, (3, 30, 30), (3, 3, 3), (1, 1, 1), (5, 12, 12), ((5, 5), (12, 12), (12, 12))),
]


def made(layer, layout):
    batch, channels, filters, sizes, kernel, stride, dilation, padding = layer
    windows = Window.of_axes(kernel, stride, dilation, padding)
    torch.manual_seed(0)
    x = torch.randn(batch, channels, *sizes)
    weight, bias = torch.randn(filters, channels, *kernel), torch.randn(filters)
    call = LayerCall("conv", tuple(x.shape), tuple(weight.shape), True, windows, layout=layout)
    return call, x, weight, bias


def wanted(call, x, weight, bias):
    pads = [side for pair in reversed(call.padding) for side in pair]
    wide = functional.pad(x.double(), pads)
    return functional.conv3d(wide, weight.double(), bias.double(), call.stride, 0, call.dilation)


@pytest.mark.parametrize("block", [4 << 20, 1])
@pytest.mark.parametrize("layer", range(len(LAYERS)))
def test_slices_side_by_side_sum_to_the_layer(layer, block, monkeypatch):
    monkeypatch.setattr(torch_volumes, "_BLOCK", block)
    for layout in ("contiguous", "channels_last"):
        call, x, weight, bias = made(LAYERS[layer], layout)
        assert applies(4, replace(call, input=(64, *call.input[1:]))) is True
        right = wanted(call, x, weight, bias)
        found = prepared(4, weight, bias, call)(x)
        assert found.shape == right.shape
        assert (found - right).abs().max() <= 1e-5 * right.abs().max()
        other = torch.randn(right.shape)
        full = replace(call, adds=True, activation=Activation("relu"))
        found = prepared(4, weight, bias, full)(x, other)
        assert (found - (right + other).relu()).abs().max() <= 1e-5 * right.abs().max()


def test_results_do_not_depend_on_the_threads_and_other_sizes_are_refused():
    call, x, weight, bias = made(LAYERS[1], "channels_last")
    runs = prepared(4, weight, bias, call)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(runs(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
    with pytest.raises(ValueError, match="prepared for"):
        runs(x[..., 1:])


def test_what_saves_little_along_two_axes_is_refused():
    windows = Window.of_axes((3, 1, 1), (1,) * 3, (1,) * 3, ((1, 1), (0, 0), (0, 0)))
    call = LayerCall("conv", (4, 32, 16, 32, 32), (32, 32, 3, 1, 1), False, windows)
    answer = applies(4, call)
    assert isinstance(answer, Refusal)
    assert "save 1.00 times" in str(answer)


class Volume(nn.Module):
    """Two dense layers along three axes."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv3d(8, 64, 3, padding=1), nn.Conv3d(64, 16, 3, padding=1)

    def forward(self, x):
        return self.two(self.one(x).relu())


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_models_of_volumes_are_optimized(layout, tmp_path, monkeypatch):
    """What its layers round off is measured along three axes as well."""
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    monkeypatch.setattr("atrous.optimization.candidates._MUCH", math.inf)
    torch.manual_seed(0)
    model, x = Volume().eval(), torch.randn(1, 8, 12, 20, 17)
    fast = optimized_by(model, x, "winograd 4", layout=layout)
    assert [row.strategy for row in fast.explain().layers] == ["winograd 4"] * 2
    assert torch.allclose(fast(x), model(x), atol=1e-5)
