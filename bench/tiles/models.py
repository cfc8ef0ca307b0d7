"""The models whose tiles are measured: a name, how to make one, channels of its image."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "bench/models")]
from tests.torchvision_schemas import let_torchvision_import  # noqa: E402

let_torchvision_import()

from tests.tiled_networks import Decoder, DeepLab, UNet, backbone, edsr  # noqa: E402

__all__ = ["MODELS", "built", "light"]


def light() -> nn.Module:
    """Four dilated layers of 8 channels, which a processor runs over 16,384 x 16,384 positions."""
    layers: list[nn.Module] = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU()]
    for rate in (2, 4):
        layers += [nn.Conv2d(8, 8, 3, padding=rate, dilation=rate), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(8, 2, 1))


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "light": (light, 1),
    "U-Net, transposed": (partial(UNet, "transposed", (16, 32, 64)), 3),
    "U-Net, bilinear": (partial(UNet, "bilinear", (16, 32, 64)), 3),
    "ResNet-18, output stride 8": (
        partial(backbone, "resnet18", output_stride=8, out_indices=(1, 2, 4)),
        3,
    ),
    "DeepLabv3+ without image pooling": (partial(DeepLab, pooled=False), 3),
    "EDSR": (edsr, 3),
    "VAE decoder": (partial(Decoder, nn.BatchNorm2d, 16), 4),
}


def built(name: str) -> tuple[nn.Module, int]:
    """The model in evaluation mode, the same each time, and its channels."""
    make, channels = MODELS[name]
    torch.manual_seed(0)
    return make().eval(), channels
