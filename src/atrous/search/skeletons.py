"""Which layers stand at which step of the input: a chain without its rates and kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from atrous.search.costs import ChainLayer
from atrous.search.space import Space, stride_orders

__all__ = ["Group", "Skeleton", "skeletons"]


@dataclass(frozen=True, slots=True)
class Group:
    """Layers in a row that are alike but for kernel and rate: `count` of them, or any number.

    `ends` says that one of them of rate 1 can be the last layer, so that no sub-grids are left.
    """

    layer: ChainLayer
    rates: tuple[int, ...]
    count: int | None
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Groups in the order of their layers; with `needs_end` one of rate 1 must be there to end."""

    groups: tuple[Group, ...]
    needs_end: bool


def skeletons(space: Space) -> Iterator[Skeleton]:
    """Every skeleton of a space: each of its chains belongs to exactly one."""
    if space.by_layer:
        yield from _skeletons_by_layer(space)
        return
    if space.output_stride == 1 and not space.subgrids:
        # The one layer of a chain is its first and its last.
        alone = ChainLayer(1, 1, 1, space.channels_in, space.width(0), 1, first=True)
        if 1 in space.rates:
            yield Skeleton((Group(alone, (1,), 1),), needs_end=False)
    for order in stride_orders(space.output_stride, space.strides, space.depth[1]):
        for first_strides in (False, True):
            for last_strides in (False, True):
                found = _skeleton_by_stage(space, order, first_strides, last_strides)
                if found is not None:
                    yield found


def _skeleton_by_stage(
    space: Space, order: tuple[int, ...], first_strides: bool, last_strides: bool
) -> Skeleton | None:
    """The chains whose first layer strides or not, and whose last one does or not."""
    if (first_strides or last_strides) and not order:
        return None
    plain = ChainLayer(1, 1, 1, space.channels_in, space.width(0), 1, first=True)
    groups: list[Group] = []
    step, width = 1, space.channels_in
    if not first_strides:
        groups.append(Group(plain, space.rates, 1))
        width = space.width(0)
        body = replace(plain, channels_in=width, first=False)
        groups.append(Group(body, space.rates, None, ends=not order))
    for stage, stride in enumerate(order):
        last = stage == len(order) - 1
        made = space.width(stage + 1)
        rates = space.rates
        if last and last_strides and not space.subgrids:
            rates = tuple(rate for rate in rates if stride % rate == 0)
        strided = ChainLayer(1, stride, 1, width, made, step, first=first_strides and not stage)
        groups.append(Group(strided, rates, 1))
        step, width = step * stride, made
        if last and last_strides:
            break
        body = ChainLayer(1, 1, 1, width, width, step)
        if last:
            # One is there in any case: chains without are those whose last layer strides.
            groups.append(Group(body, space.rates, None, ends=True))
        else:
            groups.append(Group(body, space.rates, None))
    if any(not group.rates for group in groups):
        return None
    return Skeleton(tuple(groups), needs_end=not last_strides and not space.subgrids)


def _skeletons_by_layer(space: Space) -> Iterator[Skeleton]:
    for order, places in space.placements():
        strides = dict(zip(places, order, strict=True))
        layers: list[ChainLayer] = []
        step, width = 1, space.channels_in
        for place, made in enumerate(space.widths):
            stride = strides.get(place, 1)
            layers.append(ChainLayer(1, stride, 1, width, made, step, first=not place))
            step, width = step * stride, made
        groups: list[Group] = []
        for layer, alike in groupby(layers):
            groups.append(Group(layer, space.rates, sum(1 for _ in alike)))
        last = groups[-1]
        strided = last.layer.stride > 1
        if strided and not space.subgrids:
            rates = tuple(rate for rate in space.rates if last.layer.stride % rate == 0)
            last = replace(last, rates=rates)
        groups[-1] = replace(last, ends=not strided)
        if last.rates:
            yield Skeleton(tuple(groups), needs_end=not strided and not space.subgrids)
