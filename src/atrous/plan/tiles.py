"""Tiles of a whole image: what each reads, what is kept of it, what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, Literal

from atrous.errors import GeometryError
from atrous.network.ops import Resize
from atrous.network.shapes import Shape
from atrous.plan.along import AxisTiles
from atrous.plan.hints import for_bioimageio, for_dask, for_monai
from atrous.plan.sweeps import Statistic
from atrous.shown import ShownWhole

__all__ = ["Kept", "Map", "PlacedResize", "Stage", "Statistics", "Tile", "TilePlan"]

Slices = tuple[slice, ...]

Statistics = Literal["exact", "tile"]
"""Of layers that mix all positions: the whole image's, gathered first, or each tile's own."""

_PIECE = 1 << 21
"""Bytes in which statistics are added up: a piece of a map at a time, in double precision."""


@dataclass(frozen=True, slots=True)
class Map:
    """An input or output of the whole run: its shape, and which axis each dimension is, if any."""

    name: str
    shape: Shape
    axes: tuple[str | None, ...]
    itemsize: int = 4

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return prod(self.shape) * self.itemsize


@dataclass(frozen=True, slots=True)
class PlacedAxis:
    """A resize of `inputs` to `outputs` positions of the whole map, of which a tile has a part.

    A tile at input position `p` of the image begins at `p / before` of what is resized, and at
    `p / behind` of what it makes.
    """

    axis: str
    inputs: int
    outputs: int
    made: int
    """How many of the outputs a tile makes."""
    before: Fraction
    behind: Fraction


@dataclass(frozen=True, slots=True)
class PlacedResize:
    """A resize whose factor depends on the size: in a tile it looks where it looks in the image.

    `origin` is what the source calls the operation, `op` is that of the whole image. `axes` has one
    entry for each dimension that is resized, None for one that tiles do not cut.
    """

    layer: str
    origin: str
    op: Resize
    axes: tuple[PlacedAxis | None, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a tile's output `name`: `whole[target] = made[local]`."""

    name: str
    target: Slices
    local: Slices


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: where it lies, what it reads of each input, what is kept of each output."""

    index: tuple[int, ...]
    read: tuple[Slices, ...]
    keep: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One sweep that goes on where others ended: `tiles` reads maps that these kept.

    What `tiles` keeps is kept for later sweeps; of the last one it is the outputs. `shapes` are
    those of the network's inputs for a tile of that size: halos are those of this sweep alone.
    `origins` says what the source calls what makes each map; the network's own inputs have none.
    """

    sweep: int
    shapes: tuple[Shape, ...]
    tiles: TilePlan
    origins: Mapping[str, str]

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "sweep": self.sweep,
            "shapes": [list(shape) for shape in self.shapes],
            "given": [one.name for one in self.tiles.inputs],
            "kept": [one.name for one in self.tiles.outputs],
            "halo": [list(axis.halo) for axis in self.tiles.axes],
        }


@dataclass(frozen=True, eq=False, repr=False)
class TilePlan(ShownWhole):
    """An image cut into tiles that give what the whole image gives, at every position.

    The model runs on `input_shapes`, the same for all tiles. Origins are multiples of the total
    stride, `axes[...].halo` covers all that is read on each side, and where the image ends a tile
    ends too, so that the model's own padding is the whole image's. `resizes` names layers that a
    tile does at the places of the whole map. `memory_bytes` is what one tile needs while it runs,
    and the arrays that it is read from and written to.
    """

    network: str
    inputs: tuple[Map, ...]
    outputs: tuple[Map, ...]
    axes: tuple[AxisTiles, ...]
    input_shapes: tuple[Shape, ...]
    """Of one tile, halo included."""
    tile_peak_bytes: int
    """Activations of one tile at their peak, by what the model's own run holds."""
    whole_peak_bytes: int
    """The same for the whole image at once."""
    resizes: tuple[PlacedResize, ...] = ()
    statistics: tuple[str, ...] = ()
    """Layers that mix all positions, in the order of the sweeps that gather what they need."""
    gathered: tuple[Statistic, ...] = ()
    """What is gathered for them; empty where each tile has its own statistics."""
    work: float = 1.0
    """What all sweeps compute of a tile, as a multiple of one run of the model."""
    stages: tuple[Stage, ...] = ()
    """One for each sweep, where it goes on with maps that were kept; else each begins anew."""
    in_memory: bool = True
    """Whether these maps are kept in memory, and not on a disk."""

    def __len__(self) -> int:
        return prod(axis.count for axis in self.axes)

    @property
    def sweeps(self) -> int:
        """How often all tiles are run: the last time to the end, before it to what is gathered."""
        return 1 + max((one.sweep for one in self.gathered), default=0)

    @property
    def exact(self) -> bool:
        """Whether tiles give what the whole image gives, and not by statistics of their own."""
        return len(self.gathered) == len(self.statistics)

    @property
    def grid(self) -> tuple[int, ...]:
        """How many tiles there are along each axis."""
        return tuple(axis.count for axis in self.axes)

    @property
    def tile_shape(self) -> Shape:
        """How many input positions a tile stands for along each axis, halo left out."""
        return tuple(axis.step for axis in self.axes)

    @property
    def halo(self) -> tuple[tuple[int, int], ...]:
        """Input positions read before and behind a tile along each axis."""
        return tuple(axis.halo for axis in self.axes)

    @property
    def origins(self) -> Shape:
        """Along each axis, what origins of tiles are multiples of."""
        return tuple(axis.period for axis in self.axes)

    @cached_property
    def recomputed(self) -> float:
        """Positions that are run beyond the image's own, as a share: 0.21 is 21% more."""
        if self.stages:
            return sum(1 + stage.tiles.recomputed for stage in self.stages) - 1
        return float(prod(axis.share for axis in self.axes)) * self.work - 1

    @cached_property
    def scratch_bytes(self) -> int:
        """What is kept between sweeps at most: maps of the whole image."""
        last = {one.name: stage.sweep for stage in self.stages for one in stage.tiles.inputs}
        held, most = dict[str, int](), 0
        for stage in self.stages[:-1]:
            held.update((one.name, one.nbytes) for one in stage.tiles.outputs)
            most = max(most, sum(held.values()))
            held = {name: size for name, size in held.items() if last[name] > stage.sweep}
        return most

    @property
    def memory_bytes(self) -> int:
        """What tiles need: activations of one, what is read ahead and written behind, statistics.

        While a tile runs its input is held beside the copy that the model works on, the next one
        is read, and the outputs of the one before are written. Maps that are kept between sweeps
        count where they are kept in memory.
        """
        held = sum(one.nbytes for one in self.gathered) + (_PIECE if self.gathered else 0)
        if self.stages:
            held += self.scratch_bytes if self.in_memory else 0
            return held + max(stage.tiles._running_bytes for stage in self.stages)
        return held + self._running_bytes

    @property
    def _running_bytes(self) -> int:
        part = prod(axis.size for axis in self.axes) / prod(axis.length for axis in self.axes)
        read = sum(
            prod(shape) * one.itemsize
            for shape, one in zip(self.input_shapes, self.inputs, strict=True)
        )
        written = int(sum(one.nbytes * part for one in self.outputs))
        return self.tile_peak_bytes + 2 * read + written

    def tile(self, index: int | tuple[int, ...]) -> Tile:
        """One tile, by its number in row-major order or its place in the grid."""
        places = self._unravelled(index) if isinstance(index, int) else tuple(index)
        if len(places) != len(self.axes) or not all(
            0 <= place < count for place, count in zip(places, self.grid, strict=False)
        ):
            raise GeometryError(f"tile {index} is none of a grid of {self.grid}.")
        cells = {axis.axis: axis.cell(place) for axis, place in zip(self.axes, places, strict=True)}
        by_axis = {axis.axis: axis for axis in self.axes}
        read = tuple(
            tuple(
                _slice(by_axis[axis].reads(one.name, cells[axis].read.start, made))
                if axis in cells and n > 1
                else slice(0, n)
                for axis, n, made in zip(one.axes, one.shape, shape, strict=True)
            )
            for one, shape in zip(self.inputs, self.input_shapes, strict=True)
        )
        keep = tuple(
            Kept(
                one.name,
                *(
                    tuple(
                        _slice(getattr(cells[axis], side)[one.name])
                        if axis in cells
                        else slice(0, n)
                        for axis, n in zip(one.axes, one.shape, strict=True)
                    )
                    for side in ("keep", "local")
                ),
            )
            for one in self.outputs
        )
        return Tile(places, read, keep)

    def tiles(self) -> Iterator[Tile]:
        """All tiles, row by row."""
        for places in product(*map(range, self.grid)):
            yield self.tile(places)

    def to_monai(self) -> dict[str, Any]:
        """Arguments for MONAI's sliding window, with which its result is that of the whole image.

        `sliding_window_inference(image, sw_batch_size=4, predictor=model, **arguments)`, with the
        `roi_weight_map` as a tensor. Raises `UnsupportedError` where no windows can be exact.

        >>> import atrous
        >>> plan = atrous.plan_tiles("stack:k3s2x8 ups2 k5x2", (1, 3, 512, 512), tile=128)
        >>> found = plan.to_monai()
        >>> found["roi_size"], [round(overlap, 3) for overlap in found["overlap"]]
        ((134, 134), [0.041, 0.041])
        """
        return for_monai(self)

    def to_dask(self) -> dict[str, Any]:
        """Chunks, depth and boundary for `dask.array.map_overlap`, and what of outputs to trim.

        `map_overlap(f, x.rechunk(chunks), depth=depth, boundary="none", trim=trim)` then gives
        what the whole image gives. Raises `UnsupportedError` where no overlap can.

        >>> import atrous
        >>> plan = atrous.plan_tiles("stack:k3x8 k3d4x3", (1, 3, 500, 300), tile=128)
        >>> found = plan.to_dask()
        >>> found["chunks"], found["boundary"], found["trim"]
        (((1,), (3,), (128, 128, 128, 116), (128, 128, 44)), 'none', True)
        >>> found["depth"]
        {0: (0, 0), 1: (0, 0), 2: (5, 5), 3: (5, 5)}
        """
        return for_dask(self)

    def to_bioimageio(self) -> dict[str, Any]:
        """The spatial axes of `rdf.yaml` 0.5: sizes that inputs may have, halos of outputs.

        Raises `UnsupportedError` where tiles of that format cannot be exact.

        >>> import atrous
        >>> plan = atrous.plan_tiles("stack:k3s2x8 ups2 k5x2", (1, 3, 512, 512), tile=128)
        >>> plan.to_bioimageio()["inputs"]["x"][0]
        {'id': 'y', 'type': 'space', 'size': {'min': 10, 'step': 2}}
        """
        return for_bioimageio(self)

    def _unravelled(self, index: int) -> tuple[int, ...]:
        if not 0 <= index < len(self):
            raise GeometryError(f"tile {index} is none of {len(self)}.")
        places: list[int] = []
        for count in reversed(self.grid):
            index, place = divmod(index, count)
            places.append(place)
        return tuple(reversed(places))

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "schema": "atrous.tiles/1",
            "network": self.network,
            "inputs": [{"name": one.name, "shape": list(one.shape)} for one in self.inputs],
            "outputs": [{"name": one.name, "shape": list(one.shape)} for one in self.outputs],
            "axes": [axis.to_dict() for axis in self.axes],
            "input_shapes": [list(shape) for shape in self.input_shapes],
            "tiles": len(self),
            "recomputed": self.recomputed,
            "tile_peak_bytes": self.tile_peak_bytes,
            "whole_peak_bytes": self.whole_peak_bytes,
            "memory_bytes": self.memory_bytes,
            "resizes": [one.layer for one in self.resizes],
            "statistics": list(self.statistics),
            "sweeps": self.sweeps,
            "exact": self.exact,
            "stages": [stage.to_dict() for stage in self.stages],
            "scratch_bytes": self.scratch_bytes,
            "in_memory": self.in_memory,
        }


def _slice(part: range) -> slice:
    return slice(part.start, part.stop)
