"""Pools of models by the native kernels: what PyTorch's own give, maxima exactly."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from atrous.operators.kernels import native
from atrous.optimization.candidates import candidates
from atrous.optimization.graph.export import exported
from atrous.optimization.graph.fuse import is_layer
from atrous.optimization.graph.passes import lowered
from atrous.optimization.layer.call import laid_out
from atrous.optimization.layer.choose import difference
from atrous.optimization.layer.ways import PLAIN, WAYS, applying, runs_of
from tests.made_times import optimized_by

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)
assert candidates  # imported for the strategies that it registers


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))


def pools(rank, rng, count):
    """Modules of one rank with their arguments drawn, and an input that they fit."""
    for _ in range(count):
        kernel = [rng.choice([1, 2, 3, 5]) for _ in range(rank)]
        rates = [rng.choice([1, 1, 2, 4]) for _ in range(rank)]
        stride = [rng.choice([1, 2, 3]) for _ in range(rank)]
        pads = [rng.randint(0, k // 2) for k in kernel]
        ceil = rng.random() < 0.5
        sizes = [(k - 1) * d + rng.randint(1, 9) for k, d in zip(kernel, rates, strict=True)]
        if rng.random() < 0.5:
            kind = getattr(nn, f"MaxPool{rank}d")
            module = kind(kernel, stride, pads, rates, ceil_mode=ceil)
        else:
            kind = getattr(nn, f"AvgPool{rank}d")
            more = {} if rank == 1 else {"divisor_override": rng.choice([None, 5])}
            counts = rng.random() < 0.5
            module = kind(kernel, stride, pads, ceil, counts, **more)
        x = torch.randint(-6, 6, (2, rng.choice([1, 7, 16, 20]), *sizes)) / 2
        if rng.random() < 0.5:
            x[torch.rand(x.shape) < 0.05] = torch.nan
            x[torch.rand(x.shape) < 0.1] = -torch.inf
        yield module, x.to(rng.choice([torch.float32, torch.float64]))


def call_of(module, x):
    """The call that the module's graph has, in the layout of tensors as they come."""
    found = [node for node in lowered(exported(module, [x]).graph).nodes if is_layer(node)]
    (node,) = found
    return node.meta["call"]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pools_give_what_torch_gives(rank):
    torch.manual_seed(rank)
    for module, x in pools(rank, random.Random(rank), 12):
        call = call_of(module, x)
        for layout in ("contiguous", "channels_last"):
            given = replace(call, layout=layout)
            ways = [way.name for way in applying(given)[0]]
            assert ways == [PLAIN, "pool kernel"]
            want = module(x)
            for name in ways:
                got = runs_of(WAYS[name], None, None, given)(laid_out(x, layout))
                far = difference(want, got)
                assert far <= (0 if call.op == "max pool" else 1e-6), (module, name, layout)
        assert (call.op == "max pool") == ("MaxPool" in str(module))


def test_optimized_models_pool_by_the_fastest_that_gives_the_same():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=2),
        nn.MaxPool2d(3, 1, 1, dilation=2),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.Conv2d(16, 4, 1),
    ).eval()
    x = torch.randn(1, 3, 40, 41)
    fast = optimized_by(model, x, "pool kernel")
    torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-5)
    rows = {row.layer: row for row in fast.explain().layers}
    assert rows["1"].op == "max pool k3 d2 + relu"
    assert rows["3"].op == "average pool k3 s2"
    assert rows["1"].strategy == "pool kernel"


@pytest.mark.parametrize("module", [nn.MaxPool2d(2), nn.AvgPool2d(2)])
def test_pools_of_no_batch_and_of_small_floats_stay_as_they_are(module):
    for x in (torch.randn(3, 8, 8), torch.randn(1, 3, 8, 8).bfloat16()):
        graph = lowered(exported(module, [x]).graph)
        assert not any(is_layer(node) for node in graph.nodes)
