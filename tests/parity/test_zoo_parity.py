"""Known networks against torchvision's: every weight, every shape, every multiply-accumulate."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrous.network import Network, zoo
from atrous.network.ops import Conv, Pool

IMAGE = {
    "alexnet": (1, 3, 224, 224),
    "vgg16": (1, 3, 224, 224),
    "resnet18": (1, 3, 224, 224),
    "resnet34": (1, 3, 193, 225),
    "resnet50": (2, 3, 224, 224),
    "resnet101": (1, 3, 224, 250),
    "resnet152": (1, 3, 224, 224),
    "inception_v3": (1, 3, 299, 310),
    "densenet121": (1, 3, 224, 250),
    "mobilenet_v2": (1, 3, 213, 224),
    "deeplabv3_resnet50": (1, 3, 520, 520),
    "deeplabv3_resnet50_os16": (1, 3, 511, 513),
}


def torchvision_model(name: str) -> nn.Module:
    """The model of that name, its weights on the meta device, so that nothing is computed."""
    with torch.device("meta"):
        if name == "inception_v3":
            # Its initial weights would be drawn one by one; at inference the other head is idle.
            return torchvision.models.inception_v3(aux_logits=False, init_weights=False).eval()
        if not name.startswith("deeplabv3"):
            return torchvision.models.get_model(name).eval()
        model = torchvision.models.segmentation.deeplabv3_resnet50(
            weights=None, weights_backbone=None, aux_loss=True, num_classes=21
        ).eval()
        if name.endswith("os16"):
            from torchvision.models.segmentation.deeplabv3 import DeepLabHead

            backbone = torchvision.models.resnet50(
                replace_stride_with_dilation=[False, False, True]
            )
            model.backbone = torchvision.models._utils.IntermediateLayerGetter(
                backbone, return_layers={"layer4": "out", "layer3": "aux"}
            )
            model.classifier = DeepLabHead(2048, 21, atrous_rates=(6, 12, 18))
            model.eval()
        return model


@cache
def run(name: str) -> tuple[nn.Module, dict[str, list[tuple[int, ...]]], dict[str, Any], Any]:
    """The model, the shapes that each of its modules made, FLOPs by module, the outputs."""
    model = torchvision_model(name)
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def note(path: str):
        def hook(_module, _inputs, output):
            if isinstance(output, torch.Tensor):
                shapes.setdefault(path, []).append(tuple(output.shape))

        return hook

    for path, module in model.named_modules():
        module.register_forward_hook(note(path))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        outputs = model(torch.empty(IMAGE[name], device="meta"))
    return model, shapes, counter.get_flop_counts(), outputs


@cache
def built(name: str) -> Network:
    return zoo.build(name, IMAGE[name])


def pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


@pytest.mark.parametrize("name", IMAGE)
def test_every_parameter_has_torchvisions_name_and_size(name):
    model = run(name)[0]
    theirs = {path: parameter.numel() for path, parameter in model.named_parameters()}
    assert {p.name: p.count for p in built(name).params.values()} == theirs


@pytest.mark.parametrize("name", IMAGE)
def test_the_macs_are_half_the_flops_that_pytorch_counts(name):
    counts = run(name)[2]
    assert 2 * built(name).macs == sum(counts["Global"].values())
    by_module = {path.partition(".")[2]: sum(ops.values()) for path, ops in counts.items()}
    for node in built(name).nodes:
        if node.macs:
            assert 2 * node.macs == by_module[node.name], node.name


@pytest.mark.parametrize("name", IMAGE)
def test_every_layer_that_is_a_module_makes_the_same_shape(name):
    model, shapes, _, outputs = run(name)
    network = built(name)
    paths = {node.name for node in network.nodes} & shapes.keys()
    for path in paths:
        # A module called several times is a layer each time.
        names = [path] + [f"{path}@{call}" for call in range(1, len(shapes[path]))]
        assert [network.tensor(n).shape for n in names] == shapes[path], path
    weighted = {
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.MaxPool2d)
    }
    assert weighted <= paths
    if isinstance(outputs, dict):
        for key, value in outputs.items():
            assert network.tensor(key).shape == tuple(value.shape)
        assert set(network.outputs) == set(outputs)
    else:
        assert network.tensor(network.outputs[0]).shape == tuple(outputs.shape)


@pytest.mark.parametrize("name", IMAGE)
def test_every_window_is_torchvisions(name):
    model = run(name)[0]
    network = built(name)
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            op = network.node(path).op
            assert isinstance(op, Conv | Pool)
            theirs = zip(
                *map(pair, (module.kernel_size, module.stride, module.dilation, module.padding)),
                strict=True,
            )
            ours = [(w.kernel, w.stride, w.dilation, w.pad_lo, w.pad_hi) for w in op.windows]
            assert ours == [(k, s, d, p, p) for k, s, d, p in theirs], path
            if isinstance(module, nn.Conv2d):
                assert isinstance(op, Conv)
                assert op.groups == module.groups


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "deeplabv3_resnet50"])
def test_the_checks_notice_another_network(name):
    other = {"resnet18": "resnet34", "mobilenet_v2": "resnet50"}.get(name, "resnet101")
    theirs = {path: p.numel() for path, p in run(name)[0].named_parameters()}
    assert {p.name: p.count for p in built(other).params.values()} != theirs
