"""Twelve architectures in Flax and in PyTorch: the same report of both.

Each is a recipe that is built in both; the modules of Flax have no weights, only their shapes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from flax import linen

import atrous
from atrous.errors import UnsupportedError
from tests.jax_probe import assert_reads
from tests.recipes import InTorch, Recipe, assert_same_report, deeplab, tcn, unet, wavenet


class InFlax(linen.Module):
    """The words of a recipe as Flax has them, channels last."""

    recipe: Recipe

    @linen.compact
    def __call__(self, x: Any) -> Any:
        return self.recipe(self, x)

    def conv(self, x: Any, channels: int, kernel: Any, stride: int = 1, **given: Any) -> Any:
        rank = x.ndim - 2
        return linen.Conv(
            channels,
            (kernel,) * rank if isinstance(kernel, int) else kernel,
            (stride,) * rank,
            given.get("padding", "same").upper(),
            kernel_dilation=given.get("rate", 1),
            use_bias=given.get("bias", True),
            feature_group_count=given.get("groups", 1),
        )(x)

    def depthwise(self, x: Any, kernel: int, bias: bool = False) -> Any:
        return self.conv(x, x.shape[-1], kernel, groups=x.shape[-1], bias=bias)

    def back(self, x: Any, channels: int, kernel: int, stride: int) -> Any:
        return linen.ConvTranspose(channels, (kernel,) * 2, (stride,) * 2)(x)

    def norm(self, x: Any) -> Any:
        return linen.BatchNorm(use_running_average=True)(x)

    def act(self, x: Any, name: str = "relu") -> Any:
        return getattr(linen, name)(x)

    def pool(self, x: Any, kernel: int, stride: int) -> Any:
        return linen.max_pool(x, (kernel,) * 2, (stride,) * 2, "SAME")

    def average(self, x: Any) -> Any:
        return linen.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)

    def image(self, x: Any) -> Any:
        return x.mean((1, 2), keepdims=True)

    def like(self, x: Any, other: Any) -> Any:
        return jax.image.resize(x, (*other.shape[:-1], x.shape[-1]), "bilinear")

    def join(self, *parts: Any) -> Any:
        return jnp.concatenate(parts, -1)

    def channels(self, x: Any) -> int:
        return int(x.shape[-1])

    def vector(self, x: Any) -> Any:
        return x.mean(tuple(range(1, x.ndim - 1)))

    def dense(self, x: Any, channels: int) -> Any:
        return linen.Dense(channels)(x)


def resnet(at: Any, x: Any) -> Any:
    x = at.pool(at.act(at.norm(at.conv(x, 8, 7, 2, bias=False))), 3, 2)
    for width, stride in ((8, 1), (16, 2), (32, 2)):
        for block in range(2):
            by = 1 if block else stride
            y = at.act(at.norm(at.conv(x, width, 3, by, bias=False)))
            y = at.norm(at.conv(y, width, 3, bias=False))
            x = at.act(y + (x if block else at.norm(at.conv(x, width, 1, by, bias=False))))
    return at.dense(at.vector(x), 10)


def mobilenet(at: Any, x: Any) -> Any:
    x = at.act(at.norm(at.conv(x, 8, 3, 2, bias=False)))
    for width, stride, rate in ((16, 2, 1), (16, 1, 1), (32, 2, 1), (32, 1, 2)):
        grown = 4 * at.channels(x)
        y = at.act(at.norm(at.conv(x, grown, 1, bias=False)))
        y = at.conv(y, grown, 3, stride, rate=rate, groups=grown, bias=False)
        y = at.norm(at.conv(at.act(at.norm(y)), width, 1, bias=False))
        x = x + y if width == at.channels(x) else y
    return at.dense(at.vector(x), 10)


def vgg(at: Any, x: Any) -> Any:
    for width, layers in ((8, 2), (16, 2), (32, 3)):
        for _ in range(layers):
            x = at.act(at.conv(x, width, 3))
        x = at.pool(x, 2, 2)
    return at.conv(x, 10, 1)


def densenet(at: Any, x: Any) -> Any:
    x = at.conv(x, 16, 3, 2)
    for rate in (1, 1, 2, 4):
        y = at.conv(at.act(at.norm(x)), 16, 1, bias=False)
        x = at.join(x, at.conv(at.act(at.norm(y)), 8, 3, rate=rate, bias=False))
    return at.average(at.conv(at.act(at.norm(x)), 24, 1))


def hourglass(at: Any, x: Any) -> Any:
    def level(x: Any, depth: int) -> Any:
        if not depth:
            return at.act(at.conv(x, 16, 3))
        down = level(at.act(at.conv(at.pool(x, 2, 2), 16, 3)), depth - 1)
        return at.act(at.conv(x, 16, 3)) + at.like(at.conv(down, 16, 3), x)

    return at.conv(level(at.conv(x, 16, 7, 2), 3), 5, 1)


def encoder(at: Any, x: Any) -> Any:
    for width, kernel, stride in ((8, 10, 5), (16, 8, 4), (16, 4, 2), (32, 4, 2)):
        x = at.act(at.conv(x, width, kernel, stride, padding="valid", bias=False))
    return at.act(at.conv(x, 32, 3, rate=2))


def volume(at: Any, x: Any) -> Any:
    for width, stride, rate in ((4, 1, 1), (8, 2, 1), (8, 1, 2), (16, 2, 1)):
        x = at.act(at.norm(at.conv(x, width, 3, stride, rate=rate, bias=False)))
    return at.conv(x, 3, (1, 3, 1))


def squeezed(at: Any, x: Any) -> Any:
    x = at.conv(x, 16, 3, 2)
    for _ in range(2):
        y = at.act(at.conv(at.act(at.conv(x, 16, 3)), 16, 3))
        gate = at.conv(at.act(at.conv(at.image(y), 4, 1)), 16, 1)
        x = x + y * at.act(gate, "sigmoid")
    return x


TWINS: dict[str, tuple[Recipe, tuple[int, ...]]] = {
    "ResNet": (resnet, (65, 72, 3)),
    "DeepLab": (deeplab, (65, 97, 3)),
    "U-Net": (unet, (48, 64, 3)),
    "TCN": (tcn, (64, 2)),
    "WaveNet": (wavenet, (128, 1)),
    "MobileNet": (mobilenet, (64, 80, 3)),
    "VGG": (vgg, (64, 48, 3)),
    "DenseNet": (densenet, (33, 40, 3)),
    "hourglass": (hourglass, (64, 96, 3)),
    "encoder of a line": (encoder, (800, 1)),
    "volume": (volume, (16, 20, 12, 2)),
    "squeeze and excitation": (squeezed, (32, 40, 3)),
}


@pytest.mark.parametrize("name", TWINS)
def test_the_report_of_a_flax_module_is_that_of_its_twin(name: str) -> None:
    recipe, shape = TWINS[name]
    report = atrous.inspect(InFlax(recipe), (1, *shape))
    first = (1, shape[-1], *shape[:-1])
    assert_same_report(report, atrous.inspect(InTorch(recipe, first), first))


def test_a_recurrence_costs_and_sees_what_its_twin_does() -> None:
    shape = (1, 9, 4)
    for cell, kind in ((linen.LSTMCell, torch.nn.LSTM), (linen.OptimizedLSTMCell, torch.nn.LSTM)):
        model = linen.RNN(cell(6))
        report = atrous.inspect(model, shape)
        twin = atrous.inspect(Steps(kind(4, 6, batch_first=True)), shape)
        assert report.macs == twin.macs
        assert report.outputs[0].is_global == twin.outputs[0].is_global
    weights = jax.tree_util.tree_map(
        lambda leaf: jnp.full(leaf.shape, 0.1),
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape)),
    )
    backwards = linen.RNN(cell(6), reverse=True, keep_order=True)
    assert assert_reads(backwards.bind(weights), shape) == 81


def test_steps_that_know_nothing_of_one_another_are_read_at_once() -> None:
    def smoothed(x: Any) -> Any:
        return jax.lax.map(lambda line: line[1:] + line[:-1], x[0])[None]

    assert assert_reads(smoothed, (1, 5, 6, 2))


class Steps(torch.nn.Module):
    """The outputs of a recurrence without its last state."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("rates", r"settings of its layers .*; conv2.conv: dilation \(2, 2\) -> \(1, 1\)"),
        ("tail", "layers, put in, leave no holes: .*conv k3 rate 1, 2 channels"),
    ],
)
def test_what_leaves_no_holes_is_said_of_code_that_is_not_rewritten(method: Any, said: str) -> None:
    def dilated(x: Any) -> Any:
        for name in ("conv1", "conv2"):
            with jax.named_scope(name):
                x = jax.lax.conv_general_dilated(
                    *(x, jnp.ones((3, 3, 2, 2)), (1, 1), [(2, 2)] * 2),
                    rhs_dilation=(2, 2),
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
        return x

    with pytest.raises(UnsupportedError, match=said):
        atrous.degrid(dilated, (1, 17, 17, 2), method=method)
