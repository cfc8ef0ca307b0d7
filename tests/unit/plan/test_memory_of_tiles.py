"""What a plan says that tiles need, against sums by hand."""

import torch
from torch import nn

import atrous


def test_a_tile_needs_its_maps_the_copies_of_a_convolution_two_inputs_and_outputs():
    model = nn.Conv2d(3, 20, 3, padding=1).eval()
    plan = atrous.tile(model, tile=32).plan((1, 3, 256, 256))
    positions = 34 * 34
    assert plan.input_shapes == ((1, 3, 34, 34),)
    # The map of 20 channels lies in two blocks of 16 while the convolution runs.
    assert plan.tile_peak_bytes == 4 * positions * (3 + 20 + 32)
    assert plan.memory_bytes == 4 * positions * (3 + 20 + 32 + 2 * 3 + 20)


def test_convolutions_of_64_bits_make_no_blocks():
    model = nn.Conv2d(3, 20, 3, padding=1).double().eval()
    plan = atrous.tile(model, tile=32).plan((1, 3, 256, 256))
    assert plan.tile_peak_bytes == 8 * 34 * 34 * 23
    assert model.weight.dtype == torch.float64


def test_memory_does_not_grow_with_the_image():
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=2, dilation=2), nn.Conv2d(8, 2, 1)).eval()
    tiled = atrous.tile(model, tile=64)
    small, large = (tiled.plan((1, 1, n, n)) for n in (256, 16_384))
    assert large.memory_bytes == small.memory_bytes
    assert large.whole_peak_bytes > 20 * large.memory_bytes
