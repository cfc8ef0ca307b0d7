"""`tile`: a model on images of any size, tile by tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atrous.analysis.memory import memory_of
from atrous.errors import ArgumentError
from atrous.network import Network
from atrous.network.shapes import Shape
from atrous.plan.tiles import TilePlan, plan_tiles
from atrous.readers import read
from atrous.refusal import Refusal
from atrous.runners.tiled.pipeline import Engine
from atrous.runners.tiled.tiled import Tiled

__all__ = ["plan_of", "tile"]


def tile(
    model: Any,
    input: Any = None,
    *,
    tile: int | Sequence[int] | None = None,
    memory: int | str | None = None,
    batch: int = 1,
) -> Tiled:
    """The model by tiles that give what the whole image gives."""

    def planner(shapes: tuple[Shape, ...]) -> TilePlan:
        return plan_of(model, shapes, tile=tile, memory=memory)

    def engines(plan: TilePlan) -> Engine:
        from atrous.runners.tiled.torch import TorchTiles

        return TorchTiles(model, plan)

    return Tiled(planner, engines, batch)


def plan_of(
    model: Any, shapes: tuple[Shape, ...], *, tile: int | Sequence[int] | None, memory: int | str | None
) -> TilePlan:
    """The plan for an image of these shapes."""

    def reader(asked: tuple[Shape, ...]) -> Network:
        return read(model, asked[0] if len(asked) == 1 else asked)

    network = reader(shapes)
    steps = _steps(network, tile)
    found = plan_tiles(network, steps, reader, _peak)
    if isinstance(found, Refusal):
        raise found.error()
    return found


def _steps(network: Network, tile: int | Sequence[int] | None) -> Mapping[str, int]:
    axes = network.axes
    if tile is None:
        return dict.fromkeys(axes, 512)
    sizes = (tile,) * len(axes) if isinstance(tile, int) else tuple(tile)
    if len(sizes) != len(axes) or any(type(n) is not int or n < 1 for n in sizes):
        raise ArgumentError(f"tile is {tile!r}; give one size of at least 1, or one for each axis.")
    return dict(zip(axes, sizes, strict=True))


def _peak(network: Network) -> int:
    """Bytes that a run of the network holds at most: the model's own, or those of the graph."""
    eager = network.eager
    if eager is not None and eager.peak_bytes is not None:
        return eager.peak_bytes
    return memory_of(network).peak_bytes
