"""What a plan says that tiles need, against sums by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import atrous


def test_a_tile_needs_its_maps_the_copies_of_a_convolution_two_inputs_and_outputs():
    model = nn.Conv2d(3, 20, 3, padding=1).eval()
    plan = atrous.tile(model, tile=32).plan((1, 3, 256, 256))
    positions = 34 * 34
    assert plan.input_shapes == ((1, 3, 34, 34),)
    # The map of 20 channels lies in two blocks of 16 while the convolution runs.
    assert plan.tile_peak_bytes == 4 * positions * (3 + 20 + 32)
    assert plan.memory_bytes == 4 * positions * (3 + 20 + 32 + 2 * 3 + 20)


def held_while(function):
    """The bytes that PyTorch's allocator holds at most while a function runs, by its profiler."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        function()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return int(np.cumsum(sizes).max())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 40, 50)),
        (nn.Conv2d(4, 6, 1), (1, 4, 40, 50)),
        (nn.Conv2d(4, 6, 1, stride=2), (1, 4, 40, 50)),
        (nn.Conv2d(4, 6, 3, padding=2, dilation=2), (2, 4, 40, 50)),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), (1, 4, 40, 50)),
        (nn.Conv2d(4, 6, 5, stride=2, padding=(2, 0)), (2, 4, 40, 50)),
        (nn.Conv1d(4, 6, 5, padding=4, dilation=2), (1, 4, 400)),
        (nn.Conv3d(4, 6, 3, padding=1), (1, 4, 10, 11, 12)),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (2, 4, 40, 50)),
        (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (1, 4, 40, 50)),
        (nn.ConvTranspose1d(4, 6, 4, stride=2), (1, 4, 400)),
    ],
)
def test_convolutions_of_64_bits_hold_what_they_read_tap_by_tap(layer, shape):
    layer = layer.double().eval()
    x = torch.rand(shape, dtype=torch.double)
    plan = atrous.plan_tiles(layer, shape, memory="1GiB")
    assert held_while(lambda: layer(x)) == plan.tile_peak_bytes - plan.inputs[0].nbytes


def test_memory_does_not_grow_with_the_image():
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=2, dilation=2), nn.Conv2d(8, 2, 1)).eval()
    tiled = atrous.tile(model, tile=64)
    small, large = (tiled.plan((1, 1, n, n)) for n in (256, 16_384))
    assert large.memory_bytes == small.memory_bytes
    assert large.whole_peak_bytes > 20 * large.memory_bytes
