"""The native inverted bottleneck against its three layers in float64, on random layers."""

from __future__ import annotations

import random

import pytest
import torch

from atrous.operators.kernels import native
from atrous.operators.kernels.bottleneck import (
    Bottleneck,
    bottlenecked,
    bottlenecks_natively,
    packed_bottleneck_size,
)
from atrous.operators.kernels.torch_bottleneck import prepare_bottleneck
from tests.bottleneck_fuzz import assert_agrees, drawn

pytestmark = pytest.mark.skipif(not bottlenecks_natively(), reason=native().reason)


def test_random_layers_agree_with_the_definition_on_any_threads():
    rng = random.Random(5)
    for draw in range(120):
        assert_agrees(drawn(rng), draw, has_bias=rng.random() < 0.5, adds=rng.random() < 0.3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 0},
        {"hidden": 0},
        {"filters": 0},
        {"batch": -1},
        {"input": (0, 4)},
        {"output": (-1, 4)},
        {"stride": (0, 1)},
        {"dilation": (1, 0)},
        {"kernel": (3, 0)},
        {"channels": 2**40, "hidden": 2**40},
        {"input": (2**40, 2**30)},
        {"dilation": (2**58, 1)},
        {"stride": (2**58, 1)},
        {"pad": (2**60, 0)},
        {"output": (2**61, 1)},
        {"kernel": None},
    ],
)
def test_what_is_out_of_range_is_refused(wrong):
    given = {
        "batch": 1,
        "channels": 4,
        "hidden": 8,
        "filters": 4,
        "input": (5, 5),
        "output": (5, 4),
        "kernel": (3, 3),
        "pad": (1, 1),
    }
    layer = Bottleneck(**{**given, **wrong})
    with pytest.raises(ValueError, match="out of range"):
        packed_bottleneck_size(layer)
    with pytest.raises(ValueError, match="out of range"):
        bottlenecked(layer, 0, 0, None, 0)


def test_what_is_larger_than_memory_is_refused_before_anything_is_written():
    rows = 2**44
    layer = Bottleneck(1, 1, 64, 1, (rows, 1), (2, 1), (rows, 1), pad=(1, 0))
    with pytest.raises(MemoryError, match="no memory"):
        bottlenecked(layer, 0, 0, None, 0)


def test_nothing_that_fills_up_vectors_reaches_a_result():
    """What is not finite stays where the definition has it."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, 6, 5)
    x[0, 1, 2, 2] = torch.inf
    first, last = torch.randn(5, 3), torch.randn(2, 5)
    layer = Bottleneck(1, 3, 5, 2, (30, 1), (30, 1), activations=("relu6", "none", "none"))
    runs = prepare_bottleneck(
        layer, [(first, None), None, (last, None)], (1, 3, 6, 5), (1, 2, 6, 5), axis=1
    )
    hidden = torch.clamp(torch.einsum("hc,bcxy->bhxy", first, x), 0, 6)
    wanted = torch.einsum("fh,bhxy->bfxy", last, hidden)
    assert bool(wanted.isfinite().all())
    assert torch.allclose(runs(x), wanted, atol=1e-5)


def test_tensors_of_any_layout_are_taken_and_other_shapes_refused():
    torch.manual_seed(0)
    weights = torch.randn(24, 12), torch.randn(24, 1, 3, 3), torch.randn(12, 24)
    layer = Bottleneck(
        *(2, 12, 24, 12, (5, 7), (5, 7), (3, 3), (1, 1), (2, 2), (2, 2)),
        activations=("relu", "relu6", "none"),
    )
    x = torch.randn(2, 12, 5, 7)
    shape = tuple(x.shape)
    runs = prepare_bottleneck(layer, [(one, None) for one in weights], shape, shape, axis=1)
    hidden = torch.conv2d(x.double(), weights[0].double()[:, :, None, None]).relu()
    hidden = torch.conv2d(hidden, weights[1].double(), padding=2, dilation=2, groups=24).clamp(0, 6)
    wanted = torch.conv2d(hidden, weights[2].double()[:, :, None, None]) + x
    last = x.contiguous(memory_format=torch.channels_last)
    for one, two in ((x, x), (last, torch._neg_view(-x))):
        assert torch.allclose(runs(one, two).double(), wanted, atol=1e-4)
    for wrong in (x[:1], x.double()):
        with pytest.raises(ValueError, match="prepared for"):
            runs(wrong)
