"""One call of a layer with everything that decides how it may run: shapes, dtype, layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from atrous.geometry import Window, Windowed
from atrous.operators.convolution import Convolution
from atrous.operators.kernels.torch_layouts import in_channels_last, in_planes
from atrous.optimization.layer.activations import NONE, Activation
from atrous.optimization.records import Layout

__all__ = ["LayerCall", "Pooling", "Resizing", "laid_out"]

_MAPS = (3, 4, 5)


@dataclass(frozen=True, slots=True)
class Pooling:
    """What a pool has beside its windows: its outputs along each axis, and how averages count."""

    outputs: tuple[int, ...]
    ceil: bool = False
    counts_padding: bool = True
    divisor: int = 0


@dataclass(frozen=True, slots=True)
class Resizing:
    """What a bilinear resize makes of a map: its sizes, and which positions lie on one another.

    With `corners` those of the first and last rows and columns; else `scales` says how many inputs
    an output is, where that is not the ratio of the sizes.
    """

    outputs: tuple[int, int]
    corners: bool = False
    scales: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class LayerCall(Windowed):
    """A convolution, a linear map, a pool or a resize of fixed shapes, with sum and activation.

    The result is `activation(op(x) + other)`, where `other`, of the result's shape, is there if
    `adds`, and may be overwritten if `overwrites`. A linear map has no windows, and its `input` may
    have any rank.

    >>> LayerCall("conv", (1, 8, 9, 9), (16, 8, 3, 3), True, (Window(3, 1, 2, 2, 2),) * 2).signature
    'conv 1x8x9x9 16x8x3x3 bias s1,1 d2,2 p2:2,2:2 g1 none float32 contiguous'
    """

    op: Literal["conv", "transposed", "linear", "max pool", "average pool", "bilinear"]
    input: tuple[int, ...]
    weight: tuple[int, ...]
    bias: bool
    windows: tuple[Window, ...] = ()
    groups: int = 1
    activation: Activation = NONE
    adds: bool = False
    overwrites: bool = False
    dtype: str = "float32"
    layout: Layout = "contiguous"
    output_padding: tuple[int, ...] = ()
    pooling: Pooling | None = None
    resizing: Resizing | None = None

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.windows)

    @property
    def convolution(self) -> Convolution:
        """The convolution, of a call that is one."""
        batch, channels, *sizes = self.input
        transposed = self.op == "transposed"
        return Convolution(
            batch,
            channels,
            self.weight[1] * self.groups if transposed else self.weight[0],
            tuple(sizes),
            self.windows,
            self.groups,
            transposed,
            self.output_padding,
        )

    @property
    def is_depthwise(self) -> bool:
        """Whether every group has one input channel."""
        return self.op == "conv" and self.groups > 1 and self.weight[1] == 1

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a convolution of kernel 1, not grouped and not padded."""
        no_padding = all(pads == (0, 0) for pads in self.padding)
        is_one = all(size == 1 for size in self.kernel)
        return self.op == "conv" and self.groups == 1 and is_one and no_padding

    @property
    def signature(self) -> str:
        """Everything that decides how fast it runs, in one line."""

        def joined(values: tuple[int, ...]) -> str:
            return ",".join(map(str, values))

        parts = [
            self.op,
            "x".join(map(str, self.input)),
            *(["x".join(map(str, self.weight))] if self.weight else []),
            *(["bias"] if self.bias else []),
        ]
        if self.windows:
            pads = ",".join(f"{lo}:{hi}" for lo, hi in self.padding)
            window = [f"s{joined(self.stride)}", f"d{joined(self.dilation)}", f"p{pads}"]
            more = [f"o{joined(self.output_padding)}"] if any(self.output_padding) else []
            parts += [*window, *more, *([f"g{self.groups}"] if self.pooling is None else [])]
        if (pool := self.pooling) is not None:
            counts = f"c{int(pool.counts_padding)} /{pool.divisor}"
            parts += [f"to{joined(pool.outputs)}", *([counts] if self.op != "max pool" else [])]
        if (resize := self.resizing) is not None:
            scales = "" if resize.scales is None else " x" + ",".join(map(str, resize.scales))
            parts += [f"to{joined(resize.outputs)}{' corners' * resize.corners}{scales}"]
        parts += [*(["add"] if self.adds else []), *(["over"] if self.overwrites else [])]
        parts += [self.activation.name, self.dtype, self.layout]
        return " ".join(parts)

    @property
    def title(self) -> str:
        """The op as a table shows it.

        >>> LayerCall("conv", (1, 8, 9), (8, 1, 3), True, (Window(3, 1, 4, 4, 4),), 8).title
        'depthwise k3 d4'
        """
        if self.op == "linear":
            text = "linear"
        elif self.resizing is not None:
            text = "bilinear to " + "x".join(map(str, self.resizing.outputs))
        else:
            kind = self.op if self.op != "conv" else self._kind
            text = f"{kind} k{_axes(self.kernel)}"
            text += f" s{_axes(self.stride)}" if set(self.stride) != {1} else ""
            text += f" d{_axes(self.dilation)}" if set(self.dilation) != {1} else ""
        text += " + add" if self.adds else ""
        return f"{text} + {self.activation.name}" if self.activation else text

    @property
    def _kind(self) -> str:
        return "depthwise" if self.is_depthwise else "grouped" if self.groups > 1 else "conv"


def _axes(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


def laid_out(x: torch.Tensor, layout: Layout) -> torch.Tensor:
    """`x` in that layout, copied only where it is in another; ranks without channels stay.

    Channels-last of one spatial axis is that of two whose first has one position.
    """
    if x.is_quantized:
        return x.contiguous()
    if layout == "channels_last" and x.dim() in _MAPS:
        return in_channels_last(x)
    return in_planes(x)
