"""Tiled models from and to files: the same as the whole image, whatever is killed or fails."""

import pickle
import re
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
import zarr
from distributed import Client, LocalCluster
from torch import nn

import atrous
from atrous.errors import ArgumentError, RunError
from atrous.runners.tiled import cluster, targets
from atrous.runners.tiled.images import Scaling
from atrous.runners.tiled.targets import ZarrFolder
from tests.processes import ROOT, environment

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
    tiled.run(Dies(image, -1), tmp_path / f"right.{end}", **asked)
    path = tmp_path / f"out.{end}"
    for _ in range(3):
        with pytest.raises(RunError, match="is not to be read: bad sector"):
            tiled.run(Dies(image, 5), path, **asked, resume=True)
    made = tiled.run(Dies(image, -1), path, **asked, resume=True)
    assert 0 < made.found < made.tiles
    if end == "npy":
        assert path.read_bytes() == (tmp_path / "right.npy").read_bytes()
    else:
        assert files_of(path) == files_of(tmp_path / "right.zarr")
    assert tiled.run(Dies(image, -1), path, **asked, resume=True).found == made.tiles


def begun(tmp_path, tiled, image, **asked):
    """A run that ended early, and the options that it had."""
    asked = {"axes": "YXC", "prepare": SCALE, **asked}
    with pytest.raises(RunError):
        tiled.run(Dies(image, 5), tmp_path / "out.zarr", **asked)
    return asked


def test_chunks_that_are_gone_are_made_again(tmp_path, tiled, image):
    asked = begun(tmp_path, tiled, image)
    log = (tmp_path / "out.zarr/.atrous/tiles.log").read_text().splitlines()
    (tmp_path / "out.zarr/c/0/0/0/1").unlink()
    made = tiled.run(Dies(image, -1), tmp_path / "out.zarr", **asked, resume=True)
    assert made.found == len(log) - 1
    tiled.run(Dies(image, -1), tmp_path / "right.zarr", **asked)
    assert files_of(tmp_path / "out.zarr") == files_of(tmp_path / "right.zarr")


def test_what_is_another_run_is_refused_by_name(tmp_path, tiled, image, model):
    asked = begun(tmp_path, tiled, image)
    before = files_of(tmp_path / "out.zarr")
    other = nn.Sequential(*(nn.Conv2d(*c) for c in ((3, 5, 3, 2, 1), (5, 4, 3, 1, 2, 2)))).eval()
    cases = {
        "model was": (atrous.tile(other, tile=24), image, {}),
        r"plan\.axes was": (atrous.tile(model, tile=32), image, {}),
        "reduce was nothing, now Argmax": (tiled, image, {"reduce": "argmax"}),
        r"source\.0\.samples was": (tiled, image[::-1], {}),
        r"source\.0\.prepare was \(x \* 0\.0039": (tiled, image, {"prepare": Scaling(1 / 256)}),
    }
    for says, (one, array, more) in cases.items():
        with pytest.raises(ArgumentError, match=says):
            one.run(Dies(array, -1), tmp_path / "out.zarr", **{**asked, **more}, resume=True)
        assert files_of(tmp_path / "out.zarr") == before
    with pytest.raises(ArgumentError, match="it is there already; resume=True goes on"):
        tiled.run(image, tmp_path / "out.zarr", **asked)
    tiled.run(image, tmp_path / "out.zarr", **asked, reduce="argmax", overwrite=True)
    assert zarr.open_array(tmp_path / "out.zarr", mode="r").shape == (1, 38, 45)


@pytest.mark.parametrize("save", [npy, zarr_3], ids=lambda save: save.__name__)
def test_a_source_that_changes_while_it_is_run_is_noticed(save, tmp_path, tiled, image):
    (tmp_path / "other").mkdir()
    path, changed = save(tmp_path, image), []
    instead = save(tmp_path / "other", image + 1)

    def prepare(tile):
        if not changed and len(list((tmp_path / "out.zarr").rglob("c/0/0/0/*"))) > 1:
            changed.append(True)
            if path.is_dir():
                chunk = sorted(path.rglob("c/*/*/0"))[-1]
                chunk.write_bytes((instead / chunk.relative_to(path)).read_bytes())
            else:
                instead.replace(path)
        return SCALE(tile)

    asked = {"axes": "YXC", "prepare": prepare}
    with pytest.raises(RunError, match="changed while it was run"):
        tiled.run(path, tmp_path / "out.zarr", **asked)
    with pytest.raises(ArgumentError, match=r"source\.0\.files was"):
        tiled.run(path, tmp_path / "out.zarr", **asked, resume=True)


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, tiled, image, whole):
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "notes.txt").write_text("mine")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00nothing")
    before = sorted(tmp_path.rglob("*"))
    right = {"axes": "YXC", "prepare": SCALE}
    out = tmp_path / "out.zarr"
    cases = [
        (image, out, {"axes": "YXC"}, "does not run on uint8"),
        (image[..., :2], out, right, "expected input"),
        (image, out, {}, "expected input"),
        (image, tmp_path / "out.png", right, "written to .zarr and .npy"),
        (image, tmp_path / "no/out.zarr", right, "there is no folder"),
        (image, tmp_path / "folder.zarr", right, "already; overwrite=True begins"),
        (image, tmp_path / "folder.zarr", right | {"overwrite": True}, "not overwritten"),
        (image, tmp_path / "folder.zarr", right | {"resume": True}, "no run has begun it"),
        (image, np.empty((1, 4, 5, 5)), right, "and the target 1x4x5x5"),
        (image, np.empty(whole.shape, int), right, "which cannot hold it"),
        (image, (np.empty(whole.shape),) * 2, right, "1 outputs and target 2 arrays"),
        (image, np.empty(whole.shape), right | {"resume": True}, "of an array nothing"),
        (image, out, right | {"reduce": "softmax"}, "give 'argmax'"),
        (image, out, right | {"reduce": np.mean}, "leaves 0 of 4 dimensions"),
        (tmp_path / "none.npy", out, right, "there is no such file"),
        (tmp_path / "broken.npy", out, right, "is not to be read"),
        (tmp_path / "folder.zarr", out, right, "is not to be read"),
        (tmp_path / "folder.zarr" / "notes.txt", out, right, "images are .npy, .zarr, .tif"),
    ]
    for source, target, asked, says in cases:
        with pytest.raises(atrous.AtrousError, match=says):
            tiled.run(source, target, **asked)
        left = [p for p in sorted(tmp_path.rglob("*")) if not p.name.endswith(".lock")]
        assert left == before, says


@contextmanager
def small_files(most):
    """No file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_files_that_may_not_grow_are_one_error_and_the_run_goes_on_later(tmp_path, model, image):
    tiled, asked = atrous.tile(model, tile=48), {"axes": "YXC", "prepare": SCALE}
    tiled.run(image, tmp_path / "right.zarr", **asked)
    with small_files(6000), pytest.raises(RunError, match=r"with 0 of 4 tiles written; make room"):
        tiled.run(image, tmp_path / "out.zarr", **asked)
    made = tiled.run(image, tmp_path / "out.zarr", **asked, resume=True)
    assert made.found == 0
    assert files_of(tmp_path / "out.zarr") == files_of(tmp_path / "right.zarr")
    with small_files(6000), pytest.raises(RunError, match=r"with 0 of 4 tiles written; make room"):
        tiled.run(image, tmp_path / "out.npy", **asked)
    assert not (tmp_path / "out.npy").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("end", ["zarr", "npy"])
def test_a_full_disk_is_one_error_and_the_run_goes_on_when_there_is_room(
    end, small_disk, tmp_path, tiled, image
):
    asked = {"axes": "YXC", "prepare": SCALE}
    tiled.run(image, tmp_path / f"right.{end}", **asked)
    # The room is taken step by step away, so that it ends in a chunk, in the log, at the start.
    said = set()
    for left in range(0, 128, 12):
        filling = small_disk / "filling"
        filling.write_bytes(bytes((128 - left) << 10)) if left else None
        path = small_disk / f"out.{end}"
        try:
            tiled.run(image, path, **asked, resume=True)
        except RunError as error:
            said.add(str(error))
        filling.unlink(missing_ok=True)
        made = tiled.run(image, path, **asked, resume=True)
        assert made.tiles == 16
        if end == "npy":
            assert path.read_bytes() == (tmp_path / "right.npy").read_bytes()
            path.unlink()
            shutil.rmtree(small_disk / ".out.npy.atrous")
        else:
            assert files_of(path) == files_of(tmp_path / "right.zarr")
            shutil.rmtree(path)
    assert len(said) > (3 if end == "zarr" else 0)
    pattern = (
        r".*: No space left on device with \d+ of 16 tiles written; make room and go on with .*"
    )
    assert all(re.fullmatch(pattern, one) for one in said), said


def test_runs_that_are_killed_at_random_give_the_same_files():
    command = [sys.executable, "-m", "tests.kill_runs", "--kills", "3", "--kinds", "a.zarr"]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert "3 kills" in result.stdout, result.stderr


@pytest.fixture(scope="module")
def client():
    asked = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": ":0"}
    with LocalCluster(**asked, processes=False) as cluster, Client(cluster) as found:
        yield found


def test_a_cluster_gives_the_same_files_and_goes_on(tmp_path, tiled, image, client):
    np.save(tmp_path / "in.npy", image)
    asked = {"axes": "YXC", "prepare": SCALE}
    tiled.run(tmp_path / "in.npy", tmp_path / "right.zarr", **asked)
    path = tmp_path / "out.zarr"
    made = tiled.run(tmp_path / "in.npy", path, **asked, client=client)
    assert (made.tiles, made.found) == (16, 0)
    assert files_of(path) == files_of(tmp_path / "right.zarr")
    for name in ("0/0/0/3", "0/0/2/1"):
        (path / "c" / name).unlink()
    state = path / ".atrous" / "manifest.json"
    state.write_text(state.read_text().replace('"finished": true', '"finished": false'))
    assert tiled.run(tmp_path / "in.npy", path, **asked, client=client, resume=True).found == 14
    assert files_of(path) == files_of(tmp_path / "right.zarr")


def test_what_fails_on_a_worker_is_the_error_and_the_run_goes_on(
    tmp_path, tiled, image, client, monkeypatch
):
    np.save(tmp_path / "in.npy", image)
    write = ZarrFolder.write

    def full(self, index, place, part):
        if len(list(tmp_path.rglob("c/0/0/*/*"))) > 7:
            raise OSError(28, "No space left on device")
        write(self, index, place, part)

    asked = {"axes": "YXC", "prepare": SCALE, "client": client}
    with monkeypatch.context() as patch:
        patch.setattr(ZarrFolder, "write", full)
        with pytest.raises(RunError, match=r"No space left on device with \d+ of 16 tiles written"):
            tiled.run(tmp_path / "in.npy", tmp_path / "out.zarr", **asked)
    made = tiled.run(tmp_path / "in.npy", tmp_path / "out.zarr", **asked, resume=True)
    assert made.found > 0
    tiled.run(tmp_path / "in.npy", tmp_path / "right.zarr", axes="YXC", prepare=SCALE)
    assert files_of(tmp_path / "out.zarr") == files_of(tmp_path / "right.zarr")
    with pytest.raises(ArgumentError, match="workers open the image themselves"):
        tiled.run(image, tmp_path / "x.zarr", axes="YXC", client=client)
    with pytest.raises(ArgumentError, match=r"many machines write into \.zarr"):
        tiled.run(tmp_path / "in.npy", tmp_path / "x.npy", axes="YXC", client=client)


def test_a_cluster_that_has_lost_its_workers_is_waited_for_and_then_an_error(
    tmp_path, tiled, image, monkeypatch
):
    np.save(tmp_path / "in.npy", image)
    asked = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    monkeypatch.setattr(cluster, "_LOOK", 0.05)
    monkeypatch.setattr(cluster, "_PATIENCE", 0.2)
    run = {"axes": "YXC", "prepare": SCALE}
    with LocalCluster(**asked, processes=False) as workers, Client(workers) as client:

        def progress(text, _share):
            if text == "tile 4 of 16":
                workers.sync(workers.workers[0].close)

        with pytest.raises(RunError, match=r"no workers for 0 seconds; start some and go on with"):
            tiled.run(
                tmp_path / "in.npy", tmp_path / "out.zarr", **run, client=client, progress=progress
            )
    assert tiled.run(tmp_path / "in.npy", tmp_path / "out.zarr", **run, resume=True).found >= 4
    tiled.run(tmp_path / "in.npy", tmp_path / "right.zarr", **run)
    assert files_of(tmp_path / "out.zarr") == files_of(tmp_path / "right.zarr")


def test_what_a_function_of_yours_raises_is_said_in_one_line(tmp_path, tiled, image):
    def wrong(tile):
        raise KeyError("band")

    with pytest.raises(RunError, match="prepare raised KeyError: 'band' on a tile"):
        tiled.run(image, tmp_path / "out.zarr", axes="YXC", prepare=wrong)
    with pytest.raises(RunError, match="reduce raised KeyError: 'band' on a tile"):
        tiled.run(image, tmp_path / "out.zarr", axes="YXC", prepare=SCALE, reduce=wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_is_the_image_is_refused(tmp_path, image):
    tiled = atrous.tile(nn.Conv2d(1, 1, 3, padding=1).eval(), tile=24)
    array = np.ascontiguousarray(image[None, None, ..., 0], np.float32)
    zarr.create_array(tmp_path / "in.zarr", data=array)
    before = files_of(tmp_path / "in.zarr")
    for source, target in [
        (tmp_path / "in.zarr", tmp_path / "in.zarr"),
        (tmp_path / "in.zarr", tmp_path / "in.zarr" / "out.zarr"),
        (array, array),
        (array, array[:]),
        (torch.from_numpy(array), array),
    ]:
        with pytest.raises(ArgumentError, match="the target is the image itself"):
            tiled.run(source, target, overwrite=isinstance(target, Path))
    assert files_of(tmp_path / "in.zarr") == before


def test_a_second_run_into_a_target_is_refused_while_the_first_runs(tmp_path, tiled, image):
    said = []

    def progress(text, share):
        for asked in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(RunError, match="another run writes into it") as error:
                tiled.run(image, tmp_path / "out.zarr", axes="YXC", prepare=SCALE, **asked)
            said.append(error)

    made = tiled.run(image, tmp_path / "out.zarr", axes="YXC", prepare=SCALE, progress=progress)
    assert len(said) == 2 * made.tiles


@pytest.mark.parametrize("save", [tiff_in_tiles, zarr_3], ids=lambda save: save.__name__)
def test_a_region_is_read_without_the_rest_of_the_file(save, tmp_path, tiled, image):
    path = save(tmp_path, image)
    held = path if path.is_file() else sorted(path.rglob("c/*/*/0"))[-1]
    data = bytearray(held.read_bytes())
    data[-400:] = bytes(len(data[-400:]))
    held.write_bytes(data)
    with pytest.raises(RunError, match=r"is not to be read") as error:
        tiled.run(path, tmp_path / "out.zarr", prepare=SCALE)
    assert "[" in str(error.value)
    log = (tmp_path / "out.zarr/.atrous/tiles.log").read_text().splitlines()
    assert 8 < len(log) < 16


class Normed(nn.Module):
    """A norm over all positions, and a resize to the size of another map."""

    def __init__(self):
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 4, 3, 2, 1), nn.InstanceNorm2d(4)
        self.last = nn.Conv2d(7, 2, 3, padding=1)

    def forward(self, x):
        small = self.norm(self.down(x)).relu()
        large = nn.functional.interpolate(small, x.shape[2:], mode="bilinear")
        return self.last(torch.cat([x, large], 1))


def test_statistics_of_the_whole_image_hold_in_files_after_a_break_and_on_a_cluster(
    tmp_path, image, client
):
    torch.manual_seed(0)
    model = Normed().eval()
    tiled = atrous.tile(model, tile=32, statistics="exact")
    np.save(tmp_path / "in.npy", image)
    asked = {"axes": "YXC", "prepare": SCALE}
    made = tiled.run(tmp_path / "in.npy", tmp_path / "out.zarr", **asked)
    given = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        right = model(given).numpy()
    found = zarr.open_array(tmp_path / "out.zarr", mode="r")[:]
    assert np.abs(found - right).max() < 1e-5
    tiled.run(tmp_path / "in.npy", tmp_path / "far.zarr", **asked, client=client)
    assert files_of(tmp_path / "far.zarr") == files_of(tmp_path / "out.zarr")
    with pytest.raises(RunError, match="bad sector"):
        tiled.run(Dies(image, made.tiles * 2 - 2), tmp_path / "end.zarr", **asked)
    assert tiled.run(Dies(image, -1), tmp_path / "end.zarr", **asked, resume=True).found > 1
    assert files_of(tmp_path / "end.zarr") == files_of(tmp_path / "out.zarr")
    by_tile = atrous.tile(model, tile=32, statistics="tile")
    with pytest.raises(ArgumentError, match=r"plan\.statistics was|plan\.exact was"):
        by_tile.run(tmp_path / "in.npy", tmp_path / "out.zarr", **asked, resume=True)


def test_sweeps_on_a_cluster_count_each_tile_once_and_send_back_a_few_numbers(
    tmp_path, image, client, monkeypatch
):
    torch.manual_seed(0)
    model = Normed().double().eval()
    tiled = atrous.tile(model, tile=32, statistics="exact")
    np.save(tmp_path / "in.npy", np.moveaxis(image, 2, 0)[None] / 255)
    sizes, plans = [], []
    count = cluster.Counting.run

    def counted(self, number, known):
        made = count(self, number, known)
        sizes.append(len(pickle.dumps(made)))
        return made

    monkeypatch.setattr(cluster.Counting, "run", counted)
    target = tmp_path / "far.zarr"
    made = tiled.run(tmp_path / "in.npy", target, client=client, planned=plans.append)
    with torch.no_grad():
        right = model(torch.from_numpy(np.load(tmp_path / "in.npy"))).numpy()
    found = zarr.open_array(target, mode="r")[:]
    assert np.abs(found - right).max() <= 1e-12 * np.abs(right).max()
    assert len(sizes) == made.tiles * (plans[0].sweeps - 1)
    assert max(sizes) < 20_000
    left = client.run(lambda dask_worker: [n for n in dask_worker.plugins if "atrous-" in str(n)])
    assert not any(left.values())


def test_an_onnx_file_with_statistics_runs_on_a_cluster(tmp_path, client):
    from tests.parity.test_tiles_of_onnx_by_sweeps import IMAGE, instance_norms, ramped, whole_run

    model = instance_norms()
    np.save(tmp_path / "in.npy", ramped(*IMAGE))
    tiled = atrous.tile(model, tile=16, statistics="exact")
    for name, by in (("out", None), ("far", client)):
        tiled.run(tmp_path / "in.npy", tmp_path / f"{name}.zarr", client=by)
        (right,) = whole_run(model, ramped(*IMAGE))
        found = zarr.open_array(tmp_path / f"{name}.zarr", mode="r")[:]
        assert np.abs(found - right).max() <= 1e-5 * np.abs(right).max()


KINDS = {
    "smaller": ((nn.Conv2d(1, 2, 5), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3)), (99, 130), 16),
    "larger": ((nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)), (33, 41), 10),
    "thirds": ((nn.ConvTranspose2d(1, 2, 5, 3), nn.Conv2d(2, 1, 3, 2)), (41, 33), 8),
    "along time": ((nn.Conv1d(1, 2, 3, padding=4, dilation=4), nn.Conv1d(2, 2, 5, 3)), (641,), 60),
    "volumes": ((nn.Conv3d(1, 2, 3, 1, 1), nn.Upsample(scale_factor=2)), (8, 12, 15), 6),
}


@pytest.mark.parametrize(("kind", "shards"), [*((kind, False) for kind in KINDS), ("thirds", True)])
def test_each_file_of_a_result_is_written_by_one_tile(kind, shards, tmp_path, monkeypatch):
    layers, size, tile = KINDS[kind]
    model = nn.Sequential(*layers).eval()
    image = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    write, written = ZarrFolder.write, []

    def noted(self, index, place, part):
        write(self, index, place, part)
        written.extend(self._paths(index, place))

    monkeypatch.setattr(ZarrFolder, "write", noted)
    monkeypatch.setattr(targets, "_CHUNK", 2048)
    monkeypatch.setattr(targets, "_INNER", 512)
    made = atrous.tile(model, tile=tile).run(image, tmp_path / "out.zarr", shards=shards)
    assert made.tiles > 3
    assert len(set(written)) == len(written)
    assert set(written) == {path for path in (tmp_path / "out.zarr/c").rglob("*") if path.is_file()}
    with torch.no_grad():
        right = model(torch.from_numpy(image)[None, None]).numpy()
    assert np.abs(zarr.open_array(tmp_path / "out.zarr", mode="r")[:] - right).max() < 1e-5


def of_hdf5(path, image):
    return h5py.File(path / "in.h5", "w").create_dataset("image", data=image)


def of_zarr(path, image):
    return zarr.create_array(path / "in.zarr", data=image, chunks=(20, 31, 2))


def of_torch(_, image):
    return torch.from_numpy(image)


def of_a_map(path, image):
    np.save(path / "in.npy", image)
    return np.load(path / "in.npy", mmap_mode="r")


@pytest.mark.parametrize("hold", [of_hdf5, of_zarr, of_torch, of_a_map], ids=lambda h: h.__name__)
def test_anything_that_is_sliced_is_an_image(hold, tmp_path, tiled, image, whole):
    found = np.empty_like(whole)
    source = hold(tmp_path, image)
    tiled.run(source, found, axes="YXC", prepare=SCALE)
    assert np.abs(found - whole).max() < 1e-5
    if hold is of_hdf5:
        source.file.close()


def test_several_inputs_are_several_images(tmp_path):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(3, 2, 5, padding=2)

        def forward(self, x, y):
            return self.one(x) + self.other(y)

    model = Sum().eval()
    x, y = torch.rand(1, 1, 40, 50), torch.rand(1, 3, 40, 50)
    np.save(tmp_path / "x.npy", x.numpy())
    atrous.tile(model, tile=16).run((tmp_path / "x.npy", y), tmp_path / "out.zarr")
    with torch.no_grad():
        right = model(x, y).numpy()
    assert np.abs(zarr.open_array(tmp_path / "out.zarr", mode="r")[:] - right).max() < 1e-5


@pytest.mark.parametrize("shards", [False, True])
def test_tiles_of_zeros_have_their_files(shards, tmp_path):
    image = np.zeros((60, 70), np.float32)
    image[50:, 60:] = 1
    tiled = atrous.tile(nn.Conv2d(1, 3, 3, padding=1).eval(), tile=16)
    made = tiled.run(image, tmp_path / "out.zarr", reduce=lambda tile: tile * 0, shards=shards)
    files = [path for path in (tmp_path / "out.zarr/c").rglob("*") if path.is_file()]
    assert len(files) == made.tiles == 20
    assert not zarr.open_array(tmp_path / "out.zarr", mode="r")[:].any()


def test_an_onnx_file_runs_into_files_and_on_a_cluster(tmp_path, model, image, whole, client):
    given = (torch.zeros(1, 3, *SIZE),)
    torch.onnx.export(model, given, tmp_path / "net.onnx", dynamo=False)
    tiled = atrous.tile(tmp_path / "net.onnx", tile=32)
    np.save(tmp_path / "in.npy", image)
    asked = {"axes": "YXC", "prepare": SCALE}
    tiled.run(tmp_path / "in.npy", tmp_path / "out.zarr", **asked)
    assert np.abs(zarr.open_array(tmp_path / "out.zarr", mode="r")[:] - whole).max() < 1e-5
    tiled.run(tmp_path / "in.npy", tmp_path / "far.zarr", **asked, client=client)
    assert files_of(tmp_path / "far.zarr") == files_of(tmp_path / "out.zarr")
    assert tiled.run(tmp_path / "in.npy", tmp_path / "far.zarr", **asked, resume=True).found > 1


def test_a_picture_with_its_colours_last_says_how_to_say_so(tmp_path):
    model = torch.nn.Conv2d(3, 2, 3, padding=1).eval()
    np.save(tmp_path / "in.npy", np.zeros((60, 50, 3), np.float32))
    with pytest.raises(atrous.ReadError, match=r"to have 3 channels.*give axes='YXC'"):
        atrous.tile(model, tile=16).run(tmp_path / "in.npy", tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
