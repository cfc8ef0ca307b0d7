"""One model through both readers gives one report. Of blocks that are repeated, two are read."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import timm
import torch
import torchvision
from torch import nn

import atrous
from atrous import Inspection
from tests.onnx_agreement import assert_reports_agree, exported, sliding
from tests.shortened import FEW_DENSE_LAYERS, shortened

MODELS = [
    ("densenet121", 64),
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

INVERTED = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 1, 2),
    (6, 64, 2, 2),
    (6, 96, 1, 1),
    (6, 160, 1, 2),
]
"""MobileNet's blocks, each kind once or twice: expansion, channels, blocks, stride."""


def _model(name: str) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.startswith("timm:"):
            return shortened(timm.create_model(name[5:])).eval()
        if name == "densenet121":
            return torchvision.models.DenseNet(block_config=FEW_DENSE_LAYERS).eval()
        if name == "mobilenet_v2":
            return torchvision.models.MobileNetV2(inverted_residual_setting=INVERTED).eval()
        return shortened(torchvision.models.get_model(name, weights=None)).eval()


@cache
def _reports(name: str, size: int) -> tuple[Inspection, Inspection]:
    """What is read of a model itself, and of its export."""
    model = _model(name)
    with TemporaryDirectory() as folder:
        theirs = atrous.inspect(exported(model, size, Path(folder) / "model.onnx"))
    return atrous.inspect(model, (1, 3, size, size)), theirs


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_the_same_model_through_onnx_and_torch_gives_the_same_report(name: str, size: int) -> None:
    assert_reports_agree(*_reports(name, size))


class Mixed(nn.Module):
    """Channels in parts, each by a kernel of its own, joined, normed and gated (MixNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24))
        convs = (nn.Conv2d(8, 8, k, 2, k // 2, groups=8, bias=False) for k in (3, 5, 7))
        self.mix, self.norm = nn.ModuleList(convs), nn.BatchNorm2d(24)
        self.squeeze, self.excite = nn.Conv2d(24, 4, 1), nn.Conv2d(4, 24, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.stem(x).split(8, 1)
        y = torch.cat([mix(part) for mix, part in zip(self.mix, parts, strict=True)], 1)
        y = nn.functional.silu(self.norm(y))
        return y * self.excite(self.squeeze(y.mean((2, 3), keepdim=True)).relu()).sigmoid()


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mixed"])
def test_an_optimised_export_with_folded_norms_reports_the_same_reads_and_products(
    name: str, tmp_path: Path
) -> None:
    model = Mixed().eval() if name == "mixed" else _model(name)
    ours = atrous.inspect(model, (1, 3, 64, 64))
    theirs = atrous.inspect(exported(model, 64, tmp_path / "model.onnx", optimize=True))
    assert (ours.complete, theirs.complete) == (True, True), theirs.opaque
    assert theirs.macs == ours.macs
    assert sliding(theirs) == sliding(ours)
    assert theirs.outputs[0].field == ours.outputs[0].field


def test_a_layer_is_found_by_its_module_path_through_both() -> None:
    ours, theirs = _reports("resnet18", 97)
    for name in ("conv1", "layer2.0.downsample.0", "layer4.1.conv2", "fc"):
        assert theirs[name].field == ours[name].field
        assert theirs[name].macs == ours[name].macs


def test_segmentation_heads_agree_with_their_footprints(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None
    )
    model = shortened(model).eval()
    ours = atrous.inspect(model, (1, 3, 129, 129))
    theirs = atrous.inspect(exported(model, 129, tmp_path / "model.onnx"))
    assert sliding(theirs) == sliding(ours)
    assert theirs.outputs[0].field == ours.outputs[0].field
