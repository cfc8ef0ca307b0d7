"""What is searched: the layers that may be taken, and what they must reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import log10, prod
from typing import Literal, get_args

from atrous.errors import ArgumentError
from atrous.shown import Plain, how_many

__all__ = ["LAYERS", "PRICES", "LayerKind", "Price", "Space", "power_of_ten", "stride_orders"]

Price = Literal["macs", "params", "memory", "latency", "state"]
"""What a schedule is to have little of."""

PRICES: tuple[Price, ...] = get_args(Price)

LayerKind = Literal["conv", "separable"]
"""A convolution, or one of each channel by itself with one of kernel 1 behind it."""

LAYERS: tuple[LayerKind, ...] = get_args(LayerKind)

_MOST_FIELD = 1 << 16
_MOST_CELLS = 1 << 26
"""How many numbers the bounds on what is still to come may hold: half a gigabyte of them."""


@dataclass(frozen=True)
class Space(Plain):
    """Every chain of `depth` convolutions of these kernels, rates and strides.

    The field must be `least` to `most` positions of the input, of which more than `enough` is no
    merit. The product of the strides is `output_stride`; each stride above 1 is one of `strides`.
    `widths` holds the channels of every layer, one number for each stage between strides, or one
    for all; the input has `channels_in`. `holes` and `subgrids` say what is allowed, `layer` what a
    layer is made of: its field is the same, not its price.
    """

    least: int
    most: int
    enough: int
    sizes: tuple[int, ...]
    channels_in: int = 3
    widths: tuple[int, ...] = (64,)
    output_stride: int = 1
    strides: tuple[int, ...] = (2,)
    kernels: tuple[int, ...] = (3,)
    rates: tuple[int, ...] = tuple(range(1, 65))
    depth: tuple[int, int] = (1, 12)
    minimise: Price = "macs"
    limits: Mapping[Price, int] = field(default_factory=dict)
    holes: bool = False
    subgrids: bool = False
    layer: LayerKind = "conv"

    def __post_init__(self) -> None:
        low, high = self.depth
        if not 1 <= self.least <= self.most:
            raise ArgumentError(
                f"a field of {self.least} to {self.most} positions is none; give at least 1, and "
                "no upper end below the lower one."
            )
        if self.most > _MOST_FIELD:
            raise ArgumentError(
                f"fields of up to {self.most:,} positions are more than are searched "
                f"({_MOST_FIELD:,}); give receptive_field=(LEAST, MOST) with a smaller end."
            )
        if not 1 <= low <= high:
            raise ArgumentError(
                f"depth is {low} to {high}; give at least 1 layer, and 4, 12 for 4 to 12."
            )
        for name, values in (("kernels", self.kernels), ("rates", self.rates)):
            if not values or min(values) < 1:
                raise ArgumentError(f"{name} are {values}; give whole numbers of at least 1.")
        if min(self.kernels) < 2:
            raise ArgumentError("a kernel of 1 sees what it is put on; give kernels of at least 2.")
        if not stride_orders(self.output_stride, self.strides, high):
            raise ArgumentError(
                f"no {how_many(high, 'layer')} of the strides {_by_commas(self.strides)} make an "
                f"output stride of {self.output_stride}; allow its factors, or deeper networks."
            )
        if len(self.widths) > 1 and not self.by_layer and self.stages is None:
            raise ArgumentError(
                f"channels has {len(self.widths)} numbers; give one for all layers, one for each "
                "stage between strides, or one for each layer of a depth that is fixed."
            )
        if self.cells > _MOST_CELLS:
            raise ArgumentError(
                f"{power_of_ten(self.count)} schedules with fields of up to {self.most:,} are more "
                "than are searched; lower the depth or the field's upper end, or give channels by "
                "stage."
            )

    @property
    def by_layer(self) -> bool:
        """Whether every layer has a width of its own."""
        low, high = self.depth
        return len(self.widths) > 1 and low == high == len(self.widths) and self.stages is None

    @property
    def stages(self) -> int | None:
        """How many stages the widths are for; None where they are for all, or for layers."""
        counts = {
            len(o) + 1 for o in stride_orders(self.output_stride, self.strides, self.depth[1])
        }
        return len(self.widths) if len(self.widths) > 1 and counts == {len(self.widths)} else None

    def width(self, stage: int) -> int:
        """The channels of a stage."""
        return self.widths[min(stage, len(self.widths) - 1)]

    @property
    def cells(self) -> int:
        """What the tables of bounds hold: states times layers times fields."""
        longest = max(map(len, stride_orders(self.output_stride, self.strides, self.depth[1])))
        states = 1 << (self.depth[1] if self.by_layer else longest + 2)
        return states * (self.depth[1] + 1) * self.enough

    @cached_property
    def count(self) -> int:
        """How many schedules there are, whatever they reach.

        >>> Space(1, 9, 9, (64,), kernels=(3, 5), rates=(1, 2, 3), depth=(1, 2)).count
        42
        """
        low, high = self.depth
        each = len(self.kernels) * len(self.rates)
        found = 0
        for order in stride_orders(self.output_stride, self.strides, high):
            for layers in range(max(low, len(order)), high + 1):
                places = prod(range(layers - len(order) + 1, layers + 1)) // max(
                    prod(range(1, len(order) + 1)), 1
                )
                found += places * each**layers
        return found

    def placements(self) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Each order of strides with the places of its layers, for widths by layer."""
        depth = self.depth[1]
        for order in stride_orders(self.output_stride, self.strides, depth):
            for places in combinations(range(depth), len(order)):
                yield order, places


def stride_orders(product: int, strides: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Every row of at most `most` strides above 1 with this product.

    >>> stride_orders(12, (1, 2, 3), 3), stride_orders(8, (2, 4), 2)
    ([(2, 2, 3), (2, 3, 2), (3, 2, 2)], [(2, 4), (4, 2)])
    """
    if product == 1:
        return [()]
    if most == 0:
        return []
    return [
        (stride, *rest)
        for stride in sorted({*strides})
        if stride > 1 and product % stride == 0
        for rest in stride_orders(product // stride, strides, most - 1)
    ]


def power_of_ten(number: int) -> str:
    """A count, or its power of ten, however large.

    >>> power_of_ten(12_345), power_of_ten(64**16), power_of_ten(3**9999)
    ('12,345', '7.9e28', '5.4e4770')
    """
    if number < 10**7:
        return f"{number:,}"
    digits = len(str(number)) if number < 10**4000 else int(log10(number)) + 1
    scaled = number // 10 ** (digits - 3)
    return f"{scaled / 100:.1f}e{digits - 1}"


def _by_commas(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
