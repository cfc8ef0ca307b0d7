"""The native product on planes against the definition in float64, on random layers."""

from __future__ import annotations

import random

import pytest
import torch

from atrous.geometry import Window
from atrous.operators.convolution import Convolution
from atrous.operators.kernels import native
from atrous.operators.kernels.pointwise import Pointwise, multiplied_planes
from atrous.operators.kernels.torch_pointwise import prepare_pointwise
from tests.pointwise_fuzz import assert_agrees, drawn

pytestmark = pytest.mark.skipif(not native().available, reason=native().reason)


def test_random_layers_agree_with_products():
    rng = random.Random(3)
    for draw in range(200):
        assert_agrees(drawn(rng), draw, has_bias=rng.random() < 0.5, adds=rng.random() < 0.3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 0},
        {"filters": 0},
        {"positions": -1},
        {"channels": 2**40, "positions": 2**40},
        {"filters": 2**40, "channels": 2**40},
        {"channels": 2**58},
    ],
)
def test_what_is_out_of_range_is_refused(wrong):
    sizes = {"batch": 1, "channels": 4, "filters": 4, "positions": 4}
    with pytest.raises(ValueError, match="out of range"):
        multiplied_planes(Pointwise(**{**sizes, **wrong}), 0, 0, None, None, 0)


def test_tensors_of_any_layout_are_multiplied_and_other_inputs_refused():
    torch.manual_seed(0)
    call = Convolution(2, 12, 20, (5, 7), (Window(1, 1, 1, 0, 0),) * 2)
    x, weight, bias = torch.randn(2, 12, 5, 7), torch.randn(20, 12, 1, 1), torch.randn(20)
    other = torch.randn(2, 20, 5, 7)
    runs = prepare_pointwise(weight, bias, call, "relu")
    wanted = (torch.conv2d(x.double(), weight.double(), bias.double()) + other).relu()
    last = x.contiguous(memory_format=torch.channels_last)
    for one, two in ((x, other), (last, torch._neg_view(-other))):
        assert torch.allclose(runs(one, two).double(), wanted, atol=1e-5)
    for wrong in (x[:1], x.double()):
        with pytest.raises(ValueError, match="prepared for"):
            runs(wrong)
    with pytest.raises(ValueError, match="prepared for"):
        runs(x, x)
