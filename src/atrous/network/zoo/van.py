"""Visual attention network: large kernels taken apart into a dense and a dilated depthwise one."""

from __future__ import annotations

from atrous.network.builder import Builder
from atrous.network.ops import Elementwise
from atrous.network.records import Param, Tensor
from atrous.network.zoo.blocks import channel_norm
from atrous.network.zoo.registry import known


@known(
    "van_b0",
    "VAN-B0: large-kernel attention, depthwise 5x5 then 7x7 at rate 3",
    shape=(1, 3, 224, 224),
    source="Guo et al. 2022",
)
def _van_b0(b: Builder, x: Tensor) -> Tensor:
    # channels, blocks, expansion of the feed-forward part
    for stage, (channels, blocks, expansion) in enumerate(
        ((32, 3, 8), (64, 3, 8), (160, 5, 4), (256, 2, 4)), 1
    ):
        kernel, stride = (3, 2) if stage > 1 else (7, 4)
        with b.scope(f"patch_embed{stage}"):
            x = b.conv(
                x,
                channels,
                kernel,
                stride=stride,
                padding=kernel // 2,
                bias=True,
                name="proj",
            )
            x = b.batch_norm(x, "norm")
        for index in range(blocks):
            with b.scope(f"block{stage}.{index}"):
                y = _attention(b, b.batch_norm(x, "norm1"))
                x = b.join(x, _scaled(b, y, "layer_scale_1"))
                y = _feed_forward(b, b.batch_norm(x, "norm2"), expansion)
                x = b.join(x, _scaled(b, y, "layer_scale_2"))
        x = channel_norm(b, x, f"norm{stage}")
    return b.linear(b.flatten(b.global_pool(x)), 1000, name="head")


def _attention(b: Builder, x: Tensor) -> Tensor:
    channels = x.shape[1]
    with b.scope("attn"):
        u = b.pointwise(b.conv(x, channels, 1, bias=True, name="proj_1"), label="gelu")
        with b.scope("spatial_gating_unit"):
            y = b.conv(u, channels, 5, padding=2, groups=channels, bias=True, name="conv0")
            y = b.conv(
                y,
                channels,
                7,
                dilation=3,
                padding=9,
                groups=channels,
                bias=True,
                name="conv_spatial",
            )
            y = b.conv(y, channels, 1, bias=True, name="conv1")
            y = b.join(u, y, label="mul")
        return b.join(b.conv(y, channels, 1, bias=True, name="proj_2"), x)


def _feed_forward(b: Builder, x: Tensor, expansion: int) -> Tensor:
    channels, hidden = x.shape[1], expansion * x.shape[1]
    with b.scope("mlp"):
        y = b.conv(x, hidden, 1, bias=True, name="fc1")
        y = b.conv(y, hidden, 3, padding=1, groups=hidden, bias=True, name="dwconv")
        return b.conv(b.pointwise(y, label="gelu"), channels, 1, bias=True, name="fc2")


def _scaled(b: Builder, x: Tensor, name: str) -> Tensor:
    name = b.qualified(name)
    return b.add(Elementwise("scale"), x, name=name, params=(Param(name, x.shape[1]),))
