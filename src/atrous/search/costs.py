"""What one layer of a chain costs, before there is a network: the numbers that `inspect` gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

from atrous.geometry import Window
from atrous.search.space import LayerKind, Price, Space

__all__ = ["ChainLayer", "Latency", "Pricing", "convolutions_of", "layer_bytes", "recomputed_share"]

_BYTES = 4

Latency = Callable[["ChainLayer"], int]
"""Nanoseconds that a layer takes."""


@dataclass(frozen=True, slots=True)
class ChainLayer:
    """One convolution of a chain, at its step: how many input positions its own are apart."""

    kernel: int
    stride: int
    rate: int
    channels_in: int
    channels: int
    step: int
    first: bool = False
    groups: int = 1

    @property
    def reach(self) -> int:
        """By how many input positions the layer widens the field."""
        return (Window(self.kernel, dilation=self.rate).extent - 1) * self.step


def convolutions_of(layer: ChainLayer, kind: LayerKind) -> tuple[ChainLayer, ...]:
    """The convolutions of which a layer is made, one after the other.

    >>> layer = ChainLayer(3, 2, 1, 16, 32, step=4)
    >>> made = convolutions_of(layer, "separable")
    >>> [(p.kernel, p.stride, p.groups, p.channels, p.step) for p in made]
    [(3, 2, 16, 16, 4), (1, 1, 1, 32, 8)]
    """
    if kind == "conv":
        return (layer,)
    alone = replace(layer, channels=layer.channels_in, groups=layer.channels_in)
    step = layer.step * layer.stride
    return alone, ChainLayer(1, 1, 1, layer.channels_in, layer.channels, step)


@dataclass(frozen=True, slots=True)
class Pricing:
    """The prices of layers on one input."""

    sizes: tuple[int, ...]
    channels_in: int
    latency: Latency | None = None
    kind: LayerKind = "conv"

    @classmethod
    def of(cls, space: Space, latency: Latency | None = None) -> Pricing:
        """That of a space."""
        return cls(space.sizes, space.channels_in, latency, space.layer)

    def price(self, kind: Price, layer: ChainLayer) -> int:
        """What a layer adds; of memory, what is held while it runs, of which the largest counts."""
        each = [self._price(kind, part) for part in convolutions_of(layer, self.kind)]
        return max(each) if kind == "memory" else sum(each)

    def _price(self, kind: Price, layer: ChainLayer) -> int:
        if kind == "macs":
            made = prod(self.map(layer.step * layer.stride))
            return made * self._price("params", layer)
        if kind == "params":
            taps: int = layer.kernel ** len(self.sizes)
            return taps * layer.channels_in * layer.channels // layer.groups
        if kind == "state":
            kept = Window(layer.kernel, dilation=layer.rate).extent - 1
            return kept * layer.channels_in * _BYTES
        if kind == "latency":
            return 0 if self.latency is None else self.latency(layer)
        # The image is held by whoever gave it.
        image = 0 if layer.first else _BYTES * prod(self.sizes) * self.channels_in
        return layer_bytes(self.sizes, layer) + image

    def map(self, step: int) -> list[int]:
        """The sizes of a map whose positions are `step` input positions apart."""
        return [ceil(size / step) for size in self.sizes]


def layer_bytes(sizes: Sequence[int], layer: ChainLayer) -> int:
    """Bytes of a layer's input and output in float32."""
    read, made = (
        prod(ceil(size / step) for size in sizes)
        for step in (layer.step, layer.step * layer.stride)
    )
    return _BYTES * (read * layer.channels_in + made * layer.channels)


def recomputed_share(
    tile: int, field: int, rank: int, stride: int, before: int | None = None
) -> float:
    """Positions that tiles of a size run beside those they keep, as a share of these.

    An output reads `before` positions in front of its own, half of the rest of its field unless
    given, which is exact for odd kernels; halos are whole output strides.

    >>> recomputed_share(64, 31, 2, 8)
    0.890625
    """
    before = (field - 1) // 2 if before is None else before
    behind = max(field - before - stride, 0)
    halo = sum(-(-side // stride) * stride for side in (before, behind))
    return float(((tile + halo) / tile) ** rank - 1)
