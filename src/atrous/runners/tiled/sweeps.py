"""Sweeps that gather the statistics of an image, and what tiles by their own statistics miss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import UnsupportedError
from atrous.plan.tiles import Stage, Tile, TilePlan
from atrous.progress import step
from atrous.runners.tiled.heap import give_back
from atrous.runners.tiled.pipeline import Engine, run_tiles
from atrous.runners.tiled.scratch import Scratch
from atrous.runners.tiled.trials import alike, check_outputs, trials
from atrous.shown import Plain, some

__all__ = ["Last", "TileError", "error_of", "gather"]

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
    """One sweep over all tiles, as an engine that makes what is kept for later ones."""

    def __init__(self, engine: Any, sweep: int) -> None:
        self.engine, self.sweep = engine, sweep

    def run(self, inputs: Sequence[Any], tiles: Sequence[Tile]) -> list[Any]:
        """Adds one tile to the statistics."""
        (tile,) = tiles
        made: list[Any] = self.engine.gather(inputs, tile, self.sweep)
        return made

    def host(self, made: Any) -> NDArray[Any]:
        """A map as it is kept."""
        kept: NDArray[Any] = self.engine.host(made)
        return kept

    def fingerprint(self) -> str:
        """That of the engine."""
        return str(self.engine.fingerprint())


@dataclass(frozen=True, slots=True)
class Last:
    """What is left when all is gathered: the tiles of the last run, what runs and reads them."""

    plan: TilePlan
    engine: Any
    read: Read
    beside: tuple[TilePlan, Any] | None = None
    """The same image in tiles of another size, and what runs them, to be held beside it."""


def gather(
    plan: TilePlan,
    engine: Any,
    read: Read,
    beside: tuple[TilePlan, Any] | None = None,
    scratch: Scratch | None = None,
    count: Callable[[int], None] | None = None,
) -> Last:
    """Gathers all statistics of an image, sweep by sweep; what it gives then runs with them.

    `beside` is the same image in tiles of another size, against which each sweep's first and last
    are held.
    In `scratch` is kept what sweeps leave for later ones, where the plan has stages; without it the
    last run begins with the image.
    `count` gathers a sweep elsewhere, of a plan without stages.
    """
    if not hasattr(engine, "gather"):
        raise UnsupportedError(
            f"{plan.network}: statistics are gathered of PyTorch modules and .onnx files, and this "
            "model is none; give one of them."
        )
    engine.begin()
    if plan.stages:
        kept = Scratch(None) if scratch is None else scratch
        last = _by_stages(plan, engine, read, beside, kept)
        return Last(plan, engine, read, beside) if scratch is None else last
    for sweep in range(1, plan.sweeps):
        _say(plan, sweep)
        if beside is not None:
            _check(Last(plan, engine, read, beside), sweep, engine)
        if count is not None:
            count(sweep)
            continue
        run_tiles(Sweep(engine, sweep), plan.tiles(), read, lambda *_: None)
    return Last(plan, engine, read, beside)


def _say(plan: TilePlan, sweep: int) -> None:
    layers = some([one.layer for one in plan.gathered if one.sweep == sweep])
    step(f"sweep {sweep} of {plan.sweeps}: statistics of {layers}")


def _by_stages(
    plan: TilePlan,
    engine: Any,
    read: Read,
    beside: tuple[TilePlan, Any] | None,
    scratch: Scratch,
) -> Last:
    """The same, each sweep from what others kept; the last one is left to be run."""
    scratch.check(plan.scratch_bytes)
    images = {one.name: index for index, one in enumerate(plan.inputs)}
    engine.see(read(plan.tile(0)))
    others: list[Stage | None] = [None] * len(plan.stages)
    if beside is not None and _parts_of(beside[0]) == _parts_of(plan):
        beside[1].begin(engine)
        beside[1].see(read(plan.tile(0)))
        others = list(beside[0].stages)
    for stage, held in zip(plan.stages, others, strict=True):
        scratch.keep(
            {one.name for later in plan.stages[stage.sweep - 1 :] for one in later.tiles.inputs}
        )
        other = None if beside is None or held is None else (held.tiles, beside[1].stage(held))
        last = Last(
            stage.tiles,
            engine.stage(stage),
            partial(_read_kept, stage.tiles, images, plan, read, scratch),
            other,
        )
        # Tiles of this sweep have other sizes than those of the one before.
        give_back()
        if stage.sweep == plan.sweeps:
            return last
        _say(plan, stage.sweep)
        if other is not None:
            _check(last, stage.sweep, engine)
        write = partial(_keep, stage.tiles, scratch)
        run_tiles(Sweep(last.engine, stage.sweep), stage.tiles.tiles(), last.read, write)
    raise AssertionError("a plan's last stage makes the outputs.")


def _parts_of(plan: TilePlan) -> list[tuple[list[str], list[str]]]:
    return [
        ([one.name for one in stage.tiles.inputs], [one.name for one in stage.tiles.outputs])
        for stage in plan.stages
    ]


def _read_kept(
    tiles: TilePlan,
    images: Mapping[str, int],
    plan: TilePlan,
    read: Read,
    scratch: Scratch,
    tile: Tile,
) -> list[Any]:
    """What a stage is given of a tile: parts of the images, and of what is kept."""
    given = dict(zip((one.name for one in tiles.inputs), tile.read, strict=True))
    found: dict[str, Any] = {}
    if any(name in images for name in given):
        first = plan.tile(0).read
        parts = tuple(given.get(one.name, first[i]) for i, one in enumerate(plan.inputs))
        pieces = read(replace(tile, read=parts))
        found = {name: pieces[index] for name, index in images.items()}
    return [found[name] if name in images else scratch.read(name, at) for name, at in given.items()]


def _keep(tiles: TilePlan, scratch: Scratch, tile: Tile, made: Sequence[NDArray[Any]]) -> None:
    """Puts what a stage keeps of a tile where later ones find it."""
    for one, cut, value in zip(tiles.outputs, tile.keep, made, strict=True):
        if one.name not in scratch:
            scratch.make(one.name, one.shape, value.dtype)
        scratch.write(one.name, cut.target, value[cut.local])


def _check(last: Last, sweep: int, whole: Any) -> None:
    """Raises `UnsupportedError` where what a sweep gathers depends on the size of a tile."""
    assert last.beside is not None
    plan, engine = last.plan, last.engine
    other, runs = last.beside
    if [(one.layer, one.sweep) for one in other.gathered] != [
        (one.layer, one.sweep) for one in plan.gathered
    ]:
        return
    if engine is whole:
        runs.begin(engine)
    for trial in trials(plan, other, last.read):
        give_back()
        here, made = engine.own(trial.given, trial.tile, sweep)
        give_back()
        there, beside = runs.own(trial.beside, trial.other, sweep)
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
        if made:
            made, beside = [engine.host(one) for one in made], [runs.host(one) for one in beside]
            check_outputs(plan, trial, made, beside)
        del here, there, made, beside, trial
    give_back()


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
