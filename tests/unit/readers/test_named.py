"""Models by name: how a source is taken apart, which model comes of it, what is refused."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

import atrous
from atrous.cli.sources import load
from atrous.errors import (
    MissingDependencyError,
    ReadError,
    UnknownNameError,
    UnsupportedError,
)
from atrous.readers.named import make, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("none", None),
        ("8", 8),
        ("-1", -1),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("6,12,18", (6, 12, 18)),
        ("(6, 12)", (6, 12)),
        ("[2,3]", [2, 3]),
        ("3,", (3,)),
        ("false,true,true", (False, True, True)),
        ("(false,true)", (False, True)),
        ("relu,0.5", ("relu", 0.5)),
        ("()", ()),
        ("blur pool", "blur pool"),
        ("'8'", "8"),
        ("", ""),
        ("a=b", "a=b"),
        ("(" * 5000, "(" * 5000),
    ],
)
def test_an_argument_is_the_value_that_it_looks_like(text, value):
    found = parse(f"timm:resnet18?x={text}").arguments["x"]
    assert found == value
    assert type(found) is type(value)


def test_a_source_is_taken_apart_into_library_name_and_arguments():
    request = parse("smp:Unet?encoder_name=resnet18&in_channels=1&weights=here.pt")
    assert (request.scheme, request.name) == ("smp", "Unet")
    assert request.arguments == {"encoder_name": "resnet18", "in_channels": 1}
    assert request.weights == "here.pt"
    assert parse("timm:resnet18").arguments == parse("timm:resnet18?").arguments == {}


def test_asking_for_no_weights_is_what_happens_anyway():
    assert parse("timm:a?pretrained=false").arguments == {}
    assert parse("smp:a?encoder_weights=none&weights_backbone=none").arguments == {}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("timm:a?features_only", "timm:a: 'features_only' is no argument; write them as name=va"),
        ("timm:a?x=1&&y=2", "timm:a: '' is no argument"),
        ("timm:a?1=2", "'1=2' is no argument"),
        ("timm:a?x=1&x=2", "timm:a: the argument 'x' is given twice."),
        ("timm:a?pretrained=true", "timm:a: pretrained would download weights, and atrous never"),
        ("smp:a?encoder_weights=imagenet", "encoder_weights would download weights"),
        ("torchvision:a?weights_backbone=DEFAULT", "weights_backbone would download weights"),
    ],
)
def test_arguments_that_do_not_parse_are_refused_in_one_line(source, says):
    with pytest.raises(ReadError) as caught:
        atrous.read(source)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        (
            "timm:resnet19",
            UnknownNameError,
            "timm:resnet19: no timm model is named 'resnet19'; nea",
        ),
        ("timm:", ReadError, "timm: stands before the name of a model; write timm:resnet18"),
        ("timm:hf-hub:timm/resnet18", UnknownNameError, "no timm model is named 'hf-hub:"),
        (
            "timm:resnet18?foo=1",
            ReadError,
            "timm:resnet18: timm cannot make it with foo=1: TypeErr",
        ),
        ("timm:resnet18?output_stride=7", ReadError, "AssertionError: assert output_stride in (8"),
        ("timm:resnet18?weights=no.pt", ReadError, "weights=no.pt: there is no such file; "),
        ("torchvision:resnet19", UnknownNameError, "near: resnet18"),
        ("torchvision:resnet18?foo=1", ReadError, "unexpected keyword argument 'foo'"),
        ("torchvision:resnet18?weights=DEFAULT", ReadError, "there is no such file; weights are r"),
        ("timm:" + "x" * 5000, UnknownNameError, "xxx..."),
    ],
)
def test_what_a_library_does_not_have_or_take_is_one_clear_line(source, error, says):
    with pytest.raises(error) as caught:
        atrous.read(source)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("source", "package"),
    [
        ("timm:resnet18", "timm"),
        ("torchvision:resnet18", "torchvision"),
        ("smp:Unet", "segmentation-models-pytorch"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch, source, package
):
    module = package.replace("-", "_")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError) as caught:
        atrous.read(source)
    assert str(caught.value) == (
        f"{source} needs {module}, which is not installed: pip install {package}"
    )


def test_what_a_library_itself_misses_is_named(monkeypatch, tmp_path):
    (tmp_path / "segmentation_models_pytorch.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "segmentation_models_pytorch", raising=False)
    with pytest.raises(MissingDependencyError, match="pip install nothing_of_that_name"):
        atrous.read("smp:Unet")
    (tmp_path / "segmentation_models_pytorch.py").write_text("raise RuntimeError('two\\nlines')\n")
    with pytest.raises(ReadError) as caught:
        atrous.read("smp:Unet")
    assert str(caught.value) == (
        "smp:Unet: segmentation_models_pytorch is installed and cannot be imported: "
        "RuntimeError: two lines"
    )
    (tmp_path / "segmentation_models_pytorch.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    with pytest.raises(ReadError, match=r"does not exist; install the torchvision of your torch$"):
        atrous.read("smp:Unet")


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("timm:resnet18", (1, 3, 224, 224)),
        ("timm:resnet18?in_chans=1", (1, 1, 224, 224)),
        ("timm:test_vit", (1, 3, 160, 160)),
        ("timm:test_vit?img_size=96", (1, 3, 96, 96)),
        ("torchvision:inception_v3?init_weights=false", (1, 3, 299, 299)),
        ("torchvision:r3d_18", (1, 3, 16, 112, 112)),
        ("torchvision:lraspp_mobilenet_v3_large", (1, 3, 520, 520)),
        ("torchvision:raft_small", ((1, 3, 224, 224), (1, 3, 224, 224))),
    ],
)
def test_the_usual_input_is_the_librarys_own(source, shape):
    assert make(parse(source)).input == shape


def test_a_timm_model_with_arguments_reads_like_the_model_itself():
    import timm

    source = "timm:resnet18d?features_only=true&output_stride=8&out_indices=(2,4)"
    report = atrous.inspect(source, (1, 3, 64, 64))
    model = timm.create_model(
        "resnet18d", features_only=True, output_stride=8, out_indices=(2, 4), pretrained=False
    )
    expected = atrous.inspect(model, (1, 3, 64, 64))
    assert report.network.name == "resnet18d"
    assert len(report.outputs) == 2
    assert [layer.to_dict() for layer in report.layers] == [
        layer.to_dict() for layer in expected.layers
    ]
    assert report.outputs[-1].output_stride == (8, 8)


def test_a_segmentation_model_of_torchvision_never_asks_for_weights(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a download")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    report = atrous.inspect("torchvision:lraspp_mobilenet_v3_large?num_classes=5", (1, 3, 64, 64))
    assert report.outputs[0].output_shape == (1, 5, 64, 64)


def test_a_video_model_has_three_axes():
    report = atrous.inspect("torchvision:mc3_18", (1, 3, 4, 32, 32))
    assert len(report.layers[0].field) == 3


def test_a_model_comes_out_the_same_each_time_and_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    one = make(parse("torchvision:squeezenet1_1")).model
    assert torch.equal(first, torch.rand(3))
    other = make(parse("torchvision:squeezenet1_1")).model
    assert not one.training
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_weights_come_from_a_file_that_fits(tmp_path):
    model = make(parse("torchvision:squeezenet1_1")).model
    with torch.no_grad():
        model.classifier[1].bias.fill_(7)
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "wrapped.pt")
    for name in ("plain.pt", "wrapped.pt"):
        found = make(parse(f"torchvision:squeezenet1_1?weights={tmp_path / name}")).model
        assert found.classifier[1].bias.tolist() == [7] * 1000
    with pytest.raises(ReadError, match="do not fit: RuntimeError") as caught:
        make(parse(f"torchvision:resnet18?weights={tmp_path / 'plain.pt'}"))
    assert "\n" not in str(caught.value)
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(ReadError, match="do not fit"):
        make(parse(f"torchvision:resnet18?weights={tmp_path / 'text.pt'}"))


class Unet(nn.Module):
    """Takes what segmentation_models_pytorch's models take."""

    def __init__(self, encoder_name="resnet34", encoder_weights="imagenet", in_channels=3):
        super().__init__()
        assert encoder_weights is None, "a download"
        if encoder_name != "resnet18":
            raise KeyError(f"Wrong encoder name `{encoder_name}`")
        self.conv = nn.Conv2d(in_channels, 4, 3, dilation=2, padding=2)

    def forward(self, x):
        return self.conv(x)


def test_smp_models_are_found_by_class_and_never_download(monkeypatch):
    fake = types.ModuleType("segmentation_models_pytorch")
    fake.Unet, fake.losses = Unet, types.ModuleType("losses")
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", fake)
    report = atrous.inspect("smp:Unet?encoder_name=resnet18&in_channels=2")
    assert report.network.inputs[0].shape == (1, 2, 224, 224)
    assert report["conv"].field[0].size == 5
    with pytest.raises(UnknownNameError, match="no smp model is named 'unett'; near: Unet"):
        atrous.read("smp:unett")
    with pytest.raises(ReadError, match="smp cannot make it with encoder_name='x': KeyError"):
        atrous.read("smp:Unet?encoder_name=x")


def test_the_command_reads_names_like_the_library_does():
    network = load("timm:resnet18", ["1,3,64,64"])
    assert network.name == "resnet18"
    assert network.inputs[0].shape == (1, 3, 64, 64)


def test_a_scheme_that_nobody_has_says_which_there_are():
    with pytest.raises(ReadError, match=r"timm:NAME, torchvision:NAME, smp:NAME"):
        atrous.read("keras:resnet18")


def test_a_detector_is_made_for_those_who_read_it_as_it_runs_alone():
    request = parse("torchvision:ssdlite320_mobilenet_v3_large?num_classes=2")
    with pytest.raises(UnsupportedError, match="take lists of images and choose boxes"):
        make(request)
    made = make(request, listed=True)
    assert made.input == (1, 3, 800, 800)
