"""What one position of a tensor reads of every tensor before it: reads composed up the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from atrous.analysis.field import Field, field_of
from atrous.errors import GeometryError, UnsupportedError, unknown
from atrous.geometry import AxisMap, Local, Reads, Taps
from atrous.network import Network
from atrous.shown import Plain, Shown, Tabular

if TYPE_CHECKING:
    from atrous.analysis.layer import Layer

__all__ = ["Seen", "Trace", "TracedLayer", "trace_of", "traced"]

Seen = Mapping[str, Taps]
"""The positions read along each axis, ignoring where the tensor ends."""


def traced(network: Network, tensor: str, at: Mapping[str, int], source: str) -> Mapping[str, Seen]:
    """What position `at` of `tensor` reads of each tensor between it and the input `source`.

    The other direction of `flows`, for one position: sets along each axis of the input, united
    over all consumers. Like there, reads are local: what a global op reads counts as the position
    in front of it, and only where no local operand stands beside it. Nothing is followed through
    an opaque op.

    >>> from atrous.network.stack import stack_network
    >>> net = stack_network("k3 k3d2 k3d2", (1, 1, 64))
    >>> list(traced(net, "conv3", {"t": 9}, net.inputs[0].name)["conv1"]["t"])
    [5, 7, 9, 11, 13]
    """
    axes = tuple(network.tensor(source).grid)
    reaching = network.reached(source)
    done: dict[tuple[int, Taps], tuple[AxisMap, Taps]] = {}
    seen: dict[str, dict[str, Taps]] = {
        tensor: {axis: Taps.interval(at.get(axis, 0), 1) for axis in axes}
    }
    for node in reversed(network.nodes):
        views = seen.get(node.output.name)
        if views is None or node.opaque:
            continue
        operands = [(i, name) for i, name in enumerate(node.inputs) if name in reaching]
        for axis, taps in views.items():
            here: list[tuple[str, Taps]] = []
            passed: list[tuple[str, Taps]] = []
            for index, name in operands:
                step = node.moves[index].get(axis)
                if axis not in network.tensor(name).grid:
                    passed.append((name, taps))
                elif step is None:
                    here.append((name, taps))
                elif isinstance(step, Local):
                    known = done.get((id(step), taps))
                    if known is None:
                        # The step is kept so that its id stays its own.
                        known = done[id(step), taps] = (step, step.reads.image(taps))
                    (here if axis in node.output.grid else passed).append((name, known[1]))
                else:
                    passed.append((name, taps))
            for name, found in here or passed:
                into = seen.setdefault(name, {})
                before = into.get(axis)
                into[axis] = found if before is None or before is found else before.united(found)
    return seen


@dataclass(frozen=True, slots=True)
class TracedLayer(Plain, Shown):
    """What the traced position reads of a layer's output: one field for each axis of the input.

    Sizes, gaps and places are in positions of that layer; `stride` is how many of them lie between
    neighbouring positions of the traced output.
    """

    name: str
    field: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Trace(Plain, Shown, Tabular):
    """What position `at` of `output` reads of each layer before it, from the output backwards."""

    output: str
    at: tuple[int, ...]
    layers: tuple[TracedLayer, ...]

    def __iter__(self) -> Iterator[TracedLayer]:
        return iter(self.layers)

    def __getitem__(self, name: str) -> TracedLayer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise unknown("traced layer", name, {layer.name for layer in self.layers})

    def __str__(self) -> str:
        rows = [f"{self.output} at {self.at} reads"]
        rows += [f"  {layer.name}: {'; '.join(map(str, layer.field))}" for layer in self.layers]
        return "\n".join(rows)


def trace_of(
    network: Network, source: str, layers: Sequence[Layer], output: Layer, at: Sequence[int] | None
) -> Trace:
    """The trace of one position of a layer, as records. `at` is 0 along every axis unless given."""
    if output.parts:
        raise UnsupportedError(
            f"it is made of parts that read differently; trace one of {output.part_sources}."
        )
    if output.opaque:
        raise UnsupportedError(f"what is read through {', '.join(output.opaque)} is not known.")
    axes = tuple(network.tensor(source).grid)
    place = (0,) * len(axes) if at is None else tuple(at)
    if len(place) != len(axes):
        raise GeometryError(f"position {place} needs one index for each of {len(axes)} axes.")
    seen = traced(network, output.tensor, dict(zip(axes, place, strict=True)), source)
    strides = {axis.axis: axis.stride for axis in output.field}
    known: dict[tuple[str, Taps, Fraction], Field] = {}

    def fields(tensor: str, before: Mapping[str, Fraction]) -> tuple[Field, ...]:
        out = []
        for axis in axes:
            taps = seen[tensor].get(axis)
            if taps is None or axis not in before or axis not in strides:
                continue
            stride = strides[axis] / before[axis]
            key = (axis, taps, stride)
            if key not in known:
                known[key] = _field(axis, taps, stride)
            out.append(known[key])
        return tuple(out)

    found = [
        TracedLayer(layer.name, fields(layer.tensor, {f.axis: f.stride for f in layer.field}))
        for layer in reversed(layers)
        if layer.tensor in seen and layer.tensor != output.tensor
    ]
    if source in seen:
        found.append(TracedLayer(source, fields(source, dict.fromkeys(axes, Fraction(1)))))
    return Trace(output.name, place, tuple(found))


def _field(axis: str, taps: Taps, stride: Fraction) -> Field:
    one = field_of(axis, (Reads(1, 1, (taps,)),), 1)
    assert one is not None
    return replace(one, stride=stride)
