"""Twelve architectures in Keras and in PyTorch: the same report of both.

Five are of the two libraries, three are Keras' own beside a recipe in PyTorch, and four are recipes
written once and built in both. What `same` pads PyTorch pads by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
import torchvision
from keras import layers
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

import atrous
from tests.recipes import InTorch, Recipe, assert_same_report, deeplab, tcn, unet, wavenet

APPLICATIONS = keras.applications


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
    assert_same_report(report, other, name in ALIKE)
