"""Tiled models from and to files: the same as the whole image, whatever is killed or fails."""

import numpy as np
import pytest
import tifffile
import torch
import zarr
from torch import nn

import atrous
from atrous.errors import ArgumentError, RunError
from atrous.runners.tiled.images import Scaling

SIZE = (75, 90)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.Conv2d(5, 4, 3, padding=2, dilation=2)).eval()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def whole(model, image):
    with torch.no_grad():
        return model(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255).numpy()


@pytest.fixture(scope="module")
def tiled(model):
    return atrous.tile(model, tile=24)


SCALE = Scaling(1 / 255)


def files_of(folder):
    """Everything that a run has made, but what it keeps for itself."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".atrous" not in path.parts
    }


def npy(path, image):
    np.save(path / "in.npy", image)
    return path / "in.npy"


def npy_big_endian_by_columns(path, image):
    np.save(path / "in.npy", np.asfortranarray(image.astype(">u2")))
    return path / "in.npy"


def zarr_2(path, image):
    zarr.create_array(path / "in.zarr", data=image, chunks=(20, 31, 2), zarr_format=2)
    return path / "in.zarr"


def zarr_3(path, image):
    names = ["y", "x", "c"]
    zarr.create_array(path / "in.zarr", data=image, chunks=(20, 31, 2), dimension_names=names)
    return path / "in.zarr"


def ome(path, image):
    group = zarr.create_group(path / "in.zarr")
    planes = image.transpose(2, 0, 1)[None, :, None]
    group.create_array("0", data=np.ascontiguousarray(planes))
    group.create_array("1", data=np.ascontiguousarray(planes[..., ::2, ::2]))
    axes = [{"name": name} for name in "tczyx"]
    scales = [{"axes": axes, "datasets": [{"path": "0"}, {"path": "1"}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": scales}
    return path / "in.zarr"


def tiff(path, image, **how):
    tifffile.imwrite(path / "in.tif", image, photometric="rgb", **how)
    return path / "in.tif"


def tiff_in_tiles(path, image):
    return tiff(path, image, tile=(32, 32), compression="zlib")


def tiff_in_planes(path, image):
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    return tiff(path, planes, planarconfig="separate", byteorder=">")


FORMATS = [npy, npy_big_endian_by_columns, zarr_2, zarr_3, ome, tiff, tiff_in_tiles, tiff_in_planes]


@pytest.mark.parametrize("save", FORMATS, ids=lambda save: save.__name__)
def test_every_format_gives_what_the_whole_image_gives(save, tmp_path, tiled, image, whole):
    source = save(tmp_path, image)
    axes = "YXC" if save in (npy, npy_big_endian_by_columns, zarr_2) else None
    made = tiled.run(source, tmp_path / "out.zarr", axes=axes, prepare=SCALE)
    found = zarr.open_array(tmp_path / "out.zarr", mode="r")
    assert np.abs(found[:] - whole).max() < 1e-5
    assert (made.tiles, found.chunks) == (len(tiled.plan((1, 3, *SIZE))), (1, 4, 12, 12))


@pytest.mark.parametrize("end", ["zarr", "npy", "shards"])
def test_every_target_holds_the_same(end, tmp_path, tiled, image, whole):
    path = tmp_path / f"out.{'zarr' if end == 'shards' else end}"
    asked = {"axes": "YXC", "prepare": SCALE}
    tiled.run(image, path, **asked, shards=end == "shards")
    found = np.load(path) if end == "npy" else zarr.open_array(path, mode="r")[:]
    assert np.abs(found - whole).max() < 1e-5
    array = np.empty_like(whole)
    tiled.run(image, array, **asked)
    np.testing.assert_array_equal(array, found)


@pytest.mark.parametrize("reduce", ["argmax", "threshold:0.1", lambda tile: tile.max(1)])
def test_what_is_reduced_is_stored_reduced(reduce, tmp_path, tiled, image, whole):
    tiled.run(image, tmp_path / "out.zarr", axes="YXC", prepare=SCALE, reduce=reduce)
    found = zarr.open_array(tmp_path / "out.zarr", mode="r")
    wanted = {"argmax": whole.argmax(1), "threshold:0.1": whole > 0.1}
    right = whole.max(1) if callable(reduce) else wanted[reduce]
    assert found.shape == right.shape
    assert np.abs(found[:].astype(float) - right).max() < 1e-5
    assert found.dtype == (np.float32 if callable(reduce) else np.uint8)


def test_several_outputs_are_a_group_that_lists_them_alone(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(1, 2, 3, 1, 1), nn.Conv2d(2, 3, 3, 2, 1)

        def forward(self, x):
            x = self.fine(x)
            return x, self.coarse(x)

    model = Two().eval()
    image = torch.rand(1, 1, *SIZE)
    made = atrous.tile(model, tile=24).run(image, tmp_path / "out.zarr")
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert sorted(name for name, _ in group.members()) == sorted(o.name for o in made.outputs)
    with torch.no_grad():
        for one, right in zip(made.outputs, model(image), strict=True):
            assert np.abs(group[one.name][:] - right.numpy()).max() < 1e-6


class Dies:
    """An image that ends the run when so many regions were read."""

    def __init__(self, array, after):
        self.array, self.left = array, after
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key):
        if self.left == 0:
            raise OSError("bad sector")
        self.left -= any(part.stop - part.start > 1 for part in key[:2])
        return self.array[key]


@pytest.mark.parametrize("end", ["zarr", "npy"])
def test_a_run_that_ended_goes_on_and_gives_the_same_files(end, tmp_path, tiled, image):
    asked = {"axes": "YXC", "prepare": SCALE}
    np.save(tmp_path / "in.npy", image)
    tiled.run(tmp_path / "in.npy", tmp_path / f"right.{end}", **asked)
    path, places = tmp_path / f"out.{end}", []
    for after in range(3, 12, 4):
        with pytest.raises(RunError, match="is not to be read: bad sector"):
            atrous.tile(tiled._planner.source, tile=24).run(
                Dies(image, after), tmp_path / f"{after}.{end}", **asked
            )
    del path, places
