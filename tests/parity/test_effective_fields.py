"""Effective fields measured by gradients: finite differences, path counts, and known laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.errors import (
    ArgumentError,
    GeometryError,
    ReadError,
    UnknownNameError,
    UnsupportedError,
)
from tests.exporting import export


def alike(*layers):
    """Convolutions of one channel whose weights are all 1."""
    model = nn.Sequential(*layers)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model.eval()


@pytest.mark.parametrize("at", [None, (0, 3)])
def test_where_all_weights_are_alike_the_gradient_counts_paths(at):
    model = alike(
        nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(1, 1, (3, 5), dilation=2, padding=(2, 4), bias=False),
        nn.Conv2d(1, 1, 2, bias=False),
    )
    found = atrous.effective(model, (1, 1, 33, 40), at=at, samples=2)
    foot = atrous.inspect(model, (1, 1, 33, 40)).footprint(at=at)
    assert found.at == foot.at
    counts = foot.counts / foot.counts.sum()
    assert np.allclose(found.density, counts, rtol=1e-5, atol=1e-9)
    assert found.box == found.paths == foot.effective()
    assert (found.origin, found.size) == (foot.origin, foot.box.shape)


class Crossed(nn.Module):
    """One channel throughout, so that no mixture of channels matters; ops of many kinds."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 1, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(1, 1, 3, dilation=2, padding=2)
        self.up = nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1)
        self.act = nn.Tanh()

    def forward(self, x):
        y = self.act(self.down(x))
        z = functional.avg_pool2d(self.act(self.wide(y)), 3, 1, 1)
        y = torch.sigmoid(y * z) + z
        y = functional.interpolate(y, scale_factor=2, mode="bilinear")
        rows = y.flatten(2).transpose(1, 2)
        rows = torch.tanh(rows * 2)
        return self.up(rows.transpose(1, 2).reshape(y.shape))


def differences(model, x, take, step=1e-5):
    """The size of the change of one number per change of each input element, channels summed."""
    size = torch.zeros(x.shape[2:], dtype=torch.double)
    for place in np.ndindex(*x.shape):
        moved = x.clone()
        moved[place] += step
        more = take(model, moved)
        moved[place] -= 2 * step
        size[place[2:]] += abs(float(more - take(model, moved))) / (2 * step)
    return (size / size.sum()).numpy()


def record_of(model, name, x):
    """What the layer of that name of `Crossed` makes, worked out step by step."""
    y = torch.tanh(model.down(x))
    z = functional.avg_pool2d(torch.tanh(model.wide(y)), 3, 1, 1)
    made = {"down": model.down(x), "wide": model.wide(y), "avg_pool2d": z}
    made["add"] = torch.sigmoid(y * z) + z
    resized = functional.interpolate(made["add"], scale_factor=2, mode="bilinear")
    made["tanh"] = torch.tanh(resized * 2)
    made["up"] = model.up(made["tanh"])
    return made[name]


@pytest.mark.parametrize("at", [None, (1, 0)])
@pytest.mark.parametrize("name", ["down", "wide", "avg_pool2d", "add", "tanh", "up"])
def test_the_gradient_of_any_layer_is_that_of_finite_differences(name, at):
    torch.manual_seed(3)
    model = Crossed().double().eval()
    x = torch.randn(1, 2, 10, 8, dtype=torch.double)
    found = atrous.effective(model, x, layer=name, at=at)
    assert (found.layer, found.inputs, found.samples) == (name, "given", 1)
    wanted = differences(
        model, x, lambda model, x: record_of(model, name, x)[(0, 0, *found.at)].detach()
    )
    assert np.allclose(found.density, wanted, atol=1e-7)
    mask = atrous.inspect(model, (1, 2, 10, 8)).footprint(name, found.at).mask
    assert not found.density[~mask].any()


def test_a_wrong_gradient_is_noticed():
    torch.manual_seed(3)
    model = Crossed().double().eval()
    x = torch.randn(1, 2, 10, 8, dtype=torch.double)
    found = atrous.effective(model, x, layer="wide")
    wanted = differences(
        model, x, lambda model, x: record_of(model, "wide", x)[0, 0, 1, 1].detach()
    )
    assert not np.allclose(found.density, wanted, atol=1e-7)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Conv1d(1, 1, 5, padding=2), (1, 1, 30)), (nn.Conv3d(1, 1, 3, padding=1), (1, 1, 6, 7, 8))],
)
def test_one_and_three_axes(layer, shape):
    torch.manual_seed(0)
    found = atrous.effective(nn.Sequential(layer, nn.Tanh()), shape, layer="0", samples=1)
    weight = layer.weight.detach().abs()[0, 0].numpy()
    assert np.allclose(found.inside, weight / weight.sum(), atol=1e-6)
    assert len(found.spreads) == len(shape) - 2
    assert found.plot().to_dict()["$schema"].startswith("https://vega")


def test_no_gradient_lies_outside_the_footprint_and_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=4, dilation=4, groups=4),
        nn.MaxPool2d(2),
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.random.get_rng_state()
    for weights in ("given", "random"):
        found = atrous.effective(model, (4, 3, 24, 24), samples=6, weights=weights)
        mask = atrous.inspect(model, (1, 3, 24, 24)).footprint().mask
        assert not found.density[~mask].any()
        assert found.density.sum() == pytest.approx(1)
        assert found.to_dict()["weights"] == weights
        assert "6 random inputs" in str(found)
    assert model.training
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_given_inputs_are_the_samples_and_random_weights_repeat():
    model = nn.Sequential(nn.Conv1d(2, 4, 5, padding=2), nn.ReLU(), nn.Conv1d(4, 4, 3, padding=1))
    inputs = torch.randn(3, 2, 30, generator=torch.Generator().manual_seed(1))
    found = atrous.effective(model, inputs, weights="random", seed=4)
    assert (found.inputs, found.samples) == ("given", 3)
    again = atrous.effective(model, inputs, weights="random", seed=4)
    assert np.array_equal(found.density, again.density)
    other = atrous.effective(model, inputs, weights="random", seed=5)
    assert not np.array_equal(found.density, other.density)


def plain_stack(depth, channels=8, rates=None):
    """Convolutions of kernel 3 without activations."""
    made, before = [], 1
    for rate in rates or (1,) * depth:
        made.append(nn.Conv2d(before, channels, 3, padding=rate, dilation=rate, bias=False))
        before = channels
    return nn.Sequential(*made)


def deviation(model, side, **options):
    found = atrous.effective(model, (1, 1, side, side), weights="random", samples=4, **options)
    return found, float(np.mean([spread.deviation for spread in found.spreads]))


def test_the_effective_share_shrinks_with_the_root_of_depth():
    """Luo et al. 2016: the field grows with depth n, the deviation with its root."""
    shares, scaled = [], []
    for depth in (4, 9, 16, 36):
        found, spread = deviation(plain_stack(depth), 2 * depth + 1)
        assert found.size == (2 * depth + 1,) * 2
        # The root of a binomial's variance, 2/3 a layer, twice for the root of its density.
        scaled.append(spread / math.sqrt(4 * depth / 3))
        shares.append(found.box.size[0] / found.size[0] * math.sqrt(depth))
    assert all(0.8 < value < 1.15 for value in scaled)
    assert max(shares[1:]) / min(shares[1:]) < 1.25


def test_dilation_spreads_the_gradient_and_skips_keep_it_together():
    _, plain = deviation(plain_stack(5), 63)
    _, dilated = deviation(plain_stack(5, rates=(1, 2, 4, 8, 16)), 63)
    assert dilated > 5 * plain

    class Skipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 8, 1)
            self.convs = plain_stack(0, rates=(1,) * 8)
            self.convs[0] = nn.Conv2d(8, 8, 3, padding=1, bias=False)

        def forward(self, x):
            x = self.first(x)
            for conv in self.convs:
                x = x + 0.5 * conv(x)
            return x

    _, skipped = deviation(Skipped(), 63)
    _, through = deviation(plain_stack(8), 63)
    assert skipped < 0.8 * through


def test_training_spreads_the_gradient_where_the_answer_lies_far_away():
    torch.manual_seed(0)
    layers = [nn.Conv1d(1, 8, 3, padding=1), nn.Tanh()]
    for _ in range(6):
        layers += [nn.Conv1d(8, 8, 3, padding=1), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Conv1d(8, 1, 1))
    before = atrous.effective(model, (1, 1, 40)).spreads[0].deviation
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        x = torch.randn(16, 1, 40)
        wanted = functional.pad(x, (6, 0))[..., :40] - functional.pad(x, (0, 6))[..., 6:]
        optimizer.zero_grad()
        functional.mse_loss(model(x)[..., 8:-8], wanted[..., 8:-8]).backward()
        optimizer.step()
    after = atrous.effective(model, (1, 1, 40)).spreads[0].deviation
    assert after > 1.3 * before


def test_path_counts_are_the_mean_square_of_random_gradients():
    counted = atrous.effective("stack:k3x16 k3d2x16 k5s2x16", (1, 1, 40))
    foot = atrous.inspect("stack:k3x16 k3d2x16 k5s2x16", (1, 1, 40)).footprint()
    assert np.allclose(counted.density**2 / (counted.density**2).sum(),
                       foot.counts / foot.counts.sum())  # fmt: skip
    assert counted.roots == counted.box
    square = torch.zeros(40, dtype=torch.double)
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        x = torch.zeros(1, 1, 40, dtype=torch.double, requires_grad=True)
        y = x
        for kernel, rate, stride in ((3, 1, 1), (3, 2, 1), (5, 1, 2)):
            weight = torch.randn(
                16, y.shape[1], kernel, generator=generator, dtype=torch.double
            ) / math.sqrt(y.shape[1])
            pad = rate * (kernel - 1) // 2
            y = functional.conv1d(y, weight, stride=stride, dilation=rate, padding=pad)
        (gradient,) = torch.autograd.grad(y[0, 0, foot.at[0]], x)
        square += gradient[0, 0] ** 2
    measured = (square / square.sum()).numpy()
    assert np.abs(measured - foot.counts / foot.counts.sum()).max() < 0.02
    assert not measured[foot.counts == 0].any()


def test_behind_an_op_that_mixes_all_positions_the_whole_input_counts():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 5),
    )  # fmt: skip
    found = atrous.effective(model, (1, 3, 12, 16))
    assert (found.layer, found.at, found.mixed) == ("4", (), ("2",))
    assert (found.origin, found.size) == ((0, 0), (12, 16))
    assert (found.density > 0).mean() > 0.9
    assert "the whole input: 2 mixed all positions" in str(found)


def test_behind_a_scan_the_field_is_what_lies_before():
    class Heard(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 4, 9, stride=4)
            self.scan = nn.LSTM(4, 5, batch_first=True)

        def forward(self, x):
            return self.scan(self.conv(x[:, None]).transpose(1, 2))[0]

    torch.manual_seed(0)
    found = atrous.effective(Heard(), (1, 100), at=6)
    assert (found.layer, found.origin, found.size) == ("scan", (0,), (33,))
    assert not found.density[33:].any()
    assert "33 positions (t): scan mixed positions" in str(found)


def test_several_inputs_are_measured_on_the_one_that_fields_are_measured_on():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, image, gain):
            return self.conv(image) * gain[:, :1, None, None]

    found = atrous.effective(Two(), {"image": (1, 1, 8, 8), "gain": torch.ones(1, 2)})
    assert found.size == (3, 3)
    assert found.inputs == "random"


def test_an_exported_program_is_measured_by_its_names():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Tanh(), nn.Conv2d(1, 1, 3)).eval()
    x = torch.randn(1, 1, 9, 9)
    program = torch.export.export(module, (x,))
    for layer in ("0", "2"):
        one, two = (atrous.effective(source, x, layer=layer) for source in (module, program))
        assert np.allclose(one.density, two.density, atol=1e-6)
    with pytest.raises(UnsupportedError, match="keeps its weights"):
        atrous.effective(program, x, weights="random")


def test_images_are_resized_and_averaged(tmp_path):
    from PIL import Image

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 5, padding=2), nn.Tanh(), nn.Conv2d(2, 1, 3, padding=1))
    paths = []
    for shade in (0, 255):
        paths.append(tmp_path / f"{shade}.png")
        Image.new("RGB", (30, 20), (shade, 0, 128)).save(paths[-1])
    found = atrous.effective(model, (1, 3, 16, 12), images=paths)
    assert (found.inputs, found.samples) == ("images", 2)
    one = atrous.effective(model, (1, 3, 16, 12), images=paths[0])
    pixels = torch.tensor([0.0, 0.0, 128 / 255])
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    same = ((pixels - mean) / spread)[None, :, None, None].expand(1, 3, 16, 12)
    assert np.allclose(one.density, atrous.effective(model, same.clone()).density, atol=1e-5)
    with pytest.raises(ReadError, match="no such file"):
        atrous.effective(model, (1, 3, 16, 12), images="none.png")


def test_sources_without_weights_have_their_paths_counted_and_say_so():
    found = atrous.effective("zoo:vgg16", (1, 3, 64, 64), layer="features.16")
    assert (found.weights, found.inputs, found.samples) == ("counted", "none", 0)
    assert "roots of path counts" in str(found)
    for wrong in ({"weights": "given"}, {"weights": "random"}, {"images": ["a.png"]}):
        with pytest.raises(UnsupportedError, match="without weights"):
            atrous.effective("stack:k3", (1, 1, 9, 9), **wrong)
    model = nn.Conv2d(1, 4, 3)
    counted = atrous.effective(model, (1, 1, 9, 9), weights="counted")
    assert np.allclose(counted.inside, 1 / 9)


def test_an_onnx_file_is_refused_with_the_way_to_go_on(tmp_path):
    path = tmp_path / "conv.onnx"
    model = nn.Conv2d(1, 1, 3).eval()
    export(model, torch.zeros(1, 1, 9, 9), path, dynamo=True)
    with pytest.raises(UnsupportedError, match=r"give the PyTorch module.*weights='counted'"):
        atrous.effective(path)
    assert atrous.effective(path, weights="counted").size == (3, 3)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"at": (6, 0)}, GeometryError, "is not in an output of"),
        ({"at": 3}, GeometryError, "is not in an output of"),
        ({"layer": "nothing"}, UnknownNameError, "nothing"),
        ({"weights": "trained"}, UnknownNameError, "kind of weights"),
        ({"samples": 0}, ArgumentError, "samples is 0"),
        ({"share": 0}, GeometryError, "share=0 is not above 0"),
        ({"share": 1.5}, GeometryError, "share=1.5 is not above 0 and at most 1"),
        ({"images": torch.zeros(2, 3, 4, 4)}, ReadError, "only the number of images"),
        ({"rate": 16000}, ReadError, "rate=16000 is along time"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, error, says):
    with pytest.raises(error, match=says):
        atrous.effective(nn.Conv2d(1, 2, 3), (1, 1, 8, 8), **options)


def test_an_output_that_no_gradient_leads_to_is_refused():
    class Rounded(nn.Module):
        def forward(self, x):
            return (x > 0).float() * 2

    with pytest.raises(UnsupportedError, match="no gradient leads"):
        atrous.effective(Rounded(), (1, 1, 8, 8))

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 4)
            self.conv = nn.Conv1d(4, 4, 3)

        def forward(self, x):
            return self.conv(self.table(x).transpose(1, 2))

    with pytest.raises(UnsupportedError, match="whole numbers"):
        atrous.effective(Words(), torch.zeros(1, 7, dtype=torch.int64))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 40])
def test_a_flat_density_is_flat_however_short_it_is(length):
    found = atrous.effective(f"stack:k{length}valid", (1, 1, length + 6))
    assert found.size == (length,)
    (spread,) = found.spreads
    assert spread.deviation == pytest.approx(length / math.sqrt(12))
    assert spread.ratio == pytest.approx(0.866, abs=1e-3)


@pytest.mark.parametrize(
    ("density", "ratio"),
    [(np.ones(61), 0.866), (np.exp(-0.5 * (np.arange(-60, 61) / 9) ** 2), 0.674)],
)
def test_half_of_it_tells_a_gaussian_from_a_flat_density(density, ratio):
    found = atrous.effective("stack:k3", (1, 1, len(density)))
    shaped = type(found)(
        **{name: getattr(found, name) for name in found.__slots__} | {"density": density}
    )
    assert shaped.spreads[0].ratio == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("source", ["timm:resnet18?features_only=true", "timm:mobilenetv2_050"])
def test_models_of_libraries_have_their_weights_drawn_and_stay_inside_their_footprints(source):
    report = atrous.inspect(source, (1, 3, 64, 64))
    for layer in report.layers[5::25]:
        found = atrous.effective(source, (1, 3, 64, 64), layer=layer.name, samples=1)
        assert found.weights == "random"
        mask = report.footprint(layer.name, found.at).mask
        assert not found.density[~mask].any()
        assert (found.density[mask] > 0).mean() > 0.95


class Split(nn.Module):
    def forward(self, x):
        one, two = torch.cat([x, torch.roll(x, 1, 2)], 1).chunk(2, 1)
        return one.cos() + two.sin()


def test_of_a_call_that_makes_several_tensors_each_is_meant_by_its_name():
    x = torch.arange(1, 33, dtype=torch.double).reshape(1, 2, 4, 4)
    read = {}
    for layer in atrous.inspect(Split(), (1, 2, 4, 4)).layers:
        found = atrous.effective(Split(), x, layer=layer.name, at=(2, 1))
        read[layer.name] = set(map(tuple, np.argwhere(found.density > 0).tolist()))
    here, above = {(2, 1)}, {(1, 1)}
    assert read["chunk"] == read["cos"] == here
    assert read["chunk@1"] == read["sin"] == read["roll"] == above
    assert read["cat"] == read["add"] == here | above


class Windowed(nn.Module):
    """The map cut into windows of 3x2, as windowed attention cuts it, and laid together again."""

    def forward(self, x):
        batch, channels, height, width = x.shape
        y = x.reshape(batch, channels, height // 3, 3, width // 2, 2).permute(0, 2, 4, 3, 5, 1)
        y = y.reshape(-1, 6, channels).sin()
        y = y.reshape(batch, height // 3, width // 2, 3, 2, channels).permute(0, 5, 1, 3, 2, 4)
        return y.reshape(x.shape).cos()


@pytest.mark.parametrize("at", [(0, 0), (5, 2), (8, 7), (3, 1)])
@pytest.mark.parametrize("layer", ["permute", "sin", "cos"])
def test_a_position_is_found_where_maps_are_cut_into_windows(layer, at):
    found = atrous.effective(Windowed(), (1, 2, 9, 8), layer=layer, at=at, samples=1)
    assert np.argwhere(found.density > 0).tolist() == [list(at)]
