"""ONNX's sequences of tensors: pieces split off, picked out, put together again."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.network.ops import Concat, Slice
from atrous.readers.call import NotUnderstood
from atrous.readers.onnx.call import OnnxCall
from atrous.readers.onnx.values import Const, Live, Value

__all__ = ["SEQUENCES", "Pieces", "sequence"]

SEQUENCES = ("SplitToSequence", "SequenceAt", "SequenceConstruct", "ConcatFromSequence")
_MOST_PIECES = 4096


class Pieces(Live):
    """A sequence. To whatever does not know sequences it is a tensor of unknown shape."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Value]) -> None:
        live = next((part for part in parts if isinstance(part, Live)), None)
        if live is None:
            raise NotUnderstood("makes a sequence of constants")
        super().__init__(live.tensor, live.dtype, "the shape of what it reads depends on data")
        self.parts = tuple(parts)


def sequence(call: OnnxCall) -> Value:
    """What the call makes. Raises `NotUnderstood` for anything that depends on data."""
    if call.op == "SequenceConstruct":
        return Pieces([value for value in call.inputs if value is not None])
    if call.op == "SplitToSequence":
        return _split(call)
    held = call.value(0)
    if not isinstance(held, Pieces):
        raise NotUnderstood("reads a sequence that is not followed")
    if call.op == "SequenceAt":
        (place,) = call.integers_at(1, "position") or (0,)
        if not -len(held.parts) <= place < len(held.parts):
            raise NotUnderstood(f"picks piece {place} of {len(held.parts)}")
        return held.parts[place]
    if call.integer("new_axis"):
        raise NotUnderstood("stacks a sequence along a new dimension")
    tensors = [call.materialized(part) for part in held.parts]
    dim = call.axis(call.integer("axis"), len(tensors[0].shape))
    return Live(call.step(Concat(dim), *tensors), held.dtype)


def _split(call: OnnxCall) -> Pieces:
    value = call.value(0)
    if not isinstance(value, Live) or isinstance(value, Pieces) or value.unknown:
        raise NotUnderstood("splits what is not a tensor of a known shape")
    if not call.integer("keepdims", 1) and call[1] is None:
        raise NotUnderstood("splits into pieces without the dimension")
    x = value.tensor
    dim = call.axis(call.integer("axis"), len(x.shape))
    length = x.shape[dim]
    sizes = _sizes(call, length)
    parts: list[Value] = []
    start = 0
    for size in sizes:
        parts.append(Live(call.step(Slice(dim, start, size), x), value.dtype))
        start += size
    return Pieces(parts)


def _sizes(call: OnnxCall, length: int) -> Sequence[int]:
    given = call[1]
    numbers = (1,) if given is None else call.integers_at(1, "sizes") or ()
    scalar = given is None or (isinstance(given, Const) and given.shape == ())
    if not numbers or min(numbers) < 1:
        raise NotUnderstood("splits into pieces of no size")
    if scalar:
        if length // numbers[0] > _MOST_PIECES:
            raise NotUnderstood(f"splits {length} positions into pieces of {numbers[0]}")
        whole, rest = divmod(length, numbers[0])
        numbers = (numbers[0],) * whole + ((rest,) if rest else ())
    if sum(numbers) != length or len(numbers) > _MOST_PIECES:
        raise NotUnderstood(f"splits {length} positions into pieces of {numbers[:8]}")
    return numbers
