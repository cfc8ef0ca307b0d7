"""DeepLab v3 and v3+: a dilated backbone and a pyramid of rates, named as in torchvision."""

from __future__ import annotations

from functools import partial

from atrous.network.builder import Builder
from atrous.network.records import Tensor
from atrous.network.zoo.blocks import conv_bn_act
from atrous.network.zoo.mobilenet import mobilenet_v2_features
from atrous.network.zoo.registry import known
from atrous.network.zoo.resnet import resnet_stages

_CLASSES = 21


def _deeplabv3(
    b: Builder, x: Tensor, *, dilate: tuple[bool, bool, bool], rates: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    with b.scope("backbone"):
        stages = resnet_stages(b, x, 50, dilate)
    sizes = x.shape[2:]
    with b.scope("classifier"):
        y = _aspp(b, stages[3], rates)
        y = b.conv(y, 256, 3, padding=1, name="1")
        y = b.relu(b.batch_norm(y, "2"), "3")
        y = b.conv(y, _CLASSES, 1, bias=True, name="4")
    out = b.resize(y, sizes, name="out")
    y = conv_bn_act(b, stages[2], 256, 3, name="aux_classifier")
    y = b.conv(y, _CLASSES, 1, bias=True, name="aux_classifier.4")
    return b.resize(y, sizes, name="aux"), out


def _aspp(b: Builder, x: Tensor, rates: tuple[int, ...]) -> Tensor:
    pool = len(rates) + 1
    with b.scope("0"):
        branches = [conv_bn_act(b, x, 256, name="convs.0")]
        for index, rate in enumerate(rates, 1):
            branches.append(conv_bn_act(b, x, 256, 3, dilation=rate, name=f"convs.{index}"))
        pooled = b.global_pool(x, f"convs.{pool}.0")
        pooled = conv_bn_act(b, pooled, 256, name=f"convs.{pool}", first=1)
        branches.append(b.resize(pooled, x.shape[2:], name=f"convs.{pool}.resize"))
        return conv_bn_act(b, b.concat(*branches), 256, name="project")


_IMAGE = (1, 3, 520, 520)

known(
    "deeplabv3_resnet50",
    "DeepLab v3 on ResNet-50 at output stride 8, rates 12, 24, 36, with its auxiliary head",
    shape=_IMAGE,
    source="Chen et al. 2017, as in torchvision",
)(partial(_deeplabv3, dilate=(False, True, True), rates=(12, 24, 36)))

known(
    "deeplabv3_resnet50_os16",
    "DeepLab v3 on ResNet-50 at output stride 16, rates 6, 12, 18, with its auxiliary head",
    shape=_IMAGE,
    source="Chen et al. 2017, heads as in torchvision",
)(partial(_deeplabv3, dilate=(False, False, True), rates=(6, 12, 18)))


@known(
    "deeplabv3_mobilenet_v2",
    "DeepLab v3 on MobileNet v2 at output stride 16: only a 1x1 and a pooled branch",
    shape=(1, 3, 513, 513),
    source="Sandler et al. 2018",
)
def _deeplabv3_mobilenet_v2(b: Builder, x: Tensor) -> Tensor:
    sizes = x.shape[2:]
    with b.scope("backbone"):
        x = mobilenet_v2_features(b, x, stride=16)
    with b.scope("classifier"):
        x = _aspp(b, x, ())
        x = b.conv(x, _CLASSES, 1, bias=True, name="1")
    return b.resize(x, sizes, name="out")


def _deeplabv3plus(
    b: Builder, x: Tensor, *, dilate: tuple[bool, bool, bool], rates: tuple[int, int, int]
) -> Tensor:
    sizes = x.shape[2:]
    with b.scope("backbone"):
        stages = resnet_stages(b, x, 50, dilate)
    with b.scope("classifier"):
        y = _aspp(b, stages[3], rates)
    fine = conv_bn_act(b, stages[0], 48, name="decoder.low_level")
    y = b.resize(y, fine.shape[2:], name="decoder.resize")
    y = b.concat(y, fine, name="decoder.concat")
    y = conv_bn_act(b, y, 256, 3, name="decoder.conv1")
    y = conv_bn_act(b, y, 256, 3, name="decoder.conv2")
    y = b.conv(y, _CLASSES, 1, bias=True, name="decoder.classifier")
    return b.resize(y, sizes, name="out")


known(
    "deeplabv3plus_resnet50",
    "DeepLab v3+ on ResNet-50 at output stride 16, rates 6, 12, 18, decoder at stride 4",
    shape=(1, 3, 513, 513),
    source="Chen et al. 2018, backbone as in torchvision",
)(partial(_deeplabv3plus, dilate=(False, False, True), rates=(6, 12, 18)))

known(
    "deeplabv3plus_resnet50_os8",
    "DeepLab v3+ on ResNet-50 at output stride 8, rates 12, 24, 36, decoder at stride 4",
    shape=(1, 3, 513, 513),
    source="Chen et al. 2018, backbone as in torchvision",
)(partial(_deeplabv3plus, dilate=(False, True, True), rates=(12, 24, 36)))
