"""FCN-8s: VGG-16 made convolutional, its coarse scores refined by those of earlier maps."""

from __future__ import annotations

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.blocks import crop
from atrous.network.zoo.registry import known

_CLASSES = 21


@known(
    "fcn8s",
    "FCN-8s on VGG-16, padded by 100 and cropped back",
    shape=(1, 3, 512, 512),
    source="Long et al. 2015",
)
def _fcn8s(b: Builder, x: Tensor) -> Tensor:
    sizes = x.shape[2:]
    pooled = []
    for stage, (convs, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for index in range(1, convs + 1):
            first = stage == index == 1
            # The wide padding lets the 7x7 layer fit on any image.
            x = b.conv(
                x,
                channels,
                3,
                padding=100 if first else 1,
                bias=True,
                name=f"conv{stage}_{index}",
            )
            x = b.relu(x, f"relu{stage}_{index}")
        x = b.pool(x, 2, ceil=True, name=f"pool{stage}")
        pooled.append(x)
    x = b.relu(b.conv(x, 4096, 7, bias=True, name="fc6"), "relu6")
    x = b.relu(b.conv(x, 4096, 1, bias=True, name="fc7"), "relu7")
    x = b.conv(x, _CLASSES, 1, bias=True, name="score_fr")
    for pool, offset, name in ((4, 5, "upscore2"), (3, 9, "upscore_pool4")):
        x = b.conv_transpose(x, _CLASSES, 4, stride=2, name=name)
        y = b.conv(pooled[pool - 1], _CLASSES, 1, bias=True, name=f"score_pool{pool}")
        y = crop(b, y, (offset, offset), x.shape[2:], f"score_pool{pool}c")
        x = b.join(x, y, name=f"fuse_pool{pool}")
    x = b.conv_transpose(x, _CLASSES, 16, stride=8, name="upscore8")
    return crop(b, x, (31, 31), sizes, "score")
