"""DenseNet-121 and DenseASPP: layers that read the outputs of all layers before them."""

from __future__ import annotations

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.registry import known

_GROWTH = 32
_LAYERS = (6, 12, 24, 16)


def _features(b: Builder, x: Tensor, stride: int = 32) -> Tensor:
    """The features of DenseNet-121 with torchvision's names, at an output stride of 8 to 32.

    Transitions behind that stride do not pool, and the blocks behind them read at the rate that
    the missing pools leave.
    """
    x = b.conv(x, 64, 7, stride=2, padding=3, name="conv0")
    x = b.relu(b.batch_norm(x, "norm0"), "relu0")
    x = b.pool(x, 3, stride=2, padding=1, name="pool0")
    reached, rate = 4, 1
    for block, layers in enumerate(_LAYERS, 1):
        x = _dense_block(b, x, layers, rate, f"denseblock{block}")
        if block == len(_LAYERS):
            break
        with b.scope(f"transition{block}"):
            x = b.relu(b.batch_norm(x, "norm"))
            x = b.conv(x, x.shape[1] // 2, 1, name="conv")
            if reached < stride:
                x = b.pool(x, 2, average=True, name="pool")
                reached *= 2
            else:
                rate *= 2
    return b.batch_norm(x, "norm5")


def _dense_block(b: Builder, x: Tensor, layers: int, rate: int, name: str) -> Tensor:
    held = [x]
    for index in range(1, layers + 1):
        with b.scope(f"{name}.denselayer{index}"):
            y = held[0] if index == 1 else b.concat(*held)
            y = b.conv(b.pointwise(b.batch_norm(y, "norm1"), label="relu"), 128, 1, name="conv1")
            y = b.pointwise(b.batch_norm(y, "norm2"), label="relu")
            held.append(b.conv(y, _GROWTH, 3, dilation=rate, padding=rate, name="conv2"))
    return b.concat(*held, name=f"{name}.concat")


@known(
    "densenet121",
    "DenseNet-121",
    shape=(1, 3, 224, 224),
    source="Huang et al. 2017, as in torchvision",
)
def _densenet121(b: Builder, x: Tensor) -> Tensor:
    with b.scope("features"):
        x = _features(b, x)
    x = b.relu(x)
    return b.linear(b.flatten(b.global_pool(x)), 1000, name="classifier")


@known(
    "denseaspp121",
    "DenseASPP on DenseNet-121 at output stride 8, rates 3, 6, 12, 18, 24",
    shape=(1, 3, 512, 512),
    source="Yang et al. 2018",
)
def _denseaspp121(b: Builder, x: Tensor) -> Tensor:
    sizes = x.shape[2:]
    with b.scope("features"):
        x = b.relu(_features(b, x, stride=8), "relu5")
    for rate in (3, 6, 12, 18, 24):
        with b.scope(f"aspp_{rate}"):
            y = x if rate == 3 else b.pointwise(b.batch_norm(x, "norm0"), label="relu")
            y = b.conv(y, 512, 1, bias=True, name="conv1")
            y = b.relu(b.batch_norm(y, "norm1"), "relu1")
            y = b.conv(y, 128, 3, dilation=rate, padding=rate, bias=True, name="conv2")
            x = b.concat(y, x)
    x = b.conv(x, 19, 1, bias=True, name="classification")
    return b.resize(x, sizes, name="out")
