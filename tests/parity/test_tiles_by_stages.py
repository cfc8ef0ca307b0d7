"""Sweeps that go on with what others kept, against the whole image and against sweeps anew."""

import numpy as np
import pytest
import torch
from torch import nn

import atrous
from atrous.errors import ArgumentError, RunError, UnsupportedError
from atrous.plan import stages
from atrous.runners.tiled import scratch
from atrous.runners.tiled.tiled import Tiled
from atrous.verbs import tile as verb
from tests.parity.test_tiles_by_sweeps import CASES, IMAGE, NEAR, conv, largest_difference


class Behind(nn.Module):
    """Norms behind convolutions, a sum of which no norm is asked, in place where it may be."""

    def __init__(self):
        super().__init__()
        self.enter = conv(2, 4)
        self.convs = nn.ModuleList(conv(4, 4) for _ in range(4))
        self.norms = nn.ModuleList(nn.GroupNorm(2, 4) for _ in range(4))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.enter(x)
        for layer, norm in zip(self.convs, self.norms, strict=True):
            x = self.act(norm(layer(x)).add_(x))
        return x


class Dense(nn.Module):
    """Each layer is given all maps before it, as in a DenseNet."""

    def __init__(self):
        super().__init__()
        self.enter = conv(2, 4)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(2, 4 + 2 * i), nn.ReLU(), conv(4 + 2 * i, 2))
            for i in range(4)
        )

    def forward(self, x):
        x = self.enter(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class Skips(nn.Module):
    """A U-Net whose maps of several strides are kept for its way back."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList(conv(i, 4, stride=s) for i, s in ((2, 1), (4, 2), (4, 2)))
        self.up = nn.ModuleList(conv(8, 4) for _ in range(2))
        self.norms = nn.ModuleList(nn.InstanceNorm2d(4) for _ in range(5))

    def forward(self, x):
        kept = []
        for layer, norm in zip(self.down, self.norms, strict=False):
            kept.append(x := torch.relu(norm(layer(x))))
        for layer, norm, beside in zip(self.up, self.norms[3:], kept[-2::-1], strict=True):
            size = {"size": beside.shape[2:], "mode": "bilinear"}
            x = torch.cat([nn.functional.interpolate(x, **size), beside], 1)
            x = torch.relu(norm(layer(x)))
        return x


NETWORKS = {
    "norms behind": (Behind(), IMAGE, 12, 5, 4),
    "dense": (Dense(), IMAGE, 13, 5, 3),
    "skips": (Skips(), [(1, 2, 45, 58)], (20, 24), 6, 3),
}
"""How each is made, its image and tiles, its sweeps, and how many maps are kept at most."""


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sweep_goes_on_where_others_ended(name):
    model, shapes, tile, sweeps, maps = NETWORKS[name]
    apart, plan = largest_difference(model, shapes, tile)
    assert apart <= NEAR
    assert len(plan.stages) == plan.sweeps == sweeps
    # Each layer once: what is done twice lies in halos, and these are those of a few layers.
    assert sum(stage.tiles.work for stage in plan.stages) == pytest.approx(1)
    anew = atrous.plan_tiles(model, shapes[0], tile=tile, statistics="exact", scratch="none")
    assert (anew.stages, anew.scratch_bytes) == ((), 0)
    assert plan.recomputed < anew.recomputed / 2
    batch, _, height, width = shapes[0]
    assert plan.scratch_bytes <= maps * batch * 4 * height * width * 8


@pytest.fixture
def little(monkeypatch):
    """So little memory that maps are kept on a disk."""
    monkeypatch.setattr(verb, "USUAL_MEMORY", "1KiB")


@pytest.mark.usefixtures("little")
def test_maps_on_a_disk_give_the_same_bits_and_leave_nothing_there(tmp_path, monkeypatch):
    model, shapes, tile, *_ = NETWORKS["skips"]
    model = model.double().eval()
    image = torch.rand(shapes[0], dtype=torch.double)
    made, there = [], []
    keep = scratch.Scratch.write

    def write(self, *asked):
        keep(self, *asked)
        there.append((self.folder, len(list(tmp_path.iterdir()))))

    monkeypatch.setattr(scratch.Scratch, "write", write)
    for memory in ("1KiB", "1GiB"):
        monkeypatch.setattr(verb, "USUAL_MEMORY", memory)
        tiled = atrous.tile(model, tile=tile, statistics="exact", scratch=tmp_path)
        made.append(tiled(image))
        plan = tiled.plan(image.shape)
        assert plan.in_memory == (memory == "1GiB")
        assert ("on disk" in str(plan)) != plan.in_memory
    assert torch.equal(*made)
    assert {folder for folder, _ in there} == {tmp_path, None}
    assert {files for _, files in there} == {0}
    assert plan.memory_bytes > plan.scratch_bytes > 0


def test_memory_holds_what_sweeps_keep_or_a_disk_does():
    model = NETWORKS["norms behind"][0]
    for size, held in (("16MiB", False), ("96MiB", True)):
        plan = atrous.plan_tiles(model, (1, 2, 600, 600), memory=size, statistics="exact")
        assert plan.in_memory == held
        budget = verb.bytes_of(size)
        assert budget / 3 < plan.memory_bytes <= budget
        assert (plan.scratch_bytes < plan.memory_bytes) == held


@pytest.mark.usefixtures("little")
def test_a_disk_without_room_and_a_folder_that_is_none_are_one_error(tmp_path, monkeypatch):
    model, shapes, tile, *_ = NETWORKS["norms behind"]
    image = torch.rand(shapes[0])

    def run(folder):
        target = tmp_path / "out.npy"
        tiled = atrous.tile(model.float(), tile=tile, statistics="exact", scratch=folder)
        tiled.run(image.numpy(), target)

    with pytest.raises(ArgumentError, match="nowhere' is no folder; make it first"):
        run(tmp_path / "nowhere")
    usage = scratch.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ArgumentError, match=r"keep 334,080 bytes between .* has 1,000 free; give"):
        run(tmp_path)
    assert not list(tmp_path.iterdir())


class Dies:
    """An image that ends the run when so many regions were read."""

    def __init__(self, array, after):
        self.array, self.left = array, after
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key):
        if self.left == 0:
            raise OSError("bad sector")
        self.left -= any(part.stop - part.start > 1 for part in key[2:])
        return self.array[key]


class EndedError(Exception):
    pass


@pytest.mark.usefixtures("little")
def test_a_run_that_ended_in_a_sweep_or_behind_it_goes_on_and_gives_the_same_file(tmp_path):
    model, shapes, tile, *_ = NETWORKS["norms behind"]
    tiled = atrous.tile(model.float(), tile=tile, statistics="exact", scratch=tmp_path)
    image = np.random.default_rng(0).standard_normal(shapes[0]).astype(np.float32)
    tiled.run(image, tmp_path / "right.npy")
    path = tmp_path / "out.npy"
    with pytest.raises(RunError, match="bad sector"):
        tiled.run(Dies(image, 9), path)
    assert not path.exists()
    for end in (1, 6, 13):

        def progress(text, _share, end=end):
            if int(text.split()[1]) > end:
                raise EndedError

        with pytest.raises(EndedError):
            tiled.run(image, path, resume=True, progress=progress)
    assert tiled.run(image, path, resume=True).found > 10
    assert path.read_bytes() == (tmp_path / "right.npy").read_bytes()
    anew = atrous.tile(model, tile=tile, statistics="exact", scratch="none")
    with pytest.raises(ArgumentError, match=r"begun otherwise: plan\.stages was"):
        anew.run(image, path, resume=True)


def test_maps_of_few_bits_are_kept_as_they_are():
    model = CASES["1-d"][0].to(torch.bfloat16).eval()
    image = torch.rand(1, 2, 301, dtype=torch.bfloat16)
    kept, anew = (
        atrous.tile(model, tile=50, statistics="exact", scratch=way)(image)
        for way in (None, "none")
    )
    assert float((kept - anew).abs().max()) <= 0.02 * float(anew.abs().max())


class Sized(nn.Module):
    """A map that takes a number from its size, and is kept though no sweep counts it."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.norm = conv(2, 4), conv(4, 4), nn.GroupNorm(2, 4)

    def forward(self, x):
        beside = self.two(self.one(x) * x.shape[-1])
        return self.norm(self.one(x)) + beside + self.norm(self.two(self.one(x) + beside) * 0)


def test_a_number_of_the_size_in_what_is_kept_is_refused():
    with pytest.raises(UnsupportedError, match="another size or in another place"):
        atrous.tile(Sized().eval(), tile=16, statistics="exact")(torch.rand(IMAGE[0]))


def test_a_halo_that_is_too_small_is_seen(monkeypatch):
    def bare(part, cut, outputs, known):
        found = narrowed(part, cut, outputs, known)
        few = found.step + (found.length - found.step) % found.period
        return stages.replace(found, halo=(0, 0), size=few)

    narrowed = stages.narrowed
    model, shapes, tile, *_ = NETWORKS["norms behind"]
    monkeypatch.setattr(stages, "narrowed", bare)
    # Such tiles lack what they need, so those of the whole run are taken.
    plan = atrous.plan_tiles(model, shapes[0], tile=tile, statistics="exact")
    assert [stage.shapes == plan.input_shapes for stage in plan.stages] == [True] * 4 + [False]
    monkeypatch.setattr(stages, "placed", lambda *_: ())
    monkeypatch.setattr(Tiled, "_beside", lambda *_: None)
    apart, plan = largest_difference(model, shapes, tile)
    assert apart > 1e-5


@pytest.mark.usefixtures("little")
def test_an_image_that_the_halo_of_all_layers_leaves_whole_is_cut_by_sweeps(tmp_path):
    blocks = [nn.Sequential(conv(c, 8, dilation=25), nn.GroupNorm(1, 8)) for c in (2, 8, 8, 8)]
    model = nn.Sequential(*blocks).double().eval()
    image = torch.rand(1, 2, 150, 190, dtype=torch.double)
    tiled = atrous.tile(model, tile=64, statistics="exact")
    plan = tiled.plan(image.shape)
    assert (plan.grid, [axis.size for axis in plan.axes]) == ((3, 3), [150, 190])
    assert max(stage.shapes[0] for stage in plan.stages) < (1, 2, 150, 190)
    with torch.no_grad():
        whole = model(image)
    assert float((tiled(image) - whole).abs().max()) <= NEAR * float(whole.abs().max())
    anew = atrous.plan_tiles(model, image.shape, tile=64, statistics="exact", scratch="none")
    assert len(anew) == 1
    assert plan.memory_bytes < anew.memory_bytes
    with pytest.raises(UnsupportedError, match="gradients begin with the image, of which a tile"):
        tiled.backward(image, torch.ones_like(whole))
    with pytest.raises(UnsupportedError, match="workers begin with the image, of which a tile"):
        tiled.run(image, tmp_path / "a.zarr", client=object())
