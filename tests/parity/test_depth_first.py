"""A front by tiles and a back that runs whole: the same results, in a part of the memory."""

import numpy as np
import pytest
import torch
from torch import nn

import atrous
from atrous.plan.cut import separators
from tests.skips import Skips
from tests.torchvision_schemas import let_torchvision_import
from tests.weights import calibrate

let_torchvision_import()

import torchvision  # noqa: E402


def held_while(function):
    """The bytes that PyTorch's allocator holds at most while a function runs, by its profiler."""
    from torch.profiler import ProfilerActivity, profile

    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        function()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return int(np.cumsum(sizes).max())


def test_mobilenet_needs_a_quarter_of_its_memory_and_gives_the_same():
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v2(weights=None)
    calibrate(model, torch.randn(2, 3, 64, 64))
    model.eval()
    image = torch.randn(1, 3, 224, 224)
    tiled = atrous.tile(model, memory="2.6MiB")
    plan = tiled.plan(image.shape)
    module = tiled.module(*image.shape)
    with torch.no_grad():
        whole, found = model(image), module(image)
    assert float((whole - found).abs().max()) <= 1e-5 * float(whole.abs().max())
    # Beside the image, which the caller holds, in both.
    held, before = (held_while(lambda run=run: run(image)) for run in (module, model))
    assert held <= before / 4
    assert held + plan.image_bytes <= 1.15 * plan.peak_bytes
    assert 4 * plan.peak_bytes <= plan.whole_peak_bytes


def test_resnet_50_is_cut_within_a_quarter_of_its_memory():
    model = torchvision.models.resnet50(weights=None).eval()
    plan = atrous.plan_tiles(model, (1, 3, 512, 512), memory="13.7MiB")
    assert plan.layer == "layer3.0.add"
    assert 4 * plan.peak_bytes <= plan.whole_peak_bytes


class Small(nn.Module):
    """A classifier with a branch, whose first layer works in place on the image."""

    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.SiLU(),
            nn.MaxPool2d(2),
        )
        self.one = nn.Conv2d(16, 16, 3, padding=2, dilation=2)
        self.two = nn.Conv2d(16, 16, 1)
        self.back = nn.Sequential(
            nn.Conv2d(16, 8, 3, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        )

    def forward(self, x):
        x = self.front(x)
        x = self.one(x) + self.two(x)
        return self.back(x), x.mean()


@pytest.fixture
def small():
    torch.manual_seed(0)
    model = Small().double()
    calibrate(model, torch.randn(2, 1, 40, 40, dtype=torch.double))
    return model.eval()


def test_the_results_are_those_of_the_model_and_the_image_is_left_alone(small):
    image = torch.randn(2, 1, 90, 77, dtype=torch.double)
    kept = image.clone()
    tiled = atrous.tile(small, memory="1.5MiB")
    found = tiled(image)
    assert torch.equal(image, kept)
    with torch.no_grad():
        whole = small(kept.clone())
    for one, other in zip(found, whole, strict=True):
        assert float((one - other).abs().max()) <= 1e-12 * float(other.abs().max())
    assert len(tiled.plan(image.shape)) > 1
    arrays = tiled(kept.numpy())
    assert all(isinstance(one, np.ndarray) for one in arrays)


class Masked(nn.Module):
    """A comparison behind a convolution, which makes numbers of another type."""

    def __init__(self):
        super().__init__()
        self.gate, self.map = (nn.Conv2d(1, 16, 3, padding=1) for _ in range(2))
        self.back = nn.Sequential(
            nn.Conv2d(16, 8, 3, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
        )

    def forward(self, x):
        gate = self.gate(x) > 0
        return self.back(torch.where(gate, self.map(x), self.map(x) * 0.5))


def test_what_makes_another_type_is_not_done_in_place():
    torch.manual_seed(0)
    model, image = Masked().double().eval(), torch.randn(1, 1, 200, 160, dtype=torch.double)
    tiled = atrous.tile(model, memory="6MiB")
    assert tiled.plan(image.shape).layer in {"where", "back.0"}
    with torch.no_grad():
        whole = model(image)
    assert float((tiled(image) - whole).abs().max()) <= 1e-12 * float(whole.abs().max())


def test_weights_that_change_are_those_that_run_and_gradients_go_through(small):
    image = torch.randn(1, 1, 90, 77, dtype=torch.double)
    module = atrous.tile(small, memory="0.9MiB").module(*image.shape)
    with torch.no_grad():
        small.back[-1].bias.add_(1.0)
        before = small(image.clone())[0]
        assert torch.allclose(module(image)[0], before, atol=1e-12)
    module(image)[0].sum().backward()
    found = small.one.weight.grad.clone()
    small.zero_grad()
    small(image.clone())[0].sum().backward()
    assert torch.allclose(found, small.one.weight.grad, atol=1e-12)


def test_it_is_written_as_a_file_that_onnx_runtime_runs(small, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = small.float()
    image = torch.randn(1, 1, 90, 77)
    tiled = atrous.tile(model, memory="0.5MiB")
    path = tmp_path / "tiled.onnx"
    tiled.to_onnx(path, *image.shape)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        whole = model(image.clone())
    for one, other in zip(found, whole, strict=True):
        assert np.abs(one - other.numpy()).max() <= 1e-5 * np.abs(other.numpy()).max()


def test_a_file_is_cut_as_its_module_is(small, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, image = small.float(), torch.randn(1, 1, 90, 77)
    path, cut = tmp_path / "whole.onnx", tmp_path / "cut.onnx"
    torch.onnx.export(model, (image.clone(),), path, dynamo=True, verbose=False)
    tiled = atrous.tile(path, memory="0.5MiB")
    found = tiled(image.numpy())
    with torch.no_grad():
        whole = model(image.clone())
    tiled.to_onnx(cut, *image.shape)
    session = onnxruntime.InferenceSession(cut, providers=["CPUExecutionProvider"])
    written = session.run(None, {"x": image.numpy()})
    for one, same, other in zip(found, written, whole, strict=True):
        assert np.abs(one - other.numpy()).max() <= 1e-5 * np.abs(other.numpy()).max()
        assert np.array_equal(one, same)
    with pytest.raises(atrous.UnsupportedError, match="use to_onnx"):
        tiled.module(*image.shape)


def test_everything_passes_through_separators():
    net = atrous.read("zoo:resnet18", (1, 3, 64, 64))
    found = list(separators(net))
    assert any(name.startswith("layer1.0") for name in found)
    assert not any(name.startswith("layer1.0.conv") for name in found)


def test_budgets_too_small_and_images_of_another_shape_are_said(small):
    image = torch.randn(1, 1, 90, 77, dtype=torch.double)
    with pytest.raises(atrous.UnsupportedError, match="no cut before it helps"):
        atrous.tile(small, memory=1000)(image)
    module = atrous.tile(small, memory="0.9MiB").module(*image.shape)
    with pytest.raises(atrous.ArgumentError, match="planned for an image of 1x1x90x77"):
        module(image[..., :50])
    local = nn.Conv2d(1, 1, 3).eval()
    with pytest.raises(atrous.UnsupportedError, match="is not cut"):
        atrous.tile(local, memory="1GiB").module(1, 1, 40, 40)


@pytest.mark.parametrize("of_image", [False, True])
def test_gradients_by_tiles_are_those_of_the_whole_image(of_image):
    torch.manual_seed(0)
    model = Skips("bilinear", corners=False).double().eval()
    image = torch.randn(1, 1, 49, 67, dtype=torch.double, requires_grad=True)
    weights = torch.randn(1, 2, 49, 67, dtype=torch.double)
    (model(image) * weights).sum().backward()
    wanted = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad()
    tiled = atrous.tile(model, tile=16)
    found = tiled.backward(image.detach(), weights, of_image=of_image)
    for name, one in model.named_parameters():
        assert float((one.grad - wanted[name]).abs().max()) <= 1e-12 * float(
            wanted[name].abs().max()
        )
    if of_image:
        assert torch.allclose(found, image.grad, atol=1e-12)
    with pytest.raises(atrous.ArgumentError, match="give one for each"):
        tiled.backward(image.detach(), weights[..., :3])
