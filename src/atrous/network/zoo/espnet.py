"""ESPNet: every convolution a pyramid of rates 1 to 16, whose sums hide the holes of each."""

from __future__ import annotations

from itertools import pairwise

from atrous.network.builder import Builder
from atrous.network.ops import Elementwise
from atrous.network.records import Param, Tensor
from atrous.network.zoo.registry import known

_CLASSES = 20
_RATES = (1, 2, 4, 8, 16)


@known(
    "espnet",
    "ESPNet: 2 and 8 pyramids of rates 1 to 16, and a light decoder",
    shape=(1, 3, 512, 1024),
    source="Mehta et al. 2018",
)
def _espnet(b: Builder, x: Tensor) -> Tensor:
    with b.scope("encoder"):
        half = b.pool(x, 3, stride=2, padding=1, average=True, name="sample1")
        quarter = b.pool(x, 3, stride=2, padding=1, average=True, name="sample2.0")
        quarter = b.pool(quarter, 3, stride=2, padding=1, average=True, name="sample2.1")
        y = _bn_act(b, b.conv(x, 16, 3, stride=2, padding=1, name="level1.conv"), "level1")
        first = _bn_act(b, b.concat(y, half), "b1")
        entered = y = _pyramid(b, first, 64, "level2_0", stride=2)
        for index in range(2):
            y = _pyramid(b, y, 64, f"level2.{index}", residual=True)
        second = _bn_act(b, b.concat(y, entered, quarter), "b2")
        entered = y = _pyramid(b, second, 128, "level3_0", stride=2)
        for index in range(8):
            y = _pyramid(b, y, 128, f"level3.{index}", residual=True)
        third = _bn_act(b, b.concat(entered, y), "b3")
        third = b.conv(third, _CLASSES, 1, name="classifier")
    y = b.conv_transpose(_bn_act(b, third, "br"), _CLASSES, 2, stride=2, name="up_l3")
    y = b.concat(b.conv(second, _CLASSES, 1, name="level3_C"), y)
    with b.scope("combine_l2_l3"):
        y = _pyramid(b, _bn_act(b, y, "0"), _CLASSES, "1")
    y = b.conv_transpose(y, _CLASSES, 2, stride=2, name="up_l2.0")
    y = b.concat(_bn_act(b, y, "up_l2"), first)
    y = _bn_act(b, b.conv(y, _CLASSES, 3, padding=1, name="conv.conv"), "conv")
    return b.conv_transpose(y, _CLASSES, 2, stride=2, name="classifier")


def _pyramid(
    b: Builder, x: Tensor, channels: int, name: str, *, stride: int = 1, residual: bool = False
) -> Tensor:
    """Reduce, convolve at every rate, add each rate's result to the next wider one, join."""
    narrow = channels // 5
    with b.scope(name):
        kernel = 3 if stride > 1 else 1
        y = b.conv(x, narrow, kernel, stride=stride, padding=kernel // 2, name="c1")
        wide = channels - 4 * narrow
        spread = [
            b.conv(
                y,
                wide if rate == 1 else narrow,
                3,
                dilation=rate,
                padding=rate,
                name=f"d{rate}",
            )
            for rate in _RATES
        ]
        # The first is not summed: it may have more channels than the others.
        sums = [spread[1]]
        for (_, rate), branch in zip(pairwise(_RATES[1:]), spread[2:], strict=True):
            sums.append(b.join(sums[-1], branch, name=f"add{rate}"))
        y = b.concat(spread[0], *sums)
        if residual:
            y = b.join(x, y)
        return _bn_act(b, y)


def _bn_act(b: Builder, x: Tensor, name: str = "") -> Tensor:
    """Batch norm and a rectifier with one learnt slope a channel."""
    prefix = f"{name}." if name else ""
    x = b.batch_norm(x, f"{prefix}bn")
    name = b.qualified(f"{prefix}act")
    return b.add(Elementwise("prelu"), x, name=name, params=(Param(f"{name}.weight", x.shape[1]),))
