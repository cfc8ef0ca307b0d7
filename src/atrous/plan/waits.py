"""The plan of a stream from what each position waits for: latency, state, delays, lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING

from atrous.geometry import Local
from atrous.network import Network, Tensor
from atrous.plan.arrivals import Arrivals, Cycle, arrivals
from atrous.plan.kept import kept_by, least_bytes
from atrous.plan.lengths import AtLengths, at_lengths
from atrous.plan.regions import length_along
from atrous.plan.stream import Join, StreamInput, StreamOutput, StreamPlan
from atrous.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Places = NDArray[np.int64]

__all__ = ["plan_of"]


def plan_of(networks: Sequence[Network], axis: str) -> StreamPlan | Refusal:
    """The plan for a network that was read at some lengths, the first of which is asked about.

    Lengths of other residues of the hop show where ends depend on the length. A refusal names the
    layer that cannot run before the clip ends, or that does something else at another length.
    """
    stream = at_lengths(networks, axis)
    if isinstance(stream, Refusal):
        return stream
    network = stream.network
    for name in network.outputs:
        if name not in stream.strides:
            reason = f"has no positions along {axis}, or one: give a longer clip."
            return Refusal("local", name, reason)
    found = arrivals(stream)
    if isinstance(found, Refusal):
        return found
    hopeful = arrivals(stream, hopeful=True)
    outputs = tuple(_output(found, hopeful, name) for name in network.outputs)
    first = next(t.name for t in network.inputs if t.name in stream.strides)
    ahead, late = _looks_ahead(found)
    return StreamPlan(
        network.name,
        axis,
        stream.length(first),
        tuple(StreamInput(t.name, t.shape, _time_of(t, axis)) for t in network.inputs),
        outputs,
        stream.hop,
        None if found.unbounded else _past(found, network.outputs),
        ahead,
        late,
        found.unbounded,
        kept_by(found),
        least_bytes(found),
        _joins(found),
        _left(stream, network.outputs),
    )


def _time_of(tensor: Tensor, axis: str) -> int | None:
    """The dimension that holds the positions along an axis."""
    return next(
        (
            index
            for index, dim in enumerate(tensor.layout)
            if tensor.grid.get(axis, 1) > 1 and len(dim) == 1 and dim[0].axis == axis
        ),
        None,
    )


_NONE = 1 << 40
"""No sample is that far away: what reads nothing."""


def _latest(places: Places, waits: Places, stride: Fraction) -> Fraction:
    """The most that a sample lies behind the place of the output that waits for it."""
    read = abs(waits) < _NONE
    found = waits[read] * stride.denominator - places[read] * stride.numerator
    return Fraction(int(found.max(initial=-_NONE)), stride.denominator)


def _output(found: Arrivals, hopeful: Arrivals | Refusal, name: str) -> StreamOutput:
    import numpy as np

    stream = found.stream
    stride, hop = stream.strides[name], stream.hop
    begin, steady = found.waits(name)
    turn = steady.values
    usual = _latest(np.arange(len(turn)), turn, stride)
    latency = max(usual, _latest(np.arange(len(begin)), begin, stride))
    tensor = stream.network.tensor(name)
    lengths = {
        length_along(one, _entry(stream), stream.axis): length_along(one, name, stream.axis)
        for one in stream.networks
    }
    return StreamOutput(
        name,
        tensor.shape,
        next(i for i, dim in enumerate(tensor.layout) if any(a.axis == stream.axis for a in dim)),
        stride,
        latency,
        usual,
        _beyond_hop(steady, hop),
        tuple(map(int, begin)),
        tuple(map(int, turn)),
        _ends((found, hopeful), name, lengths),
        lengths,
        hop,
    )


def _entry(stream: AtLengths) -> str:
    return next(t.name for t in stream.network.inputs if t.name in stream.strides)


def _beyond_hop(waits: Cycle, hop: int) -> int:
    """How far beyond its hop any position waits; 0 where none does."""
    return max(int(waits.values.max()) - (hop - 1), 0)


def _ends(
    found: Sequence[Arrivals | Refusal], name: str, lengths: Mapping[int, int]
) -> tuple[int, ...] | None:
    """With which samples outputs exist, where that gives the lengths of all clips tried."""
    import numpy as np

    for one in found:
        cycle = one.exists[name] if isinstance(one, Arrivals) else None
        if cycle is None:
            continue
        told = cycle.below(np.array(list(lengths)))
        if cycle.rises and told.tolist() == list(lengths.values()):
            return tuple(map(int, cycle.values))
    return None


def _looks_ahead(found: Arrivals) -> tuple[str, str]:
    """The first layer that waits beyond its hop, and the first that does at the beginning alone."""
    import numpy as np

    stream = found.stream
    ahead, late = "", ""
    for node in stream.network.nodes:
        name = node.output.name
        if name not in stream.strides:
            continue
        begin, steady = found.waits(name)
        if not ahead and _beyond_hop(steady, stream.hop):
            ahead = node.name
        if not late and (begin > steady.at(np.arange(len(begin)))).any():
            late = node.name
    return ahead, late


def _past(found: Arrivals, outputs: Sequence[str]) -> int:
    """How far before its own place any output reads, at least 0."""
    import numpy as np

    most = Fraction(0)
    for name in outputs:
        stride, first = found.stream.strides[name], found.first[name].values
        places = np.arange(len(first))
        most = max(most, _latest(-places, -first, stride))
    return floor(most)


def _left(stream: AtLengths, outputs: Sequence[str]) -> int:
    """What a run that begins in mid-clip needs before the outputs of a hop, in whole hops.

    Of every tensor the positions that are needed must be made by the run itself.
    """
    needed = dict.fromkeys(outputs, 0)
    most = Fraction(0)
    for node in reversed(stream.network.nodes):
        wanted = needed.get(node.output.name)
        if wanted is None:
            continue
        for index, name in stream.operands(node):
            move = node.moves[index].get(stream.axis)
            low = wanted
            if isinstance(move, Local):
                # Over one period, so that whichever output reads furthest back is among them.
                span = max(move.reads.period, stream.positions(node.output.name))
                reads = move.reads.needed(range(wanted, wanted + span))
                low = reads.start if len(reads) else wanted
            needed[name] = min(needed.get(name, low), low)
            most = max(most, -needed[name] * stream.strides[name])
    return ceil(most / stream.hop) * stream.hop


def _joins(found: Arrivals) -> tuple[Join, ...]:
    """Where branches of different delay meet, and how far the faster ones are ahead."""
    import numpy as np

    stream = found.stream
    samples = np.arange(1, stream.hop + 1)
    joins = []
    for node in stream.network.nodes:
        sides = stream.operands(node) if node.output.name in stream.strides else []
        moves = (node.moves[index].get(stream.axis) for index, _ in sides)
        if len(sides) < 2 or any(isinstance(move, Local) for move in moves):
            continue
        counts = {name: found.waits(name)[1].below(samples) for _, name in sides}
        done = np.minimum.reduce(list(counts.values()))
        delays = {name: int((count - done).max()) for name, count in counts.items()}
        if any(delays.values()):
            joins.append(Join(node.name, delays))
    return tuple(joins)
