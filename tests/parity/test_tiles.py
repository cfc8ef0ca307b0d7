"""Models by tiles against themselves on the whole image, in float64, at every position."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.runners.tiled.tiled import Tiled
from atrous.verbs.tile import Planner
from tests.skips import Skips

NEAR = 1e-12


def assert_equal_by_tiles(model, shape, tile, **asked):
    """Runs both, and returns the plan: more than one tile, or nothing was shown."""
    torch.manual_seed(0)
    model = model.double().eval()
    image = torch.randn(shape, dtype=torch.double)
    tiled = atrous.tile(model, tile=tile, **asked)
    found = tiled(image)
    with torch.no_grad():
        whole = model(image)
    found, whole = ([one] if torch.is_tensor(one) else list(one) for one in (found, whole))
    for one, other in zip(found, whole, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= NEAR * float(other.abs().max())
    plan = tiled.plan(shape)
    assert len(plan) > 1
    return plan


@pytest.mark.parametrize(
    ("mode", "corners"),
    [
        ("nearest", None),
        ("nearest-exact", None),
        ("bilinear", False),
        ("bilinear", True),
        ("bicubic", False),
        ("bicubic", True),
    ],
)
@pytest.mark.parametrize("size", [(48, 64), (49, 67)])
def test_resizes_to_the_size_of_another_map_at_even_and_odd_sizes(mode, corners, size):
    assert_equal_by_tiles(Skips(mode, corners), (1, 1, *size), 16)


LAYERS = {
    "valid": ((nn.Conv2d(1, 2, 5), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3)), (99, 130), 16),
    "transposed": ((nn.Conv2d(1, 2, 3, 2, 1), nn.ConvTranspose2d(2, 2, 4, 2, 1)), (66, 91), 8),
    "shuffle": ((nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)), (33, 40), 10),
    "unshuffle": ((nn.PixelUnshuffle(4), nn.Conv2d(16, 2, 3, padding=1)), (64, 96), 16),
    "output padding": ((nn.ConvTranspose2d(1, 2, 3, (3, 1), 0, (1, 0)),), (20, 50), 6),
    "reflect": (
        (nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.AvgPool2d(3, 2, 1)),
        (57, 64),
        12,
    ),
    "replicate": (
        (nn.ReplicationPad2d((4, 0, 1, 3)), nn.Conv2d(1, 2, (3, 5), dilation=(2, 1))),
        (48, 53),
        9,
    ),
    "cropped": ((nn.ZeroPad2d(-2), nn.Conv2d(1, 2, 4, 2, 1)), (84, 60), 14),
    "1-d": ((nn.Conv1d(1, 2, 3, padding=4, dilation=4), nn.Conv1d(2, 2, 5, 3, 1)), (640,), 60),
    "3-d": (
        (nn.Conv3d(1, 2, 3, 1, 1), nn.MaxPool3d((1, 2, 2)), nn.Upsample(scale_factor=2)),
        (12, 24, 28),
        8,
    ),
    "ceil": ((nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(1, 1, 3, padding=1)), (52, 61), 10),
    "even": ((nn.Conv2d(1, 2, 2, padding="same"), nn.Conv2d(2, 2, 4, padding=2)), (40, 41), 11),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_every_kind(name):
    layers, size, tile = LAYERS[name]
    assert_equal_by_tiles(nn.Sequential(*layers), (2, 1, *size), tile)


def test_several_outputs_of_several_strides():
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList(nn.Conv2d(1, 1, 3, 2, 1) for _ in range(3))

        def forward(self, x):
            found = []
            for stage in self.stages:
                x = stage(x)
                found.append(x)
            return tuple(found)

    plan = assert_equal_by_tiles(Pyramid(), (1, 1, 75, 90), 24)
    assert plan.origins == (8, 8)


def test_several_tiles_as_one_batch():
    plan = assert_equal_by_tiles(nn.Conv2d(1, 2, 5, padding=2), (1, 1, 50, 60), 16, batch=3)
    assert plan.grid == (4, 4)


def test_half_precisions_give_what_the_whole_image_gives():
    for dtype in (torch.bfloat16, torch.float16):
        model = nn.Conv2d(1, 2, 3, padding=1).to(dtype).eval()
        image = torch.rand(1, 1, 40, 52).to(dtype)
        found = atrous.tile(model, tile=16)(image)
        with torch.no_grad():
            assert torch.allclose(found.float(), model(image).float(), atol=2e-2)


def test_an_array_gives_an_array_and_argmax_never_holds_the_classes():
    model = nn.Conv2d(1, 21, 3, padding=1).eval()
    image = np.random.default_rng(0).standard_normal((1, 1, 40, 52)).astype(np.float32)
    found = atrous.tile(model, tile=16)(image, reduce="argmax")
    with torch.no_grad():
        whole = model(torch.from_numpy(image)).argmax(1)
    assert (found.dtype, found.shape) == (np.uint8, (1, 40, 52))
    assert (found == whole.numpy()).mean() == 1


def test_a_tile_whose_halo_is_one_smaller_differs():
    model = nn.Sequential(nn.Conv2d(1, 2, 5, padding=2), nn.Conv2d(2, 1, 3, padding=1)).double()
    model.eval()

    class Guessed(Planner):
        def plan(self, shapes):
            found = super().plan(shapes)
            less = [
                replace(axis, halo=(axis.halo[0] - 1, axis.halo[1]), size=axis.size - 1)
                for axis in found.axes
            ]
            return replace(found, axes=tuple(less), input_shapes=((1, 1, *(a.size for a in less)),))

        def beside(self, plan):
            return plan

    image = torch.rand(1, 1, 60, 60, dtype=torch.double)
    exact, guessed = (Planner(model, tile=20), Guessed(model, tile=20))
    whole = model(image).detach()
    right, wrong = (Tiled(one, partial(Planner.engine, one))(image) for one in (exact, guessed))
    assert float((right - whole).abs().max()) < NEAR
    assert float((wrong - whole).abs().max()) > 1e-3


class Coordinates(nn.Module):
    def forward(self, x):
        return x + torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)


class Divided(nn.Module):
    def forward(self, x):
        return functional.avg_pool2d(x, 3, 1, 1) / x.shape[-1]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)), "1: lets all positions see"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), "wraps round the end"),
        (Divided(), "takes a number from the size of its input"),
        (Coordinates(), "size"),
    ],
)
def test_what_tiles_cannot_give_exactly_is_refused_and_named(model, words):
    with pytest.raises(atrous.AtrousError, match=words):
        atrous.tile(model.eval(), tile=16)(torch.rand(1, 1, 64, 64))


def test_tiles_stay_within_a_budget_and_the_least_that_works_is_said():
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 1, 3, padding=1)).eval()
    plan = atrous.tile(model, memory="2MiB").plan((1, 1, 700, 900))
    assert 1.2 * 2**20 < plan.memory_bytes <= 2 * 2**20
    assert plan.whole_peak_bytes > 20 * plan.tile_peak_bytes
    with pytest.raises(atrous.ArgumentError, match="give at least that"):
        atrous.tile(model, memory=100).plan((1, 1, 700, 900))
    with pytest.raises(atrous.ArgumentError, match="both say how large"):
        atrous.tile(model, memory=100, tile=16)
    with pytest.raises(atrous.ArgumentError, match="one for each of h, w"):
        atrous.tile(model, tile=(1, 2, 3)).plan((1, 1, 70, 90))


def test_what_is_no_image_or_no_size_is_said():
    model = nn.Conv2d(1, 1, 3).eval()
    tiled = atrous.tile(model, tile=16)
    with pytest.raises(atrous.ArgumentTypeError, match="anything with shape"):
        tiled([[1.0]])
    with pytest.raises(atrous.ArgumentError, match=r"does not run on uint8: .*Make of the image"):
        tiled(np.zeros((1, 1, 40, 40), np.uint8))
    with pytest.raises(atrous.ArgumentError, match=r"tile=16\.5 is no size"):
        atrous.tile(model, tile=16.5)(np.zeros((1, 1, 40, 40), np.float32))
    with pytest.raises(atrous.ReadError, match="there is no such file"):
        atrous.tile("nothing.onnx", tile=16)


def test_an_input_that_is_broadcast_is_handed_to_every_tile_and_one_of_another_size_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return functional.avg_pool2d(x, 3, 1, 1) + y

    x = torch.rand(1, 1, 40, 52)
    one, rows = torch.rand(1, 1, 1, 1), torch.rand(1, 1, 1, 52)
    for y in (one, rows):
        whole = Two()(x, y)
        assert float((atrous.tile(Two(), tile=16)(x, y) - whole).abs().max()) < 1e-6

    class Half(nn.Module):
        def forward(self, x, y):
            return functional.avg_pool2d(x, 2) + y

    with pytest.raises(atrous.UnsupportedError, match="where another input has 40"):
        atrous.tile(Half(), tile=16)(x, torch.rand(1, 1, 20, 26))
