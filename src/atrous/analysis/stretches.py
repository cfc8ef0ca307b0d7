"""Where each output looks: the stretch of the input along one axis, the box along all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from atrous.analysis.ends import Reach, reach
from atrous.analysis.field import Field
from atrous.analysis.layer import Layer
from atrous.analysis.scale import Scale
from atrous.errors import GeometryError, UnsupportedError
from atrous.network import Network
from atrous.shown import ShownWhole, Tabular

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Boxes", "Stretches", "boxes_of", "stretches_of"]


_NONE: Mapping[str, Scale] = {}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Stretches(ShownWhole, Tabular):
    """For each output position along one axis: the stretch of the input that it reads.

    Output `o` reads within `start[o] <= position < stop[o]`, a slice in Python's sense whose last
    position is `stop[o] - 1`, centred at `center[o]`; `hop` is how far one output lies from the
    next on average, in input positions whatever the scale. `start`, `stop` and `center` are arrays
    with one number for each output, in input positions, or in `unit` where there is a scale: then
    position `p` begins at `p` times the size of a position. They ignore where the input ends;
    `inside` says what is left of each stretch there, and what a border reflects or wraps to.

    >>> import atrous
    >>> times = atrous.inspect("stack:k400s320valid", (1, 1, 31440)).times(rate=16000)
    >>> len(times), times.unit, times.start[:3].tolist(), times.stop[:3].tolist()
    (98, 'ms', [0.0, 20.0, 40.0], [25.0, 45.0, 65.0])
    """

    layer: str
    axis: str
    length: int
    """Of the input, in positions."""
    start: NDArray[Any]
    stop: NDArray[Any]
    center: NDArray[Any]
    hop: Fraction
    field: Field
    scale: Scale | None = None
    reach: Reach | None = None
    """The first and last position that each output reads inside the input, where that is known."""

    def __len__(self) -> int:
        return len(self.start)

    @property
    def unit(self) -> str:
        """Of `start`, `stop` and `center`: `positions`, or what the scale says."""
        return "positions" if self.scale is None else self.scale.unit

    def inside(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """`start` and `stop` clipped to the input; of a reflected or wrapped one, around all."""
        import numpy as np

        step = 1 if self.scale is None else float(self.scale.step)
        start, stop = (np.clip(ends, 0, self.length * step) for ends in (self.start, self.stop))
        if self.reach is None:
            return start, stop
        read = self.reach.first <= self.reach.last
        # Of what reads nothing, an empty stretch.
        return (
            np.where(read, self.reach.first * step, start),
            np.where(read, (self.reach.last + 1) * step, start),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data: one entry for each output, `range` saying that `stop` is not read itself."""
        return {
            "schema": "atrous.stretches/1",
            "layer": self.layer,
            "axis": self.axis,
            "length": self.length,
            "unit": self.unit,
            "range": "start <= position < stop",
            "hop": float(self.hop if self.scale is None else self.scale.of(self.hop)),
            "back": self.field.back,
            "ahead": self.field.ahead,
            "start": self.start.tolist(),
            "stop": self.stop.tolist(),
            "center": self.center.tolist(),
        }

    __repr__ = ShownWhole.__str__


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Boxes(ShownWhole, Tabular):
    """For each output position: the box of the input that it reads, and its centre.

    `axes` holds the stretches along each spatial axis of the output; a box is one of each.

    >>> import atrous
    >>> boxes = atrous.inspect("zoo:resnet50").boxes("layer4")
    >>> boxes.shape, boxes.at((3, 3)), boxes.center((3, 3))
    ((7, 7), ((-117, 310), (-117, 310)), (96.0, 96.0))
    """

    axes: tuple[Stretches, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many outputs there are along each axis."""
        return tuple(map(len, self.axes))

    def at(self, position: Sequence[int]) -> tuple[tuple[float, float], ...]:
        """`(start, stop)` along each axis of what the output at `position` reads, as of a slice."""
        return tuple(
            (s.start[i].item(), s.stop[i].item())
            for s, i in zip(self.axes, self._checked(position), strict=True)
        )

    def center(self, position: Sequence[int]) -> tuple[float, ...]:
        """The centre of the box of the output at `position`."""
        places = self._checked(position)
        return tuple(s.center[i].item() for s, i in zip(self.axes, places, strict=True))

    def array(self) -> NDArray[Any]:
        """All boxes as one array: the shape of the output, then axis, then start and stop.

        As in a slice, `stop` is one behind the last position read.

        >>> import atrous
        >>> atrous.inspect("zoo:resnet50").boxes("layer4").array().shape
        (7, 7, 2, 2)
        """
        import numpy as np

        rank = len(self.axes)
        out = np.empty((*self.shape, rank, 2), dtype=np.result_type(*(s.start for s in self.axes)))
        for axis, stretch in enumerate(self.axes):
            along = [1] * rank
            along[axis] = -1
            out[..., axis, 0] = stretch.start.reshape(along)
            out[..., axis, 1] = stretch.stop.reshape(along)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the stretches along each axis."""
        return {"schema": "atrous.boxes/1", "axes": [stretch.to_dict() for stretch in self.axes]}

    def _checked(self, position: Sequence[int]) -> tuple[int, ...]:
        places = tuple(position)
        if len(places) != len(self.axes) or not all(
            0 <= i < n for i, n in zip(places, self.shape, strict=False)
        ):
            shape = "x".join(map(str, self.shape))
            raise GeometryError(
                f"position {places} is none of a map of {shape}; give one index for each axis."
            )
        return places

    __repr__ = ShownWhole.__str__


def stretches_of(
    network: Network,
    layer: Layer,
    source: str,
    scales: Mapping[str, Scale] = _NONE,
    axis: str | None = None,
) -> Stretches:
    """The stretches of one layer along its only axis, or the one given.

    Raises `UnsupportedError` where the layer has no positions along it, or reads all of them.
    """
    _check_whole(layer)
    lengths = network.tensor(source).grid
    counts = network.tensor(layer.tensor).grid
    held = [one for one in layer.field if one.axis in counts]
    if axis is None and len(held) > 1:
        names = ", ".join(one.axis for one in held)
        raise UnsupportedError(f"it has positions along {names}: ask for boxes().")
    found = next((one for one in held if axis is None or one.axis == axis), None)
    if found is None:
        raise UnsupportedError(
            f"it has no positions{f' along {axis}' if axis else ''}, so no stretch for each."
        )
    mixed = layer.global_axes.get(found.axis, ())
    if mixed:
        raise UnsupportedError(
            f"each of its positions reads all of the input along {found.axis}, by {mixed[0]}."
        )
    scale = scales.get(found.axis)
    laid = _laid_out(layer.name, found, counts[found.axis], lengths[found.axis], scale)
    return replace(laid, reach=reach(network, source, layer.tensor, found.axis))


def boxes_of(
    network: Network, layer: Layer, source: str, scales: Mapping[str, Scale] = _NONE
) -> Boxes:
    """The boxes of one layer, in the order of the input's axes; see `stretches_of`."""
    _check_whole(layer)
    counts = network.tensor(layer.tensor).grid
    held = [one.axis for one in layer.field if one.axis in counts]
    if not held:
        raise UnsupportedError("it has no positions, so no box for each.")
    return Boxes(tuple(stretches_of(network, layer, source, scales, axis) for axis in held))


def _check_whole(layer: Layer) -> None:
    """Raises for a layer of parts laid end to end, whose positions are no map."""
    if layer.parts:
        raise UnsupportedError(
            f"it is made of parts that read differently; ask for one of {layer.part_sources}."
        )


def _laid_out(name: str, seen: Field, outputs: int, length: int, scale: Scale | None) -> Stretches:
    import numpy as np

    period = len(seen.phases)
    turns, phases = np.divmod(np.arange(outputs, dtype=np.int64), period)
    moved = turns * int(seen.stride * period)
    first = np.array([p.start for p in seen.phases], dtype=np.int64)[phases] + moved
    stop = first + np.array([p.size for p in seen.phases], dtype=np.int64)[phases]
    middle = (first + stop - 1) / 2
    start: NDArray[Any] = first
    if scale is not None:
        step = float(scale.step)
        start, stop, middle = first * step, stop * step, middle * step
    return Stretches(name, seen.axis, length, start, stop, middle, seen.stride, seen, scale)
