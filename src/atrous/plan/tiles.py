"""Tiles of a whole image: what each reads, what is kept of it, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, Literal

from atrous.errors import GeometryError
from atrous.network import Network, Tensor
from atrous.network.layout import has_axes
from atrous.network.ops import Resize
from atrous.network.shapes import Shape
from atrous.plan.along import AxisTiles, along, placed
from atrous.plan.hints import for_bioimageio, for_dask, for_monai
from atrous.plan.sweeps import Statistic, gathered_of, sweeps_of, work_of
from atrous.refusal import Refusal
from atrous.shown import ShownWhole

__all__ = ["Kept", "Map", "PlacedResize", "Statistics", "Tile", "TilePlan", "cut_into_tiles"]

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
        return float(prod(axis.share for axis in self.axes)) * self.work - 1

    @property
    def memory_bytes(self) -> int:
        """What tiles need: activations of one, what is read ahead and written behind, statistics.

        While a tile runs its input is held beside the copy that the model works on, the next one
        is read, and the outputs of the one before are written.
        """
        part = prod(axis.size for axis in self.axes) / prod(axis.length for axis in self.axes)
        held = sum(one.nbytes for one in self.gathered) + (_PIECE if self.gathered else 0)
        read = sum(
            prod(shape) * one.itemsize
            for shape, one in zip(self.input_shapes, self.inputs, strict=True)
        )
        written = int(sum(one.nbytes * part for one in self.outputs))
        return self.tile_peak_bytes + held + 2 * read + written

    def tile(self, index: int | tuple[int, ...]) -> Tile:
        """One tile, by its number in row-major order or its place in the grid."""
        places = self._unravelled(index) if isinstance(index, int) else tuple(index)
        if len(places) != len(self.axes) or not all(
            0 <= place < count for place, count in zip(places, self.grid, strict=False)
        ):
            raise GeometryError(f"tile {index} is none of a grid of {self.grid}.")
        cells = {axis.axis: axis.cell(place) for axis, place in zip(self.axes, places, strict=True)}
        read = tuple(
            tuple(
                _slice(cells[axis].read) if axis in cells and n > 1 else slice(0, n)
                for axis, n in zip(one.axes, one.shape, strict=True)
            )
            for one in self.inputs
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
        }


def cut_into_tiles(
    network: Network,
    steps: Mapping[str, int],
    reader: Callable[[tuple[Shape, ...]], Network],
    peak: Callable[[Network], int],
    *,
    statistics: Statistics | None = None,
) -> TilePlan | Refusal:
    """The plan that cuts the image of `network` into tiles of about `steps` along each axis.

    `reader` gives the network at other input shapes, `peak` the bytes that a run of one needs. An
    axis that `steps` leaves out is not cut. A refusal names the layer that does not run by tiles.
    With `statistics`, norms, means and the like over cut axes are gathered, or are a tile's own.
    """
    maps = [_map_of(network.tensor(name)) for name in network.outputs]
    refused = next((one for one in maps if isinstance(one, Refusal)), None)
    if refused is not None:
        return refused
    outputs = tuple(one for one in maps if isinstance(one, Map))
    inputs = [_map_of(tensor) for tensor in network.inputs]
    lengths: dict[str, int] = {}
    for tensor in network.inputs:
        for axis, n in tensor.grid.items():
            if lengths.get(axis, 1) == 1:
                lengths[axis] = n
    for tensor in network.inputs:
        for axis, n in tensor.grid.items():
            if axis in steps and n not in (1, lengths[axis]):
                reason = f"has {n} positions along {axis} where another input has {lengths[axis]}."
                return Refusal("inputs", tensor.name, reason)
    steps = {axis: step for axis, step in steps.items() if step < lengths.get(axis, 0)}
    sweeps = sweeps_of(network, steps.keys())
    if statistics is None:
        made = _axes_in_tiles(network, lengths, outputs, steps, {})
        if isinstance(made, Refusal) and made.layer in sweeps:
            return _with_fix(made)
    else:
        made = _axes_in_tiles(network, lengths, outputs, steps, sweeps)
    cuts = made
    if isinstance(cuts, Refusal):
        return cuts
    # Along an axis that no tile fits, a reduction is local: cut by the others alone.
    steps = {cut.axis: steps[cut.axis] for cut in cuts if cut.count > 1}
    fewer = sweeps_of(network, steps.keys()) if statistics is not None else {}
    if statistics is not None and fewer != sweeps:
        cuts = _axes_in_tiles(network, lengths, outputs, steps, fewer)
        if isinstance(cuts, Refusal):
            return cuts
    sweeps = fewer
    shapes = tuple(_shape_of_tile(one, cuts, lengths) for one in inputs if isinstance(one, Map))
    if len(shapes) < len(network.inputs):
        return Refusal("local", network.inputs[0].name, "its positions lie in no dimension alone.")
    whole = tuple(tensor.shape for tensor in network.inputs)
    tile = network if shapes == whole else reader(shapes)
    resizes: dict[str, None] = {}
    for cut in cuts:
        found = placed(network, tile, cut, sweeps.keys())
        if isinstance(found, Refusal):
            return found
        resizes.update(dict.fromkeys(found))
    for one in outputs:
        beside = zip(one.axes, one.shape, tile.tensor(one.name).shape, strict=True)
        if any(axis is None and size != here for axis, size, here in beside):
            return Refusal(
                "aligned", one.name, "is as large as the image, with no positions of it."
            )
    gathered = gathered_of(network, tile, sweeps) if statistics == "exact" else ()
    if isinstance(gathered, Refusal):
        return gathered
    return TilePlan(
        network.name,
        tuple(one for one in inputs if isinstance(one, Map)),
        outputs,
        tuple(cuts),
        shapes,
        peak(tile),
        peak(network),
        tuple(_placed(network, tile, name, cuts) for name in resizes),
        tuple(sweeps),
        gathered,
        work_of(network, sweeps) if gathered else 1.0,
    )


def _axes_in_tiles(
    network: Network,
    lengths: Mapping[str, int],
    outputs: Sequence[Map],
    steps: Mapping[str, int],
    sweeps: Mapping[str, int],
) -> list[AxisTiles] | Refusal:
    """Each axis in tiles, or whole where `steps` has none; operands of `sweeps` are cut as well."""
    names = [one.name for one in outputs] + [network.node(name).inputs[0] for name in sweeps]
    found: list[AxisTiles] = []
    for axis, length in lengths.items():
        held = {name: network.tensor(name).grid.get(axis, 1) for name in names}
        cut = along(network, axis, held, steps.get(axis, length), sweeps.keys())
        if isinstance(cut, Refusal):
            if axis in steps:
                return cut
            cut = _uncut(axis, length, held)
        found.append(cut)
    return found


def _with_fix(refused: Refusal) -> Refusal:
    reason = f"{refused.reason.rstrip('.')}; or, of a PyTorch module, give statistics='exact', "
    return Refusal(refused.rule, refused.layer, f"{reason}which gathers what it needs in a sweep.")


def _placed(network: Network, tile: Network, name: str, cuts: Sequence[AxisTiles]) -> PlacedResize:
    """A resize at the whole map's places, along every axis that is cut."""
    node = network.node(name)
    op, (before,) = node.op, node.inputs
    assert isinstance(op, Resize)
    by_axis = {cut.axis: cut for cut in cuts if cut.count > 1}
    axes: list[PlacedAxis | None] = []
    for dim in network.tensor(before).layout[-len(op.sizes) :]:
        cut = by_axis.get(str(dim[0].axis)) if dim else None
        if cut is None:
            axes.append(None)
            continue
        outputs, made = (one.grid[cut.axis] for one in (node.output, tile.node(name).output))
        # A map that was pooled into a few positions is whole in every tile, from its first on.
        behind = Fraction(cut.length - cut.size, max(outputs - made, 1))
        axes.append(
            PlacedAxis(
                cut.axis,
                network.tensor(before).grid[cut.axis],
                outputs,
                made,
                cut.strides.get(before, Fraction(cut.length)),
                cut.strides.get(node.output.name, behind),
            )
        )
    # A dimension without positions is spread over what a tile makes.
    other = tile.node(name).op
    assert isinstance(other, Resize)
    sizes = zip(axes, op.sizes, other.sizes, strict=True)
    made_of = tuple(whole if axis is not None else part for axis, whole, part in sizes)
    return PlacedResize(name, node.origin, replace(op, sizes=made_of), tuple(axes))


def _uncut(axis: str, length: int, outputs: Mapping[str, int]) -> AxisTiles:
    strides = {name: Fraction(length, max(n, 1)) for name, n in outputs.items()}
    return AxisTiles(axis, length, 1, length, length, (0, 0), 1, strides, dict(outputs))


def _map_of(tensor: Tensor) -> Map | Refusal:
    """A tensor whose every spatial axis is one dimension of its own."""
    axes: list[str | None] = []
    for dim in tensor.layout:
        if not has_axes(dim):
            axes.append(None)
        elif len(dim) == 1 and tensor.grid[str(dim[0].axis)] == dim[0].size:
            axes.append(dim[0].axis)
        else:
            return Refusal("local", tensor.name, "a dimension of it holds several axes or a part.")
    return Map(tensor.name, tensor.shape, tuple(axes), tensor.itemsize)


def _shape_of_tile(one: Map, cuts: list[AxisTiles], lengths: Mapping[str, int]) -> Shape:
    sizes = {cut.axis: cut.size for cut in cuts}
    return tuple(
        sizes[axis] if axis is not None and n == lengths[axis] else n
        for axis, n in zip(one.axes, one.shape, strict=True)
    )


def _slice(part: range) -> slice:
    return slice(part.start, part.stop)
