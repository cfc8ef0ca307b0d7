"""Networks along time: WaveNet, TCN, Conv-TasNet and RAVE."""

from __future__ import annotations

from functools import partial

from atrous.network.builder import Builder
from atrous.network.ops import Elementwise, Mix, Reshape
from atrous.network.records import Param, Tensor
from atrous.network.zoo.registry import known


def _wavenet(b: Builder, x: Tensor, *, stacks: int) -> Tensor:
    x = b.conv(x, 32, 1, bias=True, name="input")
    skips = []
    for layer in range(10 * stacks):
        rate = 1 << layer % 10
        with b.scope(f"layers.{layer}"):
            gates = []
            for name, label in (("filter", "tanh"), ("gate", "sigmoid")):
                y = b.conv(x, 32, 2, dilation=rate, padding="causal", bias=True, name=name)
                gates.append(b.pointwise(y, label=label))
            y = b.join(*gates, label="mul")
            skips.append(b.conv(y, 512, 1, bias=True, name="skip"))
            if layer < 10 * stacks - 1:
                x = b.join(x, b.conv(y, 32, 1, bias=True, name="residual"))
    y = skips[0]
    for skip in skips[1:]:
        y = b.join(y, skip, name="skips.add")
    with b.scope("head"):
        y = b.conv(b.relu(y, "0"), 512, 1, bias=True, name="1")
        return b.conv(b.relu(y, "2"), 256, 1, bias=True, name="3")


# One-hot samples of 8 bits, one second of them at 16 kHz.
_SAMPLES = (1, 256, 16000)

known(
    "wavenet",
    "WaveNet, one stack of rates 1 to 512",
    shape=_SAMPLES,
    source="van den Oord et al. 2016",
)(partial(_wavenet, stacks=1))

known(
    "wavenet_3stacks",
    "WaveNet, three stacks of rates 1 to 512",
    shape=_SAMPLES,
    source="van den Oord et al. 2016",
)(partial(_wavenet, stacks=3))


@known(
    "tcn",
    "Temporal convolutional network: kernel 4, rates 1 to 64, two causal convolutions a block",
    shape=(1, 1, 1024),
    source="Bai et al. 2018",
)
def _tcn(b: Builder, x: Tensor) -> Tensor:
    channels = 64
    for level in range(7):
        with b.scope(f"blocks.{level}"):
            y = x
            for index in ("1", "2"):
                y = b.conv(
                    y,
                    channels,
                    4,
                    dilation=1 << level,
                    padding="causal",
                    bias=True,
                    name=f"conv{index}",
                )
                y = b.relu(y, f"relu{index}")
            if x.shape[1] != channels:
                x = b.conv(x, channels, 1, bias=True, name="downsample")
            x = b.relu(b.join(y, x))
    return x


@known(
    "conv_tasnet",
    "Conv-TasNet for two speakers, not causal: kernel 3, 3 stacks of rates 1 to 128",
    shape=(1, 1, 32000),
    source="Luo and Mesgarani 2019",
)
def _conv_tasnet(b: Builder, x: Tensor) -> Tensor:
    speakers, basis, batch = 2, 512, x.shape[0]
    encoded = b.conv(x, basis, 16, stride=8, padding=8, name="encoder")
    with b.scope("separator"):
        y = b.conv(_global_norm(b, encoded, "norm"), 128, 1, bias=True, name="input")
        skips = []
        for block in range(24):
            last = block == 23
            with b.scope(f"blocks.{block}"):
                y, skip = _separator_block(b, y, 1 << block % 8, residual=not last)
            skips.append(skip)
        y = skips[0]
        for skip in skips[1:]:
            y = b.join(y, skip, name="skips.add")
        y = b.conv(_prelu(b, y, "prelu"), speakers * basis, 1, bias=True, name="mask")
        mask = b.pointwise(y, label="sigmoid")
    frames = encoded.shape[2]
    mask = b.add(Reshape((batch, speakers, basis, frames)), mask, name="masks")
    one = b.add(Reshape((batch, 1, basis, frames)), encoded, name="frames")
    y = b.join(mask, one, label="mul", name="masked")
    y = b.add(Reshape((batch * speakers, basis, frames)), y, name="sources")
    y = b.conv_transpose(y, 1, 16, stride=8, padding=8, name="decoder")
    return b.add(Reshape((batch, speakers, y.shape[2])), y, name="out")


def _separator_block(b: Builder, x: Tensor, rate: int, *, residual: bool) -> tuple[Tensor, Tensor]:
    hidden = 512
    y = b.conv(x, hidden, 1, bias=True, name="conv1")
    y = _global_norm(b, _prelu(b, y, "prelu1"), "norm1")
    y = b.conv(y, hidden, 3, dilation=rate, padding=rate, groups=hidden, bias=True, name="dwconv")
    y = _global_norm(b, _prelu(b, y, "prelu2"), "norm2")
    skip = b.conv(y, 128, 1, bias=True, name="skip")
    if residual:
        x = b.join(x, b.conv(y, 128, 1, bias=True, name="residual"))
    return x, skip


def _prelu(b: Builder, x: Tensor, name: str) -> Tensor:
    """A rectifier with one learnt slope for all channels."""
    name = b.qualified(name)
    return b.add(Elementwise("prelu"), x, name=name, params=(Param(f"{name}.weight", 1),))


def _global_norm(b: Builder, x: Tensor, name: str) -> Tensor:
    """Normalisation over channels and time together, so that every frame sees all others."""
    name = b.qualified(name)
    count = x.shape[1]
    params = (Param(f"{name}.weight", count), Param(f"{name}.bias", count))
    return b.add(Mix((1, 2), "global_norm"), x, name=name, params=params)


@known(
    "rave",
    "RAVE-like encoder and decoder along 16 sub-bands: ratios 4, 4, 4, 2, rates 1, 3, 5",
    shape=(1, 16, 8192),
    source="Caillon and Esling 2021, padded in the middle, without filter bank and noise",
)
def _rave(b: Builder, x: Tensor) -> Tensor:
    bands, capacity, latent, ratios = x.shape[1], 64, 128, (4, 4, 4, 2)
    with b.scope("encoder"):
        x = b.conv(x, capacity, 7, padding=3, bias=True, name="first")
        for level, ratio in enumerate(ratios):
            with b.scope(f"down.{level}"):
                x = b.pointwise(b.batch_norm(x), label="leaky_relu")
                x = b.conv(
                    x,
                    2 * x.shape[1],
                    2 * ratio + 1,
                    stride=ratio,
                    padding=ratio,
                    bias=True,
                )
        x = b.pointwise(x, label="leaky_relu")
        x = b.conv(x, latent, 5, padding=2, bias=True, name="last")
    with b.scope("decoder"):
        x = b.conv(x, capacity << len(ratios), 7, padding=3, bias=True, name="first")
        for level, ratio in enumerate(reversed(ratios)):
            with b.scope(f"up.{level}"):
                x = b.pointwise(x, label="leaky_relu")
                x = b.conv_transpose(
                    x,
                    x.shape[1] // 2,
                    2 * ratio,
                    stride=ratio,
                    padding=ratio // 2,
                    bias=True,
                )
                for rate in (1, 3, 5):
                    with b.scope(f"residual{rate}"):
                        y = b.pointwise(x, label="leaky_relu", name="0")
                        y = b.conv(
                            y,
                            x.shape[1],
                            3,
                            dilation=rate,
                            padding=rate,
                            bias=True,
                            name="1",
                        )
                        y = b.pointwise(y, label="leaky_relu", name="2")
                        y = b.conv(y, x.shape[1], 1, bias=True, name="3")
                        x = b.join(x, y)
        x = b.conv(x, bands, 7, padding=3, bias=True, name="last")
        return b.pointwise(x, label="tanh")
