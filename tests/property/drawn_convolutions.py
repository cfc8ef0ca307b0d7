"""Convolutions to try laws on: arrays, options, and the layouts that arrays come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from atrous.geometry import Window
from atrous.operators.convolution import Convolution


@dataclass(frozen=True)
class Drawn:
    """A convolution that fits, with the arrays for it, in float64."""

    call: Convolution
    seed: int
    with_bias: bool
    last: bool = field(default=False)

    @property
    def options(self) -> dict[str, Any]:
        """What `conv` and the reference are given beside the arrays."""
        found = {
            "stride": self.call.stride,
            "dilation": self.call.dilation,
            "padding": self.call.padding,
            "groups": self.call.groups,
        }
        return found | (
            {"output_padding": self.call.output_padding} if self.call.transposed else {}
        )

    def arrays(self) -> tuple[Any, Any, Any]:
        """Input, weight and bias (or None); small whole numbers, which every sum keeps exactly."""
        rng = np.random.default_rng(self.seed)
        call = self.call
        split = (call.in_channels // call.groups, call.out_channels // call.groups)
        channels = (
            (call.in_channels, split[1]) if call.transposed else (call.out_channels, split[0])
        )
        x = rng.integers(-4, 5, (call.batch, call.in_channels, *call.sizes)).astype(np.float64)
        weight = rng.integers(-4, 5, (*channels, *call.kernel)).astype(np.float64)
        bias = rng.integers(-4, 5, call.out_channels).astype(np.float64)
        if self.last:
            x = channels_last(x)
        return x, weight, bias if self.with_bias else None


def channels_last(x: Any) -> Any:
    """The same array with the channels of each position side by side."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


@st.composite
def convolutions(
    draw: st.DrawFn,
    transposed: bool = False,
    depthwise: bool | None = None,
    stride: int = 3,
    dilation: int = 4,
    channels: int = 3,
) -> Drawn:
    """Of rank 1 to 3: even kernels, strides that do not divide, different and negative pads."""
    rank = draw(st.integers(1, 3))
    most = (24, 10, 6)[rank - 1]
    groups = draw(st.integers(1, 3))
    inward = draw(st.integers(1, channels))
    if depthwise or (depthwise is None and draw(st.booleans())):
        groups, inward = draw(st.integers(2, 4)), 1
    windows: list[Window] = []
    sizes, more = [], []
    for _ in range(rank):
        size = draw(st.integers(1, most))
        kernel = draw(st.integers(1, 4 if rank < 3 else 3))
        steps = {"stride": draw(st.integers(1, stride)), "dilation": draw(st.integers(1, dilation))}
        lo, hi = draw(st.integers(-2, 6)), draw(st.integers(-2, 6))
        extra = draw(st.integers(0, max(steps.values()) - 1)) if transposed else 0
        window = Window(kernel, **steps, pad_lo=lo, pad_hi=hi)
        if transposed:
            missing = 1 - ((size - 1) * window.stride - lo - hi + window.extent + extra)
            hi -= max(missing, 0)
        else:
            hi += max(window.extent - size - lo - hi, 0)
        windows.append(Window(kernel, **steps, pad_lo=lo, pad_hi=hi))
        sizes.append(size)
        more.append(extra)
    call = Convolution(
        batch=draw(st.integers(1, 2)),
        in_channels=groups * inward,
        out_channels=groups * draw(st.integers(1, 3)),
        sizes=tuple(sizes),
        windows=tuple(windows),
        groups=groups,
        transposed=transposed,
        output_padding=tuple(more) if transposed else (),
    )
    return Drawn(call, draw(st.integers(0, 99)), draw(st.booleans()), draw(st.booleans()))
