"""`plan_stream`: how a network runs live, sample by sample; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import lcm
from typing import Any

from atrous.certification.resized import resized
from atrous.errors import ArgumentError, AtrousError, UnsupportedError
from atrous.network import Network
from atrous.network.shapes import Shapes
from atrous.plan.lengths import at_lengths
from atrous.plan.regions import length_along
from atrous.plan.stream import StreamPlan
from atrous.plan.strides import period, strides
from atrous.plan.waits import plan_of
from atrous.progress import step
from atrous.readers.given import shapes_of
from atrous.readers.kind import kind_of, source_name
from atrous.readers.named import make, parse
from atrous.readers.source import read_unrun
from atrous.refusal import Refusal
from atrous.verbs.tile import Planner

__all__ = ["plan_stream", "time_axis"]


def plan_stream(source: Any, input: Any = None, *, axis: str | int | None = None) -> StreamPlan:
    """How a network runs live along time: latency, hop, what it keeps, what each length yields.

    `source` is that of `inspect`, `input` the shape of a clip; `axis` says which of its axes is
    time, by name or by dimension, where it has several. Nothing is run: the network is read at
    that length and at a few more, which show where ends depend on the length.

    Raises `UnsupportedError` naming the layer that cannot run before the clip ends, such as a norm
    over time, and `ArgumentError` where the input has no such axis.

    >>> import atrous
    >>> plan = atrous.plan_stream("stack:k7x8 tconvk4s2p(1,1) k3d2", (1, 1, 200))
    >>> plan.causal, plan.looks_ahead, plan.hop, str(plan.latency), str(plan.outputs[0].stride)
    (False, 'conv1', 1, '9/2', '1/2')
    >>> plan.after(10), plan.flushed(10), [(one.layer, one.positions) for one in plan.kept]
    ((11,), (20,), [('conv1', 6), ('tconv2', 1), ('conv3', 4)])
    """
    if kind_of(source) == "library":
        source = make(parse(source)).model
    reader = Planner(source, reader=read_unrun)
    shapes = None if input is None else shapes_of(input)
    network = reader.network(shapes)
    name = time_axis(network, axis)
    step("planning a stream")
    # What is refused at one length is not read at others.
    live = at_lengths((network,), name)
    found = (
        live
        if isinstance(live, Refusal)
        else plan_of((network, *_at_other_lengths(reader, network, name)), name)
    )
    if isinstance(found, Refusal):
        error = UnsupportedError(found.reason)
        error.subject = found.layer or source_name(source)
        raise error
    return found


def time_axis(network: Network, axis: str | int | None) -> str:
    """The axis that is time: the one given, by name or by dimension of the first input.

    Raises `ArgumentError` where there is no such axis, or several and none is given.
    """
    held = [one for one in network.axes if any(t.grid.get(one, 1) > 1 for t in network.inputs)]
    known = ", ".join(held)
    if not held:
        raise ArgumentError("its input has no positions along any axis, so nothing is streamed.")
    if isinstance(axis, int):
        layout = network.inputs[0].layout
        if not -len(layout) <= axis < len(layout):
            raise ArgumentError(f"axis={axis} is no dimension of an input of {len(layout)}.")
        names = [atom.axis for atom in layout[axis]]
        if len(names) != 1 or names[0] not in held:
            raise ArgumentError(f"axis={axis}: that dimension holds no positions; {known} do.")
        return str(names[0])
    if axis is None:
        if len(held) > 1:
            raise ArgumentError(f"its input has positions along {known}; say which is time, axis=.")
        return held[0]
    if axis not in held:
        raise ArgumentError(f"axis={axis!r} is none of the input's axes: {known}.")
    return axis


def _at_other_lengths(reader: Planner, network: Network, axis: str) -> Iterator[Network]:
    """The source at lengths of other residues of its hop, and one hop further on."""
    apart = strides(network, axis, rates=True)
    if isinstance(apart, Refusal):
        return
    hop = period(network, axis, apart)
    free = _asks_for_no_size(reader, network)
    every = lcm(*(int(apart.get(tensor.name, 1)) for tensor in network.inputs))
    for more in sorted({1, hop // 2, hop - 1, hop} - {0}):
        if more % every:
            continue  # A slower input has no such length.
        further = {t.name: more // int(apart.get(t.name, 1)) for t in network.inputs}
        shapes = tuple(
            tuple(
                size + further[tensor.name]
                if dim and len(dim) == 1 and dim[0].axis == axis and size > 1
                else size
                for size, dim in zip(tensor.shape, tensor.layout, strict=True)
            )
            for tensor in network.inputs
        )
        found = _read_at(reader, network, shapes, free=free)
        if found is not None and _has(found, network, axis, further):
            yield found


def _has(found: Network, network: Network, axis: str, further: Mapping[str, int]) -> bool:
    """Whether a reading has the length asked for: files may hold another."""
    return all(
        length_along(found, here.name, axis) == there.grid[axis] + further[there.name]
        for here, there in zip(found.inputs, network.inputs, strict=True)
        if there.grid.get(axis, 1) > 1
    )


def _read_at(reader: Planner, network: Network, shapes: Shapes, *, free: bool) -> Network | None:
    """The source at other shapes; None where it does not run there."""
    try:
        found = resized(network, shapes) if free else None
        if found is None and kind_of(reader.source) != "network":
            found = reader.network(shapes)
    except AtrousError:
        return None
    return found


def _asks_for_no_size(reader: Planner, network: Network) -> bool:
    """Whether other lengths follow from this one: nothing in the code looks at a size."""
    kind = kind_of(reader.source)
    if kind != "module":
        return kind in ("network", "stack", "zoo")
    from atrous.frameworks.unasked import asks_no_size

    return asks_no_size(reader.source, tuple(tensor.shape for tensor in network.inputs))
