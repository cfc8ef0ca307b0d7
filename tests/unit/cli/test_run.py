"""The command `atrous run`: what it writes, says and refuses."""

import json

import numpy as np
import pytest
import tifffile
import zarr

import atrous as library
from tests.command import assert_refuses, atrous

CODE = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1))

def normed():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1))

def pair():
    class Pair(nn.Module):
        def forward(self, x):
            return x * 2, nn.functional.avg_pool2d(x, 2)
    return Pair()

def scaled(tile):
    return (tile / 255).astype("float32")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    (path / "models.py").write_text(CODE)
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    geo = [
        (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True),
        (33550, "d", 3, (10.0, 10.0, 0.0), True),
        (33922, "d", 6, (4.0, 8.0, 0.0, 500_000.0, 5_000_000.0, 0.0), True),
    ]
    tifffile.imwrite(path / "scan.tif", image, photometric="rgb", extratags=geo)
    np.save(path / "scan.npy", image.transpose(2, 0, 1)[None] / np.float32(255))
    return path


SCALED = ("--scale", "1/255", "--tile", "32")


def run(folder, *arguments):
    result = atrous("run", "models.py:net", *arguments, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result


def test_the_plan_comes_first_and_what_was_written_last(folder):
    said = run(folder, "scan.tif", "a.zarr", *SCALED, "--argmax", "--preview", "a.png")
    lines = said.stdout.splitlines()
    assert lines[0] == "Sequential: 1x3x60x80 in 6 tiles"
    assert lines[-2:] == ["2           1x30x40 uint8", "written     a.zarr: 6 tiles"]
    assert (folder / "a.png").read_bytes()[:4] == b"\x89PNG"
    found = zarr.open_array(folder / "a.zarr", mode="r")
    scores = run(folder, "scan.npy", "s.npy", "--tile", "24")
    assert scores.stdout
    np.testing.assert_array_equal(found[:], np.load(folder / "s.npy").argmax(1))
    # Half as many pixels, each of 20 m; the tie point is the same place.
    assert found.attrs["geotiff"] == {
        "GeoKeyDirectory": [1, 1, 0, 1, 3072, 0, 1, 32633],
        "ModelPixelScale": [20.0, 20.0, 0.0],
        "ModelTiepoint": [2.0, 4.0, 0.0, 500_000.0, 5_000_000.0, 0.0],
    }


def test_statistics_of_tiles_are_said_to_be_off_and_by_how_much(folder):
    result = atrous(
        *("run", "models.py:normed", "scan.tif", "n.zarr", "--statistics", "tile", *SCALED),
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    assert "not exact   1 by each tile's own statistics" in result.stdout
    assert "error: by each tile's own statistics of 1 the result differs by up to" in result.stderr


def test_a_norm_over_the_image_is_refused_with_the_option_that_gathers_it(folder):
    arguments = ("run", "models.py:normed", "scan.tif", "g.zarr", *SCALED)
    said = atrous(*arguments, cwd=folder)
    assert "1: lets all positions see one another along h" in said.stderr
    assert "give --statistics exact" in said.stderr
    assert atrous(*arguments, "--statistics", "exact", cwd=folder).returncode == 0


def test_what_prepares_a_tile_may_be_a_function(folder):
    run(folder, "scan.tif", "b.zarr", "--prepare", "models.py:scaled", "--threshold", "0.1")
    run(folder, "scan.tif", "c.npy", *SCALED)
    found = zarr.open_array(folder / "b.zarr", mode="r")[:]
    assert (found == (np.load(folder / "c.npy") > 0.1)).mean() > 0.999


def test_several_outputs_and_a_second_run_that_finds_all_done(folder):
    asked = ("run", "models.py:pair", "scan.npy", "d.zarr", "--tile", "16", "--json")
    first, again = (
        json.loads(atrous(*asked, *more, cwd=folder).stdout) for more in ((), ("--resume",))
    )
    assert (first["schema"], first["tiles"], first["found"]) == ("atrous.run/1", 20, 0)
    assert again["found"] == 20
    assert [one["shape"] for one in again["outputs"]] == [[1, 3, 60, 80], [1, 3, 30, 40]]
    assert set(zarr.open_group(folder / "d.zarr", mode="r")) == {
        o["name"] for o in first["outputs"]
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.tif", "x.zarr"], "none.tif: there is no such file"),
        (["scan.tif", "x.zarr"], "does not run on uint8"),
        (["scan.tif", "x.zarr"], "give --prepare MODULE:FUNCTION"),
        (["scan.tif", "x.png", *SCALED], "x.png: results are written to .zarr and .npy"),
        (["scan.tif", "taken.zarr", *SCALED], "taken.zarr: it is there already; --overwrite"),
        (["scan.tif", "x.zarr", "--scale", "1/0"], "--scale '1/0': give numbers"),
        (["scan.tif", "x.zarr", "--std", "0"], "--std 0: nothing is divided by 0"),
        (["scan.tif", "x.zarr", "--mean", "1,2"], "mean has 2 numbers and the image 3 channels"),
        (["scan.tif", "x.zarr", "--tile", "a"], "--tile 'a': give whole numbers"),
        (["scan.tif", "x.zarr", "--tile", "9", "--memory", "1MiB"], "tiles are; give one."),
        (["scan.tif", "x.zarr", "--scale", "1", "--tile", "0"], "--tile 0 is no size of tiles"),
        (["scan.tif", "x.zarr", "--memory", "1kB"], "--memory 1kB is less than the smallest tile"),
        (["scan.tif", "x.zarr", "--scratch", "nowhere"], "--scratch nowhere is no folder; make it"),
        (["scan.tif", "x.zarr", "--statistics", "none"], "--statistics none is none of 'exact'"),
        (["scan.tif", "x.zarr", "--argmax", "--threshold", "1"], "give one of them"),
        (["scan.tif", "x.zarr", "--prepare", "models.py:none"], "no function is named 'none'"),
        (["scan.tif", "x.zarr", "--prepare", "scaled"], "--prepare scaled: name a function"),
        (["scan.tif", "x.zarr", "--axes", "YX"], "axes is 'YX' and the array has 3 dimensions"),
        (["scan.tif", "x.zarr", "--preview", "a.svg"], "give it the ending .png"),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(folder, arguments, says):
    (folder / "taken.zarr").mkdir(exist_ok=True)
    said = atrous("run", "models.py:net", *arguments, cwd=folder)
    assert said.returncode == 2
    (line,) = said.stderr.splitlines()
    assert says in line
    assert not (folder / "x.zarr").exists()
    assert not any((folder / "taken.zarr").iterdir())


def test_a_network_without_a_model_is_refused(folder):
    assert_refuses("run", "zoo:unet", "scan.npy", "x.zarr", says="PyTorch modules", cwd=folder)


def test_previews_show_classes_in_colours_and_numbers_in_grey():
    from io import BytesIO

    from PIL import Image

    from atrous.draw.maps import map_png

    classes = np.tile(np.arange(3, dtype=np.uint8), (2, 700))
    picture = Image.open(BytesIO(map_png(classes[None])))
    assert picture.size == (700, 1)
    assert len(set(map(tuple, np.asarray(Image.open(BytesIO(map_png(classes[:, :9]))))[0]))) == 3
    grey = np.asarray(Image.open(BytesIO(map_png(np.array([[-1.0, 0.0, np.nan, 1.0]])))))
    assert grey.tolist() == [[0, 127, 0, 255]]
    with pytest.raises(library.AtrousError, match="one dimension"):
        map_png(np.zeros(4))


def test_a_run_that_is_interrupted_says_how_it_goes_on(folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("atrous.runners.tiled.targets.ZarrFolder.write", interrupted)
        said = atrous("run", "models.py:net", "scan.npy", "i.zarr", "--tile", "24", cwd=folder)
    assert (said.returncode, said.stderr) == (130, "stopped; --resume goes on\n")
    run(folder, "scan.npy", "i.zarr", "--tile", "24", "--resume")
