"""One model through both readers gives one report."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

import atrous
from atrous import Inspection

MODELS = [
    ("densenet121", 64),
    ("googlenet", 96),
    ("mnasnet0_5", 65),
    ("mobilenet_v2", 65),
    ("mobilenet_v3_small", 65),
    ("resnet18", 97),
    ("regnet_y_400mf", 64),
    ("squeezenet1_1", 97),
    ("timm:convnext_atto", 64),
    ("timm:hgnetv2_b0", 64),
    ("timm:ese_vovnet19b_dw", 64),
    ("timm:resnetblur18", 65),
    ("timm:xception41", 65),
]
SLIDING = {"conv", "conv_transpose", "pool", "resize"}


def _model(name: str) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.startswith("timm:"):
            return timm.create_model(name[5:]).eval()
        return torchvision.models.get_model(name, weights=None).eval()


def _exported(model: nn.Module, size: int, path: Path, optimize: bool = False) -> Path:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, size, size),),
            path,
            dynamo=True,
            verbose=False,
            optimize=optimize,
        )
    return path


def _sliding(report: Inspection) -> list[object]:
    """What slides, in execution order: shape, cost, and the whole record of its field."""
    return sorted(
        (layer.output_shape, layer.macs, layer.op, repr(layer.field), layer.is_global)
        for layer in report.layers
        if layer.op in SLIDING
    )


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_the_same_model_through_onnx_and_torch_gives_the_same_report(
    name: str, size: int, tmp_path: Path
) -> None:
    model = _model(name)
    ours = atrous.inspect(model, (1, 3, size, size))
    theirs = atrous.inspect(_exported(model, size, tmp_path / "model.onnx"))
    assert (ours.complete, theirs.complete) == (True, True), theirs.opaque
    assert theirs.macs == ours.macs
    assert theirs.params == ours.params
    assert _sliding(theirs) == _sliding(ours)
    for a, b in zip(theirs.outputs, ours.outputs, strict=True):
        assert (a.output_shape, a.field, a.is_global) == (b.output_shape, b.field, b.is_global)
    assert theirs.footprint().taps == ours.footprint().taps


@pytest.mark.parametrize(("name", "size"), [("shufflenet_v2_x0_5", 64), ("timm:mixnet_s", 64)])
def test_an_optimised_export_with_folded_norms_reports_the_same_reads_and_products(
    name: str, size: int, tmp_path: Path
) -> None:
    model = _model(name)
    ours = atrous.inspect(model, (1, 3, size, size))
    theirs = atrous.inspect(_exported(model, size, tmp_path / "model.onnx", optimize=True))
    assert (ours.complete, theirs.complete) == (True, True), theirs.opaque
    assert theirs.macs == ours.macs
    assert _sliding(theirs) == _sliding(ours)
    assert theirs.outputs[0].field == ours.outputs[0].field


def test_a_layer_is_found_by_its_module_path_through_both(tmp_path: Path) -> None:
    model = _model("resnet18")
    ours = atrous.inspect(model, (1, 3, 97, 97))
    theirs = atrous.inspect(_exported(model, 97, tmp_path / "model.onnx"))
    for name in ("conv1", "layer2.0.downsample.0", "layer4.1.conv2", "fc"):
        assert theirs[name].field == ours[name].field
        assert theirs[name].macs == ours[name].macs


def test_segmentation_heads_agree_with_their_footprints(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None
    ).eval()
    ours = atrous.inspect(model, (1, 3, 129, 129))
    theirs = atrous.inspect(_exported(model, 129, tmp_path / "model.onnx"))
    assert _sliding(theirs) == _sliding(ours)
    assert theirs.outputs[0].field == ours.outputs[0].field
