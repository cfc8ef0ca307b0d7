"""What a stream must keep between two samples: layer by layer, and the least that would do."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from atrous.geometry import Local, Prefix
from atrous.network import Node, Tensor
from atrous.network.ops import Elementwise, Scan
from atrous.plan.arrivals import Arrivals, Cycle
from atrous.plan.lengths import AtLengths
from atrous.plan.stream import KeptState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Places = NDArray[np.int64]

__all__ = ["kept_by", "least_bytes", "least_cut"]


def kept_by(found: Arrivals) -> tuple[KeptState, ...]:
    """What must be kept, each tensor for the consumer that needs most of it."""
    import numpy as np

    stream = found.stream
    samples = np.arange(1, stream.hop + 1)
    there = {name: found.waits(name)[1].below(samples) for name in found.last}
    most: dict[str, tuple[int, str]] = {}
    hidden: list[KeptState] = []
    for node in stream.network.nodes:
        if node.output.name not in stream.strides:
            continue
        for index, name in stream.operands(node):
            move = node.moves[index].get(stream.axis)
            done = there[node.output.name]
            if isinstance(move, Prefix):
                hidden.append(_hidden(stream, node))
            first = _needed_from(stream, node, move, name)
            positions = int((there[name] - first.at(done)).max())
            if positions > most.get(name, (0, ""))[0]:
                most[name] = (positions, node.name)
    kept = [
        KeptState(layer, name, positions, *_size(stream.network.tensor(name), stream, positions))
        for name, (positions, layer) in most.items()
    ]
    order = {node.name: i for i, node in enumerate(stream.network.nodes)}
    return tuple(sorted([*kept, *hidden], key=lambda one: order[one.layer]))


def _size(tensor: Tensor, stream: AtLengths, positions: int) -> tuple[int, int]:
    """Numbers for each position, and the bytes of some of them."""
    each = tensor.elements // stream.length(tensor.name)
    return each, positions * each * tensor.itemsize


def _hidden(stream: AtLengths, node: Node) -> KeptState:
    """The state of a recurrent layer, or of a running sum."""
    each = node.output.elements // stream.length(node.output.name)
    op = node.op
    if isinstance(op, Scan) and op.label in _HIDDEN:
        layers = sum(".weight_hh" in f".{name}" for name in node.params) or 1
        each *= layers * _HIDDEN[op.label]
    nbytes = each * node.output.itemsize
    return KeptState(node.name, node.output.name, 1, each, nbytes, hidden=True)


_HIDDEN = {"lstm": 2, "gru": 1, "rnn_tanh": 1, "rnn_relu": 1, "rnn": 1}
"""Recurrent layers, and how many numbers they carry for each of a hidden state."""


def _needed_from(stream: AtLengths, node: Node, move: Any, operand: str) -> Cycle:
    """The first position of an operand that an output of a node, or any behind it, reads."""
    import numpy as np

    count = stream.positions(node.output.name)
    if not isinstance(move, Local):
        return Cycle(np.arange(count), count)
    reads = move.reads
    low = np.full(count, 1 << 60)
    for phase, taps in enumerate(reads.phases):
        if taps.mask:
            turns = np.arange(count // reads.period)
            low[phase :: reads.period] = taps.first + turns * reads.shift
    return Cycle(low, stream.positions(operand)).lowest_from_here()


def least_bytes(found: Arrivals) -> int:
    """The least that must be kept where what layers at one place make is made anew.

    Of an activation and of the sum that reads the same tensor, say, that tensor is enough. Windows,
    products with weights and hidden states are not made again. At each place it is a least cut
    between what such layers make and what is still read there; the most over the phases of a hop.
    """
    import numpy as np

    stream = found.stream
    samples = np.arange(1, stream.hop + 1)
    there = {name: found.waits(name)[1].below(samples) for name in found.last}
    first = dict(there)
    made: dict[str, tuple[str, ...]] = {}
    total = np.zeros(stream.hop, np.int64)
    for node in stream.network.nodes:
        if node.output.name not in stream.strides:
            continue
        operands = stream.operands(node)
        moves = [node.moves[index].get(stream.axis) for index, _ in operands]
        for (_, name), move in zip(operands, moves, strict=True):
            if isinstance(move, Prefix):
                total += _hidden(stream, node).nbytes
            needed = _needed_from(stream, node, move, name).at(there[node.output.name])
            first[name] = np.minimum(first[name], needed)
        if isinstance(node.op, Elementwise) and operands and set(moves) == {None}:
            made[node.output.name] = tuple(name for _, name in operands)
    each = {name: _size(stream.network.tensor(name), stream, 1)[1] for name in there}
    for names in _joined_by(made, there):
        read = [name for name in names if (first[name] < there[name]).any()]
        if read:
            total += _least_together(read, first, there, made, each)
    return int(total.max())


def _joined_by(made: Mapping[str, Sequence[str]], names: Collection[str]) -> list[list[str]]:
    """Tensors that are made of one another, put together."""
    home = {name: [name] for name in names}
    for name, operands in made.items():
        for other in operands:
            if home[other] is not home[name]:
                home[name].extend(home[other])
                for one in home[other]:
                    home[one] = home[name]
    return list({id(one): one for one in home.values()}.values())


def _least_together(
    read: Sequence[str],
    first: Mapping[str, Places],
    there: Mapping[str, Places],
    made: Mapping[str, Sequence[str]],
    each: Mapping[str, int],
) -> Places:
    """The least bytes of some tensors, after each sample of a hop."""
    import numpy as np

    low, high = (np.stack([one[name] for name in read]) for one in (first, there))
    base = high[:1]
    columns, at = np.unique(np.concatenate([low - base, high - base]), axis=1, return_inverse=True)
    known: dict[frozenset[str], int] = {}

    def cost(column: Places) -> int:
        starts, stops = column[: len(read)], column[len(read) :]
        edges = sorted({*starts.tolist(), *stops.tolist()})
        total = 0
        for begin, end in pairwise(edges):
            wanted = frozenset(
                name
                for name, start, stop in zip(read, starts, stops, strict=True)
                if start <= begin and end <= stop
            )
            if wanted not in known:
                known[wanted] = least_cut(wanted, made, each)
            total += (end - begin) * known[wanted]
        return total

    return np.array([cost(column) for column in columns.T])[at.reshape(-1)]


def least_cut(
    wanted: Collection[str], made: Mapping[str, Sequence[str]], each: Mapping[str, int]
) -> int:
    """The least sum of `each` over things of which all that is wanted can be made.

    `made` has what a thing is made of, all of which it takes; what it does not name is kept or is
    not there. It is a least cut, which equals the largest flow (Ford and Fulkerson 1956).

    >>> made = {"leaky": ["x"], "sum": ["x", "y"]}
    >>> least_cut(["leaky", "x"], made, dict.fromkeys(["leaky", "sum", "x", "y"], 4))
    4
    >>> least_cut(["leaky", "sum"], made, {"leaky": 4, "sum": 4, "x": 1, "y": 9})
    5
    """
    room: dict[Any, dict[Any, float]] = {}

    def edge(a: Any, b: Any, size: float) -> None:
        room.setdefault(a, {})[b] = size
        room.setdefault(b, {}).setdefault(a, 0)

    ahead, seen = list(wanted), set(wanted)
    for name in wanted:
        edge((name, "out"), "end", float("inf"))
    while ahead:
        name = ahead.pop()
        edge((name, "in"), (name, "out"), each[name])
        for other in made.get(name, ()):
            edge((other, "out"), (name, "in"), float("inf"))
            if other not in seen:
                seen.add(other)
                ahead.append(other)
        if not made.get(name):
            edge("begin", (name, "in"), float("inf"))
    flow = 0
    while (path := _path(room)) is not None:
        most = min(room[a][b] for a, b in path)
        for a, b in path:
            room[a][b] -= most
            room[b][a] += most
        flow += int(most)
    return flow


def _path(room: Mapping[Any, Mapping[Any, float]]) -> list[tuple[Any, Any]] | None:
    """The edges of a shortest way with room left from the beginning to the end."""
    came: dict[Any, Any] = {"begin": None}
    ahead = deque(["begin"] if "begin" in room else [])
    while ahead:
        here: Any = ahead.popleft()
        for there, left in room[here].items():
            if left > 0 and there not in came:
                came[there] = here
                ahead.append(there)
    if "end" not in came:
        return None
    way, at = [], "end"
    while came[at] is not None:
        way.append((came[at], at))
        at = came[at]
    return way
