"""What is kept of a tile, where it goes, and what the whole is made as."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.plan.tiles import Map, Tile, TilePlan
from atrous.runners.tiled.reductions import (
    Reduce,
    check_part,
    parts_of,
    reduced_shape,
    reduced_target,
)
from atrous.runners.tiled.sources import Opened, georeference
from atrous.runners.tiled.targets import Made, Target, kept_of

__all__ = ["Writer", "made_of", "number_of", "output_names"]


@dataclass(frozen=True)
class Writer:
    """Writes what is kept of tiles to a target."""

    plan: TilePlan
    made: Sequence[Made]
    target: Target
    reducer: Reduce | None

    def write(self, tile: Tile, outputs: Sequence[NDArray[Any]]) -> None:
        """What is kept of a tile's outputs; on the disk when this returns."""
        for index, part in enumerate(parts_of(tile, outputs, self.reducer)):
            one = self.made[index]
            place = check_part(one.name, part, self._place_of(tile, index), one.shape)
            self.target.write(index, place, part)

    def has(self, number: int) -> bool:
        """Whether all that a tile keeps is there."""
        if not 0 <= number < len(self.plan):
            return False
        tile = self.plan.tile(number)
        return all(self.target.has(i, self._place_of(tile, i)) for i in range(len(self.made)))

    def _place_of(self, tile: Tile, index: int) -> tuple[slice, ...]:
        shape, axes = self.made[index].shape, self.plan.outputs[index].axes
        target = reduced_target(tile.keep[index].target, axes, len(shape))
        return tuple(slice(*one.indices(n)[:2]) for one, n in zip(target, shape, strict=True))


def number_of(plan: TilePlan, tile: Tile) -> int:
    """The place of a tile among all."""
    return int(np.ravel_multi_index(tile.index, plan.grid)) if plan.grid else 0


def made_of(
    plan: TilePlan, opened: Sequence[Opened], parts: Sequence[NDArray[Any]]
) -> tuple[Made, ...]:
    """The whole outputs, by what the first tile keeps of each."""
    return tuple(
        _made(plan, opened, index, part, name)
        for (index, part), name in zip(enumerate(parts), output_names(plan.outputs), strict=True)
    )


def _made(
    plan: TilePlan, opened: Sequence[Opened], index: int, part: NDArray[Any], name: str
) -> Made:
    output = plan.outputs[index]
    shape, axes = reduced_shape(output, part.shape)
    kept = kept_of(output.name, shape, axes, plan.axes)
    attributes = _attributes_of(plan, opened, output)
    return Made(name, shape, str(part.dtype), axes, kept, attributes)


def output_names(outputs: Sequence[Map]) -> list[str]:
    """Outputs by names that folders may have, no two alike."""
    found: list[str] = []
    for index, one in enumerate(outputs):
        name = re.sub(r"[^A-Za-z0-9_-]", "_", one.name).strip("_") or f"output{index}"
        found.append(f"{name}_{index}" if name in found else name)
    return found


def _attributes_of(plan: TilePlan, opened: Sequence[Opened], output: Map) -> dict[str, Any]:
    """The georeference of an output whose first pixel begins where the image's does."""
    tags = next((one.tags["geotiff"] for one in opened if "geotiff" in one.tags), None)
    cuts = plan.axes
    if tags is None or len(cuts) != 2:
        return {}
    factors = [float(cut.strides.get(output.name, 0)) for cut in cuts]
    sizes = [n for n, axis in zip(output.shape, output.axes, strict=True) if axis is not None]
    covered = [ceil(cut.length / f) if f else 0 for cut, f in zip(cuts, factors, strict=True)]
    if covered != sizes:
        return {}
    return {"geotiff": georeference(tags, (factors[0], factors[1]))}
