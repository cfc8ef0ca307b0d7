"""Networks that are cut, from files into files: a front by tiles, a back behind it, and breaks."""

import json

import numpy as np
import pytest
import torch
import zarr
from torch import nn

import atrous
from atrous.errors import ArgumentError, RunError, UnsupportedError
from atrous.runners.tiled.behind import WhatFollows
from atrous.runners.tiled.journal import only_one
from tests.exporting import export
from tests.onnx_probe import ints
from tests.parity.test_depth_first import Small
from tests.parity.test_tiles_of_onnx import graph_of, node, weight
from tests.parity.test_tiles_of_onnx import whole_run as onnx_run
from tests.parity.test_tiles_of_onnx_by_sweeps import conv, ramped, scaled
from tests.weights import calibrate

SHAPE = (1, 1, 90, 77)


class Single(Small):
    """The scores alone."""

    def forward(self, x):
        return super().forward(x)[0]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = Small().double()
    calibrate(made, torch.randn(2, 1, 40, 40, dtype=torch.double))
    return made.eval()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).standard_normal(SHAPE)


@pytest.fixture
def source(tmp_path, image):
    np.save(tmp_path / "in.npy", image)
    return tmp_path / "in.npy"


def single_of(model):
    made = Single().double().eval()
    made.load_state_dict(model.state_dict())
    return made


def whole_run(model, image):
    with torch.no_grad():
        made = model(torch.from_numpy(image.copy()))
    return [one.numpy() for one in (made if isinstance(made, tuple) else (made,))]


def assert_near(found, right, near=1e-12):
    for one, other in zip(found, right, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= near * np.abs(other).max()


def test_outputs_of_a_cut_network_come_into_zarr_into_npy_and_into_arrays(
    model, image, source, tmp_path
):
    right = whole_run(model, image)
    tiled = atrous.tile(model, memory="0.9MiB")
    told, plans = [], []
    path = tmp_path / "out.zarr"
    made = tiled.run(
        source, path, progress=lambda text, share: told.append((text, share)), planned=plans.append
    )
    (plan,) = plans
    assert isinstance(plan, atrous.CutPlan)
    assert (made.tiles, made.found, told[-1][1]) == (len(plan.front), 0, 1.0)
    assert [one.shape for one in made.outputs] == [one.shape for one in right]
    assert_near([zarr.open_array(path / one.name, mode="r")[...] for one in made.outputs], right)
    # What was kept of the front is gone.
    assert not list(tmp_path.rglob("cut.npy"))
    again = tiled.run(source, path, resume=True)
    assert (again.found, again.outputs) == (made.tiles, made.outputs)
    arrays = tuple(np.empty(one.shape) for one in right)
    assert tiled.run(source, arrays).target is None
    assert_near(arrays, right)
    single = atrous.tile(single_of(model), memory="0.9MiB")
    single.run(source, tmp_path / "out.npy")
    assert_near([np.load(tmp_path / "out.npy")], right[:1])
    with pytest.raises(ArgumentError, match=r"a \.npy file holds one array and the model has 2"):
        tiled.run(source, tmp_path / "two.npy")


class EndedError(Exception):
    pass


@pytest.mark.parametrize("end", ["zarr", "npy"])
def test_a_run_that_ended_in_the_front_or_in_the_back_goes_on(
    model, image, source, tmp_path, monkeypatch, end
):
    model = single_of(model)
    tiled = atrous.tile(model, memory="0.9MiB")
    path = tmp_path / f"out.{end}"

    def progress(text, _share):
        if int(text.split()[1]) > 2:
            raise EndedError

    with pytest.raises(EndedError):
        tiled.run(source, path, progress=progress)
    other = single_of(model)
    with torch.no_grad():
        other.back[-1].bias.add_(1)
    with pytest.raises(ArgumentError, match="begun otherwise: model was"):
        atrous.tile(other, memory="0.9MiB").run(source, path, resume=True)

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(WhatFollows, "into", fails)
        with pytest.raises(RunError, match=r"No space left on device with 9 of 9 tiles written"):
            tiled.run(source, path, resume=True)
    runs = []
    front = type(tiled._planner).halves

    def counted(self, plan):
        halves = front(self, plan)
        run = halves.run
        halves.run = lambda *asked: runs.append(1) or run(*asked)
        return halves

    monkeypatch.setattr(type(tiled._planner), "halves", counted)
    with only_one(path), pytest.raises(RunError, match="another run writes into it"):
        tiled.run(source, path, resume=True)
    made = tiled.run(source, path, resume=True)
    assert (made.found, runs) == (9, [])
    found = np.load(path) if end == "npy" else zarr.open_array(path, mode="r")[:]
    assert_near([found], whole_run(model, image))
    state = path / ".atrous" if end == "zarr" else path.with_name(f".{path.name}.atrous")
    assert json.loads((state / "manifest.json").read_text())["outputs"][0]["shape"] == [1, 5]


def test_a_cut_file_runs_in_halves(model, image, source, tmp_path):
    model = single_of(model).float()
    example = torch.from_numpy(image).float()
    path = export(model, example, tmp_path / "net.onnx", dynamo=True)
    np.save(source, image.astype(np.float32))
    tiled = atrous.tile(path, memory="0.5MiB")
    made = tiled.run(source, tmp_path / "out.zarr")
    assert made.tiles > 1
    found = zarr.open_array(tmp_path / "out.zarr", mode="r")[:]
    with torch.no_grad():
        assert_near([found], [model(example.clone()).numpy()], 1e-5)


def test_what_a_cut_run_does_not_do_is_said(model, source, tmp_path):
    tiled = atrous.tile(model, memory="0.9MiB")
    with pytest.raises(ArgumentError, match="the back of this network is not"):
        tiled.run(source, tmp_path / "a.zarr", reduce="argmax")
    with pytest.raises(UnsupportedError, match="its back runs whole, on one machine; run it here"):
        tiled.run(source, tmp_path / "a.zarr", client=object())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in.npy"]


class NormedTokens(nn.Module):
    """Group norms and a squeeze where maps are large, and attention on a small one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, 4, 1)
        self.norms = nn.ModuleList(nn.GroupNorm(2, 16) for _ in range(2))
        self.squeeze = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        x = torch.relu(self.norms[0](self.first(x)))
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        flat = self.norms[1](self.second(x)).flatten(2).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(flat, flat, flat)


@pytest.mark.parametrize("scratch", [None, "none"])
def test_statistics_are_gathered_in_a_front(tmp_path, scratch):
    torch.manual_seed(0)
    model = NormedTokens().double().eval()
    image, source = ramped(1, 1, 300, 280, kind=np.float64), tmp_path / "in.npy"
    np.save(source, image)
    (right,) = whole_run(model, image)
    with pytest.raises(UnsupportedError, match="lets all positions see one another"):
        atrous.tile(model, memory="10MiB")(image)
    tiled = atrous.tile(model, memory="10MiB", statistics="exact", scratch=scratch)
    plan = tiled.plan(image.shape)
    sweeps = plan.front.sweeps
    assert sweeps >= 3
    assert len(plan.front.stages) == (sweeps if scratch is None else 0)
    assert len(plan.front) > 1
    assert f"{sweeps}, to gather the statistics of" in str(plan)
    assert plan.peak_bytes <= 10 * 2**20 < plan.whole_peak_bytes
    assert_near([tiled(image)], [right])
    tiled.run(source, tmp_path / "out.npy")
    assert_near([np.load(tmp_path / "out.npy")], [right])
    with pytest.raises(UnsupportedError, match="its statistics are gathered in sweeps, which are"):
        tiled.module(*image.shape)


def test_statistics_are_gathered_in_the_front_of_a_file():
    nodes = [
        conv("x", "enter", "a"),
        node("InstanceNormalization", "a n_scale n_bias", "b"),
        conv("b", "more", "c", stride=4),
        node("Reshape", "c flat", "t"),
        node("Softmax", "t", "y", axis=2),
    ]
    constants = weight("enter", 16, 2, 3, 3), weight("more", 16, 16, 3, 3), *scaled("n", 16)
    model = graph_of(nodes, [1, 2, "h", "w"], *constants, ("flat", ints(1, 16, -1)))
    image = ramped(1, 2, 300, 280)
    tiled = atrous.tile(model, memory="7MiB", statistics="exact")
    plan = tiled.plan(image.shape)
    assert (plan.front.sweeps, len(plan.front) > 1) == (2, True)
    assert_near([tiled(image)], onnx_run(model, image), 1e-5)


def test_group_norms_as_exported_are_gathered_in_the_front_of_a_file():
    nodes = [
        conv("x", "enter", "a"),
        node("Reshape", "a groups", "g"),
        node("InstanceNormalization", "g one none", "n"),
        node("Reshape", "n back", "b"),
        conv("b", "more", "c", stride=4),
        node("Reshape", "c flat", "t"),
        node("Softmax", "t", "y", axis=2),
    ]
    sizes = ("groups", ints(0, 4, -1)), ("back", ints(1, 16, 300, 280)), ("flat", ints(1, 16, -1))
    ones = ("one", np.ones(4, np.float32)), ("none", np.zeros(4, np.float32))
    weights = weight("enter", 16, 2, 3, 3), weight("more", 16, 16, 3, 3)
    model = graph_of(nodes, [1, 2, 300, 280], *weights, *sizes, *ones)
    image = ramped(1, 2, 300, 280)
    tiled = atrous.tile(model, memory="7MiB", statistics="exact")
    plan = tiled.plan(image.shape)
    assert (plan.front.sweeps, len(plan.front) > 1) == (2, True)
    assert_near([tiled(image)], onnx_run(model, image), 1e-5)
