"""Twelve architectures in Keras and in PyTorch: the same report of both.

Five are of the two libraries, three are Keras' own beside a recipe in PyTorch, and four are recipes
written once and built in both. What `same` pads PyTorch pads by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import pytest
import torch
import torchvision
from keras import layers
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

import atrous
from atrous import Inspection
from atrous.geometry import same_upper

APPLICATIONS = keras.applications
Recipe = Callable[[Any, Any], Any]


class InKeras:
    """The words of a recipe as Keras has them, channels last."""

    def conv(self, x: Any, channels: int, kernel: Any, stride: int = 1, **given: Any) -> Any:
        rank = len(x.shape) - 2
        rate, bias = given.get("rate", 1), given.get("bias", True)
        padding = given.get("padding", "same")
        kind = getattr(layers, f"Conv{rank}D")
        return kind(channels, kernel, stride, padding, dilation_rate=rate, use_bias=bias)(x)

    def back(self, x: Any, channels: int, kernel: int, stride: int) -> Any:
        return layers.Conv2DTranspose(channels, kernel, stride, "same")(x)

    def norm(self, x: Any) -> Any:
        return layers.BatchNormalization()(x)

    def act(self, x: Any, name: str = "relu") -> Any:
        return layers.Activation(name)(x)

    def pool(self, x: Any, kernel: int, stride: int) -> Any:
        return layers.MaxPooling2D(kernel, stride, "same")(x)

    def image(self, x: Any) -> Any:
        return layers.GlobalAveragePooling2D(keepdims=True)(x)

    def like(self, x: Any, other: Any) -> Any:
        size = other.shape[1:3]
        return layers.Resizing(*size)(x)

    def join(self, *parts: Any) -> Any:
        return layers.Concatenate()(list(parts))

    def model(self, recipe: Recipe, shape: tuple[int, ...]) -> Any:
        start = keras.Input(shape)
        return keras.Model(start, recipe(self, start))


class InTorch(nn.Module):
    """The words of a recipe as PyTorch has them; layers are made where it first runs."""

    def __init__(self, recipe: Recipe, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.recipe, self.at = recipe, 0
        self.made = nn.ModuleList()
        with torch.no_grad():
            self.forward(torch.zeros(shape))
        self.eval()

    def forward(self, x: torch.Tensor) -> Any:
        self.at = 0
        return self.recipe(self, x)

    def layer(self, make: Callable[[], nn.Module]) -> nn.Module:
        if self.at == len(self.made):
            self.made.append(make())
        self.at += 1
        return self.made[self.at - 1]

    def conv(self, x: Any, channels: int, kernel: Any, stride: int = 1, **given: Any) -> Any:
        rank = x.ndim - 2
        kernels = (kernel,) * rank if isinstance(kernel, int) else tuple(kernel)
        rate, groups = given.get("rate", 1), given.get("groups", 1)
        padding = given.get("padding", "same")
        if padding == "same":
            x = self.padded(x, kernels, stride, rate)
        elif padding == "causal":
            x = F.pad(x, ((kernels[0] - 1) * rate, 0))
        kind = (nn.Conv1d, nn.Conv2d)[rank - 1]
        taken = x.shape[1]
        return self.layer(
            lambda: kind(
                taken,
                channels,
                kernels,
                stride,
                dilation=rate,
                groups=groups,
                bias=given.get("bias", True),
            )
        )(x)

    def padded(self, x: Any, kernels: Any, stride: int, rate: int = 1, value: float = 0) -> Any:
        pads: list[int] = []
        for length, kernel in zip(reversed(x.shape[2:]), reversed(kernels), strict=True):
            pads += same_upper(length, kernel, stride, rate)
        return F.pad(x, pads, value=value) if any(pads) else x

    def depthwise(self, x: Any, kernel: int, bias: bool = False) -> Any:
        return self.conv(x, x.shape[1], kernel, groups=x.shape[1], bias=bias)

    def back(self, x: Any, channels: int, kernel: int, stride: int) -> Any:
        cut = (kernel - stride) // 2
        return self.layer(lambda: nn.ConvTranspose2d(x.shape[1], channels, kernel, stride, cut))(x)

    def norm(self, x: Any, scale: bool = True) -> Any:
        if not scale:
            return self.layer(lambda: Shift(x.shape[1]))(x)
        return self.layer(lambda: (nn.BatchNorm1d, nn.BatchNorm2d)[x.ndim - 3](x.shape[1]))(x)

    def act(self, x: Any, name: str = "relu") -> Any:
        return getattr(torch, name)(x)

    def pool(self, x: Any, kernel: int, stride: int) -> Any:
        x = self.padded(x, (kernel, kernel), stride, value=float("-inf"))
        return F.max_pool2d(x, kernel, stride)

    def average(self, x: Any) -> Any:
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    def image(self, x: Any) -> Any:
        return x.mean((2, 3), keepdim=True)

    def like(self, x: Any, other: Any) -> Any:
        return F.interpolate(x, other.shape[2:], mode="bilinear")

    def join(self, *parts: Any) -> Any:
        return torch.cat(parts, 1)

    def dense(self, x: Any, channels: int) -> Any:
        return self.layer(lambda: nn.Linear(x.shape[1], channels))(x)


class Shift(nn.Module):
    """A batch norm without a scale, at inference: an offset for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bias[:, None, None]


# Recipes built in both


def unet(at: Any, x: Any) -> Any:
    held = []
    for width in (8, 16, 32):
        x = at.act(at.conv(at.act(at.conv(x, width, 3)), width, 3))
        held.append(x)
        x = at.pool(x, 2, 2)
    x = at.act(at.conv(x, 64, 3))
    for width in (32, 16, 8):
        x = at.join(at.back(x, width, 4, 2), held.pop())
        x = at.act(at.conv(at.act(at.conv(x, width, 3)), width, 3))
    return at.conv(x, 2, 1)


def deeplab(at: Any, x: Any) -> Any:
    start = x
    x = at.pool(at.act(at.norm(at.conv(x, 16, 7, 2, bias=False))), 3, 2)
    for width, stride, rate in ((16, 1, 1), (32, 2, 1), (32, 1, 2), (64, 1, 4)):
        y = at.act(at.norm(at.conv(x, width, 3, stride, rate=rate, bias=False)))
        y = at.norm(at.conv(y, width, 3, rate=rate, bias=False))
        x = at.act(y + at.conv(x, width, 1, stride))
    parts = [at.conv(x, 16, 1), *(at.conv(x, 16, 3, rate=rate) for rate in (6, 12, 18))]
    parts.append(at.like(at.conv(at.image(x), 16, 1), x))
    return at.like(at.conv(at.join(*parts), 21, 1), start)


def wavenet(at: Any, x: Any) -> Any:
    x = at.conv(x, 8, 2, padding="causal")
    total = None
    for block, rate in enumerate((1, 2, 4, 8, 16) * 2):
        gates = [
            at.act(at.conv(x, 8, 2, rate=rate, padding="causal"), name)
            for name in ("tanh", "sigmoid")
        ]
        y = gates[0] * gates[1]
        skip = at.conv(y, 8, 1)
        total = skip if total is None else total + skip
        x = x + at.conv(y, 8, 1) if block < 9 else x
    return at.conv(at.act(at.conv(at.act(total), 16, 1)), 32, 1)


def tcn(at: Any, x: Any) -> Any:
    for level, width in enumerate((8, 8, 16)):
        y = x
        for _ in range(2):
            y = at.act(at.conv(y, width, 3, rate=2**level, padding="causal"))
        x = at.act(y + (x if level == 1 else at.conv(x, width, 1)))
    return at.conv(x, 4, 1)


# Recipes of Keras' applications, in PyTorch


def resnet50(at: Any, x: Any) -> Any:
    x = at.act(at.norm(at.conv(F.pad(x, (3,) * 4), 64, 7, 2, padding="valid")))
    x = F.max_pool2d(F.pad(x, (1,) * 4), 3, 2)
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            short = x if block else at.norm(at.conv(x, 4 * width, 1, stride))
            y = at.act(at.norm(at.conv(x, width, 1, stride)))
            y = at.act(at.norm(at.conv(y, width, 3)))
            x = at.act(at.norm(at.conv(y, 4 * width, 1)) + short)
    return at.dense(x.mean((2, 3)), 1000)


def xception(at: Any, x: Any) -> Any:
    def separable(x: Any, width: int) -> Any:
        return at.norm(at.conv(at.depthwise(x, 3), width, 1, bias=False))

    x = at.act(at.norm(at.conv(x, 32, 3, 2, padding="valid", bias=False)))
    x = at.act(at.norm(at.conv(x, 64, 3, padding="valid", bias=False)))
    for widths in ((128, 128), (256, 256), (728, 728), *[(728,) * 3] * 8, (728, 1024)):
        short = x
        if len(widths) == 2:
            short = at.norm(at.conv(x, widths[-1], 1, 2, bias=False))
        for index, width in enumerate(widths):
            x = separable(at.act(x) if index or widths[0] != 128 else x, width)
        x = (at.pool(x, 3, 2) if len(widths) == 2 else x) + short
    x = at.act(separable(x, 1536))
    return at.dense(at.act(separable(x, 2048)).mean((2, 3)), 1000)


def inception(at: Any, x: Any) -> Any:
    def conv(x: Any, width: int, kernel: Any, stride: int = 1, padding: str = "same") -> Any:
        made = at.conv(x, width, kernel, stride, padding=padding, bias=False)
        return at.act(at.norm(made, scale=False))

    def chain(x: Any, *steps: tuple[int, Any]) -> Any:
        for width, kernel in steps:
            x = conv(x, width, kernel)
        return x

    across, down = (1, 7), (7, 1)
    x = conv(conv(conv(x, 32, 3, 2, "valid"), 32, 3, 1, "valid"), 64, 3)
    x = conv(conv(F.max_pool2d(x, 3, 2), 80, 1, 1, "valid"), 192, 3, 1, "valid")
    x = F.max_pool2d(x, 3, 2)
    for pooled in (32, 64, 64):
        parts = [conv(x, 64, 1), chain(x, (48, 1), (64, 5)), chain(x, (64, 1), (96, 3), (96, 3))]
        x = at.join(*parts, conv(at.average(x), pooled, 1))
    long = conv(chain(x, (64, 1), (96, 3)), 96, 3, 2, "valid")
    x = at.join(conv(x, 384, 3, 2, "valid"), long, F.max_pool2d(x, 3, 2))
    for w in (128, 160, 160, 192):
        parts = [conv(x, 192, 1), chain(x, (w, 1), (w, across), (192, down))]
        parts.append(chain(x, (w, 1), (w, down), (w, across), (w, down), (192, across)))
        x = at.join(*parts, conv(at.average(x), 192, 1))
    short = conv(chain(x, (192, 1)), 320, 3, 2, "valid")
    long = conv(chain(x, (192, 1), (192, across), (192, down)), 192, 3, 2, "valid")
    x = at.join(short, long, F.max_pool2d(x, 3, 2))
    for _ in range(2):
        parts = [conv(x, 320, 1)]
        for steps in (((384, 1),), ((448, 1), (384, 3))):
            y = chain(x, *steps)
            parts += [conv(y, 384, (1, 3)), conv(y, 384, (3, 1))]
        x = at.join(*parts, conv(at.average(x), 192, 1))
    return at.dense(x.mean((2, 3)), 1000)


def _both(recipe: Recipe, *shape: int) -> Callable[[], tuple[Any, nn.Module]]:
    """A recipe in both, on an image or a line of these sizes, channels last."""
    first = (1, shape[-1], *shape[:-1])
    return lambda: (InKeras().model(recipe, shape), InTorch(recipe, first))


def _beside(name: str, recipe: Recipe) -> Callable[[], tuple[Any, nn.Module]]:
    side = 96
    return lambda: (
        getattr(APPLICATIONS, name)(weights=None, input_shape=(side, side, 3)),
        InTorch(recipe, (1, 3, side, side)),
    )


def _library(name: str, twin: Callable[[], nn.Module]) -> Callable[[], tuple[Any, nn.Module]]:
    top = name != "VGG16"
    return lambda: (
        getattr(APPLICATIONS, name)(weights=None, input_shape=(96, 96, 3), include_top=top),
        twin().eval(),
    )


MODELS = torchvision.models
ALIKE = {
    "U-Net": _both(unet, 48, 64, 3),
    "DeepLab": _both(deeplab, 65, 97, 3),
    "WaveNet": _both(wavenet, 128, 1),
    "TCN": _both(tcn, 64, 2),
    "ResNet50": _beside("ResNet50", resnet50),
    "Xception": _beside("Xception", xception),
    "InceptionV3": _beside("InceptionV3", inception),
    "VGG16": _library("VGG16", lambda: MODELS.vgg16().features),
    "DenseNet121": _library("DenseNet121", MODELS.densenet121),
    "ConvNeXtTiny": _library("ConvNeXtTiny", MODELS.convnext_tiny),
}
SHIFTED = {
    "MobileNetV2": _library("MobileNetV2", MODELS.mobilenet_v2),
    "EfficientNetB0": _library("EfficientNetB0", MODELS.efficientnet_b0),
}
"""Keras pads their strides by the odd one behind, torchvision on both sides."""


@pytest.mark.parametrize("name", [*ALIKE, *SHIFTED])
def test_the_report_of_a_keras_model_is_that_of_its_twin(name: str) -> None:
    ours, twin = {**ALIKE, **SHIFTED}[name]()
    shape = (1, *ours.input_shape[1:])
    report = atrous.inspect(ours, shape)
    other = atrous.inspect(twin, (1, shape[-1], *shape[1:-1]))
    assert report.complete
    assert other.complete
    assert (report.macs, report.params) == (other.macs, other.params)
    assert _costly(report, name in ALIKE) == _costly(other, name in ALIKE)
    ends = [one.outputs[-1] for one in (report, other)]
    assert _fields(ends[0], name in ALIKE) == _fields(ends[1], name in ALIKE)
    assert ends[0].is_global == ends[1].is_global


def _costly(report: Inspection, starts: bool) -> Counter[Any]:
    """What all layers that multiply see, cost and hold."""
    return Counter((layer.macs, _fields(layer, starts)) for layer in report.layers if layer.macs)


def _fields(layer: Any, starts: bool) -> tuple[Any, ...]:
    return tuple(
        (f.size, f.taps, f.stride, f.coverage, f.max_gap, f.step, f.start if starts else None)
        for f in layer.field
    )
