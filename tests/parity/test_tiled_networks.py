"""Published layouts by tiles of random sizes against the whole image, at odd sizes."""

from __future__ import annotations

import random
from zlib import crc32

import pytest
import torch
from torch import nn

from atrous.runners.tiled.tiled import Tiled
from atrous.verbs.tile import Planner
from tests.tiled_networks import NETWORKS, WITH_STATISTICS, Layout
from tests.weights import calibrate

NEAR = ((torch.float32, 1e-5), (torch.float64, 1e-12))


def made(name: str, layout: Layout) -> tuple[nn.Module, list[torch.Tensor], list[int]]:
    """The model, its images and a size of tiles, the same each time."""
    rng = random.Random(crc32(name.encode()))
    torch.manual_seed(0)
    model = layout.make()
    images = [torch.randn(shape) for shape in layout.shapes]
    calibrate(model, *(torch.cat([image, image.flip(-1)]) for image in images))
    tile = [
        size if axis in layout.uncut else rng.randint(layout.least, layout.most)
        for axis, size in enumerate(layout.sizes)
    ]
    return model, images, tile


def assert_equal(
    tiled: Tiled, model: nn.Module, images: list[torch.Tensor], dtype: torch.dtype, near: float
) -> None:
    """What tiles give and what the whole image gives differ by `near` times the largest value."""
    model.to(dtype)
    given = [image.to(dtype) for image in images]
    found = tiled(*given)
    with torch.no_grad():
        whole = model(*given)
    found, whole = ([y] if torch.is_tensor(y) else list(y) for y in (found, whole))
    for one, other in zip(found, whole, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= near * float(other.abs().max())


@pytest.mark.parametrize("name", [*NETWORKS, *WITH_STATISTICS])
def test_tiles_of_a_network_give_what_the_whole_image_gives(name: str) -> None:
    layout = {**NETWORKS, **WITH_STATISTICS}[name]
    model, images, tile = made(name, layout)
    planner = Planner(model, tile=tile, statistics="exact" if name in WITH_STATISTICS else None)
    assert len(planner.plan(layout.shapes)) > 1
    for dtype, near in NEAR:
        assert_equal(Tiled(planner, planner.engine), model, images, dtype, near)
