"""Known networks: the registry, its errors, and what every entry promises."""

from __future__ import annotations

from copy import copy
from math import prod

import pytest

from atrous.errors import (
    ArgumentError,
    AtrousError,
    GeometryError,
    NetworkError,
    UnknownNameError,
)
from atrous.network import zoo
from atrous.network.zoo import registry
from tests.processes import run_python

EXPECTED = {
    "alexnet",
    "vgg16",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "slim_resnet_v1_50",
    "slim_resnet_v1_101",
    "slim_resnet_v1_152",
    "mobilenet_v1",
    "mobilenet_v2",
    "unet",
    "deeplabv3_resnet50",
    "deeplabv3_resnet50_os16",
    "wavenet",
    "wavenet_3stacks",
    "tcn",
    "conv_tasnet",
    "densenet121",
    "inception_v3",
    "fcn8s",
    "drn_c_26",
    "denseaspp121",
    "deeplabv3_mobilenet_v2",
    "deeplabv3plus_resnet50",
    "deeplabv3plus_resnet50_os8",
    "d_linknet34",
    "espnet",
    "regseg_backbone",
    "van_b0",
    "bytenet_decoder",
    "rave",
    "unet3d",
}


def test_the_first_networks_are_known():
    assert set(zoo.names()) >= EXPECTED


@pytest.mark.parametrize("name", zoo.names())
def test_an_entry_says_what_it_is_and_builds_itself_at_its_usual_size(name):
    entry = zoo.entry(name)
    assert entry.name == name
    # One line of a table, and a year.
    assert 0 < len(entry.summary) <= 90
    assert not entry.summary.endswith(".")
    assert any(word.strip(",").isdigit() for word in entry.source.split())
    network = zoo.build(name)
    assert network.name == name
    assert network.inputs[0].shape == entry.shape
    assert not [node.name for node in network.nodes if node.opaque]


@pytest.mark.parametrize("name", zoo.names())
def test_names_of_layers_are_unique_and_every_layer_leads_to_an_output(name):
    network = zoo.build(name)
    names = [node.name for node in network.nodes]
    assert len(set(names)) == len(names)
    read = {source for node in network.nodes for source in node.inputs} | set(network.outputs)
    assert {node.output.name for node in network.nodes} <= read


@pytest.mark.parametrize("name", zoo.names())
def test_parameters_and_batch_size_do_not_depend_on_the_image(name):
    entry = zoo.entry(name)
    usual = entry.build()
    larger = tuple(
        size + 64 if i > 1 else 2 * size if i == 0 else size for i, size in enumerate(entry.shape)
    )
    network = entry.build(larger)
    assert network.param_count == usual.param_count
    assert network.macs > 2 * usual.macs
    assert network.tensor(network.outputs[-1]).shape[0] == 2


@pytest.mark.parametrize("name", zoo.names())
def test_macs_are_those_of_the_windows_and_channels(name):
    network = zoo.build(name)
    for node in network.nodes:
        if node.kind == "conv":
            x = network.tensor(node.inputs[0])
            taps = prod(window.kernel for window in node.op.windows)
            weight = network.params[f"{node.name}.weight"].count
            assert weight == node.op.channels * x.shape[1] * taps // node.op.groups
            assert node.macs == weight * prod(node.output.shape) // node.op.channels


def test_an_unknown_name_lists_the_near_ones():
    with pytest.raises(UnknownNameError) as caught:
        zoo.build("resnet51")
    assert str(caught.value).startswith("no network is named 'resnet51'; near: resnet50")
    with pytest.raises(UnknownNameError, match="known: alexnet, vgg16"):
        zoo.entry("qqq")


def test_a_shape_of_another_rank_is_refused_with_one_that_fits():
    with pytest.raises(NetworkError) as caught:
        zoo.build("resnet50", (3, 224, 224))
    assert str(caught.value) == (
        "resnet50: an input of 3 dimensions, where it takes 4; give batch, channels and "
        "2 spatial sizes, such as 1,3,224,224."
    )


@pytest.mark.parametrize(
    ("name", "shape", "error", "message"),
    [
        ("vgg16", (1, 3, 20, 20), GeometryError, "features.30: a window of kernel 2"),
        ("resnet50", (1, 3, 0, 224), NetworkError, "x: input shape"),
        ("unet", (1, 1, 500, 512), NetworkError, "concat"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_by_the_layer(name, shape, error, message):
    with pytest.raises(error) as caught:
        zoo.build(name, shape)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_second_network_of_one_name_is_refused(monkeypatch):
    monkeypatch.setattr(registry, "_KNOWN", copy(registry._KNOWN))
    add = registry.known("new", "a new one", shape=(1, 1, 8), source="Nobody 2020")
    add(lambda b, x: b.conv(x, 2, 3))
    assert registry.build("new").tensor("conv").shape == (1, 2, 6)
    with pytest.raises(ArgumentError, match=r"^network 'new' is registered already; "):
        add(lambda b, x: b.conv(x, 2, 3))
    with pytest.raises(AtrousError, match="'resnet50' is registered"):
        registry.known("resnet50", "", shape=(1,), source="")(lambda _, x: x)


def test_an_entry_is_plain_data_and_one_line_of_text():
    entry = zoo.entry("vgg16")
    assert entry.to_dict() == {
        "name": "vgg16",
        "summary": "VGG-16 without batch norm",
        "shape": [1, 3, 224, 224],
        "source": "Simonyan and Zisserman 2014, as in torchvision",
    }
    assert str(entry) == (
        "vgg16: VGG-16 without batch norm (Simonyan and Zisserman 2014, as in torchvision)"
    )


def test_the_known_networks_need_the_standard_library_only():
    result = run_python(
        "import sys; from atrous.network import zoo; zoo.build('resnet50')\n"
        "print([m for m in ('numpy', 'onnx', 'torch', 'rich') if m in sys.modules])"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["[]"]
