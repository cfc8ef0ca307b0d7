"""U-Nets: an encoder, a decoder, and the maps of the one handed across to the other."""

from __future__ import annotations

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.blocks import centre_crop
from atrous.network.zoo.registry import known


@known(
    "unet",
    "U-Net of 4 levels, padded, with 2x2 up-convolutions",
    shape=(1, 1, 512, 512),
    source="Ronneberger et al. 2015, padded so that sizes stay",
)
def _unet(b: Builder, x: Tensor) -> Tensor:
    handed = []
    for level in range(1, 5):
        x = _double(b, x, 32 << level, f"enc{level}")
        handed.append(x)
        x = b.pool(x, 2, name=f"pool{level}")
    x = _double(b, x, 1024, "bottom")
    for level in range(4, 0, -1):
        channels = 32 << level
        x = b.conv_transpose(x, channels, 2, stride=2, bias=True, name=f"up{level}")
        x = b.concat(handed[level - 1], x, name=f"concat{level}")
        x = _double(b, x, channels, f"dec{level}")
    return b.conv(x, 2, 1, bias=True, name="out")


def _double(b: Builder, x: Tensor, channels: int, name: str) -> Tensor:
    with b.scope(name):
        for index in ("1", "2"):
            x = b.conv(x, channels, 3, padding=1, bias=True, name=f"conv{index}")
            x = b.relu(x, f"relu{index}")
    return x


@known(
    "unet3d",
    "3-D U-Net of 3 levels, unpadded, cropped where maps are handed across",
    shape=(1, 3, 132, 132, 116),
    source="Cicek et al. 2016",
)
def _unet3d(b: Builder, x: Tensor) -> Tensor:
    handed = []
    for level in range(1, 4):
        x = _valid(b, x, (16 << level, 32 << level), f"enc{level}")
        handed.append(x)
        x = b.pool(x, 2, name=f"pool{level}")
    x = _valid(b, x, (256, 512), "bottom")
    for level in range(3, 0, -1):
        x = b.conv_transpose(x, x.shape[1], 2, stride=2, name=f"up{level}")
        skip = centre_crop(b, handed[level - 1], x.shape[2:], f"crop{level}")
        x = b.concat(skip, x, name=f"concat{level}")
        x = _valid(b, x, (32 << level, 32 << level), f"dec{level}")
    return b.conv(x, 3, 1, bias=True, name="out")


def _valid(b: Builder, x: Tensor, channels: tuple[int, int], name: str) -> Tensor:
    with b.scope(name):
        for index, count in enumerate(channels, 1):
            x = b.conv(x, count, 3, bias=True, name=f"conv{index}")
            # The authors' batch norm divides and subtracts, and learns nothing.
            x = b.pointwise(x, label="batch_norm", name=f"bn{index}")
            x = b.relu(x, f"relu{index}")
    return x
