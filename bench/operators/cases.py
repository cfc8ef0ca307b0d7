"""The layers that are timed: from the networks that use dilation, over the rates they use and more.

A suite of `flat` cases holds everything but the rate, so that its times can be laid side by side;
the other cases are single layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from atrous.geometry import Window, pad

__all__ = ["OPS", "Case", "cases", "quick_cases"]

Op = Literal["forward", "data gradient", "weight gradient"]
Pads = Literal["same", "causal"]
OPS: tuple[Op, ...] = ("forward", "data gradient", "weight gradient")


@dataclass(frozen=True, slots=True)
class Case:
    """One layer at one size, one direction.

    `groups` is 0 for a depthwise layer (one group a channel). `padding` is per axis (lo, hi).
    """

    suite: str
    op: Op
    channels: int
    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int = 1
    dilation: int = 1
    pads: Pads = "same"
    batch: int = 1
    out_channels: int = 0
    groups: int = 0
    activation: str = "none"
    flat: bool = False

    @property
    def depthwise(self) -> bool:
        return self.groups == 0

    @property
    def windows(self) -> tuple[Window, ...]:
        """The layer's window along each axis."""
        found = []
        for k in self.kernel:
            rate = self.dilation if k > 1 else 1
            lo, hi = pad(self.pads, k, dilation=rate)
            if self.stride > 1:
                lo = hi = (Window(k, 1, rate).extent - 1) // 2
            found.append(Window(k, self.stride, rate, lo, hi))
        return tuple(found)

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        return tuple((w.pad_lo, w.pad_hi) for w in self.windows)

    @property
    def rates(self) -> tuple[int, ...]:
        return tuple(w.dilation for w in self.windows)

    @property
    def outputs(self) -> int:
        """The layer's channels out."""
        return self.out_channels or self.channels

    @property
    def output_sizes(self) -> tuple[int, ...]:
        return tuple(w.output_length(n) for w, n in zip(self.windows, self.sizes, strict=True))

    @property
    def group_count(self) -> int:
        return self.groups or self.channels

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.outputs, self.channels // self.group_count, *self.kernel)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, taps in the padding counted: the same in all three directions."""
        positions = self.batch * self.outputs * math.prod(self.output_sizes)
        return positions * math.prod(self.weight_shape[1:])

    @property
    def bytes(self) -> int:
        """What the two maps take, in bytes: one is read and one written, or both are read."""
        there = self.channels * math.prod(self.sizes)
        back = self.outputs * math.prod(self.output_sizes)
        return 4 * self.batch * (there + back)

    @property
    def taps_inside(self) -> float:
        """The share of the taps that fall on the map and not on its padding."""
        share = 1.0
        for w, n, m in zip(self.windows, self.sizes, self.output_sizes, strict=True):
            inside = sum(1 for o in range(m) for p in w.taps(o) if 0 <= p < n)
            share *= inside / (m * w.kernel)
        return share

    @property
    def cliff(self) -> str:
        """Where PyTorch's depthwise kernels hand over to a path that is written for any layer.

        Forward: padding of 7 and up (less where vectors are narrower than AVX-512's). Gradients:
        any dilation. Volumes: any dilation. Empty elsewhere.
        """
        if not self.depthwise or max(self.rates) == 1:
            return ""
        axes = f"{len(self.sizes)}-D"
        if self.op != "forward":
            return f"{axes} {self.op}, dilated"
        if len(self.sizes) == 3:
            return "3-D forward, dilated"
        if len(self.sizes) == 2 and max(max(pads) for pads in self.padding) > 6:
            return "2-D forward, padding above 6"
        return ""

    @property
    def layer(self) -> str:
        """The layer without its direction and rate, as a reader would say it."""
        size, kernel = "x".join(map(str, self.sizes)), "x".join(map(str, self.kernel))
        words = [f"C{self.channels}"]
        if self.outputs != self.channels:
            words[0] += f"-{self.outputs}"
        words += [size, f"K{kernel}"]
        if self.stride > 1:
            words.append(f"stride {self.stride}")
        if self.pads != "same":
            words.append(self.pads)
        if self.batch > 1:
            words.append(f"batch {self.batch}")
        if self.activation != "none":
            words.append(f"+ {self.activation}")
        return " ".join(words)

    @property
    def name(self) -> str:
        """Unique in the list, and what `--only` matches."""
        kind = "depthwise" if self.depthwise else "dense"
        return f"{self.suite}: {kind} {self.layer} rate {self.dilation}, {self.op}"


# Rates of the published networks, powers of two and their neighbours, up to 64.
RATES = (1, 2, 4, 7, 12, 18, 36, 64)
GRADIENT_RATES = (1, 2, 12, 64)

# One layer of each network: channels, map and kernel as they are at output stride 8 or 16 of an
# image of about 512 px; speech at 4000 frames; blocks of volumes as segmentation cuts them.
FLAT = (
    Case("FACTS", "forward", 128, (128, 128), (3, 3)),
    Case("MobileNetV2", "forward", 384, (65, 65), (3, 3)),
    Case("MobileNetV3", "forward", 672, (33, 33), (5, 5)),
    Case("Xception", "forward", 728, (33, 33), (3, 3)),
    Case("ConvNeXt", "forward", 192, (64, 64), (7, 7)),
    Case("large-kernel attention", "forward", 64, (128, 128), (7, 7)),
    Case("EfficientNet", "forward", 240, (64, 64), (5, 5)),
    Case("Conv-TasNet", "forward", 512, (4000,), (3,)),
    Case("Conv-TasNet", "forward", 512, (4000,), (3,), pads="causal"),
    Case("3-D medical", "forward", 32, (16, 48, 48), (3, 3, 3)),
)

# Single depthwise layers: strided, large, small, with an activation.
DEPTHWISE = (
    Case("large-kernel attention", "forward", 64, (128, 128), (5, 5)),
    Case("large-kernel attention", "forward", 64, (128, 128), (7, 7), dilation=3),
    Case("large-kernel attention", "forward", 160, (32, 32), (7, 7), dilation=3),
    Case("large kernels", "forward", 64, (64, 64), (21, 21)),
    Case("large kernels", "forward", 128, (32, 32), (31, 31)),
    Case("large kernels", "forward", 128, (32, 32), (13, 13)),
    Case("large kernels", "forward", 128, (14, 14), (27, 27)),
    Case("MobileNetV2", "forward", 144, (129, 129), (3, 3), stride=2),
    Case("MobileNetV2", "forward", 384, (65, 65), (3, 3), dilation=2, activation="relu6"),
    Case("MobileNetV3", "forward", 240, (65, 65), (3, 3), stride=2, activation="hardswish"),
    Case("MobileNetV3", "forward", 960, (33, 33), (5, 5), dilation=4, activation="hardswish"),
    Case("EfficientNet", "forward", 144, (112, 112), (5, 5), stride=2, activation="silu"),
    Case("Xception", "forward", 256, (129, 129), (3, 3), stride=2),
    Case("small maps", "forward", 960, (7, 7), (3, 3)),
    Case("small maps", "forward", 576, (14, 14), (3, 3), dilation=2),
    Case("small maps", "forward", 672, (14, 14), (5, 5), dilation=2),
    Case("small maps", "forward", 240, (28, 28), (5, 5), dilation=2),
    Case("small maps", "forward", 384, (14, 14), (7, 7)),
    Case("small maps", "forward", 768, (7, 7), (7, 7)),
    Case("batch", "forward", 192, (28, 28), (3, 3), dilation=2, batch=8),
    Case("3-D medical", "forward", 16, (24, 64, 64), (3, 3, 3), dilation=2),
    Case("3-D medical", "forward", 48, (24, 24, 24), (5, 5, 5)),
)

DENSE_RATES = (1, 2, 4, 8, 12)
MOST_MACS = 10e9
ASPP = ((33, (12, 24, 36)), (65, (12, 24, 36)))


def dense() -> Iterator[Case]:
    """Layers that mix channels: the arithmetic is the price, and rates should cost nothing."""
    for rate in DENSE_RATES:
        yield Case("FACTS", "forward", 64, (128, 128), (3, 3), dilation=rate, groups=1)
    for size, rates in ASPP:
        for rate in rates:
            yield Case("ASPP", "forward", 256, (size, size), (3, 3), dilation=rate, groups=1)
    yield Case("ResNet", "forward", 256, (65, 65), (3, 3), dilation=2, groups=1)
    yield Case("ResNet", "forward", 512, (33, 33), (3, 3), dilation=4, groups=1)
    for channels, size in ((256, 128), (512, 56)):
        yield Case(
            "ResNet shortcut",
            "forward",
            channels,
            (size, size),
            (1, 1),
            stride=2,
            out_channels=2 * channels,
            groups=1,
        )
    for rate in (1, 16, 128, 512):
        yield Case(
            "WaveNet",
            "forward",
            64,
            (16000,),
            (2,),
            dilation=rate,
            pads="causal",
            out_channels=128,
            groups=1,
        )


def dense3() -> Iterator[Case]:
    """Dense 3x3 layers where products are the price: widths, maps and rates, and the ASPP heads.

    Layers of more than 10 GMAC are left out. Maps of odd sizes do not divide into tiles.
    """
    for channels in (64, 128, 256, 512):
        for size in (32, 65, 129, 256):
            for rate in (1, 2, 4, 6, 12):
                case = Case(
                    "dense3", "forward", channels, (size, size), (3, 3), dilation=rate, groups=1
                )
                if case.macs <= MOST_MACS:
                    yield case
    for rate in (6, 12, 18):
        yield Case(
            "dense3 ASPP",
            "forward",
            2048,
            (65, 65),
            (3, 3),
            dilation=rate,
            out_channels=256,
            groups=1,
        )


def parts() -> Iterator[Case]:
    """Dense layers that minimal filtering runs in parts: larger kernels, and strides."""
    for channels, length, taps, rate in ((256, 512, 7, 1), (128, 4096, 7, 3), (128, 4096, 11, 5)):
        yield Case("parts", "forward", channels, (length,), (taps,), dilation=rate, groups=1)
    for channels, size, taps, stride in ((64, 64, 7, 1), (64, 128, 3, 2), (256, 64, 3, 2)):
        sizes, kernel = (size, size), (taps, taps)
        yield Case("parts", "forward", channels, sizes, kernel, stride=stride, groups=1)


def products() -> Iterator[Case]:
    """Layers of one tap: products of 192 to 16,641 rows (positions) by 64 to 3,072 weights each."""
    for size, channels, filters in (
        ((8, 24), 1024, 256),
        ((8, 24), 512, 2048),
        ((24, 32), 256, 256),
        ((32, 32), 768, 3072),
        ((32, 32), 3072, 768),
        ((33, 33), 960, 160),
        ((64, 64), 384, 1536),
        ((65, 65), 512, 512),
        ((65, 65), 256, 1024),
        ((65, 65), 2048, 512),
        ((50, 80), 512, 128),
        ((129, 129), 64, 256),
        ((129, 129), 256, 128),
    ):
        yield Case("products", "forward", channels, size, (1, 1), out_channels=filters, groups=1)


def at_rates(case: Case) -> Iterator[Case]:
    """The case over all rates, in all three directions."""
    top = 128 if len(case.sizes) == 1 else 64
    for op in OPS:
        rates = RATES if op == "forward" else GRADIENT_RATES
        for rate in rates if top == 64 else (*rates, top):
            yield replace(case, op=op, dilation=rate, flat=True)


def cases() -> list[Case]:
    """Every case, in the order in which the tables show them."""
    found = [case for layer in FLAT for case in at_rates(layer)]
    found += [*DEPTHWISE, *dense(), *dense3(), *parts(), *products()]
    assert len({case.name for case in found}) == len(found), "two cases have one name"
    return found


def quick_cases() -> list[Case]:
    """About one case of each kind, at the ends of the rates."""
    kept = {"FACTS": (1, 12), "large-kernel attention": (1, 12), "3-D medical": (1, 12)}
    chosen = []
    for case in cases():
        flat = case.flat and case.dilation in kept.get(case.suite, ())
        ends = case.suite == "Conv-TasNet" and case.op == "forward" and case.dilation in (1, 128)
        single = not case.flat and case.suite in ("small maps", "ResNet shortcut")
        if flat or single or (ends and case.pads == "causal"):
            chosen.append(case)
    return chosen
