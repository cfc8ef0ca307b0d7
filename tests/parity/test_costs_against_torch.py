"""Parameters and multiply-accumulates against PyTorch's own counts."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import atrous
from atrous import Inspection

COUNTED = {"conv", "conv_transpose", "linear"}

MODELS = [
    ("alexnet", 224),
    ("densenet121", 64),
    ("efficientnet_b0", 64),
    ("mobilenet_v2", 97),
    ("mobilenet_v3_small", 64),
    ("regnet_y_400mf", 64),
    ("resnet18", 224),
    ("shufflenet_v2_x0_5", 64),
    ("timm:convnext_atto", 64),
    ("timm:ghostnet_100", 64),
    ("timm:hrnet_w18_small", 64),
    ("timm:mixnet_s", 64),
    ("timm:mobilevit_s", 64),
    ("timm:resnetblur18", 97),
    ("timm:xception41", 97),
]


def _model(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.startswith("timm:"):
            return timm.create_model(name[5:]).eval()
        return torchvision.models.get_model(name, weights=None).eval()


def _macs_by_module(model: nn.Module, x: torch.Tensor) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    root = type(model).__name__
    leaves = {
        f"{root}.{name}": name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.Linear)
    }
    return {
        leaves[path]: sum(counts.values()) // 2
        for path, counts in counter.get_flop_counts().items()
        if path in leaves
    }


@dataclass(frozen=True, slots=True)
class Counted:
    """A model, its report, and the shape that it was read at."""

    model: nn.Module
    report: Inspection
    shape: tuple[int, ...]


@pytest.fixture(scope="module", params=MODELS, ids=lambda param: f"{param[0]}-{param[1]}")
def counted(request: pytest.FixtureRequest) -> Counted:
    name, size = request.param
    model, shape = _model(name), (1, 3, size, size)
    return Counted(model, atrous.inspect(model, shape), shape)


def test_macs_of_every_convolution_and_linear_layer_equal_the_flop_counter(
    counted: Counted,
) -> None:
    ours: dict[str, int] = defaultdict(int)
    for layer in counted.report.layers:
        if layer.op in COUNTED:
            ours[layer.module] += layer.macs
    theirs = _macs_by_module(counted.model, torch.zeros(counted.shape))
    assert theirs
    assert {module: ours[module] for module in theirs} == theirs


def test_parameters_are_counted_once_each(counted: Counted) -> None:
    assert counted.report.params == sum(p.numel() for p in counted.model.parameters())


def test_deeplabv3_with_its_auxiliary_head_has_the_published_count() -> None:
    model = torchvision.models.segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=None, aux_loss=True
    )
    assert round(atrous.inspect(model, (1, 3, 520, 520)).macs / 1e9, 2) == 178.72


def test_a_shared_module_keeps_its_calls_apart_and_its_parameters_once() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.conv(self.conv(x)))

    report = atrous.inspect(Shared(), (1, 3, 16, 16))
    assert [layer.name for layer in report.layers] == ["conv", "conv@1", "conv@2"]
    assert [layer.field[0].size for layer in report.layers] == [3, 5, 7]
    assert report.params == 84


def test_tied_weights_are_one_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 3, 3, bias=False)
            self.b = nn.Conv2d(3, 3, 3, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x))

    assert atrous.inspect(Tied(), (1, 3, 16, 16)).params == 81


def test_recurrent_and_attention_layers_count_their_products() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
            self.recur = nn.LSTM(8, 5, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.transpose(1, 2)
            x = x + self.attend(x, x, x, need_weights=False)[0]
            return self.recur(x)[0].transpose(1, 2)

    report = atrous.inspect(Mixed(), (1, 8, 10))
    attention = 4 * 10 * 8 * 8 + 2 * 10 * 10 * 8
    recurrence = 10 * 4 * 5 * (8 + 5)
    assert report.macs == attention + recurrence
    assert report.outputs[0].is_global
    assert report.complete
