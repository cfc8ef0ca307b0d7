"""`Loop` and `Scan` whose turns are known, laid out turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atrous.network.ops import Concat, Reshape, Slice
from atrous.readers.call import NotUnderstood
from atrous.readers.onnx.call import OnnxCall
from atrous.readers.onnx.values import Const, Live, Value

if TYPE_CHECKING:
    import onnx

    from atrous.readers.onnx.values import Array

__all__ = ["MOST_COPIES", "unrolled"]

# Nodes in all loops of a file: each turn is a copy of the body.
MOST_COPIES = 1 << 13

Results = Sequence[Value | None]
Body = Callable[[dict[str, Value]], Results]
"""What the body makes of values for its inputs."""


def unrolled(call: OnnxCall, body: onnx.GraphProto, run: Body) -> list[Value | None]:
    """What the node makes, by running the body once a turn.

    Raises `NotUnderstood` where data decide how often it turns, as `run` does where that is often.
    """
    names = [item.name for item in body.input]
    turn: _Scan | _Loop = _Scan(call) if call.op == "Scan" else _Loop(call)
    pieces: list[list[Value]] = [[] for _ in body.output[turn.carried :]]
    states = list(turn.states)
    at = 0
    while turn.goes_on(at):
        given = [*turn.before(at), *states, *turn.elements(at)]
        made = run({name: v for name, v in zip(names, given, strict=True) if v is not None})
        turn.after(made)
        states = list(made[turn.carried - len(states) : turn.carried])
        for piece, value in zip(pieces, made[turn.carried :], strict=True):
            if value is None:
                raise NotUnderstood("makes nothing in one of its turns")
            piece.append(value)
        at += 1
    wanted = call.used[len(states) :]
    stacked = [
        turn.stacked(index, piece) if used else None
        for index, (piece, used) in enumerate(zip(pieces, wanted, strict=False))
    ]
    return [*states, *stacked]


@dataclass
class _Turns:
    """What `Loop` and `Scan` share: the call, and the pieces that are laid end to end."""

    call: OnnxCall

    def joined(self, pieces: Sequence[Value], axis: int) -> Value:
        """The pieces along a new dimension."""
        if not pieces:
            raise NotUnderstood("never turns")
        rank = len(pieces[0].shape)
        if any(piece.shape != pieces[0].shape for piece in pieces):
            raise NotUnderstood("makes another shape in each turn")
        dim = self.call.axis(axis, rank + 1)
        parts = []
        for piece in pieces:
            if isinstance(piece, Live) and piece.unknown:
                raise NotUnderstood(piece.unknown)
            shape = (*piece.shape[:dim], 1, *piece.shape[dim:])
            parts.append(self.call.step(Reshape(shape), self.call.materialized(piece)))
        made = self.call.step(Concat(dim), *parts) if len(parts) > 1 else parts[0]
        return Live(made, pieces[0].dtype)


class _Loop(_Turns):
    """Turns as often as input 0 says, as long as the body's first result does."""

    def __init__(self, call: OnnxCall) -> None:
        super().__init__(call)
        self.states: Results = call.inputs[2 : len(call.node.input)]
        self.carried = 1 + len(self.states)
        self._limit = None if call[0] is None else int(_known_number(call[0]))
        self._waits = call[1] is not None
        self._goes = call[1] is None or bool(_known_number(call[1]))

    def goes_on(self, at: int) -> bool:
        """Whether there is a turn `at`."""
        return self._goes and (self._limit is None or at < self._limit)

    def before(self, at: int) -> Results:
        """The number of the turn, and that it goes on."""
        return [_plain_number(at, 7), _plain_number(True, 9)]

    def elements(self, _: int) -> Results:
        """Nothing: a loop takes no pieces."""
        return []

    def after(self, made: Results) -> None:
        """Looks whether it goes on."""
        if self._waits:
            self._goes = bool(_known_number(made[0]))

    def stacked(self, _: int, pieces: Sequence[Value]) -> Value:
        """The pieces along a new first dimension."""
        return self.joined(pieces, 0)


class _Scan(_Turns):
    """Turns once for each index of the inputs that it goes along."""

    def __init__(self, call: OnnxCall) -> None:
        super().__init__(call)
        count = call.integer("num_scan_inputs")
        total = len(call.node.input)
        if call.version < 9 or not 1 <= count <= total:
            raise NotUnderstood("scans as operators before version 9 do")
        self.states: Results = call.inputs[: total - count]
        self.carried = len(self.states)
        self._along = [call.value(i) for i in range(total - count, total)]
        self._axes = self._listed("scan_input_axes", count)
        self._back = self._listed("scan_input_directions", count)
        lengths = {
            value.shape[call.axis(axis, len(value.shape))]
            for value, axis in zip(self._along, self._axes, strict=True)
        }
        if len(lengths) != 1:
            raise NotUnderstood("goes along inputs of different lengths")
        self._length = lengths.pop()

    def _listed(self, name: str, count: int) -> tuple[int, ...]:
        held = self.call.integers(name) or (0,) * count
        if len(held) != count:
            raise NotUnderstood(f"has {len(held)} {name} for {count}")
        return held

    def goes_on(self, at: int) -> bool:
        """Whether there is a turn `at`."""
        return at < self._length

    def before(self, _: int) -> Results:
        """Nothing stands before the states."""
        return []

    def elements(self, at: int) -> Results:
        """The pieces of this turn."""
        found: list[Value] = []
        for value, axis, back in zip(self._along, self._axes, self._back, strict=True):
            dim = self.call.axis(axis, len(value.shape))
            place = self._length - 1 - at if back else at
            shape = (*value.shape[:dim], *value.shape[dim + 1 :])
            if isinstance(value, Live):
                piece = self.call.step(Slice(dim, place, 1, drop=True), value.tensor)
                found.append(Live(piece, value.dtype))
            else:
                array = None if value.array is None else value.array.take(place, axis=dim)
                load = None if array is None else _array_loader(array)
                found.append(Const(value.name, shape, value.dtype, value.params, load))
        return found

    def after(self, _: Results) -> None:
        """Nothing decides whether it goes on."""

    def stacked(self, index: int, pieces: Sequence[Value]) -> Value:
        """The pieces along a new dimension, the last first where they are laid backwards."""
        outputs = len(self.call.outputs) - len(self.states)
        axes = self._listed("scan_output_axes", outputs)
        back = self._listed("scan_output_directions", outputs)
        return self.joined(pieces[::-1] if back[index] else pieces, axes[index])


def _known_number(value: Value | None) -> float:
    """A single number that is known."""
    array = value.array if isinstance(value, Const) else None
    if array is None or array.size != 1:
        raise NotUnderstood("turns as often as data decide")
    return float(array.reshape(-1)[0])


def _plain_number(number: int, dtype: int) -> Const:
    """A number as a constant."""
    import numpy as np

    return Const(
        "", (), dtype, (), _array_loader(np.asarray(number, np.int64 if dtype == 7 else bool))
    )


def _array_loader(array: Array) -> Callable[[], Array]:
    return lambda: array
