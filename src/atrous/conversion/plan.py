"""What a conversion is made of: changes to ops, or a refusal that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from atrous.geometry import Dense
from atrous.network import Network
from atrous.network.ops import Conv, Op, Pool
from atrous.shown import Plain

__all__ = ["Direction", "Factors", "Heads", "OpChange", "Plan", "Resampled"]

Heads = Literal["scale", "keep"]
"""Whether the rates of a head behind a changed map follow it (`scale`) or stay (`keep`)."""

Direction = Literal["dilate", "stride", "degrid", "none"]
"""Which way a plan goes: strides to dilation, dilation to strides, to other rates, or nowhere."""

Factors = Mapping[str, int]
"""Axis -> candidate positions for each position of the reference."""


@dataclass(frozen=True, slots=True)
class OpChange:
    """One op that becomes another.

    `dense` has, for a window op whose stride went or whose rate grew, one entry for each window:
    how the window follows from the original one at any size. `axes` names the axis of each window.
    """

    node: str
    module: str
    before: Op
    after: Op
    axes: tuple[str | None, ...] = ()
    dense: tuple[Dense, ...] = ()

    @property
    def at_any_size(self) -> tuple[Dense, ...]:
        """`dense`, and where that is empty the windows as they stay."""
        if self.dense or not isinstance(self.after, Conv | Pool):
            return self.dense
        return tuple(Dense(window, 1, window.stride) for window in self.after.windows)


@dataclass(frozen=True, slots=True)
class Resampled:
    """An input of a join that is resampled, linearly, to the size of another one.

    `join` names the node, `source` the tensor that has more positions than `other`, which sets the
    size; `node` is the `Resize` between `source` and the join.
    """

    join: str
    source: str
    other: str
    sizes: tuple[int, ...]
    node: str

    def __str__(self) -> str:
        how = ("linear", "bilinear", "trilinear")[len(self.sizes) - 1]
        return f"{how} to the size of {self.other}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A network and what it becomes.

    `reference` is what the source computes as far as the wanted outputs need it, `candidate` the
    same with every change made. `factors` says, for each tensor by name, how many positions of the
    denser map there are for each one of the other. `heads` lists the layers of heads whose rates
    `heads="keep"` left alone or `"scale"` multiplied: layer, rates before and after, and stride
    before and after. `resampled` lists the inputs of joins that lost their fit.
    """

    reference: Network
    candidate: Network
    changes: tuple[OpChange, ...]
    factors: Mapping[str, Factors] = field(hash=False)
    direction: Direction
    target: tuple[int, ...]
    heads: tuple[Head, ...] = ()
    notes: tuple[str, ...] = ()
    resampled: tuple[Resampled, ...] = ()


@dataclass(frozen=True, slots=True)
class Head(Plain):
    """A dilated layer of a head behind a changed map, and its reach in positions of the input.

    Reach is the distance between neighbouring taps along `axes`: the rate times the stride of the
    map.
    """

    layer: str
    rate_before: int
    rate_after: int
    reach_before: int
    reach_after: int
    axes: tuple[str, ...] = ()
