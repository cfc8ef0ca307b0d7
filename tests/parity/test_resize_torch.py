"""Bilinear resizes of models by the native kernel: what PyTorch's own gives."""

from __future__ import annotations

import math
import pickle
import random
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.operators.kernels import native
from atrous.operators.kernels.torch_layouts import in_channels_last
from atrous.optimization.candidates import candidates
from atrous.optimization.graph.export import exported
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.passes import lowered
from atrous.optimization.layer.choose import difference
from atrous.optimization.layer.ways import PLAIN, WAYS, runs_of
from tests.made_times import optimized_by

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)
assert candidates  # imported for the strategies that it registers


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    # Made times of layers say nothing about layouts.
    monkeypatch.setattr("atrous.optimization.candidates._MUCH", math.inf)


class Resize(nn.Module):
    """`interpolate` with these arguments."""

    def __init__(self, **given):
        super().__init__()
        self.given = given

    def forward(self, x):
        return functional.interpolate(x, mode="bilinear", **self.given)


def resizes(rng, count):
    """Modules with their arguments drawn, and an input."""
    for _ in range(count):
        corners = rng.choice([None, False, True])
        size = [rng.randint(1, 40), rng.randint(1, 150)]
        scale = [rng.uniform(0.4, 5), rng.uniform(0.4, 5)]
        given = rng.choice(
            [
                {"size": size},
                {"scale_factor": scale},
                {"scale_factor": rng.choice([0.5, 2, 3, 4, 8])},
                {"scale_factor": scale, "recompute_scale_factor": True},
            ]
        )
        sizes = rng.randint(4, 35), rng.randint(4, 35)
        yield Resize(align_corners=corners, **given), torch.randn(2, rng.choice([1, 5, 16]), *sizes)


@pytest.mark.parametrize("seed", range(4))
def test_resizes_are_those_of_pytorch(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    for module, x in resizes(rng, 6):
        nodes = lowered(exported(module.eval(), [x]).graph).nodes
        (call,) = (node.meta["call"] for node in nodes if is_layer(node))
        plain = runs_of(WAYS[PLAIN], None, None, call)(x)
        assert torch.equal(plain, module(x))
        for layout in ("contiguous", "channels_last"):
            runs = runs_of(WAYS["resize kernel"], None, None, replace(call, layout=layout))
            for given in (x, in_channels_last(x)):
                assert difference(plain, runs(given)) < 3e-6, (module.given, layout)


def test_a_nan_stays_where_it_is_read_and_other_inputs_are_refused():
    module, x = Resize(scale_factor=2.0), torch.randn(1, 2, 8, 8)
    x[0, 0, 3, 3] = torch.nan
    nodes = lowered(exported(module, [x]).graph).nodes
    (call,) = (node.meta["call"] for node in nodes if is_layer(node))
    runs = runs_of(WAYS["resize kernel"], None, None, call)
    assert torch.equal(runs(x).isnan(), module(x).isnan())
    for wrong in (x.double(), x[..., 1:]):
        with pytest.raises(ValueError, match="prepared for"):
            runs(wrong)


class Head(nn.Module):
    """A layer, a resize with what follows it, and a sum."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        z = functional.interpolate(y, scale_factor=2, mode="bilinear").relu()
        return z + functional.interpolate(y, size=z.shape[2:], mode="bilinear", align_corners=True)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_models_run_by_it_in_both_layouts(layout):
    torch.manual_seed(0)
    model, x = Head().eval(), torch.randn(2, 3, 17, 22)
    fast = optimized_by(model, x, "resize kernel", layout=layout)
    rows = [row for row in fast.explain().layers if row.op.startswith("bilinear to 34x44")]
    assert [row.strategy == "resize kernel" for row in rows] == [True] * 2
    assert torch.allclose(fast(x), model(x), atol=1e-5)


class Ends(nn.Module):
    """Two maps that are only handed out, one of which is not resized, and one that is read too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        wide = functional.interpolate(y, scale_factor=3, mode="bilinear")
        read = functional.interpolate(y, scale_factor=2, mode="bilinear")
        return wide, read, read.mean(1), y


def test_what_is_handed_out_is_resized_in_planes():
    """From a map in channels last, where the model hands out planes; and as the model does."""
    torch.manual_seed(0)
    model, x = Ends().eval(), torch.randn(2, 3, 17, 22)
    fast = optimized_by(model, x, "resize kernel", layout="channels_last")
    (plan,) = fast._plans.values()
    calls = [n.meta["call"] for n in plan.program.graph.nodes if is_layer(n)]
    layouts = {call.resizing.outputs: call.layout for call in calls if call.resizing is not None}
    assert layouts == {(51, 66): "contiguous", (34, 44): "channels_last"}
    for one, other in zip(fast(x), model(x), strict=True):
        assert one.stride() == other.stride()
        assert torch.allclose(one, other, atol=1e-5)
    again = pickle.loads(pickle.dumps(fast))
    assert all(map(torch.equal, again(x), fast(x)))
    asked = x.contiguous(memory_format=torch.channels_last)
    ours = optimized_by(model, asked, "resize kernel", layout="channels_last")
    for one, other in zip(ours(asked), model(asked), strict=True):
        assert one.stride() == other.stride()
        assert torch.allclose(one, other, atol=1e-5)
