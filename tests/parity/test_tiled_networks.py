"""Published layouts by tiles of random sizes against the whole image, at odd sizes."""

from __future__ import annotations

import random
from zlib import crc32

import pytest
import torch

import atrous
from tests.tiled_networks import NETWORKS
from tests.weights import calibrate


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_of_a_network_give_what_the_whole_image_gives(name: str) -> None:
    layout = NETWORKS[name]
    rng = random.Random(crc32(name.encode()))
    torch.manual_seed(0)
    model = layout.make()
    images = [torch.randn(shape) for shape in layout.shapes]
    calibrate(model, *images)
    tile = [
        size if axis in layout.uncut else rng.randint(layout.least, layout.most)
        for axis, size in enumerate(layout.sizes)
    ]
    for dtype, near in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        model = model.to(dtype)
        given = [image.to(dtype) for image in images]
        tiled = atrous.tile(model, tile=tile)
        found = tiled(*given)
        with torch.no_grad():
            whole = model(*given)
        found, whole = ([y] if torch.is_tensor(y) else list(y) for y in (found, whole))
        assert len(found) == len(whole)
        for one, other in zip(found, whole, strict=True):
            assert one.shape == other.shape
            assert float((one - other).abs().max()) <= near * float(other.abs().max())
        assert len(tiled.plan(*layout.shapes)) > 1
