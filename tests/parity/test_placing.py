"""Parts of joins that layers write where they belong: what the model gives, and nothing else."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.operators.kernels import native
from atrous.operators.kernels.resize import ResizeLayer
from atrous.operators.kernels.torch_layouts import part_of
from atrous.operators.kernels.torch_resize import prepare_resize
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.placing import placed_at
from tests.made_times import optimized_by

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    monkeypatch.setattr("atrous.optimization.candidates._MUCH", math.inf)


def places(fast):
    """Where layers write to, by the names of their modules."""
    (plan,) = fast._plans.values()
    layers = [node for node in plan.program.graph.nodes if is_layer(node)]
    return {n.meta["layer"]: at for n in layers if (at := placed_at(n)) is not None}


class Pyramid(nn.Module):
    """Branches of one tap, of three, of the mean of the map, and the input itself, joined."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(64, 96, 1)
        self.rates = nn.ModuleList(nn.Conv2d(64, 64, 3, padding=r, dilation=r) for r in (1, 3))
        self.points = nn.ModuleList(nn.Conv2d(64, 64, 1) for _ in range(2))
        self.whole = nn.Conv2d(64, 32, 1)
        self.project = nn.Conv2d(96 + 128 + 32 + 64, 80, 1)

    def forward(self, x):
        maps = [self.one(x).relu()]
        maps += [p(r(x)).relu() for r, p in zip(self.rates, self.points, strict=True)]
        maps += [self.whole(x.mean((2, 3), keepdim=True)).relu().expand(-1, -1, *x.shape[2:]), x]
        return self.project(torch.cat(maps, 1)).relu()


@pytest.mark.parametrize("strategy", ["row kernel", "strassen 1"])
@pytest.mark.parametrize("batch", [1, 3])
def test_branches_write_into_their_join(strategy, batch):
    torch.manual_seed(0)
    model, x = Pyramid().eval(), torch.randn(batch, 64, 23, 31)
    fast = optimized_by(model, x, strategy, layout="channels_last")
    assert places(fast) == {"one": 0, "points.0": 96, "points.1": 160}
    results = []
    for _ in range(3):
        other = torch.randn_like(x)
        results.append((fast(other), model(other)))
    for made, wanted in results:  # none is written over by those after it
        assert torch.allclose(made, wanted, atol=2e-5)
    again = pickle.loads(pickle.dumps(fast))
    assert torch.equal(again(x), fast(x))
    assert places(again) == places(fast)


class Decoder(nn.Module):
    """A small map resized beside a large one, twice: in what is read, and in what is handed out."""

    def __init__(self):
        super().__init__()
        self.small = nn.Conv2d(16, 40, 3, stride=4, padding=1)
        self.large = nn.Conv2d(16, 24, 1)
        self.mix = nn.Conv2d(64, 8, 3, padding=1)

    def forward(self, x):
        low = self.large(x)
        up = functional.interpolate(self.small(x), size=x.shape[2:], mode="bilinear")
        joined = torch.cat([up, low], 1)
        twice = functional.interpolate(joined, scale_factor=0.5, mode="bilinear")
        return self.mix(joined), torch.cat([low, twice.mean((2, 3), keepdim=True) + low[:, :1]], 1)


def test_resizes_write_into_their_join():
    """What others read as well is copied, and a join of one part is none of several."""
    torch.manual_seed(0)
    model, x = Decoder().eval(), torch.randn(2, 16, 41, 38)
    fast = optimized_by(model, x, "resize kernel", layout="channels_last")
    assert [*places(fast).values()] == [0]
    for made, wanted in zip(fast(x), model(x), strict=True):
        assert torch.allclose(made, wanted, atol=1e-5)
        assert made.stride() == wanted.stride()


class Depth(nn.Module):
    """A map of one channel, resized beside others."""

    def __init__(self):
        super().__init__()
        self.depth, self.rest = nn.Conv2d(3, 1, 3, padding=1), nn.Conv2d(3, 31, 3, padding=1)
        self.mix = nn.Conv2d(32, 8, 3, padding=1)

    def forward(self, x):
        small = self.depth(functional.avg_pool2d(x, 2))
        up = functional.interpolate(small, size=x.shape[2:], mode="bilinear")
        return self.mix(torch.cat([self.rest(x), up], 1))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_map_of_one_channel_has_its_place(layout):
    torch.manual_seed(0)
    model, x = Depth().eval(), torch.randn(1, 3, 130, 128)
    fast = optimized_by(model, x, "resize kernel", layout=layout)
    assert [*places(fast).values()] == [31] * (layout == "channels_last")
    assert torch.allclose(fast(x), model(x), atol=1e-5)


class Lines(nn.Module):
    """Joins of one axis, one of the same part twice, and one that is handed out."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv1d(32, 48, 1), nn.Conv1d(32, 64, 1)
        self.last = nn.Conv1d(112, 16, 1)

    def forward(self, x):
        one = self.one(x).tanh()
        return self.last(torch.cat([one, self.two(x)], 1)), torch.cat([one, one], 1)


def test_lines_write_into_their_join():
    torch.manual_seed(0)
    model, x = Lines().eval(), torch.randn(2, 32, 700)
    fast = optimized_by(model, x, "row kernel", layout="channels_last")
    assert places(fast) == {"two": 48}
    for made, wanted in zip(fast(x), model(x), strict=True):
        assert torch.allclose(made, wanted, atol=1e-5)


def test_no_part_is_written_in_planes():
    model, x = Lines().eval(), torch.randn(2, 32, 700)
    fast = optimized_by(model, x, "product kernel", layout="contiguous")
    assert places(fast) == {}


def test_what_is_no_part_is_refused():
    whole = torch.zeros(1, 4, 4, 9).movedim(-1, 1)
    for wrong, at, shape in (
        (whole, 6, (1, 4, 4, 4)),
        (whole, 0, (1, 4, 4, 5)),
        (whole.contiguous(), 0, (1, 4, 4, 4)),
        (whole.double(), 0, (1, 4, 4, 4)),
    ):
        with pytest.raises(ValueError, match="are no map of"):
            part_of(wrong, at, shape)
    layer = ResizeLayer(1, (2, 2), (4, 4), channels=3)
    run = prepare_resize(layer, (1, 3, 2, 2), last=True)
    x = torch.randn(1, 3, 2, 2)
    assert torch.equal(run.into(whole, 5, x), run(x))
    assert (whole[:, :5] == 0).all()
    assert (whole[:, 8:] == 0).all()
