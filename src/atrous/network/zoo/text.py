"""ByteNet: characters translated by dilated causal convolutions."""

from __future__ import annotations

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.blocks import channel_norm
from atrous.network.zoo.registry import known

_HIDDEN = 800
_CHARACTERS = 323


@known(
    "bytenet_decoder",
    "ByteNet's decoder: 30 causal residual blocks, six times rates 1 to 16",
    shape=(1, _CHARACTERS, 512),
    source="Kalchbrenner et al. 2016",
)
def _bytenet_decoder(b: Builder, x: Tensor) -> Tensor:
    x = b.conv(x, 2 * _HIDDEN, 1, name="embedding")
    for block in range(30):
        with b.scope(f"blocks.{block}"):
            x = b.join(x, _rate_block(b, x, 1 << block % 5))
    x = b.relu(b.conv(x, 2 * _HIDDEN, 1, bias=True, name="head.0"), "head.1")
    return b.conv(x, _CHARACTERS, 1, bias=True, name="head.2")


def _rate_block(b: Builder, x: Tensor, rate: int) -> Tensor:
    y = channel_norm(b, x, "norm1")
    y = b.conv(b.relu(y, "relu1"), _HIDDEN, 1, bias=True, name="conv1")
    y = b.relu(channel_norm(b, y, "norm2"), "relu2")
    y = b.conv(y, _HIDDEN, 3, dilation=rate, padding="causal", bias=True, name="conv2")
    y = b.relu(channel_norm(b, y, "norm3"), "relu3")
    return b.conv(y, 2 * _HIDDEN, 1, bias=True, name="conv3")
