"""Networks that are cut: a front by tiles, and what follows it, run once when all are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.plan.cut import CutPlan
from atrous.plan.tiles import Map, Tile, TilePlan
from atrous.runners.tiled.parts import made_of, output_names
from atrous.runners.tiled.pipeline import run_tiles
from atrous.runners.tiled.planning import Halves
from atrous.runners.tiled.reductions import parts_of
from atrous.runners.tiled.scratch import Scratch
from atrous.runners.tiled.sweeps import Last, gather
from atrous.runners.tiled.targets import Made, Target

__all__ = ["InMemory", "WhatFollows", "by_halves", "front_ready"]

Read = Callable[[Tile], Sequence[Any]]


def front_ready(front: TilePlan, halves: Halves, read: Read, scratch: Scratch) -> Last:
    """What is left to be run of a front: all of it, with its statistics gathered."""
    if front.gathered:
        return gather(front, halves.tiles, read, None, scratch)
    return Last(front, halves.tiles, read)


def by_halves(plan: CutPlan, halves: Halves, image: Any, scratch: Scratch) -> list[NDArray[Any]]:
    """The outputs for an image in memory."""
    kept = InMemory()

    def write(tile: Tile, made: Sequence[NDArray[Any]]) -> None:
        parts = parts_of(tile, made, None)
        if kept.array is None:
            kept.create(made_of(plan.front, (), parts))
        kept.write(0, tile.keep[0].target, parts[0])

    last = front_ready(plan.front, halves, lambda tile: [image[tile.read[0]]], scratch)
    run_tiles(last.engine, last.plan.tiles(), last.read, write)
    return halves.behind(kept.taken())


@dataclass(frozen=True)
class WhatFollows:
    """The back: its outputs, and the function of the whole map at the cut that makes them."""

    outputs: tuple[Map, ...]
    run: Callable[[NDArray[Any]], list[NDArray[Any]]]

    def into(self, target: Target, cut: NDArray[Any]) -> tuple[Made, ...]:
        """Runs the back and writes what it makes; on the disk when this returns."""
        arrays = [np.asarray(one, order="C") for one in self.run(cut)]
        names = output_names(self.outputs)
        made = tuple(
            Made(name, one.shape, str(one.dtype), output.axes, one.shape)
            for name, one, output in zip(names, arrays, self.outputs, strict=True)
        )
        target.create(made)
        for index, one in enumerate(arrays):
            target.write(index, tuple(slice(0, n) for n in one.shape), one)
        return made


class InMemory:
    """An array that tiles are written into, made when it is known of what kind it is."""

    def __init__(self) -> None:
        self.array: NDArray[Any] | None = None

    def create(self, made: Sequence[Made]) -> None:
        """Room for it."""
        (one,) = made
        self.array = np.empty(one.shape, one.dtype)

    attach = create

    def write(self, _index: int, place: tuple[slice, ...], part: NDArray[Any]) -> None:
        """One part."""
        assert self.array is not None
        self.array[place] = part

    def has(self, _index: int, _place: tuple[slice, ...]) -> bool:
        """Nothing is known of an earlier run."""
        return False

    def taken(self) -> NDArray[Any]:
        """The array, which is let go of here."""
        found, self.array = self.array, None
        assert found is not None
        return found
