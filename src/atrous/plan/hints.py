"""Plans in the terms of other tools, whose tiles then give what the whole image gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from atrous.errors import UnsupportedError
from atrous.plan.along import AxisTiles

__all__ = ["for_bioimageio", "for_dask", "for_monai"]


class Mapped(Protocol):
    """An input or output: its shape, and which axis each dimension is."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def axes(self) -> tuple[str | None, ...]: ...


class Layered(Protocol):
    """What is called by a layer's name."""

    @property
    def layer(self) -> str: ...


class Planned(Protocol):
    """The parts of a plan that hints are made of."""

    @property
    def inputs(self) -> Sequence[Mapped]: ...

    @property
    def outputs(self) -> Sequence[Mapped]: ...

    @property
    def axes(self) -> Sequence[AxisTiles]: ...

    @property
    def resizes(self) -> Sequence[Layered]: ...

    @property
    def statistics(self) -> tuple[str, ...]: ...

    @property
    def origins(self) -> tuple[int, ...]: ...


_EXPONENT = 90
"""Weights go up to 2 to this, all axes together: float32 ends at 2 to the 127."""


def for_monai(plan: Planned) -> dict[str, Any]:
    """Arguments of `monai.inferers.sliding_window_inference` with which its result is exact.

    MONAI lays windows of `roi_size` every `int(roi_size * (1 - overlap))` positions, moves the last
    one back to the image's end, and divides weighted sums by the sums of weights, none of which is
    below a thousandth. So `roi_weight_map` is 1 in halos and huge inside: where windows overlap,
    what is exact outweighs what is not by more than rounding keeps, and where a halo lies at the
    image's end it stands alone. Windows are laid so that this holds for all of them. Give MONAI
    the map as a tensor, and an image in float32 or float64; of three axes halos weigh 1e-9.
    """
    import numpy as np

    _check_local(plan, "MONAI")
    for output in plan.outputs:
        for axis in plan.axes:
            _check_factor(output, axis, "MONAI")
    laid = [_monai_windows(axis) for axis in plan.axes]
    power = _EXPONENT // max(len(laid), 1)
    weights = np.ones((1,) * len(laid), np.float32)
    for index, (axis, (size, step)) in enumerate(zip(plan.axes, laid, strict=True)):
        along = np.ones(size, np.float32)
        inside = range(size) if step is None else _unspoilt(axis, size)
        along[inside.start : inside.stop] = 2.0**power
        weights = weights * along.reshape((-1, *[1] * (len(laid) - index - 1)))
    return {
        "roi_size": tuple(size for size, _ in laid),
        # Half a position more than the step, so that no rounding takes one away.
        "overlap": tuple(0.0 if step is None else 1 - (step + 0.5) / size for size, step in laid),
        "mode": "constant",
        "padding_mode": "constant",
        "roi_weight_map": weights,
    }


def _unspoilt(axis: AxisTiles, size: int) -> range:
    """The positions of a window that hold for outputs which see no end of it."""
    before, behind = axis.halo
    return range(_whole_periods(before, axis.period), (size - behind) // axis.period * axis.period)


def _monai_windows(axis: AxisTiles) -> tuple[int, int | None]:
    """The size and the step of windows; None where one is the whole image.

    Every two neighbours begin at least a halo apart, the last one included: else both would see an
    end where the image has none or one only would, at weights that are alike.
    """
    if axis.count < 2:
        return axis.length, None
    apart = max(_whole_periods(side, axis.period) for side in axis.halo)
    size = axis.size
    while size < axis.length:
        inside = _unspoilt(axis, size)
        step = min(len(inside), axis.length - size)
        while step >= max(apart, axis.period):
            windows = -(-(axis.length - size) // step)
            if axis.length - size - (windows - 1) * step >= apart:
                return size, step
            step -= axis.period
        size += axis.period
    return axis.length, None


def for_dask(plan: Planned) -> dict[str, Any]:
    """Arguments of `dask.array.map_overlap`, and the chunks that the array must have for them.

    `x.rechunk(chunks)`, then `map_overlap(f, x, depth=depth, boundary="none", ...)`. Chunks begin
    at multiples of the plan's origins and are no smaller than what they look at, so that Dask does
    not lay them anew; nothing is put around the image. `depth` also sets how long blocks are: as
    long as the image, up to a multiple of the period, so that windows fall on the same places.
    Where `trim` is True Dask trims outputs itself. Else `outputs` has the `depth` that is to be
    trimmed of each, and its `chunks` then: `overlap.overlap(x, depth, "none")`, `map_blocks`, and
    `overlap.trim_internal(made, outputs[name]["depth"], "none")`, all of `dask.array`.
    """
    _check_local(plan, "Dask")
    if len(plan.inputs) != 1:
        raise UnsupportedError("several inputs: Dask's map_overlap has one depth for each of them.")
    (image,) = plan.inputs
    by_axis = {axis.axis: axis for axis in plan.axes}
    depth: dict[int, tuple[int, int]] = {}
    chunks: list[tuple[int, ...]] = []
    for index, (name, length) in enumerate(zip(image.axes, image.shape, strict=True)):
        cut = by_axis.get(name or "")
        sides = (0, 0) if cut is None else _depth(cut)
        depth[index] = sides
        chunks.append((length,) if cut is None else _chunks(cut, sides))
    outputs = {
        output.name: _dask_output(output, image, by_axis, dict(enumerate(chunks)), depth)
        for output in plan.outputs
    }
    alike = all((output.shape, output.axes) == (image.shape, image.axes) for output in plan.outputs)
    return {
        "chunks": tuple(chunks),
        "depth": depth,
        "boundary": "none",
        "trim": alike,
        "outputs": outputs,
    }


def _depth(cut: AxisTiles) -> tuple[int, int]:
    if cut.count < 2:
        return 0, 0
    before, behind = (_whole_periods(side, cut.period) for side in cut.halo)
    return before, behind + cut.length % cut.period


def _chunks(cut: AxisTiles, depth: tuple[int, int]) -> tuple[int, ...]:
    """Chunks of the tiles' size; the last one has what is left, and no less than any depth."""
    if cut.count < 2:
        return (cut.length,)
    least = max(depth)
    step = max(cut.step, _whole_periods(least, cut.period))
    count = cut.length // step
    left = cut.length - count * step
    if not count:
        return (cut.length,)
    if left and left < least:
        return (*(step,) * (count - 1), step + left)
    return (*(step,) * count, *((left,) if left else ()))


def _dask_output(
    output: Mapped,
    image: Mapped,
    by_axis: Mapping[str, AxisTiles],
    chunks: Mapping[int, tuple[int, ...]],
    depth: Mapping[int, tuple[int, int]],
) -> dict[str, Any]:
    made: dict[int, tuple[int, int]] = {}
    sizes: list[tuple[int, ...]] = []
    for index, (name, length) in enumerate(zip(output.axes, output.shape, strict=True)):
        cut = by_axis.get(name or "")
        if cut is None or cut.count < 2:
            made[index] = (0, 0)
            sizes.append((length,))
            continue
        place = image.axes.index(name)
        stride, (before, behind) = cut.strides[output.name], depth[place]
        # A block that ends `behind` further on makes this many more than its chunk's own.
        more = length - Fraction(cut.length - behind) / stride
        made[index] = (int(before / stride), int(more))
        own = [int(size / stride) for size in chunks[place][:-1]]
        sizes.append((*own, length - sum(own)))
    return {"depth": made, "chunks": tuple(sizes)}


def for_bioimageio(plan: Planned) -> dict[str, Any]:
    """Spatial axes of inputs and outputs as `rdf.yaml` of format 0.5 has them, by tensor.

    Inputs have `size: {min, step}`: any `min + n * step` runs. Outputs refer to the input's axis
    and have the `halo` that is to be cropped from both of their sides, in their own positions; it
    is the larger of the two sides, since the format has one number. What is cropped is exact where
    the tile is cut out of a larger image; at the image's own ends the tools pad it as they see fit,
    which no field of the format says otherwise.
    """
    _check_local(plan, "bioimage.io")
    first = plan.inputs[0]
    sides = {axis.axis: _whole_periods(max(axis.halo), axis.period) for axis in plan.axes}
    for axis in plan.axes:
        if axis.length % axis.period:
            raise UnsupportedError(
                f"the image has {axis.length} positions along {axis.axis}, and tiles of "
                f"bioimage.io lie {axis.period} apart; plan for a multiple of {axis.period}."
            )
    inputs = {
        one.name: [
            {
                "id": _axis_id(axis.axis),
                "type": _axis_kind(axis.axis),
                "size": {"min": 2 * sides[axis.axis] + axis.period, "step": axis.period},
            }
            for axis in plan.axes
            if axis.axis in one.axes
        ]
        for one in plan.inputs
    }
    outputs: dict[str, list[dict[str, Any]]] = {}
    for output in plan.outputs:
        outputs[output.name] = []
        for axis in plan.axes:
            if axis.axis not in output.axes:
                continue
            _check_factor(output, axis, "bioimage.io")
            stride = axis.strides[output.name]
            size = {"tensor_id": first.name, "axis_id": _axis_id(axis.axis), "offset": 0}
            entry: dict[str, Any] = {
                "id": _axis_id(axis.axis),
                "type": _axis_kind(axis.axis),
                "size": size,
            }
            if stride != 1:
                entry["scale"] = float(stride)
            halo = int(sides[axis.axis] / stride)
            outputs[output.name].append({**entry, "halo": halo} if halo else entry)
    return {"inputs": inputs, "outputs": outputs}


def _axis_kind(axis: str) -> str:
    return "time" if axis == "t" else "space"


def _axis_id(axis: str) -> str:
    """The usual names of axes there: z, y, x, and time."""
    return {"d": "z", "h": "y", "w": "x", "t": "time"}.get(axis, axis)


def _check_local(plan: Planned, tool: str) -> None:
    """Raise `UnsupportedError` for a plan that needs more than tiles which look far enough."""
    if plan.resizes:
        raise UnsupportedError(
            f"{plan.resizes[0].layer}: resizes to the size of another map, which a tile of {tool} "
            "does at places of its own; give an image whose sides are multiples of "
            f"{'x'.join(str(n) for n in plan.origins)}, or run atrous.tile."
        )
    if plan.statistics:
        raise UnsupportedError(
            f"{plan.statistics[0]}: mixes all positions, and {tool} gathers no statistics; run "
            "atrous.tile."
        )


def _check_factor(output: Mapped, axis: AxisTiles, tool: str) -> None:
    """Raise `UnsupportedError` where an output has not one position for each stride."""
    if axis.axis not in output.axes:
        return
    length = output.shape[output.axes.index(axis.axis)]
    if length * axis.strides[output.name] != axis.length:
        raise UnsupportedError(
            f"{output.name} has {length} positions for {axis.length} along {axis.axis}, and "
            f"{tool} puts tiles together by one factor; pad inside the model, or run atrous.tile."
        )


def _whole_periods(value: int, step: int) -> int:
    return -(-value // step) * step
