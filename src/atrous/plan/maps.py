"""What plans of tiles say of single tensors: maps, resizes at their places, shapes in a tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from atrous.network import Network, Tensor
from atrous.network.layout import has_axes
from atrous.network.ops import Resize
from atrous.network.shapes import Shape
from atrous.plan.along import AxisTiles
from atrous.plan.tiles import Map, PlacedAxis, PlacedResize
from atrous.refusal import Refusal

__all__ = ["map_of", "placed_resize", "shape_of_tile", "uncut"]


def map_of(tensor: Tensor) -> Map | Refusal:
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


def placed_resize(
    network: Network, tile: Network, name: str, cuts: Sequence[AxisTiles]
) -> PlacedResize:
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


def shape_of_tile(one: Map, cuts: Sequence[AxisTiles], lengths: Mapping[str, int]) -> Shape:
    sizes = {cut.axis: cut.size for cut in cuts}
    return tuple(
        sizes[axis] if axis is not None and n == lengths[axis] else n
        for axis, n in zip(one.axes, one.shape, strict=True)
    )


def uncut(axis: str, length: int, outputs: Mapping[str, int]) -> AxisTiles:
    strides = {name: Fraction(length, max(n, 1)) for name, n in outputs.items()}
    return AxisTiles(axis, length, 1, length, length, (0, 0), 1, strides, dict(outputs))
