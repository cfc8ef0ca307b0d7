"""Sweeps that gather the statistics of an image, and what tiles by their own statistics miss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import UnsupportedError
from atrous.plan.tiles import Tile, TilePlan
from atrous.progress import step
from atrous.runners.tiled.pipeline import Engine, run_tiles
from atrous.runners.tiled.trials import alike, trials
from atrous.shown import Plain, some

__all__ = ["TileError", "error_of", "gather"]

Read = Callable[[Tile], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class TileError(Plain):
    """What tiles by statistics of their own miss, measured against the exact run on some tiles."""

    largest: float
    """The largest difference at any position of any output."""
    relative: float
    """The same as a share of the largest value of that output on these tiles."""
    tiles: tuple[tuple[int, ...], ...]
    layers: tuple[str, ...]
    """The layers that have statistics of a tile."""

    def __str__(self) -> str:
        places = some([str(one) for one in self.tiles])
        return (
            f"by each tile's own statistics of {some(list(self.layers))} the result differs by up "
            f"to {self.relative:.1%} of its largest value (measured on the tiles {places})"
        )


class Sweep:
    """One sweep over all tiles, as an engine that makes nothing."""

    def __init__(self, engine: Any, sweep: int) -> None:
        self.engine, self.sweep = engine, sweep

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:
        """Adds one tile to the statistics."""
        (tile,) = tiles
        self.engine.gather(inputs, tile, self.sweep)
        return []

    def host(self, made: Any) -> NDArray[Any]:
        """Nothing is made."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """That of the engine."""
        return str(self.engine.fingerprint())


def gather(
    plan: TilePlan, engine: Any, read: Read, wider: tuple[TilePlan, Any] | None = None
) -> None:
    """Gathers all statistics of an image, sweep by sweep; the engine then runs with them.

    With `wider`, the same image in larger tiles, each sweep's first and last are held against it.
    """
    if not hasattr(engine, "gather"):
        raise UnsupportedError(
            f"{plan.network}: statistics are gathered of PyTorch modules, and this model is none; "
            "give the module."
        )
    engine.begin()
    for sweep in range(1, plan.sweeps):
        layers = some([one.layer for one in plan.gathered if one.sweep == sweep])
        step(f"sweep {sweep} of {plan.sweeps}: statistics of {layers}")
        if wider is not None:
            _check(plan, engine, read, wider, sweep)
        run_tiles(Sweep(engine, sweep), plan.tiles(), read, lambda *_: None)


def _check(
    plan: TilePlan, engine: Any, read: Read, wider: tuple[TilePlan, Any], sweep: int
) -> None:
    """Raises `UnsupportedError` where what a sweep gathers depends on the size of a tile."""
    other, runs = wider
    if [(one.layer, one.sweep) for one in other.gathered] != [
        (one.layer, one.sweep) for one in plan.gathered
    ]:
        return
    runs.begin(engine)
    for trial in trials(plan, other, read):
        here = engine.own(trial.given, trial.tile, sweep)
        there = runs.own(trial.beside, trial.larger, sweep)
        for layer, value in here.items():
            # Both tiles lie at one end of the image: what both stand for lies there.
            sizes = [min(pair) for pair in zip(value.shape, there[layer].shape, strict=True)]
            one, two = (
                held[
                    tuple(
                        slice(whole - n, whole) if any(trial.tile.index) else slice(n)
                        for n, whole in zip(sizes, held.shape, strict=True)
                    )
                ]
                for held in (value, there[layer])
            )
            if not alike(engine.host(one), runs.host(two)):
                raise UnsupportedError(
                    f"{plan.network}: what {layer} is given differs for a tile of another size or "
                    "in another place, so it takes a number from the size of its input or from "
                    "positions in it, and no tile can be exact; pass that number as an input."
                )


def error_of(
    plan: TilePlan, engine: Engine, exact: TilePlan, other: Engine, read: Read
) -> TileError:
    """The error of `plan`, by statistics of tiles, on the first, the middle and the last tile."""
    numbers = sorted({0, len(plan) // 2, len(plan) - 1})
    tiles = [plan.tile(number) for number in numbers]
    largest = [0.0] * len(plan.outputs)
    scale = [0.0] * len(plan.outputs)
    for tile, same in zip(tiles, (exact.tile(number) for number in numbers), strict=True):
        made = [engine.host(one) for one in engine.run(read(tile), [tile])]
        right = [other.host(one) for one in other.run(read(same), [same])]
        for index, (cut, held) in enumerate(zip(tile.keep, same.keep, strict=True)):
            a, b = made[index][cut.local], right[index][held.local]
            largest[index] = max(largest[index], float(np.abs(a - b).max(initial=0)))
            scale[index] = max(scale[index], float(np.abs(b).max(initial=0)))
    shares = [
        apart / whole if whole else apart for apart, whole in zip(largest, scale, strict=True)
    ]
    places = tuple(tile.index for tile in tiles)
    return TileError(max(largest), max(shares), places, plan.statistics)
