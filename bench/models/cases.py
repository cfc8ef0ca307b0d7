"""The models that are timed: a name, how to make one, and the shape of its input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.torchvision_schemas import let_torchvision_import
from tests.weights import calibrate

let_torchvision_import()  # before timm, which imports it

import segmentation  # noqa: E402
import sound  # noqa: E402

__all__ = ["MODELS", "Model"]


@dataclass(frozen=True, slots=True)
class Model:
    """`make` gives random weights; `build` also settles the batch norms on random input."""

    name: str
    make: Callable[[], nn.Module]
    input: tuple[int, ...]

    def build(self) -> tuple[nn.Module, torch.Tensor]:
        """The model in evaluation mode, and an input. The same each time."""
        torch.manual_seed(0)
        model = self.make()
        x = torch.randn(self.input)
        calibrate(model, torch.randn(2, *self.input[1:]))
        return model.eval(), x


MODELS = (
    *(
        Model(
            f"DeepLabv3+ {title}, output stride {stride}",
            partial(segmentation.DeepLab, backbone, stride),
            (1, 3, 513, 513),
        )
        for title, backbone in (
            ("MobileNetV2", "mobilenetv2_100"),
            ("MobileNetV3", "mobilenetv3_large_100"),
        )
        for stride in (8, 16)
    ),
    Model(
        "ConvNeXt-T, output stride 8", partial(segmentation.convnext_dense, 256), (1, 3, 256, 256)
    ),
    Model("Large-kernel attention", segmentation.LargeKernelNetwork, (1, 3, 512, 512)),
    Model("Conv-TasNet separator", sound.Separator, (1, 512, 4000)),
    Model("Conv-TasNet separator, causal", partial(sound.Separator, "cumulative"), (1, 512, 4000)),
    Model("WaveNet", sound.WaveNet, (1, 1, 16000)),
    Model("D-LinkNet-34", segmentation.RoadNetwork, (1, 3, 512, 512)),
    Model("ResNet-50, output stride 8", segmentation.resnet_dense, (1, 3, 513, 513)),
    Model("U-Net", segmentation.UNet, (1, 3, 256, 256)),
    Model("HRNet-W18", segmentation.HighResolution, (1, 3, 512, 512)),
    Model(
        "DenseNet-121, output stride 8",
        partial(segmentation.densenet_dense, 256),
        (1, 3, 256, 256),
    ),
    Model("HiFi-GAN generator", sound.Generator, (1, 80, 64)),
)
