"""Plans in the terms of other tools: done as those do it, the result is the whole image's."""

from math import ceil

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous

NETS = {
    "local": ((nn.Conv2d(1, 2, 5, padding=2), nn.Conv2d(2, 1, 3, padding=3, dilation=3)), (97, 80)),
    "strides": (
        (nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, 2, 1), nn.Upsample(scale_factor=4)),
        (132, 88),
    ),
    "smaller": ((nn.Conv2d(1, 2, 3, 2, 1), nn.MaxPool2d(3, 2, 1)), (132, 88)),
    "larger": ((nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)), (50, 61)),
    "one sided": ((nn.ZeroPad2d((6, 0, 6, 0)), nn.Conv2d(1, 1, 3, dilation=3)), (70, 90)),
    "odd": ((nn.Conv2d(1, 2, 3, 2, 1), nn.MaxPool2d(3, 2, 1)), (131, 90)),
    "1-d": ((nn.Conv1d(1, 2, 31, padding=15),), (500,)),
    "3-d": (
        (nn.Conv3d(1, 2, 3, 1, 1), nn.MaxPool3d((1, 2, 2)), nn.Upsample(None, (1, 2, 2))),
        (12, 24, 28),
    ),
}


def made(name, tile):
    layers, size = NETS[name]
    torch.manual_seed(0)
    model = nn.Sequential(*layers).double().eval()
    image = torch.randn((1, 1, *size), dtype=torch.double)
    with torch.no_grad():
        whole = model(image)
    return model, image, whole, atrous.plan_tiles(model, tuple(image.shape), tile=tile)


def starts_of(length, size, overlap):
    """Where MONAI's sliding window begins along one axis: the last one is moved back to the end."""
    step = size if size == length else max(int(size * (1 - overlap)), 1)
    count = next(i for i in range(ceil(length / step)) if i * step + size >= length) + 1
    return [min(i * step, length - size) for i in range(count)]


def slid(model, image, roi_size, overlap, roi_weight_map, least=0.0):
    """Windows weighted, summed up, and divided by the sums of weights; none is below `least`."""
    weights = np.maximum(roi_weight_map, least)[None, None]
    total = count = None
    places = [starts_of(*one) for one in zip(image.shape[2:], roi_size, overlap, strict=True)]
    for start in np.ndindex(*map(len, places)):
        at = [axis[i] for axis, i in zip(places, start, strict=True)]
        part = tuple(slice(a, a + n) for a, n in zip(at, roi_size, strict=True))
        with torch.no_grad():
            one = model(image[(slice(None), slice(None), *part)])
        factors = [m / n for m, n in zip(one.shape[2:], roi_size, strict=True)]
        if total is None:
            size = [round(n * f) for n, f in zip(image.shape[2:], factors, strict=True)]
            total, count = (
                torch.zeros((1, one.shape[1], *size)).double(),
                torch.zeros((1, 1, *size)).double(),
            )
            zoomed = functional.interpolate(
                torch.from_numpy(weights).double(), one.shape[2:], mode="nearest"
            )
        where = tuple(
            slice(round(s.start * f), round(s.stop * f)) for s, f in zip(part, factors, strict=True)
        )
        total[(slice(None), slice(None), *where)] += one * zoomed
        count[(slice(None), slice(None), *where)] += zoomed
    return total / count


@pytest.mark.parametrize("least", [0.0, 1e-3])
@pytest.mark.parametrize(
    ("name", "tile"), [*((n, 16) for n in NETS if n not in ("3-d", "odd")), ("1-d", 64), ("3-d", 8)]
)
def test_windows_weighted_as_planned_give_the_whole_image(name, tile, least):
    model, image, whole, plan = made(name, tile)
    hint = plan.to_monai()
    assert all(a < b for a, b in zip(hint["roi_size"], image.shape[2:], strict=True))
    found = slid(model, image, hint["roi_size"], hint["overlap"], hint["roi_weight_map"], least)
    near = 1e-8 if image.dim() == 5 else 1e-11
    assert float((found - whole).abs().max()) <= near * float(whole.abs().max())
    # Weights that are alike everywhere blend, so the map is what makes it exact.
    flat = np.ones_like(hint["roi_weight_map"])
    blended = slid(model, image, hint["roi_size"], hint["overlap"], flat)
    assert float((blended - whole).abs().max()) > 1e-3 * float(whole.abs().max())


@pytest.mark.parametrize(("name", "tile"), [(n, 16) for n in NETS] + [("local", 13), ("1-d", 64)])
def test_dask_with_the_planned_depth_gives_the_whole_image(name, tile):
    array = pytest.importorskip("dask.array")
    model, image, whole, plan = made(name, tile)
    hint = plan.to_dask()
    assert plan.grid != (1,) * len(plan.grid)
    chunked = array.from_array(image.numpy(), chunks=hint["chunks"])
    seen = []

    def run(block):
        if 0 in block.shape:
            return block
        seen.append(block.shape)
        with torch.no_grad():
            return model(torch.from_numpy(block)).numpy()

    if hint["trim"]:
        made_of = array.map_overlap(
            run, chunked, depth=hint["depth"], boundary="none", dtype=float, meta=np.array(())
        )
        found = made_of.compute()
    else:
        (output,) = hint["outputs"].values()
        grown = array.overlap.overlap(chunked, hint["depth"], "none")
        blocks = grown.map_blocks(run, dtype=float, meta=np.array(()), chunks=grown_chunks(output))
        found = array.overlap.trim_internal(blocks, output["depth"], "none").compute()
    assert len(seen) == np.prod([len(c) for c in hint["chunks"]])
    np.testing.assert_allclose(found, whole.numpy(), rtol=0, atol=1e-12 * float(whole.abs().max()))


def grown_chunks(output):
    """The chunks of an output before its sides are trimmed, as Dask has them of its input."""
    found = []
    for index, sizes in enumerate(output["chunks"]):
        before, behind = output["depth"][index]
        last = len(sizes) - 1
        found.append(tuple(n + before * (i > 0) + behind * (i < last) for i, n in enumerate(sizes)))
    return tuple(found)


@pytest.mark.parametrize("name", ["local", "strides", "smaller", "larger", "1-d"])
def test_sizes_and_halos_of_rdf_hold_in_the_middle_of_any_tile(name):
    model, image, whole, plan = made(name, 8) if name != "local" else made(name, 10)
    hint = plan.to_bioimageio()
    ((_, axes),) = hint["inputs"].items()
    ((_, outs),) = hint["outputs"].items()
    for times in (0, 3):
        size = [axis["size"]["min"] + times * axis["size"]["step"] for axis in axes]
        origin = [2 * axis["size"]["step"] for axis in axes]
        part = tuple(slice(a, a + n) for a, n in zip(origin, size, strict=True))
        with torch.no_grad():
            found = model(image[(slice(None), slice(None), *part)])
        kept, there = [], []
        for out, start, n in zip(outs, origin, found.shape[2:], strict=True):
            assert n == size[len(kept)] / out.get("scale", 1) + out["size"]["offset"]
            halo = out.get("halo", 0)
            first = int(start / out.get("scale", 1)) + halo
            kept.append(slice(halo, n - halo))
            there.append(slice(first, first + n - 2 * halo))
            assert n > 2 * halo
        got = found[(slice(None), slice(None), *kept)]
        want = whole[(slice(None), slice(None), *there)]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    assert [axis["id"] for axis in axes] == (["time"] if name == "1-d" else ["y", "x"])


class Skips(nn.Module):
    def forward(self, x):
        return functional.interpolate(
            functional.max_pool2d(x, 3, 2, 1), x.shape[2:], mode="bilinear"
        )


@pytest.mark.parametrize("tool", ["to_monai", "to_dask", "to_bioimageio"])
def test_what_no_other_tool_does_is_refused_by_name(tool):
    with pytest.raises(atrous.UnsupportedError, match="resizes to the size of another map"):
        getattr(atrous.plan_tiles(Skips(), (1, 1, 65, 97), tile=16), tool)()
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2)).eval()
    plan = atrous.plan_tiles(pooled, (1, 1, 66, 97), tile=16, statistics="exact")
    with pytest.raises(atrous.UnsupportedError, match="mixes all positions, and"):
        getattr(plan, tool)()


def test_sizes_that_do_not_fit_are_refused():
    valid = atrous.plan_tiles("stack:k3valid", (1, 1, 64, 64), tile=16)
    for tool in (valid.to_monai, valid.to_bioimageio):
        with pytest.raises(atrous.UnsupportedError, match="has 62 positions for 64 along h"):
            tool()
    assert valid.to_dask()["trim"] is False
    odd = atrous.plan_tiles("stack:k3s2 ups2", (1, 1, 65, 64), tile=16)
    with pytest.raises(atrous.UnsupportedError, match="plan for a multiple of 2"):
        odd.to_bioimageio()
